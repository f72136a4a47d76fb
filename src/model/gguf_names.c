/* A model as GGUF files describe it: metadata to configuration and back, names of tensors, and in which order rows
 * stand.
 *
 * Keys and names: ggml's docs/gguf.md and the gguf package's tables. Llama's q and k: there each head's rows stand in
 * pairs (row 2 i + j of a head is row j D/2 + i of transformers' order), since llama.cpp rotates neighbours. GPT-2's
 * matrices are [out, in] there. */
#include "gguf_files.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    enum lm_family family;
} architectures[] = {{"gpt2", LM_GPT2}, {"llama", LM_LLAMA}, {"qwen2", LM_QWEN2}, {"qwen3", LM_QWEN3}};

static const char *const names[LM_PART_COUNT] = {
    [LM_PART_EMBEDDING] = "token_embd.weight",
    [LM_PART_POSITIONS] = "position_embd.weight",
    [LM_PART_NORM1] = "attn_norm.weight",
    [LM_PART_NORM1_BIAS] = "attn_norm.bias",
    [LM_PART_Q] = "attn_q.weight",
    [LM_PART_K] = "attn_k.weight",
    [LM_PART_V] = "attn_v.weight",
    [LM_PART_Q_BIAS] = "attn_q.bias",
    [LM_PART_K_BIAS] = "attn_k.bias",
    [LM_PART_V_BIAS] = "attn_v.bias",
    [LM_PART_Q_NORM] = "attn_q_norm.weight",
    [LM_PART_K_NORM] = "attn_k_norm.weight",
    [LM_PART_OUT] = "attn_output.weight",
    [LM_PART_OUT_BIAS] = "attn_output.bias",
    [LM_PART_NORM2] = "ffn_norm.weight",
    [LM_PART_NORM2_BIAS] = "ffn_norm.bias",
    [LM_PART_GATE] = "ffn_gate.weight",
    [LM_PART_UP] = "ffn_up.weight",
    [LM_PART_GATE_BIAS] = "ffn_gate.bias",
    [LM_PART_UP_BIAS] = "ffn_up.bias",
    [LM_PART_DOWN] = "ffn_down.weight",
    [LM_PART_DOWN_BIAS] = "ffn_down.bias",
    [LM_PART_FINAL_NORM] = "output_norm.weight",
    [LM_PART_FINAL_NORM_BIAS] = "output_norm.bias",
    [LM_PART_HEAD] = "output.weight",
};

void lm_gguf_parameter_name(const struct lm_config *config, const struct lm_parameter *parameter, char out[96])
{
    const char *name = names[parameter->part];
    if (config->family == LM_GPT2 && parameter->part == LM_PART_Q)
        name = "attn_qkv.weight";
    if (config->family == LM_GPT2 && parameter->part == LM_PART_Q_BIAS)
        name = "attn_qkv.bias";
    if (parameter->layer < 0)
        snprintf(out, 96, "%s", name);
    else
        snprintf(out, 96, "blk.%d.%s", parameter->layer, name);
}

int64_t lm_gguf_row(const struct lm_config *config, const struct lm_parameter *parameter, int64_t row)
{
    const bool q = parameter->part == LM_PART_Q || parameter->part == LM_PART_Q_BIAS;
    const bool k = parameter->part == LM_PART_K || parameter->part == LM_PART_K_BIAS;
    if ((config->family != LM_LLAMA && config->family != LM_MISTRAL) || (!q && !k))
        return row;
    const int64_t size = config->head_size, place = row % size;
    return row - place + place % 2 * (size / 2) + place / 2;
}

bool lm_gguf_turned(const struct lm_config *config, const struct lm_parameter *parameter)
{
    return config->transposed_weights && parameter->layer >= 0 && parameter->rank == 2;
}

void lm_gguf_rope_factors(const struct lm_config *config, float *factors)
{
    const double size = (double)config->head_size, pi = 3.14159265358979323846;
    for (int64_t i = 0; i < config->head_size / 2; i++) {
        const double length = 2 * pi * pow(config->rope_theta, 2 * (double)i / size);
        const double longest = (double)config->rope_original_context / config->rope_low;
        const double shortest = (double)config->rope_original_context / config->rope_high;
        const double smooth = ((double)config->rope_original_context / length - config->rope_low) /
                              (config->rope_high - config->rope_low);
        const double factor = length < shortest  ? 1
                              : length > longest ? config->rope_factor
                                                 : 1 / ((1 - smooth) / config->rope_factor + smooth);
        factors[i] = (float)factor;
    }
}

/* --- Reading --- */

struct reader {
    const struct lm_gguf *file;
    const char *prefix;
    loam_error *error;
    int code;
};

static const char *key_of(const struct reader *reader, const char *name, char out[128])
{
    snprintf(out, 128, "%s.%s", reader->prefix, name);
    return out;
}

/* `absent` < 0: must be there. */
static int64_t whole_from(struct reader *reader, const char *name, int64_t least, int64_t most, int64_t absent)
{
    char key[128];
    int64_t value = absent;
    if (reader->code || (absent >= 0 && !lm_gguf_find(reader->file, key_of(reader, name, key))))
        return absent < 0 ? 1 : absent;
    reader->code = lm_gguf_int(reader->file, key_of(reader, name, key), least, most, &value, reader->error);
    return reader->code ? 1 : value;
}

static int64_t whole(struct reader *reader, const char *name, int64_t most, int64_t absent)
{
    return whole_from(reader, name, 1, most, absent);
}

static double number_or_0(struct reader *reader, const char *name, double absent)
{
    char key[128];
    double value = absent;
    if (!reader->code && lm_gguf_find(reader->file, key_of(reader, name, key)))
        reader->code = lm_gguf_double(reader->file, key, &value, reader->error);
    return value;
}

static double number(struct reader *reader, const char *name, double absent)
{
    char key[128];
    const double value = number_or_0(reader, name, absent);
    if (!reader->code && !(value > 0))
        reader->code = lm_fail(reader->error, LOAM_EFORMAT, "%s: %s: found %g, wanted a number above 0",
                               lm_gguf_path(reader->file), key_of(reader, name, key), value);
    return value;
}

static int32_t token(struct reader *reader, const char *key, int64_t vocabulary)
{
    int64_t value = -1;
    if (!reader->code && lm_gguf_find(reader->file, key))
        reader->code = lm_gguf_int(reader->file, key, -1, INT64_MAX, &value, reader->error);
    return value < vocabulary ? (int32_t)value : -1;
}

static int find_family(const struct lm_gguf *file, enum lm_family *family, const char **prefix, loam_error *error)
{
    int code = lm_gguf_text(file, "general.architecture", prefix, error);
    if (code)
        return code;
    for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++)
        if (!strcmp(*prefix, architectures[i].name)) {
            *family = architectures[i].family;
            return LOAM_OK;
        }
    return lm_fail(error, LOAM_EUNSUPPORTED,
                   "%s: general.architecture: found \"%s\", wanted gpt2, llama, qwen2 or qwen3; take a model "
                   "of one of these",
                   lm_gguf_path(file), *prefix);
}

/* How rotary frequencies are scaled: Llama 3's way stands in the file as a tensor of factors, from which its numbers
 * are found. */
static void read_rope(struct reader *reader, struct lm_config *config)
{
    char key[128];
    const char *type = "none";
    const struct lm_tensor *tensor = lm_gguf_tensor(reader->file, "rope_freqs.weight");
    config->rope_theta = number(reader, "rope.freq_base", 10000);
    if (!reader->code && lm_gguf_find(reader->file, key_of(reader, "rope.scaling.type", key)))
        reader->code = lm_gguf_text(reader->file, key, &type, reader->error);
    if (reader->code)
        return;
    if (!strcmp(type, "linear")) {
        /* Writers that always name a type have a factor of 0 where nothing is scaled. */
        config->rope_linear = number_or_0(reader, "rope.scaling.factor", 1) != 0;
        config->rope_factor = config->rope_linear ? number(reader, "rope.scaling.factor", 1) : 0;
    } else if (strcmp(type, "none") != 0) {
        reader->code = lm_fail(reader->error, LOAM_EUNSUPPORTED, "%s: %s: found \"%s\", wanted none or linear",
                               lm_gguf_path(reader->file), key, type);
    }
    if (!tensor || reader->code)
        return;
    const int64_t count = config->head_size / 2;
    bool fits = tensor->dtype == LM_F32 && count > 0 && count <= 4096 && tensor->count == (uint64_t)count;
    fits = fits && ((const float *)tensor->data)[count - 1] > 0 && isfinite(((const float *)tensor->data)[count - 1]);
    float factors[4096];
    config->rope_llama3 = true;
    config->rope_low = 1;
    config->rope_high = 4;
    config->rope_original_context = 8192;
    for (; fits && config->rope_original_context >= 16; config->rope_original_context /= 2) {
        bool equal = true;
        config->rope_factor = (double)((const float *)tensor->data)[count - 1];
        lm_gguf_rope_factors(config, factors);
        for (int64_t i = 0; i < count; i++)
            equal = equal && fabsf(factors[i] - ((const float *)tensor->data)[i]) <= 1e-4f * factors[i];
        if (equal)
            return;
    }
    reader->code = lm_fail(reader->error, LOAM_EUNSUPPORTED,
                           "%s: rope_freqs.weight: found factors that are not those of Llama 3; loam "
                           "knows no other such scaling",
                           lm_gguf_path(reader->file));
}

static bool same_tensor(const struct lm_tensor *a, const struct lm_tensor *b)
{
    return a && b && a->dtype == b->dtype && a->bytes == b->bytes && !memcmp(a->data, b->data, a->bytes);
}

static void read_sizes(struct reader *reader, struct lm_config *config)
{
    const struct lm_tensor *table = lm_gguf_tensor(reader->file, "token_embd.weight"),
                           *head = lm_gguf_tensor(reader->file, "output.weight");
    config->width = whole(reader, "embedding_length", INT32_MAX, -1);
    config->layers = whole(reader, "block_count", 10000, -1);
    config->heads = whole(reader, "attention.head_count", 65536, -1);
    config->kv_heads = whole(reader, "attention.head_count_kv", 65536, config->heads);
    config->head_size = whole(reader, "attention.key_length", INT32_MAX,
                              config->width / config->heads ? config->width / config->heads : 1);
    config->feed_forward = whole(reader, "feed_forward_length", INT32_MAX, -1);
    config->context = whole(reader, "context_length", INT32_MAX, -1);
    if (!reader->code && (!table || table->rank != 2))
        reader->code = lm_fail(reader->error, LOAM_EFORMAT,
                               "%s: found no matrix \"token_embd.weight\", wanted the embedding table; the file "
                               "holds no model, or not all of it",
                               lm_gguf_path(reader->file));
    config->vocabulary = reader->code ? 1 : table->shape[0];
    config->tied = !head || same_tensor(table, head);
}

int lm_gguf_config(const struct lm_gguf *file, struct lm_config *result, loam_error *error)
{
    struct lm_config config = {.initializer_range = 0.02};
    struct reader reader = {.file = file, .error = error};
    char key[128];
    int code = find_family(file, &config.family, &reader.prefix, error);
    if (code)
        return code;
    read_sizes(&reader, &config);
    const bool gpt2 = config.family == LM_GPT2;
    config.learned_positions = config.layer_norm = config.gelu = config.gelu_tanh = config.transposed_weights = gpt2;
    config.out_bias = gpt2 || lm_gguf_tensor(file, "blk.0.attn_output.bias") != NULL;
    config.mlp_bias = gpt2 || lm_gguf_tensor(file, "blk.0.ffn_up.bias") != NULL;
    config.qkv_bias = gpt2 || lm_gguf_tensor(file, "blk.0.attn_q.bias") != NULL;
    config.qk_norm = lm_gguf_tensor(file, "blk.0.attn_q_norm.weight") != NULL;
    config.norm_eps = number(&reader, gpt2 ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", 1e-5);
    if (!gpt2)
        read_rope(&reader, &config);
    /* llama.cpp's own writer has both keys in every file, and 0 where a model has neither. */
    if (config.family == LM_LLAMA)
        config.window = whole_from(&reader, "attention.sliding_window", 0, INT32_MAX, 0);
    if (config.window)
        config.family = LM_MISTRAL;
    if (whole_from(&reader, "expert_count", 0, INT32_MAX, 0) && !reader.code)
        return lm_fail(error, LOAM_EUNSUPPORTED, "%s: %s: found a mixture of experts, which loam does not compute",
                       lm_gguf_path(file), key_of(&reader, "expert_count", key));
    config.bos = token(&reader, "tokenizer.ggml.bos_token_id", config.vocabulary);
    config.eos = token(&reader, "tokenizer.ggml.eos_token_id", config.vocabulary);
    config.pad = token(&reader, "tokenizer.ggml.padding_token_id", config.vocabulary);
    code = reader.code ? reader.code : lm_config_check(&config, lm_gguf_path(file), error);
    if (!code)
        *result = config;
    return code;
}

/* --- Writing --- */

int lm_gguf_put_config(struct lm_gguf_writer *writer, const struct lm_config *config, enum lm_dtype dtype,
                       const char *path, loam_error *error)
{
    const char *prefix = config->family == LM_MISTRAL ? "llama" : lm_config_family(config);
    char key[128];
    const struct {
        const char *name;
        int64_t value;
    } sizes[] = {
        {"context_length", config->context},
        {"embedding_length", config->width},
        {"block_count", config->layers},
        {"feed_forward_length", config->feed_forward},
        {"attention.head_count", config->heads},
        {"attention.head_count_kv", config->kv_heads},
        {"attention.key_length", config->head_size},
        {"attention.value_length", config->head_size},
        {"vocab_size", config->vocabulary},
        {"rope.dimension_count", config->learned_positions ? 0 : config->head_size},
        {"attention.sliding_window", config->family == LM_MISTRAL ? config->window : 0},
    };
    const uint32_t type = dtype == LM_F32 ? 0 : dtype == LM_F16 ? 1 : dtype == LM_Q4_0 ? 2 : dtype == LM_Q8_0 ? 7 : 32;
    if (config->window && config->family != LM_MISTRAL)
        return lm_fail(error, LOAM_EUNSUPPORTED, "%s: a sliding window of %s cannot be told in a GGUF file", path,
                       prefix);
    lm_gguf_put_text(writer, "general.architecture", prefix, strlen(prefix));
    lm_gguf_put_u32(writer, "general.file_type", type);
    lm_gguf_put_u32(writer, "general.quantization_version", 2);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        snprintf(key, sizeof key, "%s.%s", prefix, sizes[i].name);
        if (sizes[i].value)
            lm_gguf_put_u32(writer, key, (uint32_t)sizes[i].value);
    }
    snprintf(key, sizeof key, "%s.attention.%s", prefix,
             config->layer_norm ? "layer_norm_epsilon" : "layer_norm_rms_epsilon");
    lm_gguf_put_f32(writer, key, (float)config->norm_eps);
    if (config->learned_positions)
        return LOAM_OK;
    snprintf(key, sizeof key, "%s.rope.freq_base", prefix);
    lm_gguf_put_f32(writer, key, (float)config->rope_theta);
    if (!config->rope_linear)
        return LOAM_OK;
    snprintf(key, sizeof key, "%s.rope.scaling.type", prefix);
    lm_gguf_put_text(writer, key, "linear", 6);
    snprintf(key, sizeof key, "%s.rope.scaling.factor", prefix);
    lm_gguf_put_f32(writer, key, (float)config->rope_factor);
    return LOAM_OK;
}
