/* Every number of the lessons on a model, 4 and 8 to 12, beside the test's own. */
#include "support/lesson.h"

#include "infer/infer.h"

#include <math.h>

/* --- 4, 9, 10 --- */

static void check_embeddings(struct lesson *lesson)
{
    enum { N = 8, D = 16 };
    const struct lm_config *c = lm_model_config(lesson->model);
    enum lm_dtype dtype;
    const float *embedding = lm_model_weights(lesson->model, &dtype);    /* the first parameter */
    double values[64 * 6], q[D], k[D], cosines[N * 6], scores[N * N];
    lesson_fact(lesson, "vocabulary", (double)c->vocabulary);
    lesson_fact(lesson, "width", (double)c->width);
    assert_true(lesson->ids.length <= 64);
    for (size_t i = 0; i < lesson->ids.length; i++)
        for (int d = 0; d < 6; d++)
            values[i * 6 + (size_t)d] = embedding[lesson->ids.data[i] * c->width + d];
    lesson_table(lesson, "embedded", lesson->ids.length, 6, values);
    struct lm_random random = lm_random_seed(lesson->seed, 5);
    for (int i = 0; i < D; i++) {
        q[i] = (float)lm_random_normal(&random);
        k[i] = (float)lm_random_normal(&random);
    }
    for (int a = 0; a < N; a++) {
        for (int pair = 0; pair < 6; pair++)
            cosines[a * 6 + pair] = cos(a * pow(c->rope_theta, -2.0 * pair / D));
        for (int b = 0; b < N; b++) {    /* turned by the difference alone */
            scores[a * N + b] = 0;
            for (int i = 0; i < D / 2; i++) {
                const double angle = (a - b) * pow(c->rope_theta, -2.0 * i / D);
                scores[a * N + b] += (q[i] * k[i] + q[i + D / 2] * k[i + D / 2]) * cos(angle) +
                                     (q[i] * k[i + D / 2] - q[i + D / 2] * k[i]) * sin(angle);
            }
        }
    }
    lesson_table(lesson, "cosines", N, 6, cosines);
    lesson_table(lesson, "rotated", N, N, scores);
}

static double size_of(const float *x, const float *without, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += pow((double)x[i] - (without ? (double)without[i] : 0), 2);
    return sqrt(sum / (double)count);
}

static double mean_of(const float *x, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += x[i];
    return sum / (double)count;
}

struct first_layer {
    float seen[LM_SIGHT_GRADIENT][64 * 128];
};

static void keep_first(void *user, enum lm_sight sight, int64_t layer, const float *data, int64_t rows, int64_t width)
{
    struct first_layer *first = user;
    if (layer == 0 && rows * width <= 64 * 128)
        memcpy(first->seen[sight], data, (size_t)(rows * width) * sizeof *data);
}

/* Through a training pass; the lesson goes through a cache. */
static void see_first(struct lesson *lesson, struct first_layer *first)
{
    const struct lm_watcher watcher = {.user = first, .sees = keep_first};
    const struct lm_pass_options options = {.batch = 1, .length = (int64_t)lesson->ids.length};
    struct lm_layout layout = {0};
    struct lm_pass *pass;
    loam_error error;
    double loss;
    assert_ok(lm_pass_create(lesson->model, &options, &layout, &pass, &error), &error);
    void *block = lm_block_map(layout.size, &error);
    lm_layout_bind(&layout, block);
    lm_model_watch(lesson->model, &watcher);
    const struct lm_pass_input input = {.ids = lesson->ids.data, .targets = lesson->ids.data};
    assert_ok(lm_pass_run(pass, &input, 1, NULL, &loss, NULL, &error), &error);
    lm_model_watch(lesson->model, NULL);
    lm_pass_free(pass);
    lm_block_unmap(block, layout.size);
    lm_layout_free(&layout);
}

static void check_layer(struct lesson *lesson)
{
    static struct first_layer first;
    const struct lm_config *c = lm_model_config(lesson->model);
    const int64_t width = c->width;
    double norms[64 * 4], additions[64 * 4], curve[17 * 3];
    see_first(lesson, &first);
    for (size_t i = 0; i < lesson->ids.length; i++) {
        const float *input = first.seen[LM_SIGHT_INPUT] + (int64_t)i * width, *normed = first.seen[LM_SIGHT_NORM1] + (int64_t)i * width;
        const float *middle = first.seen[LM_SIGHT_MIDDLE] + (int64_t)i * width;
        const float *output = first.seen[LM_SIGHT_OUTPUT] + (int64_t)i * width;
        const double n[] = {mean_of(input, width), size_of(input, NULL, width), mean_of(normed, width), size_of(normed, NULL, width)};
        const double a[] = {size_of(input, NULL, width), size_of(middle, input, width), size_of(output, middle, width),
                            size_of(output, NULL, width)};
        assert_true(fabs(n[1] / n[3] - sqrt(n[1] * n[1] + c->norm_eps)) < 1e-5);    /* RMSNorm, its weights one */
        memcpy(norms + 4 * i, n, sizeof n);
        memcpy(additions + 4 * i, a, sizeof a);
    }
    lesson_table(lesson, "norms", lesson->ids.length, 4, norms);
    lesson_table(lesson, "additions", lesson->ids.length, 4, additions);
    lesson_table_floats(lesson, "inner", lesson->ids.length, 6, first.seen[LM_SIGHT_INNER], (size_t)c->feed_forward);
    lesson_fact(lesson, "width", (double)c->width);
    lesson_fact(lesson, "feed_forward", (double)c->feed_forward);
    for (int i = 0; i < 17; i++) {
        const double x = (i - 8) / 2.0;
        curve[3 * i] = 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
        curve[3 * i + 1] = x / (1 + exp(-x));
        curve[3 * i + 2] = x > 0 ? x : 0;
    }
    lesson_table(lesson, "activation", 17, 3, curve);
}

static void check_whole(struct lesson *lesson)
{
    static const char *const known[] = {"gpt2", "qwen2.5-0.5b", "llama-3.2-1b", "llama-3-8b"};
    static const double published[] = {124439808, 494032768, 1235814400, 8030261248};    /* as the models' own cards count */
    const struct lm_config *c = lm_model_config(lesson->model);
    size_t count;
    const struct lm_parameter *list = lm_model_parameters(lesson->model, &count);
    double rows[64 * 4], total = 0, layer = 0, outside = 0, memory[8];
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        total += (double)list[i].count;
        layer += list[i].layer == 0 ? (double)list[i].count : 0;
        outside += list[i].layer < 0 ? (double)list[i].count : 0;
        if (list[i].layer > 0)
            continue;
        const double row[] = {(double)list[i].shape[0], list[i].rank > 1 ? (double)list[i].shape[1] : NAN, (double)list[i].count,
                              list[i].decay};
        memcpy(rows + 4 * used++, row, sizeof row);
    }
    lesson_table(lesson, "parameters", used, 4, rows);
    lesson_fact(lesson, "layers", (double)c->layers);
    lesson_fact(lesson, "layer_parameters", layer);
    lesson_fact(lesson, "outside", outside);
    lesson_fact(lesson, "total", total);
    assert_true(total == outside + (double)c->layers * layer);
    lesson_fact(lesson, "bytes_bf16", 2 * total);
    lesson_fact(lesson, "bytes_f32", 4 * total);
    lesson_fact(lesson, "bytes_training", 16 * total);
    lesson_fact(lesson, "flops", lm_config_flops(c, 1, c->context));
    lesson_table(lesson, "known_parameters", 4, 1, published);
    for (int i = 0; i < 4; i++) {
        memory[2 * i] = published[i] * 2 / (1 << 30);
        memory[2 * i + 1] = published[i] * 16 / (1 << 30);
        assert_string_equal(lm_value_find(lesson_block(lesson, "known_parameters"), "rows")->items[i].text, known[i]);
    }
    lesson_table(lesson, "known_memory", 4, 2, memory);
}

/* --- 11: AdamW by hand beside the device's --- */

static double loss_of(struct lesson *lesson, double *losses)
{
    const struct lm_config *c = lm_model_config(lesson->model);
    const int64_t t = (int64_t)lesson->ids.length;
    float *logits = test_malloc((size_t)(t * c->vocabulary) * sizeof *logits);
    loam_error error;
    double mean = 0;
    assert_ok(lm_model_logits(lesson->model, lesson->ids.data, t, logits, &error), &error);
    for (int64_t i = 0; i + 1 < t; i++) {
        double sum = 0;
        for (int64_t v = 0; v < c->vocabulary; v++)
            sum += exp(logits[i * c->vocabulary + v]);
        losses[i] = log(sum) - logits[i * c->vocabulary + lesson->ids.data[i + 1]];
        mean += losses[i] / (double)(t - 1);
    }
    test_free(logits);
    return mean;
}

static void check_step(struct lesson *lesson)
{
    const char *path = test_path(test_folder(), "step.safetensors");
    struct lm_tensors *file;
    size_t count, used = 0;
    double losses[64], loss, norm = 0;
    loam_error error;
    enum lm_dtype dtype;
    const double mean = loss_of(lesson, losses);
    for (size_t i = 0; i + 1 < lesson->ids.length; i++)
        lesson_near(lesson, "losses", lesson_at(lesson, "losses", i, 0), losses[i], 1e-5);
    lesson_near(lesson, "loss", lesson_number(lesson, lm_value_find(lesson_block(lesson, "loss"), "value")), mean, 1e-5);
    lesson_fact(lesson, "guess", log((double)lm_model_config(lesson->model)->vocabulary));
    lesson_fact(lesson, "learning_rate", 1e-3);
    const struct lm_parameter *list = lm_model_parameters(lesson->model, &count);
    const size_t numbers = list[count - 1].offset + (size_t)list[count - 1].count;
    double *m = test_calloc(2 * numbers, sizeof *m), *v = m + numbers;
    float *weights = lm_model_weights(lesson->model, &dtype);
    for (int step = 0; step <= 20; step++) {
        assert_ok(lm_look_step(lesson->model, lesson->ids.data, (int64_t)lesson->ids.length, path, &loss, &error), &error);
        lesson_near(lesson, "curve", lesson_at(lesson, "curve", (size_t)step, 0), loss, 1e-4);
        assert_ok(lm_tensors_open(path, &file, &error), &error);
        for (size_t i = 0; i < count; i++) {
            const float *gradient = lm_tensors_find(file, list[i].name)->data;
            float *own = weights + list[i].offset;
            double squares = 0;
            for (int64_t k = 0; k < list[i].count; k++) {
                const size_t place = list[i].offset + (size_t)k;
                const double before = own[k], g = gradient[k];
                squares += g * g;
                m[place] = 0.9 * m[place] + 0.1 * g;
                v[place] = 0.95 * v[place] + 0.05 * g * g;
                own[k] = (float)(before - 1e-3 / (1 - pow(0.9, step + 1)) * m[place] /
                                 (sqrt(v[place] / (1 - pow(0.95, step + 1))) + 1e-8));
                if (step == 0 && list[i].part == LM_PART_FINAL_NORM && k < 6) {
                    lesson_near(lesson, "weights", lesson_at(lesson, "weights", (size_t)k, 0), before, 0);
                    lesson_near(lesson, "weights", lesson_at(lesson, "weights", (size_t)k, 1), g, 0);
                    lesson_near(lesson, "weights", lesson_at(lesson, "weights", (size_t)k, 2), own[k], 1e-6);
                }
            }
            norm += step == 0 ? squares : 0;
            if (step == 0 && list[i].layer <= 0)
                lesson_same(lesson, "gradients", lesson_at(lesson, "gradients", used++, 0), sqrt(squares));
        }
        lm_tensors_close(file);
    }
    lesson_fact(lesson, "gradient_norm", sqrt(norm));
    test_free(m);
}

/* --- 8 and 12, on a model that is given and on the lesson's own, trained --- */

struct heads {
    double weights[4][64 * 64];
};

/* Queries and keys as attention sees them, and the weights by hand. */
static void weigh_heads(void *user, int64_t layer, const struct lm_attention *work)
{
    struct heads *heads = user;
    const int64_t t = work->t_q;
    for (int64_t head = 0; layer == 0 && head < work->heads; head++)
        for (int64_t i = 0; i < t; i++) {
            double sum = 0, *row = heads->weights[head] + i * t;
            for (int64_t j = 0; j <= i; j++) {
                double dot = 0;
                for (int64_t d = 0; d < work->head_size; d++)
                    dot += (double)work->q[i * work->q_stride + head * work->head_size + d] *
                           ((const float *)work->k)[j * work->kv_stride + head / 2 * work->head_size + d];
                row[j] = exp(dot / sqrt((double)work->head_size));
                sum += row[j];
            }
            for (int64_t j = 0; j < t; j++)
                row[j] = j > i ? NAN : row[j] / sum;
        }
}

static void check_heads(struct lesson *lesson)
{
    static struct heads heads;
    static const double groups[] = {0, 0, 1, 1};
    const struct lm_config *c = lm_model_config(lesson->model);
    const struct lm_watcher watcher = {.user = &heads, .attends = weigh_heads};
    const size_t t = lesson->ids.length;
    float *logits = test_malloc(t * (size_t)c->vocabulary * sizeof *logits);
    loam_error error;
    lm_model_watch(lesson->model, &watcher);
    assert_ok(lm_model_logits(lesson->model, lesson->ids.data, (int64_t)t, logits, &error), &error);
    lm_model_watch(lesson->model, NULL);
    test_free(logits);
    for (int head = 0; head < 4; head++) {
        char name[16];
        snprintf(name, sizeof name, "head_%d", head);
        lesson_table(lesson, name, t, t, heads.weights[head]);
    }
    lesson_fact(lesson, "heads", 4);
    lesson_fact(lesson, "kv_heads", 2);
    lesson_fact(lesson, "head_size", 16);
    lesson_table(lesson, "groups", 4, 1, groups);
    lesson_fact(lesson, "cache_token", 2 * 2 * 2 * 16 * 2);    /* k and v, layers, heads, numbers, bytes */
    lesson_fact(lesson, "cache_full", 2 * 2 * 4 * 16 * 2);
}

static const float *sorted_logits;

static int by_logit(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return sorted_logits[x] > sorted_logits[y] ? -1 : sorted_logits[x] < sorted_logits[y] ? 1 : x - y;
}

static double share_of(const float *logits, int32_t vocabulary, int32_t id, double temperature)
{
    double sum = 0;
    for (int32_t i = 0; i < vocabulary; i++)
        sum += exp(((double)logits[i] - logits[id]) / temperature);
    return 1 / sum;
}

static void check_written(struct lesson *lesson, int32_t vocabulary)
{
    struct lm_runner *runner;
    struct lm_generation made = {0};
    struct lm_generation_options options = lm_generation_default();
    struct lm_bytes text = {0};
    struct lm_ids ids = {0};
    int32_t others[16];
    loam_error error;
    float *logits = test_malloc(256 * (size_t)vocabulary * sizeof *logits);
    options.sampling = (loam_sampling){.temperature = 0.7, .top_k = 3, .top_p = 1, .repetition_penalty = 1, .seed = lesson->seed};
    options.max_tokens = 16;
    options.ignore_end = true;
    assert_ok(lm_runner_attach(lesson->model, lesson->tokenizer, NULL, 128, &runner, &error), &error);
    assert_ok(lm_runner_generate(runner, lesson->ids.data, lesson->ids.length, &options, &made, &error), &error);
    lm_ids_append(&ids, lesson->ids.data, lesson->ids.length, NULL);
    lm_ids_append(&ids, made.ids.data, made.ids.length, NULL);
    assert_int_equal(made.ids.length, 16);
    assert_ok(lm_model_logits(lesson->model, ids.data, (int64_t)ids.length, logits, &error), &error);
    assert_int_equal(lm_value_find(lesson_block(lesson, "written"), "values")->length, 16);
    lesson_names(lesson, "written", made.ids.data, 16);
    for (size_t i = 0; i < 16; i++) {
        const float *row = logits + (lesson->ids.length - 1 + i) * (size_t)vocabulary;
        int32_t best = -1;
        for (int32_t id = 0; id < vocabulary; id++)
            if (id != made.ids.data[i] && (best < 0 || row[id] > row[best]))
                best = id;
        lesson_near(lesson, "written", lesson_at(lesson, "written", i, 0), share_of(row, vocabulary, made.ids.data[i], 1), 1e-5);
        lesson_near(lesson, "written", lesson_at(lesson, "written", i, 1), share_of(row, vocabulary, best, 1), 1e-5);
        others[i] = best;
    }
    lesson_names(lesson, "others", others, 16);
    assert_ok(lm_tokenizer_decode(lesson->tokenizer, made.ids.data, 16, false, &text, &error), &error);
    struct lm_bytes shown = lesson_shown(text.data ? text.data : "", text.length);
    lesson_fact_text(lesson, "text", shown.data, shown.length);
    lm_bytes_free(&shown);
    lm_bytes_free(&text);
    lm_ids_free(&ids);
    lm_generation_free(&made);
    lm_runner_close(runner);
    test_free(logits);
}

static void check_generation(struct lesson *lesson)
{
    const int32_t vocabulary = (int32_t)lm_model_config(lesson->model)->vocabulary;
    int32_t *order = test_malloc((size_t)vocabulary * sizeof *order);
    float *logits = test_malloc(lesson->ids.length * (size_t)vocabulary * sizeof *logits);
    loam_error error;
    assert_ok(lm_model_logits(lesson->model, lesson->ids.data, (int64_t)lesson->ids.length, logits, &error), &error);
    const float *last = logits + (lesson->ids.length - 1) * (size_t)vocabulary;
    for (int32_t i = 0; i < vocabulary; i++)
        order[i] = i;
    sorted_logits = last;
    qsort(order, (size_t)vocabulary, sizeof *order, by_logit);
    lesson_fact(lesson, "draws", 1000);
    lesson_fact(lesson, "top_k", 3);
    double top = 0;
    for (int k = 0; k < 3; k++)
        top += share_of(last, vocabulary, order[k], 1);
    for (size_t k = 0; k < 8; k++) {
        static const double temperatures[] = {0.5, 1, 2};
        const double share = share_of(last, vocabulary, order[k], 1), few = k < 3 ? share / top : 0;
        lesson_near(lesson, "candidates", lesson_at(lesson, "candidates", k, 0), last[order[k]], 1e-5);
        for (size_t i = 0; i < 3; i++)
            lesson_near(lesson, "candidates", lesson_at(lesson, "candidates", k, 1 + i), share_of(last, vocabulary, order[k], temperatures[i]), 1e-5);
        /* Five deviations of a thousand draws: a chance of 6e-7. */
        lesson_near(lesson, "drawn", lesson_at(lesson, "drawn", k, 0), share, 5 * sqrt(share * (1 - share) / 1000) + 1e-9);
        lesson_near(lesson, "drawn", lesson_at(lesson, "drawn", k, 1), few, 5 * sqrt(few * (1 - few) / 1000) + 1e-9);
    }
    lesson_names(lesson, "candidates", order, 8);
    lesson_names(lesson, "drawn", order, 8);
    check_written(lesson, vocabulary);
    test_free(order);
    test_free(logits);
}

static void test_numbers(void **state)
{
    (void)state;
    lesson_check(4, check_embeddings, false);
    lesson_check(8, check_heads, true);
    lesson_check(8, check_heads, false);
    lesson_check(9, check_layer, false);
    lesson_check(10, check_whole, false);
    lesson_check(11, check_step, false);
    lesson_check(12, check_generation, true);
    if (!TEST_SANITIZED)    /* slow there, and the training is lesson 8's */
        lesson_check(12, check_generation, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
