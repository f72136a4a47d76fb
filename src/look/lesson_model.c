/* Lessons four, nine and ten: embeddings and positions, what is in a layer, and a whole model. */
#include "lessons.h"
#include "record.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SHOWN = 6, POSITIONS = 8 };

/* The first columns of rows of `width`, as a table by token. */
static void show_beginnings(struct lm_lesson *lesson, const char *name, const char *title, const float *rows, int64_t count,
                            int64_t width)
{
    const int64_t shown = width < SHOWN ? width : SHOWN;
    float *values = lm_alloc((size_t)(count * shown), sizeof *values, &lesson->page->error);
    for (int64_t i = 0; values && i < count * shown; i++)
        values[i] = rows[i / shown * width + i % shown];
    const struct lm_block table = {.kind = LM_BLOCK_TABLE, .name = name, .title = title, .rows = count, .columns = shown,
                                   .row_names = (const char *const *)lesson->labels, .decimals = 4};
    if (values)
        lm_lesson_show(lesson->page, &table, values);
    lm_free(values);
}

/* --- 4. Embeddings --- */

/* The rotary angles as the model's layers get them: position times frequency. Their cosine and sine turn pairs of numbers. */
static int show_rotation(struct lm_lesson *lesson, loam_error *error)
{
    const struct lm_config *c = lm_model_config(lesson->model);
    const struct lm_ops *ops = lm_device_ops(lesson->device);
    const int64_t half = c->head_size / 2, pairs = half < SHOWN ? half : SHOWN;
    float *angles = lm_alloc((size_t)(POSITIONS * half * 2), sizeof *angles, error);
    float *frequencies = lm_alloc((size_t)half, sizeof *frequencies, error);
    float *turned = lm_alloc((size_t)(2 * POSITIONS * c->head_size), sizeof *turned, error);
    int32_t positions[POSITIONS];
    const bool there = angles && frequencies && turned;
    float cosines[POSITIONS * SHOWN], scores[POSITIONS * POSITIONS];
    if (there) {
        struct lm_random random = lm_random_seed(lesson->options->seed, 5);
        float *q = turned, *k = turned + POSITIONS * c->head_size;
        for (int64_t i = 0; i < c->head_size; i++) {
            q[i] = (float)lm_random_normal(&random);
            k[i] = (float)lm_random_normal(&random);
        }
        for (int i = 1; i < POSITIONS; i++) {
            memcpy(q + i * c->head_size, q, (size_t)c->head_size * sizeof *q);
            memcpy(k + i * c->head_size, k, (size_t)c->head_size * sizeof *k);
        }
        for (int i = 0; i < POSITIONS; i++)
            positions[i] = i;
        lm_model_rope(lesson->model, frequencies);
        ops->rope_angles(lesson->device, POSITIONS, half, positions, frequencies, 1, angles);
        ops->rope(lesson->device, POSITIONS, 1, c->head_size, q, c->head_size, angles, false);
        ops->rope(lesson->device, POSITIONS, 1, c->head_size, k, c->head_size, angles, false);
        const struct lm_matmul work = {.m = POSITIONS, .n = POSITIONS, .k = c->head_size, .transpose_b = true,
                                       .a = {.data = q, .dtype = LM_F32, .stride = c->head_size},
                                       .b = {.data = k, .dtype = LM_F32, .stride = c->head_size},
                                       .c = {.data = scores, .dtype = LM_F32, .stride = POSITIONS}};
        ops->matmul(lesson->device, &work);
        for (int64_t i = 0; i < POSITIONS * pairs; i++)
            cosines[i] = angles[(i / pairs * half + i % pairs) * 2];
        const struct lm_block map = {.kind = LM_BLOCK_TABLE, .name = "cosines", .title = "Cosine of each pair's angle", .decimals = 4,
                                     .row_axis = "position", .column_axis = "pair of numbers", .rows = POSITIONS, .columns = pairs};
        lm_lesson_show(lesson->page, &map, cosines);
        lm_page_say(lesson->page, "Turned so, the dot product of a query and a key depends on how far they are apart, not on where they "
                    "stand: along each diagonal the numbers are the same.");
        const struct lm_block table = {.kind = LM_BLOCK_TABLE, .name = "rotated", .title = "One query and one key at every two positions",
                                       .row_axis = "query's position", .column_axis = "key's position", .rows = POSITIONS,
                                       .columns = POSITIONS, .decimals = 4};
        lm_lesson_show(lesson->page, &table, scores);
    }
    lm_free(angles);
    lm_free(frequencies);
    lm_free(turned);
    return there ? lm_device_check(lesson->device, error) : LOAM_ENOMEM;
}

/* The same token at the first positions: what differs is the position's vector. */
static int show_learned(struct lm_lesson *lesson, loam_error *error)
{
    const struct lm_config *c = lm_model_config(lesson->model);
    const int64_t count = c->context < POSITIONS ? c->context : POSITIONS, shown = c->width < SHOWN ? c->width : SHOWN;
    int32_t ids[POSITIONS];
    struct lm_record record;
    float values[POSITIONS * SHOWN];
    for (int i = 0; i < POSITIONS; i++)
        ids[i] = lesson->ids.data[0];
    int code = lm_record_run(lesson->model, ids, count, &(struct lm_record_options){.residual = true}, &record, error);
    if (code)
        return code;
    for (int64_t i = 0; i < count * shown; i++)
        values[i] = record.residual[i / shown * c->width + i % shown];
    const struct lm_block table = {.kind = LM_BLOCK_TABLE, .name = "positions", .title = "The first token at the first positions",
                                   .row_axis = "position", .rows = count, .columns = shown, .decimals = 4};
    lm_lesson_show(lesson->page, &table, values);
    lm_record_free(&record);
    return LOAM_OK;
}

int lm_teach_embeddings(struct lm_lesson *lesson, loam_error *error)
{
    struct lm_page *page = lesson->page;
    struct lm_record record;
    int code = lm_lesson_model(lesson, error);
    if (!code)
        code = lm_lesson_encode(lesson, error);
    if (!code)
        code = lm_record_run(lesson->model, lesson->ids.data, (int64_t)lesson->ids.length, &(struct lm_record_options){.residual = true},
                             &record, error);
    if (code)
        return code;
    const struct lm_config *c = lm_model_config(lesson->model);
    lm_page_say(page, "An id is only a name. The embedding is a table with a row of numbers for each id: the row is what the model knows of the "
                "token before it looks at any other. The rows are learned; before training they are drawn by chance.");
    lm_page_fact(page, "vocabulary", "rows of the table", "", 0, (double)c->vocabulary);
    lm_page_fact(page, "width", "numbers of a row", "", 0, (double)c->width);
    show_beginnings(lesson, "embedded", "The first numbers of your tokens, as they enter the first layer", record.residual,
                    record.count, record.width);
    if (c->learned_positions) {
        lm_page_say(page, "This model has a second table, for positions, whose rows are added: the same token at another place is another "
                    "vector.");
        code = show_learned(lesson, error);
    } else {
        lm_page_say(page, "Where a token stands is not in there: the same token has the same row anywhere. This model turns queries and keys by "
                    "an angle that grows with the position (rotary positions), pair by pair of their numbers, each pair at a pace of its "
                    "own.");
        code = show_rotation(lesson, error);
    }
    lm_page_say(page, "To try: a sentence with the same word twice; a MODEL of GPT's family, whose positions are a second "
                "table.");
    lm_record_free(&record);
    return code;
}

/* --- 9. A layer --- */

struct layer {
    float *input, *normed, *middle, *inner, *output;    /* the first layer's, of all tokens */
    int64_t rows;
    loam_error error;
};

static void keep(void *user, enum lm_sight sight, int64_t layer, const float *data, int64_t rows, int64_t width)
{
    struct layer *kept = user;
    float **where = sight == LM_SIGHT_INPUT ? &kept->input : sight == LM_SIGHT_NORM1 ? &kept->normed
                    : sight == LM_SIGHT_MIDDLE ? &kept->middle : sight == LM_SIGHT_INNER ? &kept->inner
                    : sight == LM_SIGHT_OUTPUT ? &kept->output : NULL;
    if (layer || !where || *where)
        return;
    *where = lm_alloc((size_t)(rows * width), sizeof **where, &kept->error);
    if (*where)
        memcpy(*where, data, (size_t)(rows * width) * sizeof **where);
    kept->rows = rows;
}

static void free_layer(struct layer *layer)
{
    lm_free(layer->input);
    lm_free(layer->normed);
    lm_free(layer->middle);
    lm_free(layer->inner);
    lm_free(layer->output);
}

static double mean_of(const float *x, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += x[i];
    return sum / (double)count;
}

static double size_of(const float *x, const float *without, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        const double one = without ? (double)x[i] - without[i] : x[i];
        sum += one * one;
    }
    return sqrt(sum / (double)count);
}

static void show_norms(struct lm_lesson *lesson, const struct layer *layer, int64_t width)
{
    static const char *const columns[] = {"mean", "size", "normed mean", "normed size"};
    double *values = lm_alloc((size_t)(4 * layer->rows), sizeof *values, &lesson->page->error);
    for (int64_t i = 0; values && i < layer->rows; i++) {
        values[4 * i] = mean_of(layer->input + i * width, width);
        values[4 * i + 1] = size_of(layer->input + i * width, NULL, width);
        values[4 * i + 2] = mean_of(layer->normed + i * width, width);
        values[4 * i + 3] = size_of(layer->normed + i * width, NULL, width);
    }
    const struct lm_block table = {.kind = LM_BLOCK_TABLE, .name = "norms", .title = "Before and behind the first norm", .columns = 4,
                                   .rows = layer->rows, .row_names = (const char *const *)lesson->labels, .column_names = columns,
                                   .values = values, .decimals = 4};
    if (values)
        lm_page_add(lesson->page, &table);
    lm_free(values);
}

static void show_additions(struct lm_lesson *lesson, const struct layer *layer, int64_t width)
{
    static const char *const columns[] = {"stream", "attention adds", "MLP adds", "stream behind"};
    double *values = lm_alloc((size_t)(4 * layer->rows), sizeof *values, &lesson->page->error);
    for (int64_t i = 0; values && i < layer->rows; i++) {
        const int64_t at = i * width;
        values[4 * i] = size_of(layer->input + at, NULL, width);
        values[4 * i + 1] = size_of(layer->middle + at, layer->input + at, width);
        values[4 * i + 2] = size_of(layer->output + at, layer->middle + at, width);
        values[4 * i + 3] = size_of(layer->output + at, NULL, width);
    }
    const struct lm_block table = {.kind = LM_BLOCK_TABLE, .name = "additions", .title = "Sizes of the stream and of what is added to it",
                                   .rows = layer->rows, .columns = 4, .row_names = (const char *const *)lesson->labels,
                                   .column_names = columns, .values = values, .decimals = 4};
    if (values)
        lm_page_add(lesson->page, &table);
    lm_free(values);
}

enum { POINTS = 17 };

static void show_activation(struct lm_lesson *lesson)
{
    static const char *const columns[] = {"GELU", "SiLU", "ReLU"};
    const struct lm_ops *ops = lm_device_ops(lesson->device);
    float x[POINTS], gelu[POINTS], pairs[2 * POINTS], silu[POINTS], values[3 * POINTS];
    char names[POINTS][40];
    const char *rows[POINTS];
    for (int i = 0; i < POINTS; i++) {
        x[i] = (float)(i - POINTS / 2) / 2;
        pairs[2 * i] = x[i];    /* SwiGLU of a gate and one: silu(gate) */
        pairs[2 * i + 1] = 1;
        lm_show_number(x[i], 1, names[i]);
        rows[i] = names[i];
    }
    ops->gelu(lesson->device, POINTS, true, x, gelu);
    ops->swiglu(lesson->device, POINTS, 1, pairs, silu);
    for (int i = 0; i < POINTS; i++) {
        values[3 * i] = gelu[i];
        values[3 * i + 1] = silu[i];
        values[3 * i + 2] = x[i] > 0 ? x[i] : 0;
    }
    const struct lm_block lines = {.kind = LM_BLOCK_LINES, .name = "activation", .title = "Activation functions", .row_axis = "what goes in",
                                   .unit = "what comes out", .rows = POINTS, .columns = 3, .row_names = rows, .column_names = columns,
                                   .decimals = 4};
    lm_lesson_show(lesson->page, &lines, values);
}

int lm_teach_layer(struct lm_lesson *lesson, loam_error *error)
{
    struct lm_page *page = lesson->page;
    struct layer layer = {0};
    const struct lm_watcher watcher = {.user = &layer, .sees = keep};
    int code = lm_lesson_model(lesson, error);
    if (!code)
        code = lm_lesson_encode(lesson, error);
    const struct lm_config *c = lesson->model ? lm_model_config(lesson->model) : NULL;
    float *logits = code ? NULL : lm_alloc(lesson->ids.length, (size_t)c->vocabulary * sizeof *logits, error);
    if (!code && !logits)
        code = LOAM_ENOMEM;
    if (!code) {
        lm_model_watch(lesson->model, &watcher);
        code = lm_model_logits(lesson->model, lesson->ids.data, (int64_t)lesson->ids.length, logits, error);
        lm_model_watch(lesson->model, NULL);
    }
    if (!code && lm_page_fail(page, layer.error.code, &layer.error))
        code = lm_page_check(page, error);
    if (!code) {
        lm_page_say(page, "A layer is attention and a feed-forward part, the MLP. Before each stands a norm, around each a shortcut: what comes "
                    "out is added to what went in.");
        lm_page_say(page, c->layer_norm ? "This model's norm takes away the mean of a token's numbers and divides by their deviation."
                                        : "This model's norm divides a token's numbers by the root of their mean square.");
        show_norms(lesson, &layer, c->width);
        lm_page_say(page, "The MLP makes a wide vector of each token, bends it by an activation function, and makes it narrow again. Most of a "
                    "model's weights are here.");
        lm_page_fact(page, "width", "numbers of a token in the stream", "", 0, (double)c->width);
        lm_page_fact(page, "feed_forward", "numbers of a token inside the MLP", "", 0, (double)c->feed_forward);
        show_activation(lesson);
        show_beginnings(lesson, "inner", "Inside this model's first MLP, behind the activation", layer.inner, layer.rows,
                        c->feed_forward);
        lm_page_say(page, "Thanks to the shortcuts the stream goes through all layers, and every layer only adds to it; gradients find the same "
                    "way back without being worn down.");
        show_additions(lesson, &layer, c->width);
        lm_page_say(page, "To try: loam look norms shows the same for every layer of a model, and its gradients.");
    }
    free_layer(&layer);
    lm_free(logits);
    return code;
}

/* --- 10. The whole --- */

static void show_parameters(struct lm_lesson *lesson, const struct lm_parameter *table, size_t count)
{
    static const char *const columns[] = {"rows", "columns", "numbers", "decayed"};
    double *values = lm_alloc(4 * count, sizeof *values, &lesson->page->error);
    const char **names = lm_alloc(count, sizeof *names, &lesson->page->error);
    int64_t used = 0;
    for (size_t i = 0; values && names && i < count; i++) {
        if (table[i].layer > 0)    /* all layers are alike */
            continue;
        names[used] = table[i].name;
        values[4 * used] = (double)table[i].shape[0];
        values[4 * used + 1] = table[i].rank > 1 ? (double)table[i].shape[1] : NAN;
        values[4 * used + 2] = (double)table[i].count;
        values[4 * used++ + 3] = table[i].decay;
    }
    const struct lm_block block = {.kind = LM_BLOCK_TABLE, .name = "parameters", .title = "The parameters, of the layers only the first",
                                   .rows = used, .columns = 4, .row_names = names, .column_names = columns, .values = values};
    if (values && names)
        lm_page_add(lesson->page, &block);
    lm_free(values);
    lm_free(names);
}

static double total_of(const struct lm_parameter *table, size_t count, int layer)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += layer == -2 || table[i].layer == layer ? (double)table[i].count : 0;
    return sum;
}

static int show_known(struct lm_page *page, loam_error *error)
{
    static const char *const names[] = {"gpt2", "qwen2.5-0.5b", "llama-3.2-1b", "llama-3-8b"};
    static const char *const count_column[] = {"parameters"}, *const columns[] = {"weights in bf16", "training in fp32"};
    double totals[4], sizes[8];
    for (int i = 0; i < 4; i++) {
        struct lm_config config;
        struct lm_parameter *table;
        size_t count;
        int code = lm_config_like(names[i], &config, error);
        if (!code)
            code = lm_parameters(&config, &table, &count, error);
        if (code)
            return code;
        totals[i] = total_of(table, count, -2);
        sizes[2 * i] = (double)lm_model_weight_bytes(&config, LM_BF16) / (1 << 30);
        sizes[2 * i + 1] = 4 * (double)lm_model_weight_bytes(&config, LM_F32) / (1 << 30);
        lm_free(table);
    }
    struct lm_block block = {.kind = LM_BLOCK_TABLE, .name = "known_parameters", .title = "Known models", .rows = 4, .columns = 1,
                             .row_names = names, .column_names = count_column, .values = totals};
    lm_page_add(page, &block);
    block.name = "known_memory";
    block.title = "Their memory, without activations";
    block.unit = "GiB";
    block.columns = 2;
    block.column_names = columns;
    block.values = sizes;
    block.decimals = 2;
    lm_page_add(page, &block);
    return LOAM_OK;
}

int lm_teach_whole(struct lm_lesson *lesson, loam_error *error)
{
    struct lm_page *page = lesson->page;
    size_t count;
    int code = lm_lesson_model(lesson, error);
    if (code)
        return code;
    const struct lm_parameter *table = lm_model_parameters(lesson->model, &count);
    const struct lm_config *c = lm_model_config(lesson->model);
    const double total = total_of(table, count, -2), layer = total_of(table, count, 0);
    lm_page_say(page, "A whole model is the embedding, a pile of layers that are all alike, a last norm, and the head, which gives a number, a "
                "logit, to every token of the vocabulary. This is all that a model file holds:");
    show_parameters(lesson, table, count);
    lm_page_fact(page, "layers", "layers", "", 0, (double)c->layers);
    lm_page_fact(page, "layer_parameters", "parameters of one layer", "", 0, layer);
    lm_page_fact(page, "outside", "parameters outside of the layers", "", 0, total_of(table, count, -1));
    lm_page_fact(page, "total", "parameters in all", "", 0, total);
    lm_page_say(page, c->tied ? "Head and embedding are the same table here (tied): it is counted once."
                              : "The head is a table of its own here.");
    lm_page_fact(page, "bytes_bf16", "memory of the weights in bf16", "bytes", 0, (double)lm_model_weight_bytes(c, LM_BF16));
    lm_page_fact(page, "bytes_f32", "memory of the weights in fp32", "bytes", 0, (double)lm_model_weight_bytes(c, LM_F32));
    lm_page_say(page, "Training in full holds four numbers for each: the weight, its gradient, and the optimizer's two moments; the activations "
                "come on top of that.");
    lm_page_fact(page, "bytes_training", "memory of training, without activations", "bytes", 0,
                 4 * (double)lm_model_weight_bytes(c, LM_F32));
    lm_page_fact(page, "flops", "operations of a step over one full context", "", -1, lm_config_flops(c, 1, c->context));
    code = show_known(page, error);
    lm_page_say(page, "To try: loam look weights lists any model's tensors.");
    return code;
}
