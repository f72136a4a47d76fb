/* config.json, read. Field names and defaults are those of transformers' configuration classes (GPT2Config, LlamaConfig,
 * MistralConfig, Qwen2Config, Qwen3Config); both the 4.x form (rope_theta, rope_scaling) and the 5.x form (rope_parameters). */
#include "network.h"

#include <math.h>
#include <string.h>

/* The file being read: every helper below does nothing once `code` is set, so that a reader is a plain list of fields. */
struct reader {
    const struct lm_document *document;
    const struct lm_value *root;
    loam_error *error;
    int code;
};

enum { MOST_LAYERS = 10000, MOST_HEADS = 65536 };
static const int64_t MOST_WIDTH = INT64_C(1) << 28;

/* The field, or NULL where it is absent or null: both mean the default. */
static const struct lm_value *field(const struct lm_value *object, const char *name)
{
    const struct lm_value *value = lm_value_find(object, name);
    return value && value->kind != LM_NULL ? value : NULL;
}

/* The error names the place and the field's path. */
static void refuse(struct reader *reader, const struct lm_value *value, const char *why)
{
    loam_error place;
    if (reader->code)
        return;
    if (value->kind == LM_STRING)
        lm_value_fail(reader->document, value, &place, "found \"%.*s\": %s",
                      (int)(value->length < 80 ? value->length : 80), value->text, why);
    else
        lm_value_fail(reader->document, value, &place, "%s", why);
    reader->code = lm_fail(reader->error, LOAM_EUNSUPPORTED, "%s", place.message);
}

static void missing(struct reader *reader, const char *name)
{
    if (!reader->code)
        reader->code = lm_value_fail(reader->document, reader->root, reader->error,
                                     "field '%s' is missing, wanted a whole number; add it as the model's makers have it",
                                     name);
}

/* A whole number; `absent` where it is not there, or an error where absent < 0. */
static int64_t whole(struct reader *reader, const char *name, int64_t most, int64_t absent)
{
    const struct lm_value *value = field(reader->root, name);
    int64_t result = absent;
    if (reader->code)
        return 1;
    if (value)
        reader->code = lm_value_int(reader->document, value, 1, most, &result, reader->error);
    else if (absent < 0)
        missing(reader, name);
    return reader->code ? 1 : result;
}

/* A finite number above 0. */
static double number(struct reader *reader, const struct lm_value *object, const char *name, double absent)
{
    const struct lm_value *value = field(object, name);
    double result = absent;
    if (reader->code || !value)
        return absent;
    reader->code = lm_value_double(reader->document, value, &result, reader->error);
    if (!reader->code && !(isfinite(result) && result > 0))
        reader->code = lm_value_fail(reader->document, value, reader->error, "found %g, wanted a number above 0", result);
    return result;
}

static bool flag(struct reader *reader, const char *name, bool absent)
{
    const struct lm_value *value = field(reader->root, name);
    bool result = absent;
    if (!reader->code && value)
        reader->code = lm_value_bool(reader->document, value, &result, reader->error);
    return result;
}

/* A switch that must stand as loam computes. */
static void demand(struct reader *reader, const char *name, bool wanted, const char *why)
{
    if (flag(reader, name, wanted) != wanted)
        refuse(reader, lm_value_find(reader->root, name), why);
}

/* A token id; a list of them gives its first; what is no id of the vocabulary is none. */
/* Where it is absent there is none: the numbers that transformers has in mind for a family belong to one vocabulary of it. */
static int32_t token(struct reader *reader, const char *name, int64_t vocabulary)
{
    const struct lm_value *value = lm_value_find(reader->root, name);
    int64_t result = -1;
    if (reader->code)
        return -1;
    if (value && value->kind == LM_ARRAY && value->length > 0)
        value = &value->items[0];
    if (value && value->kind == LM_NULL)
        result = -1;
    else if (value)
        reader->code = lm_value_int(reader->document, value, INT32_MIN, INT32_MAX, &result, reader->error);
    return result >= 0 && result < vocabulary ? (int32_t)result : -1;
}

static const struct {
    const char *type, *architecture, *base;
} families[] = {
    [LM_GPT2] = {"gpt2", "GPT2LMHeadModel", "GPT2Model"},
    [LM_LLAMA] = {"llama", "LlamaForCausalLM", "LlamaModel"},
    [LM_MISTRAL] = {"mistral", "MistralForCausalLM", "MistralModel"},
    [LM_QWEN2] = {"qwen2", "Qwen2ForCausalLM", "Qwen2Model"},
    [LM_QWEN3] = {"qwen3", "Qwen3ForCausalLM", "Qwen3Model"},
};
enum { FAMILIES = sizeof families / sizeof families[0] };

const char *lm_config_family(const struct lm_config *config)
{
    return families[config->family].type;
}

const char *lm_config_architecture(const struct lm_config *config)
{
    return families[config->family].architecture;
}

static enum lm_family read_family(struct reader *reader)
{
    static const char known[] = "loam has gpt2, llama, mistral, qwen2 and qwen3 (GPT2LMHeadModel, LlamaForCausalLM, "
                                "MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM)";
    const struct lm_value *type = field(reader->root, "model_type"), *list = field(reader->root, "architectures");
    const struct lm_value *architecture = list && list->kind == LM_ARRAY && list->length ? &list->items[0] : NULL;
    for (int i = 0; i < FAMILIES; i++) {
        bool fits = !architecture || lm_value_is(architecture, families[i].architecture) ||
                    lm_value_is(architecture, families[i].base);
        if (type ? lm_value_is(type, families[i].type) : architecture && fits) {
            if (!fits)
                refuse(reader, architecture, known);
            return (enum lm_family)i;
        }
    }
    if (!type && !architecture)
        reader->code = lm_value_fail(reader->document, reader->root, reader->error,
                                     "fields 'model_type' and 'architectures' are missing, wanted one of them: %s", known);
    refuse(reader, type ? type : architecture, known);
    return LM_LLAMA;
}

static void read_activation(struct reader *reader, const char *name, struct lm_config *config)
{
    const struct lm_value *value = field(reader->root, name);
    if (!value || reader->code)
        return;
    if (!config->gelu) {
        if (!lm_value_is(value, "silu") && !lm_value_is(value, "swish"))
            refuse(reader, value, "loam computes \"silu\" in this family");
        return;
    }
    config->gelu_tanh = lm_value_is(value, "gelu_new") || lm_value_is(value, "gelu_pytorch_tanh") ||
                        lm_value_is(value, "gelu_fast");
    if (!config->gelu_tanh && !lm_value_is(value, "gelu") && !lm_value_is(value, "gelu_python"))
        refuse(reader, value, "loam computes \"gelu_new\", \"gelu_pytorch_tanh\", \"gelu_fast\" and \"gelu\"");
}

static void read_gpt2(struct reader *reader, struct lm_config *config)
{
    config->width = whole(reader, "n_embd", MOST_WIDTH, -1);
    config->layers = whole(reader, "n_layer", MOST_LAYERS, -1);
    config->heads = whole(reader, "n_head", MOST_HEADS, -1);
    config->context = whole(reader, "n_positions", INT32_MAX, -1);
    config->kv_heads = config->heads;
    config->feed_forward = whole(reader, "n_inner", MOST_WIDTH, 4 * config->width);
    if (!reader->code && config->width % config->heads)
        reader->code = lm_value_fail(reader->document, lm_value_find(reader->root, "n_head"), reader->error,
                                     "found %lld heads for n_embd %lld, wanted a divisor of it",
                                     (long long)config->heads, (long long)config->width);
    config->head_size = config->width / config->heads;
    config->norm_eps = number(reader, reader->root, "layer_norm_epsilon", 1e-5);
    config->learned_positions = config->layer_norm = config->gelu = config->gelu_tanh = true;
    config->qkv_bias = config->out_bias = config->mlp_bias = config->transposed_weights = true;
    read_activation(reader, "activation_function", config);
    demand(reader, "scale_attn_weights", true, "found false; loam always scales attention by 1/sqrt(head size)");
    demand(reader, "scale_attn_by_inverse_layer_idx", false, "found true; loam does not scale attention by layer");
    demand(reader, "add_cross_attention", false, "found true; loam has no encoder to attend to");
    flag(reader, "reorder_and_upcast_attn", false);    /* either way: scores are fp32 here in any case */
    config->tied = flag(reader, "tie_word_embeddings", true);
    config->bos = token(reader, "bos_token_id", config->vocabulary);
    config->eos = token(reader, "eos_token_id", config->vocabulary);
}

static void read_rope_scaling(struct reader *reader, const struct lm_value *rope, struct lm_config *config)
{
    const struct lm_value *type = field(rope, "rope_type");
    const struct lm_value *outside = field(reader->root, "original_max_position_embeddings");
    if (!type)
        type = field(rope, "type");
    if (!type || lm_value_is(type, "default"))
        return;
    config->rope_linear = lm_value_is(type, "linear");
    config->rope_llama3 = lm_value_is(type, "llama3");
    if (!config->rope_linear && !config->rope_llama3) {
        refuse(reader, type, "loam has \"default\", \"linear\" and \"llama3\"");
        return;
    }
    static const char *const wanted[] = {"factor", "low_freq_factor", "high_freq_factor"};
    for (int i = 0; i < (config->rope_llama3 ? 3 : 1); i++)
        if (!reader->code && !field(rope, wanted[i]))
            reader->code = lm_value_fail(reader->document, rope, reader->error,
                                         "field '%s' is missing, wanted a number; this rope_type needs it", wanted[i]);
    config->rope_factor = number(reader, rope, "factor", 1);
    config->rope_low = config->rope_llama3 ? number(reader, rope, "low_freq_factor", 1) : 0;
    config->rope_high = config->rope_llama3 ? number(reader, rope, "high_freq_factor", 4) : 0;
    if (!config->rope_llama3 || reader->code)
        return;
    const struct lm_value *original = outside ? outside : field(rope, "original_max_position_embeddings");
    config->rope_original_context = config->context;
    if (original)
        reader->code = lm_value_int(reader->document, original, 1, INT32_MAX, &config->rope_original_context,
                                    reader->error);
    if (!reader->code && config->rope_high <= config->rope_low)
        reader->code = lm_value_fail(reader->document, rope, reader->error,
                                     "found high_freq_factor %g, wanted more than low_freq_factor %g",
                                     config->rope_high, config->rope_low);
}

/* 4.x: rope_theta beside rope_scaling. 5.x: both in rope_parameters. A rope_scaling that is there wins, as in transformers. */
static void read_rope(struct reader *reader, struct lm_config *config)
{
    static const char *const partial = "partial_rotary_factor";
    const struct lm_value *rope = field(reader->root, "rope_scaling");
    if (!rope)
        rope = field(reader->root, "rope_parameters");
    if (rope && rope->kind != LM_OBJECT && !reader->code)
        reader->code = lm_value_fail(reader->document, rope, reader->error, "wanted an object or null");
    config->rope_theta = number(reader, reader->root, "rope_theta", 10000);
    if (rope)
        config->rope_theta = number(reader, rope, "rope_theta", config->rope_theta);
    if (number(reader, reader->root, partial, 1) != 1)
        refuse(reader, lm_value_find(reader->root, partial), "loam rotates whole heads (1)");
    if (rope && number(reader, rope, partial, 1) != 1)
        refuse(reader, lm_value_find(rope, partial), "loam rotates whole heads (1)");
    if (rope)
        read_rope_scaling(reader, rope, config);
}

/* layer_types must be what two numbers can say: full attention up to window_first_layer, sliding from there on. */
static void read_layer_types(struct reader *reader, struct lm_config *config)
{
    const struct lm_value *types = field(reader->root, "layer_types");
    int64_t first = 0;
    if (!types || reader->code)
        return;
    if (types->kind != LM_ARRAY || (int64_t)types->length != config->layers) {
        reader->code = lm_value_fail(reader->document, types, reader->error, "wanted a list of %lld layers' types",
                                     (long long)config->layers);
        return;
    }
    while (first < config->layers && lm_value_is(&types->items[first], "full_attention"))
        first++;
    for (int64_t i = first; i < config->layers; i++)
        if (!lm_value_is(&types->items[i], "sliding_attention")) {
            refuse(reader, &types->items[i],
                   "loam has layers of \"full_attention\" first and of \"sliding_attention\" after them");
            return;
        }
    if (first < config->layers && !config->window)
        refuse(reader, types, "has sliding attention, but no sliding_window is in use");
    if (config->family == LM_MISTRAL && config->window && first > 0)
        refuse(reader, types, "Mistral's layers all have the sliding_window");
    config->window_first_layer = first;
    if (first == config->layers)
        config->window = 0;
}

static void read_window(struct reader *reader, struct lm_config *config)
{
    const struct lm_value *window = lm_value_find(reader->root, "sliding_window");
    if (config->family == LM_LLAMA) {
        read_layer_types(reader, config);
        return;
    }
    bool used = config->family == LM_MISTRAL || flag(reader, "use_sliding_window", false);
    if (used && !(window && window->kind == LM_NULL))
        config->window = whole(reader, "sliding_window", INT32_MAX, 4096);
    if (config->window && config->family != LM_MISTRAL) {
        const struct lm_value *most = field(reader->root, "max_window_layers");
        config->window_first_layer = 28;
        if (most && !reader->code)
            reader->code = lm_value_int(reader->document, most, 0, INT32_MAX, &config->window_first_layer, reader->error);
        if (config->window_first_layer >= config->layers && !field(reader->root, "layer_types"))
            config->window = config->window_first_layer = 0;
    }
    read_layer_types(reader, config);
    if (!config->window)
        config->window_first_layer = 0;
}

static void read_biases(struct reader *reader, struct lm_config *config)
{
    bool attention = flag(reader, "attention_bias", false), mlp = flag(reader, "mlp_bias", false);
    if (attention && config->family != LM_LLAMA && config->family != LM_QWEN3)
        refuse(reader, lm_value_find(reader->root, "attention_bias"),
               "found true, which this family does not have");
    if (mlp && config->family != LM_LLAMA)
        refuse(reader, lm_value_find(reader->root, "mlp_bias"),
               "found true, which this family does not have");
    config->qkv_bias = attention || config->family == LM_QWEN2;
    config->out_bias = attention;
    config->mlp_bias = mlp;
}

/* Llama and its relatives. */
static void read_llama(struct reader *reader, struct lm_config *config)
{
    config->width = whole(reader, "hidden_size", MOST_WIDTH, -1);
    config->layers = whole(reader, "num_hidden_layers", MOST_LAYERS, -1);
    config->heads = whole(reader, "num_attention_heads", MOST_HEADS, -1);
    config->feed_forward = whole(reader, "intermediate_size", MOST_WIDTH, -1);
    config->context = whole(reader, "max_position_embeddings", INT32_MAX, -1);
    bool null_heads = lm_value_find(reader->root, "num_key_value_heads") != NULL;
    config->kv_heads = whole(reader, "num_key_value_heads", MOST_HEADS,
                             config->family == LM_LLAMA || null_heads ? config->heads : -1);
    bool null_size = lm_value_find(reader->root, "head_dim") != NULL;
    int64_t head_size = config->family == LM_QWEN3 && !null_size ? 128 : config->width / config->heads;
    config->head_size = whole(reader, "head_dim", MOST_WIDTH, head_size);
    config->norm_eps = number(reader, reader->root, "rms_norm_eps", 1e-6);
    config->qk_norm = config->family == LM_QWEN3;
    read_activation(reader, "hidden_act", config);
    read_biases(reader, config);
    read_rope(reader, config);
    read_window(reader, config);
    config->tied = flag(reader, "tie_word_embeddings", false);
    config->bos = token(reader, "bos_token_id", config->vocabulary);
    config->eos = token(reader, "eos_token_id", config->vocabulary);
}

static int read_document(const struct lm_document *document, const char *path, struct lm_config *config, loam_error *error)
{
    struct reader reader = {.document = document, .root = lm_document_root(document), .error = error};
    struct lm_config read = {0};
    if (reader.root->kind != LM_OBJECT)
        return lm_value_fail(document, reader.root, error, "wanted an object with the model's configuration");
    read.family = read_family(&reader);
    if (field(reader.root, "quantization_config"))
        refuse(&reader, field(reader.root, "quantization_config"),
               "loam does not run quantized checkpoints; fetch the model's unquantized files");
    read.vocabulary = whole(&reader, "vocab_size", INT32_MAX, -1);
    if (read.family == LM_GPT2)
        read_gpt2(&reader, &read);
    else
        read_llama(&reader, &read);
    read.pad = token(&reader, "pad_token_id", read.vocabulary);
    read.initializer_range = number(&reader, reader.root, "initializer_range", 0.02);
    if (reader.code)
        return reader.code;
    if (lm_config_check(&read, path, error))
        return error ? error->code : LOAM_EFORMAT;
    *config = read;
    return LOAM_OK;
}

int lm_config_read(const char *path, struct lm_config *config, loam_error *error)
{
    struct lm_document *document;
    loam_error own;
    int code = lm_json_read(path, &document, error = error ? error : &own);
    if (code)
        return code;
    code = read_document(document, path, config, error);
    lm_document_free(document);
    return code;
}

int lm_config_check(const struct lm_config *config, const char *name, loam_error *error)
{
    const struct {
        const char *name;
        int64_t value, most;
    } sizes[] = {
        {"vocabulary", config->vocabulary, INT32_MAX}, {"width", config->width, MOST_WIDTH},
        {"layers", config->layers, MOST_LAYERS},       {"heads", config->heads, MOST_HEADS},
        {"kv_heads", config->kv_heads, MOST_HEADS},    {"head_size", config->head_size, MOST_WIDTH},
        {"feed_forward", config->feed_forward, MOST_WIDTH}, {"context", config->context, INT32_MAX},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (sizes[i].value < 1 || sizes[i].value > sizes[i].most)
            return lm_fail(error, LOAM_EFORMAT, "%s: %s: found %lld, wanted 1 to %lld", name, sizes[i].name,
                           (long long)sizes[i].value, (long long)sizes[i].most);
    if (config->heads % config->kv_heads)
        return lm_fail(error, LOAM_EFORMAT, "%s: found %lld heads and %lld key-value heads, wanted a multiple of these",
                       name, (long long)config->heads, (long long)config->kv_heads);
    if (!config->learned_positions && config->head_size % 2)
        return lm_fail(error, LOAM_EFORMAT, "%s: head size: found %lld, wanted an even number: heads rotate in pairs",
                       name, (long long)config->head_size);
    if (!(config->norm_eps > 0) || !(config->initializer_range > 0) || config->window < 0)
        return lm_fail(error, LOAM_EFORMAT, "%s: norm_eps %g, initializer_range %g, window %lld: wanted above 0, above "
                       "0, 0 or more", name, config->norm_eps, config->initializer_range, (long long)config->window);
    if (!lm_model_weight_bytes(config, LM_F64))
        return lm_fail(error, LOAM_EFORMAT, "%s: the sizes multiply to more weights than a memory address can count; "
                       "repair them", name);
    return LOAM_OK;
}
