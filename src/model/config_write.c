/* config.json, written; and the shapes of known models. */
#include "network.h"

#include <string.h>

static void write_int(struct lm_json_writer *writer, const char *key, int64_t value)
{
    lm_json_key(writer, key);
    lm_json_int(writer, value);
}

static void write_double(struct lm_json_writer *writer, const char *key, double value)
{
    lm_json_key(writer, key);
    lm_json_double(writer, value);
}

static void write_text(struct lm_json_writer *writer, const char *key, const char *value)
{
    lm_json_key(writer, key);
    lm_json_text(writer, value);
}

static void write_bool(struct lm_json_writer *writer, const char *key, bool value)
{
    lm_json_key(writer, key);
    lm_json_bool(writer, value);
}

static void write_token(struct lm_json_writer *writer, const char *key, int32_t id)
{
    lm_json_key(writer, key);
    if (id < 0)
        lm_json_null(writer);
    else
        lm_json_int(writer, id);
}

static void write_gpt2(struct lm_json_writer *writer, const struct lm_config *config)
{
    write_text(writer, "activation_function", config->gelu_tanh ? "gelu_new" : "gelu");
    write_double(writer, "layer_norm_epsilon", config->norm_eps);
    write_int(writer, "n_embd", config->width);
    write_int(writer, "n_head", config->heads);
    write_int(writer, "n_inner", config->feed_forward);
    write_int(writer, "n_layer", config->layers);
    write_int(writer, "n_positions", config->context);
    /* loam does not drop out: saying so keeps a training run elsewhere the same model. */
    static const char *const dropouts[] = {"attn_pdrop", "embd_pdrop", "resid_pdrop"};
    for (int i = 0; i < 3; i++)
        write_double(writer, dropouts[i], 0);
}

static void write_rope(struct lm_json_writer *writer, const struct lm_config *config)
{
    write_double(writer, "rope_theta", config->rope_theta);
    lm_json_key(writer, "rope_scaling");
    if (!config->rope_linear && !config->rope_llama3) {
        lm_json_null(writer);
        return;
    }
    lm_json_begin_object(writer);
    write_text(writer, "rope_type", config->rope_llama3 ? "llama3" : "linear");
    write_double(writer, "factor", config->rope_factor);
    if (config->rope_llama3) {
        write_double(writer, "low_freq_factor", config->rope_low);
        write_double(writer, "high_freq_factor", config->rope_high);
        write_int(writer, "original_max_position_embeddings", config->rope_original_context);
    }
    lm_json_end_object(writer);
}

static void write_window(struct lm_json_writer *writer, const struct lm_config *config)
{
    bool qwen = config->family == LM_QWEN2 || config->family == LM_QWEN3;
    lm_json_key(writer, "sliding_window");
    if (config->window)
        lm_json_int(writer, config->window);
    else
        lm_json_null(writer);
    if (!qwen)
        return;
    write_bool(writer, "use_sliding_window", config->window > 0);
    write_int(writer, "max_window_layers", config->window ? config->window_first_layer : config->layers);
}

static void write_llama(struct lm_json_writer *writer, const struct lm_config *config)
{
    write_int(writer, "head_dim", config->head_size);
    write_text(writer, "hidden_act", "silu");
    write_int(writer, "hidden_size", config->width);
    write_int(writer, "intermediate_size", config->feed_forward);
    write_int(writer, "max_position_embeddings", config->context);
    write_int(writer, "num_attention_heads", config->heads);
    write_int(writer, "num_hidden_layers", config->layers);
    write_int(writer, "num_key_value_heads", config->kv_heads);
    write_double(writer, "rms_norm_eps", config->norm_eps);
    write_double(writer, "attention_dropout", 0);
    write_rope(writer, config);
    if (config->family == LM_LLAMA || config->family == LM_QWEN3)
        write_bool(writer, "attention_bias", config->out_bias);
    if (config->family == LM_LLAMA)
        write_bool(writer, "mlp_bias", config->mlp_bias);
    else
        write_window(writer, config);
}

int lm_config_write(const struct lm_config *config, enum lm_dtype dtype, const char *path, loam_error *error)
{
    struct lm_bytes bytes = {0};
    struct lm_json_writer writer = lm_json_writer(&bytes, 2);
    lm_json_begin_object(&writer);
    lm_json_key(&writer, "architectures");
    lm_json_begin_array(&writer);
    lm_json_text(&writer, lm_config_architecture(config));
    lm_json_end_array(&writer);
    write_text(&writer, "model_type", lm_config_family(config));
    write_int(&writer, "vocab_size", config->vocabulary);
    if (config->family == LM_GPT2)
        write_gpt2(&writer, config);
    else
        write_llama(&writer, config);
    write_double(&writer, "initializer_range", config->initializer_range);
    write_bool(&writer, "tie_word_embeddings", config->tied);
    write_token(&writer, "bos_token_id", config->bos);
    write_token(&writer, "eos_token_id", config->eos);
    write_token(&writer, "pad_token_id", config->pad);
    write_text(&writer, "torch_dtype", dtype == LM_BF16 ? "bfloat16" : dtype == LM_F16 ? "float16" : "float32");
    lm_json_end_object(&writer);
    int code = lm_json_writer_finish(&writer, error);
    if (!code)
        code = lm_bytes_append(&bytes, "\n", 1, error);
    if (!code)
        code = lm_file_replace(path, bytes.data, bytes.length, error);
    lm_bytes_free(&bytes);
    return code;
}

/* Shapes as their makers published them. V C L H KV D F context; positions by family. */
struct known {
    const char *name;
    enum lm_family family;
    int64_t vocabulary, width, layers, heads, kv_heads, head_size, feed_forward, context;
    double theta, eps;
    double factor;          /* of the llama3 scaling over 8192 positions; 0: none */
    bool tied;
    int32_t bos, eos;
    int64_t window;
};
static const struct known known[] = {
    {"gpt2", LM_GPT2, 50257, 768, 12, 12, 12, 64, 3072, 1024, 0, 1e-5, 0, true, 50256, 50256, 0},
    {"gpt2-medium", LM_GPT2, 50257, 1024, 24, 16, 16, 64, 4096, 1024, 0, 1e-5, 0, true, 50256, 50256, 0},
    {"gpt2-large", LM_GPT2, 50257, 1280, 36, 20, 20, 64, 5120, 1024, 0, 1e-5, 0, true, 50256, 50256, 0},
    {"gpt2-xl", LM_GPT2, 50257, 1600, 48, 25, 25, 64, 6400, 1024, 0, 1e-5, 0, true, 50256, 50256, 0},
    {"llama-2-7b", LM_LLAMA, 32000, 4096, 32, 32, 32, 128, 11008, 4096, 1e4, 1e-5, 0, false, 1, 2, 0},
    {"llama-2-13b", LM_LLAMA, 32000, 5120, 40, 40, 40, 128, 13824, 4096, 1e4, 1e-5, 0, false, 1, 2, 0},
    {"llama-3-8b", LM_LLAMA, 128256, 4096, 32, 32, 8, 128, 14336, 8192, 5e5, 1e-5, 0, false, 128000, 128001, 0},
    {"llama-3.1-8b", LM_LLAMA, 128256, 4096, 32, 32, 8, 128, 14336, 131072, 5e5, 1e-5, 8, false, 128000, 128001, 0},
    {"llama-3.2-1b", LM_LLAMA, 128256, 2048, 16, 32, 8, 64, 8192, 131072, 5e5, 1e-5, 32, true, 128000, 128001, 0},
    {"llama-3.2-3b", LM_LLAMA, 128256, 3072, 28, 24, 8, 128, 8192, 131072, 5e5, 1e-5, 32, true, 128000, 128001, 0},
    {"mistral-7b", LM_MISTRAL, 32000, 4096, 32, 32, 8, 128, 14336, 32768, 1e4, 1e-5, 0, false, 1, 2, 4096},
    {"qwen2.5-0.5b", LM_QWEN2, 151936, 896, 24, 14, 2, 64, 4864, 32768, 1e6, 1e-6, 0, true, 151643, 151643, 0},
    {"qwen2.5-1.5b", LM_QWEN2, 151936, 1536, 28, 12, 2, 128, 8960, 131072, 1e6, 1e-6, 0, true, 151643, 151643, 0},
    {"qwen2.5-7b", LM_QWEN2, 152064, 3584, 28, 28, 4, 128, 18944, 131072, 1e6, 1e-6, 0, false, 151643, 151643, 0},
    {"qwen3-0.6b", LM_QWEN3, 151936, 1024, 28, 16, 8, 128, 3072, 40960, 1e6, 1e-6, 0, true, 151643, 151645, 0},
    {"qwen3-1.7b", LM_QWEN3, 151936, 2048, 28, 16, 8, 128, 6144, 40960, 1e6, 1e-6, 0, true, 151643, 151645, 0},
    {"qwen3-4b", LM_QWEN3, 151936, 2560, 36, 32, 8, 128, 9728, 40960, 1e6, 1e-6, 0, true, 151643, 151645, 0},
    {"qwen3-8b", LM_QWEN3, 151936, 4096, 36, 32, 8, 128, 12288, 40960, 1e6, 1e-6, 0, false, 151643, 151645, 0},
};
static const char *const known_names[] = {
    "gpt2",         "gpt2-medium",  "gpt2-large", "gpt2-xl",      "llama-2-7b",   "llama-2-13b", "llama-3-8b",
    "llama-3.1-8b", "llama-3.2-1b", "llama-3.2-3b", "mistral-7b", "qwen2.5-0.5b", "qwen2.5-1.5b", "qwen2.5-7b",
    "qwen3-0.6b",   "qwen3-1.7b",   "qwen3-4b",   "qwen3-8b",     NULL,
};
_Static_assert(sizeof known / sizeof known[0] + 1 == sizeof known_names / sizeof known_names[0], "a name for every shape");

const char *const *lm_config_names(void)
{
    return known_names;
}

static void fill_known(const struct known *shape, struct lm_config *config)
{
    bool gpt2 = shape->family == LM_GPT2;
    *config = (struct lm_config){
        .family = shape->family, .vocabulary = shape->vocabulary, .width = shape->width, .layers = shape->layers,
        .heads = shape->heads, .kv_heads = shape->kv_heads, .head_size = shape->head_size,
        .feed_forward = shape->feed_forward, .context = shape->context, .tied = shape->tied,
        .learned_positions = gpt2, .layer_norm = gpt2, .gelu = gpt2, .gelu_tanh = gpt2, .out_bias = gpt2,
        .mlp_bias = gpt2, .transposed_weights = gpt2, .qkv_bias = gpt2 || shape->family == LM_QWEN2,
        .qk_norm = shape->family == LM_QWEN3, .norm_eps = shape->eps, .rope_theta = shape->theta,
        .window = shape->window, .initializer_range = 0.02, .bos = shape->bos, .eos = shape->eos, .pad = -1,
    };
    if (shape->factor > 0) {
        config->rope_llama3 = true;
        config->rope_factor = shape->factor;
        config->rope_low = 1;
        config->rope_high = 4;
        config->rope_original_context = 8192;
    }
}

int lm_config_like(const char *name, struct lm_config *config, loam_error *error)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (!strcmp(known[i].name, name)) {
            fill_known(&known[i], config);
            return LOAM_OK;
        }
    struct lm_bytes names = {0};
    for (const char *const *each = known_names; *each; each++)
        lm_bytes_format(&names, NULL, "%s%s", names.length ? ", " : "", *each);
    lm_fail(error, LOAM_EUSAGE, "no model shape is called '%s'; there are: %s", name, names.data ? names.data : "");
    lm_bytes_free(&names);
    return LOAM_EUSAGE;
}
