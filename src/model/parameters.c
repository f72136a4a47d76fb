/* The table of parameters: the one place that knows names, shapes and order. */
#include "network.h"

#include <stdio.h>
#include <string.h>

/* Name (behind "model.layers.N." or "transformer.h.N." in layers) of each part; NULL: the family has none. */
struct names {
    const char *name[LM_PART_COUNT];
    const char *layer;    /* printf form of the layers' prefix */
};
static const struct names gpt2_names = {
    .layer = "transformer.h.%d.",
    .name = {
        [LM_PART_EMBEDDING] = "transformer.wte.weight", [LM_PART_POSITIONS] = "transformer.wpe.weight",
        [LM_PART_NORM1] = "ln_1.weight", [LM_PART_NORM1_BIAS] = "ln_1.bias",
        [LM_PART_Q] = "attn.c_attn.weight", [LM_PART_Q_BIAS] = "attn.c_attn.bias",
        [LM_PART_OUT] = "attn.c_proj.weight", [LM_PART_OUT_BIAS] = "attn.c_proj.bias",
        [LM_PART_NORM2] = "ln_2.weight", [LM_PART_NORM2_BIAS] = "ln_2.bias",
        [LM_PART_UP] = "mlp.c_fc.weight", [LM_PART_UP_BIAS] = "mlp.c_fc.bias",
        [LM_PART_DOWN] = "mlp.c_proj.weight", [LM_PART_DOWN_BIAS] = "mlp.c_proj.bias",
        [LM_PART_FINAL_NORM] = "transformer.ln_f.weight", [LM_PART_FINAL_NORM_BIAS] = "transformer.ln_f.bias",
        [LM_PART_HEAD] = "lm_head.weight",
    },
};
static const struct names llama_names = {
    .layer = "model.layers.%d.",
    .name = {
        [LM_PART_EMBEDDING] = "model.embed_tokens.weight",
        [LM_PART_NORM1] = "input_layernorm.weight",
        [LM_PART_Q] = "self_attn.q_proj.weight", [LM_PART_K] = "self_attn.k_proj.weight",
        [LM_PART_V] = "self_attn.v_proj.weight",
        [LM_PART_Q_BIAS] = "self_attn.q_proj.bias", [LM_PART_K_BIAS] = "self_attn.k_proj.bias",
        [LM_PART_V_BIAS] = "self_attn.v_proj.bias",
        [LM_PART_Q_NORM] = "self_attn.q_norm.weight", [LM_PART_K_NORM] = "self_attn.k_norm.weight",
        [LM_PART_OUT] = "self_attn.o_proj.weight", [LM_PART_OUT_BIAS] = "self_attn.o_proj.bias",
        [LM_PART_NORM2] = "post_attention_layernorm.weight",
        [LM_PART_GATE] = "mlp.gate_proj.weight", [LM_PART_UP] = "mlp.up_proj.weight",
        [LM_PART_GATE_BIAS] = "mlp.gate_proj.bias", [LM_PART_UP_BIAS] = "mlp.up_proj.bias",
        [LM_PART_DOWN] = "mlp.down_proj.weight", [LM_PART_DOWN_BIAS] = "mlp.down_proj.bias",
        [LM_PART_FINAL_NORM] = "model.norm.weight",
        [LM_PART_HEAD] = "lm_head.weight",
    },
};

struct shape {
    int rank;
    int64_t out, in;    /* a vector: [out] */
};

/* The shape of a part as y = x·Wᵀ has it; rank 0 where the configuration has no such part. */
static struct shape part_shape(const struct lm_config *c, enum lm_part part)
{
    const struct shape none = {0};
    const int64_t q = c->heads * c->head_size, kv = c->kv_heads * c->head_size;
    const bool fused = c->family == LM_GPT2;
    switch (part) {
    case LM_PART_EMBEDDING: return (struct shape){2, c->vocabulary, c->width};
    case LM_PART_POSITIONS: return c->learned_positions ? (struct shape){2, c->context, c->width} : none;
    case LM_PART_NORM1: case LM_PART_NORM2: case LM_PART_FINAL_NORM: return (struct shape){1, c->width, 1};
    case LM_PART_NORM1_BIAS: case LM_PART_NORM2_BIAS: case LM_PART_FINAL_NORM_BIAS:
        return c->layer_norm ? (struct shape){1, c->width, 1} : none;
    case LM_PART_Q: return (struct shape){2, fused ? q + 2 * kv : q, c->width};
    case LM_PART_K: case LM_PART_V: return fused ? none : (struct shape){2, kv, c->width};
    case LM_PART_Q_BIAS: return c->qkv_bias ? (struct shape){1, fused ? q + 2 * kv : q, 1} : none;
    case LM_PART_K_BIAS: case LM_PART_V_BIAS: return c->qkv_bias && !fused ? (struct shape){1, kv, 1} : none;
    case LM_PART_Q_NORM: case LM_PART_K_NORM: return c->qk_norm ? (struct shape){1, c->head_size, 1} : none;
    case LM_PART_OUT: return (struct shape){2, c->width, q};
    case LM_PART_OUT_BIAS: return c->out_bias ? (struct shape){1, c->width, 1} : none;
    case LM_PART_GATE: return c->gelu ? none : (struct shape){2, c->feed_forward, c->width};
    case LM_PART_UP: return (struct shape){2, c->feed_forward, c->width};
    case LM_PART_GATE_BIAS: return c->mlp_bias && !c->gelu ? (struct shape){1, c->feed_forward, 1} : none;
    case LM_PART_UP_BIAS: return c->mlp_bias ? (struct shape){1, c->feed_forward, 1} : none;
    case LM_PART_DOWN: return (struct shape){2, c->width, c->feed_forward};
    case LM_PART_DOWN_BIAS: return c->mlp_bias ? (struct shape){1, c->width, 1} : none;
    case LM_PART_HEAD: return c->tied ? none : (struct shape){2, c->vocabulary, c->width};
    case LM_PART_COUNT: break;
    }
    return none;
}

struct table {
    const struct lm_config *config;
    struct lm_parameter *list;    /* NULL: only count */
    size_t count, offset;
    bool overflow;
};

static void add(struct table *table, int layer, enum lm_part part)
{
    const struct lm_config *config = table->config;
    const struct names *names = config->family == LM_GPT2 ? &gpt2_names : &llama_names;
    const struct shape shape = part_shape(config, part);
    size_t elements = 0;
    if (shape.rank == 0)
        return;
    if (!lm_mul((size_t)shape.out, (size_t)shape.in, &elements) || elements > INT64_MAX) {
        table->overflow = true;
        return;
    }
    if (table->list) {
        struct lm_parameter *new = &table->list[table->count];
        const bool turned = config->transposed_weights && layer >= 0 && shape.rank == 2;
        *new = (struct lm_parameter){.part = part, .layer = layer, .rank = shape.rank, .count = (int64_t)elements,
                                     .shape = {turned ? shape.in : shape.out, turned ? shape.out : shape.in},
                                     .offset = table->offset};
        new->decay = shape.rank == 2 && part != LM_PART_EMBEDDING && part != LM_PART_POSITIONS;
        char prefix[40] = "";
        if (layer >= 0)
            snprintf(prefix, sizeof prefix, names->layer, layer);
        snprintf(new->name, sizeof new->name, "%s%s", prefix, names->name[part]);
    }
    table->count++;
    if (!lm_add(table->offset, elements, &table->offset))
        table->overflow = true;
}

static void add_all(struct table *table)
{
    for (int part = LM_PART_EMBEDDING; part <= LM_PART_POSITIONS; part++)
        add(table, -1, (enum lm_part)part);
    for (int layer = 0; layer < (int)table->config->layers; layer++)
        for (int part = LM_PART_NORM1; part <= LM_PART_DOWN_BIAS; part++)
            add(table, layer, (enum lm_part)part);
    for (int part = LM_PART_FINAL_NORM; part <= LM_PART_HEAD; part++)
        add(table, -1, (enum lm_part)part);
}

int lm_parameters(const struct lm_config *config, struct lm_parameter **list, size_t *count, loam_error *error)
{
    struct table table = {.config = config};
    add_all(&table);
    if (table.overflow)
        return lm_fail(error, LOAM_EFORMAT, "the configuration's sizes multiply to more weights than memory can address");
    table.list = lm_alloc(table.count, sizeof *table.list, error);
    if (!table.list)
        return LOAM_ENOMEM;
    table.count = table.offset = 0;
    add_all(&table);
    *list = table.list;
    *count = table.count;
    return LOAM_OK;
}

size_t lm_model_weight_bytes(const struct lm_config *config, enum lm_dtype dtype)
{
    struct table table = {.config = config};
    size_t bytes;
    add_all(&table);
    if (table.overflow || !lm_mul(table.offset, (size_t)lm_dtype_bits(dtype) / 8, &bytes))
        return 0;
    return bytes;
}

double lm_config_flops(const struct lm_config *config, int64_t batch, int64_t length)
{
    const double rows = (double)batch * (double)length;
    double weights = (double)config->vocabulary * (double)config->width, pairs = 0;
    for (int part = LM_PART_NORM1; part <= LM_PART_DOWN_BIAS; part++) {
        const struct shape shape = part_shape(config, (enum lm_part)part);
        if (shape.rank == 2)
            weights += (double)config->layers * (double)shape.out * (double)shape.in;
    }
    for (int64_t layer = 0; layer < config->layers; layer++) {
        const bool sliding = config->window && layer >= config->window_first_layer && config->window < length;
        const double t = (double)length, w = sliding ? (double)config->window : t;
        pairs += w * (w + 1) / 2 + (t - w) * w;
    }
    return 6 * weights * rows + 12 * (double)batch * pairs * (double)(config->heads * config->head_size);
}
