/* Lessons five to eight: attention, from dot products to several heads. The operations are the device's, the same that train. */
#include "lessons.h"
#include "record.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SIZE = 3, INNER = 2 };    /* numbers of a word's vector; of its query, key and value */

struct toy {
    struct lm_lesson *lesson;
    const struct lm_ops *ops;
    int64_t words, second;      /* the word that is followed: the second, or the only one */
    float *vectors;             /* [words,SIZE] */
    float *scores, *weights;    /* [words,words] */
    float *q, *k, *v;           /* [words,INNER], drawn projections of the vectors */
    float *contexts;            /* [words,SIZE] */
};

static void close_toy(struct toy *toy)
{
    lm_free(toy->vectors);
    lm_free(toy->scores);
    lm_free(toy->q);
}

static int open_toy(struct lm_lesson *lesson, struct toy *toy, loam_error *error)
{
    *toy = (struct toy){.lesson = lesson};
    int code = lm_lesson_device(lesson, error);
    if (!code)
        code = lm_lesson_vectors(lesson, &toy->vectors, error);
    if (code)
        return code;
    const int64_t n = toy->words = lesson->word_count;
    toy->ops = lm_device_ops(lesson->device);
    toy->second = n > 1;
    toy->scores = lm_alloc((size_t)(2 * n * n), sizeof(float), error);
    toy->q = lm_alloc((size_t)(n * (3 * INNER + SIZE)), sizeof(float), error);
    if (!toy->scores || !toy->q)
        return LOAM_ENOMEM;
    toy->weights = toy->scores + n * n;
    toy->k = toy->q + n * INNER;
    toy->v = toy->k + n * INNER;
    toy->contexts = toy->v + n * INNER;
    return LOAM_OK;
}

static struct lm_matrix matrix(const float *data, int64_t stride)
{
    return (struct lm_matrix){.data = (void *)data, .dtype = LM_F32, .stride = stride};
}

/* scores = q·kᵀ, every word with every word. */
static void score(struct toy *toy, const float *q, const float *k, int64_t size)
{
    const struct lm_matmul work = {.m = toy->words, .n = toy->words, .k = size, .a = matrix(q, size), .b = matrix(k, size),
                                   .transpose_b = true, .c = matrix(toy->scores, toy->words)};
    toy->ops->matmul(toy->lesson->device, &work);
}

/* Attention of one word over all: a single query that stands behind the last key. */
static struct lm_attention attention_of(const struct toy *toy, int64_t word, const float *q, const float *k, const float *v,
                                        int64_t size, float scale)
{
    const int64_t n = toy->words;
    return (struct lm_attention){.batch = 1, .t_q = 1, .t_k = n, .heads = 1, .kv_heads = 1, .head_size = size, .q_start = n - 1,
                                 .scale = scale, .q = q + word * size, .q_stride = size, .k = k, .v = v, .kv_stride = size,
                                 .kv_batch_stride = n * size, .kv_dtype = LM_F32, .out_stride = size};
}

static void weigh(struct toy *toy, const float *q, const float *k, int64_t size, float scale)
{
    for (int64_t word = 0; word < toy->words; word++) {
        const struct lm_attention work = attention_of(toy, word, q, k, k, size, scale);
        toy->ops->attention_weights(toy->lesson->device, &work, toy->weights + word * toy->words);
    }
}

/* contexts = weights·v, all words in one product. */
static void mix(struct toy *toy, const float *v, int64_t size)
{
    const struct lm_matmul work = {.m = toy->words, .n = size, .k = toy->words, .a = matrix(toy->weights, toy->words),
                                   .b = matrix(v, size), .c = matrix(toy->contexts, size)};
    toy->ops->matmul(toy->lesson->device, &work);
}

/* A table with a row for each word, or with one row of all words. */
static void show_rows(struct toy *toy, const char *name, const char *title, int64_t columns, const float *values)
{
    const struct lm_block block = {.kind = LM_BLOCK_TABLE, .name = name, .title = title, .rows = toy->words, .columns = columns,
                                   .row_names = (const char *const *)toy->lesson->words, .decimals = 4,
                                   .column_names = columns == toy->words && columns > INNER
                                                       ? (const char *const *)toy->lesson->words : NULL};
    lm_lesson_show(toy->lesson->page, &block, values);
}

static void show_map(struct toy *toy, const char *name, const char *title, const float *weights, bool causal)
{
    const int64_t n = toy->words;
    double *shown = lm_alloc((size_t)(n * n), sizeof *shown, &toy->lesson->page->error);
    for (int64_t i = 0; shown && i < n * n; i++)
        shown[i] = causal && i % n > i / n ? NAN : (double)weights[i];
    struct lm_block block = {.kind = LM_BLOCK_HEAT, .name = name, .title = title, .row_axis = "the word that looks",
                             .column_axis = "the word looked at", .unit = "weight", .rows = n, .columns = n,
                             .row_names = (const char *const *)toy->lesson->words,
                             .column_names = (const char *const *)toy->lesson->words, .values = shown, .high = 1, .decimals = 4,
                             .root = true};
    char table[64];
    if (shown)
        lm_page_add(toy->lesson->page, &block);
    snprintf(table, sizeof table, "%s_numbers", name);
    block.kind = LM_BLOCK_TABLE;
    block.name = table;
    block.title = "In numbers";
    block.row_axis = block.column_axis = block.unit = NULL;
    if (shown)
        lm_page_add(toy->lesson->page, &block);
    lm_free(shown);
}

/* One word's line: a bar or a number for each word. */
static void show_line(struct toy *toy, const char *name, const char *title, const float *values)
{
    const struct lm_block block = {.kind = LM_BLOCK_BARS, .name = name, .title = title, .row_axis = "with the word",
                                   .column_axis = "value", .rows = toy->words, .columns = 1,
                                   .row_names = (const char *const *)toy->lesson->words, .decimals = 4};
    lm_lesson_show(toy->lesson->page, &block, values);
}

static void show_vector(struct toy *toy, const char *name, const char *title, int64_t columns, const float *values)
{
    const char *word = toy->lesson->words[toy->second];
    const struct lm_block block = {.kind = LM_BLOCK_TABLE, .name = name, .title = title, .rows = 1, .columns = columns,
                                   .row_names = &word, .decimals = 4};
    lm_lesson_show(toy->lesson->page, &block, values);
}

int lm_teach_plain_attention(struct lm_lesson *lesson, loam_error *error)
{
    struct toy toy;
    struct lm_page *page = lesson->page;
    float context[SIZE];
    int code = open_toy(lesson, &toy, error);
    if (!code) {
        const struct lm_attention one = attention_of(&toy, toy.second, toy.vectors, toy.vectors, toy.vectors, SIZE, 1);
        struct lm_attention work = one;
        work.out = context;
        lm_page_say(page, "Attention lets a word take something from the others. Here every word is a small vector, by itself still: words "
                    "that point the same way have something to do with each other.");
        show_rows(&toy, "vectors", "The words as vectors", SIZE, toy.vectors);
        lm_page_say(page, "Follow the word \xE2\x80\x9C%s\xE2\x80\x9D. Its dot product with every word says how near that one is: multiply number by "
                    "number, add up.", lesson->words[toy.second]);
        score(&toy, toy.vectors, toy.vectors, SIZE);
        show_line(&toy, "scores", "Scores: dot products with every word", toy.scores + toy.second * toy.words);
        lm_page_say(page, "Softmax makes weights of the scores: all above zero, together one.");
        weigh(&toy, toy.vectors, toy.vectors, SIZE, 1);
        show_line(&toy, "weights", "Weights: the softmax of the scores", toy.weights + toy.second * toy.words);
        lm_page_say(page, "The sum of all vectors, each times its weight, is the word's context vector: the word, seen together with its "
                    "neighbours.");
        toy.ops->attention(lesson->device, &work);
        show_vector(&toy, "context", "Its context vector", SIZE, context);
        lm_page_say(page, "For all words at once it is two products of matrices, with a softmax of each row between them: what a machine does "
                    "fastest.");
        show_map(&toy, "all_weights", "The weights of all words", toy.weights, false);
        mix(&toy, toy.vectors, SIZE);
        show_rows(&toy, "all_contexts", "The context vectors of all words, in one product", SIZE, toy.contexts);
        lm_page_say(page, "The row of the word above is the same in both. To try: give a sentence with a word twice, and --seed for other "
                    "vectors. Nothing here is learned yet; the next lesson adds what is.");
        code = lm_device_check(lesson->device, error);
    }
    close_toy(&toy);
    return code;
}

/* q, k and v: the vectors times three drawn matrices [SIZE,INNER], which are shown. */
static void project(struct toy *toy, bool shown)
{
    static const char *const names[] = {"weight_q", "weight_k", "weight_v"};
    static const char *const titles[] = {"Weights for queries", "Weights for keys", "Weights for values"};
    float *const out[] = {toy->q, toy->k, toy->v};
    struct lm_random random = lm_random_seed(toy->lesson->options->seed, 3);
    for (int which = 0; which < 3; which++) {
        float weights[SIZE * INNER];
        for (int i = 0; i < SIZE * INNER; i++)
            weights[i] = (float)(2 * lm_random_normal(&random));
        const struct lm_matmul work = {.m = toy->words, .n = INNER, .k = SIZE, .a = matrix(toy->vectors, SIZE),
                                       .b = matrix(weights, INNER), .c = matrix(out[which], INNER)};
        toy->ops->matmul(toy->lesson->device, &work);
        const struct lm_block block = {.kind = LM_BLOCK_TABLE, .name = names[which], .title = titles[which], .rows = SIZE,
                                       .columns = INNER, .decimals = 4};
        if (shown)
            lm_lesson_show(toy->lesson->page, &block, weights);
    }
}

int lm_teach_weighted_attention(struct lm_lesson *lesson, loam_error *error)
{
    struct toy toy;
    struct lm_page *page = lesson->page;
    const float scale = 1 / sqrtf((float)INNER);
    int code = open_toy(lesson, &toy, error);
    if (!code) {
        lm_page_say(page, "Now three matrices stand between: each word gives a query (what it looks for), a key (what it is found by) and a "
                    "value (what it hands on). Training finds these matrices; here they are drawn from the seed.");
        project(&toy, true);
        show_rows(&toy, "queries", "Queries", INNER, toy.q);
        show_rows(&toy, "keys", "Keys", INNER, toy.k);
        show_rows(&toy, "values", "Values", INNER, toy.v);
        lm_page_say(page, "Scores are queries times keys. They are divided by the root of the vectors' length before the softmax: long vectors "
                    "have large products, and a softmax of large numbers gives everything to one word, where nothing can be learned "
                    "any more.");
        score(&toy, toy.q, toy.k, INNER);
        show_rows(&toy, "scores", "Scores of every word with every word", toy.words, toy.scores);
        lm_page_fact(page, "scale", "they are multiplied by", "", 4, scale);
        weigh(&toy, toy.q, toy.k, INNER, 1);
        show_map(&toy, "unscaled", "Weights without the scaling", toy.weights, false);
        weigh(&toy, toy.q, toy.k, INNER, scale);
        show_map(&toy, "scaled", "Weights with the scaling", toy.weights, false);
        mix(&toy, toy.v, INNER);
        show_rows(&toy, "contexts", "Context vectors: weights times values", INNER, toy.contexts);
        lm_page_say(page, "To try: another --seed. Look at a row before and after the scaling: its largest weight has shrunk, the others have "
                    "grown.");
        code = lm_device_check(lesson->device, error);
    }
    close_toy(&toy);
    return code;
}

/* --- 7. Mask and dropout --- */

static const double DROPPED = 0.5;

int lm_teach_mask(struct lm_lesson *lesson, loam_error *error)
{
    struct toy toy;
    struct lm_page *page = lesson->page;
    const float scale = 1 / sqrtf((float)INNER);
    int code = open_toy(lesson, &toy, error);
    if (!code) {
        project(&toy, false);
        weigh(&toy, toy.q, toy.k, INNER, scale);
        lm_page_say(page, "The weights of the last lesson: every word looks at every word, also at those behind it.");
        show_map(&toy, "open", "Without a mask", toy.weights, false);
        struct lm_attention work = attention_of(&toy, 0, toy.q, toy.k, toy.v, INNER, scale);
        work.t_q = toy.words;
        work.q_start = 0;
        toy.ops->attention_weights(lesson->device, &work, toy.weights);
        lm_page_say(page, "A model that is to say what comes next must not see it. The mask takes away what lies ahead before the softmax, so "
                    "that each row still adds up to one: the first word has only itself.");
        show_map(&toy, "masked", "With the causal mask", toy.weights, true);
        struct lm_random random = lm_random_seed(lesson->options->seed, 4);
        for (int64_t i = 0; i < toy.words * toy.words; i++)
            toy.weights[i] *= lm_random_unit(&random) < DROPPED ? 0 : (float)(1 / (1 - DROPPED));
        lm_page_say(page, "Dropout takes away weights by chance in every step of training and makes the others larger by as much, so that a "
                    "model relies on no single one. It was usual when small models saw the same text many times; today's are trained "
                    "without, and so are all in this program. This is what it would do:");
        lm_page_fact(page, "dropped", "chance of each weight to be dropped", "", 2, DROPPED);
        struct lm_block block = {.kind = LM_BLOCK_TABLE, .name = "dropout", .title = "With dropout, drawn from the seed", .rows = toy.words,
                                 .columns = toy.words, .row_names = (const char *const *)lesson->words,
                                 .column_names = (const char *const *)lesson->words, .decimals = 4};
        lm_lesson_show(page, &block, toy.weights);
        lm_page_say(page, "To try: another --seed drops others. Rows no longer add up to one, but do so on the average of many steps.");
        code = lm_device_check(lesson->device, error);
    }
    close_toy(&toy);
    return code;
}

/* --- 8. Heads --- */

enum { SHOWN_HEADS = 8 };

static void show_head(struct lm_lesson *lesson, const struct lm_record *record, int64_t head)
{
    const int64_t t = record->count;
    char name[32], title[64];
    double *values = lm_alloc((size_t)(t * t), sizeof *values, &lesson->page->error);
    for (int64_t i = 0; values && i < t * t; i++)
        values[i] = i % t > i / t ? NAN : (double)record->attention[head * t * t + i];
    snprintf(name, sizeof name, "head_%d", (int)head);
    snprintf(title, sizeof title, "First layer, head %d", (int)head);
    const struct lm_block map = {.kind = LM_BLOCK_HEAT, .name = name, .title = title, .row_axis = "the token that looks",
                                 .column_axis = "the token looked at", .unit = "weight", .rows = t, .columns = t,
                                 .row_names = (const char *const *)lesson->labels, .values = values, .high = 1, .decimals = 4,
                                 .column_names = (const char *const *)lesson->labels, .root = true};
    if (values)
        lm_page_add(lesson->page, &map);
    lm_free(values);
}

/* Which heads look with the keys and values of which. */
static void show_groups(struct lm_page *page, const struct lm_config *c)
{
    double *groups = lm_alloc((size_t)c->heads, sizeof *groups, &page->error);
    for (int64_t head = 0; groups && head < c->heads; head++)
        groups[head] = (double)(head / (c->heads / c->kv_heads));
    static const char *const column[] = {"keys and values"};
    const struct lm_block table = {.kind = LM_BLOCK_TABLE, .name = "groups", .title = "Whose keys and values a head uses",
                                   .row_axis = "head", .rows = c->heads, .columns = 1, .column_names = column, .values = groups};
    if (groups)
        lm_page_add(page, &table);
    lm_free(groups);
    lm_page_fact(page, "cache_token", "bytes that the cache keeps of a token, in bf16", "bytes", 0,
                 (double)(2 * c->layers * c->kv_heads * c->head_size * 2));
    lm_page_fact(page, "cache_full", "bytes, if every head had keys and values of its own", "bytes", 0,
                 (double)(2 * c->layers * c->heads * c->head_size * 2));
}

int lm_teach_heads(struct lm_lesson *lesson, loam_error *error)
{
    struct lm_page *page = lesson->page;
    struct lm_record record = {0};
    int code = lm_lesson_model(lesson, error);
    if (!code)
        code = lm_lesson_encode(lesson, error);
    if (!code)
        code = lm_lesson_train(lesson, error);
    if (!code)
        code = lm_record_run(lesson->model, lesson->ids.data, (int64_t)lesson->ids.length,
                             &(struct lm_record_options){.attention = true, .layers = 1}, &record, error);
    if (code)
        return code;
    const struct lm_config *c = lm_model_config(lesson->model);
    lm_page_say(page, "One attention can look for one thing. Models have several side by side, heads, each with queries, keys and values of its "
                "own, a slice of the same three products; what they bring back is put together again and goes through one more matrix.");
    lm_page_fact(page, "heads", "heads of a layer", "", 0, (double)c->heads);
    lm_page_fact(page, "kv_heads", "heads that have keys and values", "", 0, (double)c->kv_heads);
    lm_page_fact(page, "head_size", "numbers of a query", "", 0, (double)c->head_size);
    for (int64_t head = 0; head < c->heads && head < SHOWN_HEADS; head++)
        show_head(lesson, &record, head);
    if (c->heads > SHOWN_HEADS)
        lm_page_say(page, "Only the first heads are shown here; loam look attention shows all of them.");
    lm_page_say(page, "Keys and values of every token that went through are kept while a model writes. Where several heads share them (grouped "
                "heads), that memory is smaller, and reading it is faster.");
    show_groups(page, c);
    lm_page_say(page, "To try: loam look attention with your own model, --layer and --head; a head that looks at the token before, and one that "
                "looks at the first, are in nearly every trained model.");
    lm_record_free(&record);
    return LOAM_OK;
}
