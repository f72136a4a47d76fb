/* Every number of lessons 13 and 14 beside the test's own: conversations and masks written by hand, AdamW by hand, plans made anew, and
 * the runs' last loss computed without a run. */
#include "support/lesson.h"

#include "infer/infer.h"
#include "train/train.h"

#include <math.h>

/* --- A pass over rows, and AdamW, by hand --- */

struct hand {
    struct lm_model *model;
    struct lm_layout layout;
    struct lm_pass *pass;
    void *block;
    float *gradients, *losses;
    double *m, *v;
    size_t numbers;
    int step;
};

static void open_hand(struct hand *hand, struct lm_model *model, int64_t rows, int64_t length)
{
    const struct lm_pass_options options = {.batch = rows, .length = length, .backward = true};
    size_t count;
    loam_error error;
    const struct lm_parameter *list = lm_model_parameters(model, &count);
    *hand = (struct hand){.model = model, .numbers = list[count - 1].offset + (size_t)list[count - 1].count};
    assert_ok(lm_pass_create(model, &options, &hand->layout, &hand->pass, &error), &error);
    hand->block = lm_block_map(hand->layout.size, &error);
    lm_layout_bind(&hand->layout, hand->block);
    hand->gradients = test_calloc(hand->numbers, sizeof *hand->gradients);
    hand->losses = test_calloc((size_t)(rows * length), sizeof *hand->losses);
    hand->m = test_calloc(hand->numbers, sizeof *hand->m);
    hand->v = test_calloc(hand->numbers, sizeof *hand->v);
}

static void close_hand(struct hand *hand)
{
    lm_device_give_scratch(lm_model_device(hand->model), NULL, 0);
    lm_pass_free(hand->pass);
    lm_block_unmap(hand->block, hand->layout.size);
    lm_layout_free(&hand->layout);
    test_free(hand->gradients);
    test_free(hand->losses);
    test_free(hand->m);
    test_free(hand->v);
}

/* The mean loss of the targets, and its gradients. */
static double pass(struct hand *hand, const int32_t *ids, const int32_t *targets, int64_t count)
{
    const struct lm_pass_input input = {.ids = ids, .targets = targets};
    double sum, counted = 0;
    loam_error error;
    for (int64_t i = 0; i < count; i++)
        counted += targets[i] >= 0;
    memset(hand->gradients, 0, hand->numbers * sizeof *hand->gradients);
    assert_ok(lm_pass_run(hand->pass, &input, (float)(1 / counted), hand->gradients, &sum, hand->losses, &error), &error);
    return sum / counted;
}

static void adamw(struct hand *hand, double lr, double beta2, double decay)
{
    size_t count;
    enum lm_dtype dtype;
    const struct lm_parameter *list = lm_model_parameters(hand->model, &count);
    float *weights = lm_model_weights(hand->model, &dtype);
    hand->step++;
    const double m_part = 1 - pow(0.9, hand->step), v_part = 1 - pow(beta2, hand->step);
    for (size_t i = 0; i < count; i++)
        for (size_t at = list[i].offset; at < list[i].offset + (size_t)list[i].count; at++) {
            const double g = hand->gradients[at];
            hand->m[at] = 0.9 * hand->m[at] + 0.1 * g;
            hand->v[at] = beta2 * hand->v[at] + (1 - beta2) * g * g;
            const double held = list[i].decay ? weights[at] * (1 - lr * decay) : weights[at];
            weights[at] = (float)(held - lr / m_part * hand->m[at] / (sqrt(hand->v[at] / v_part) + 1e-8));
        }
}

/* --- 13 --- */

enum { MOST = 128 };
struct talk {
    char sentence[256], answer[256];
    int32_t ids[MOST], targets[MOST];
    char trained[MOST];
    int64_t count, prompt;      /* all, and those before the answer */
};

static void add(struct talk *talk, const struct lm_ids *ids, char trained)
{
    for (size_t i = 0; i < ids->length; i++) {
        assert_true(talk->count < MOST);
        talk->ids[talk->count] = ids->data[i];
        talk->trained[talk->count++] = trained;
    }
}

static void add_text(const struct lesson *lesson, struct talk *talk, const char *text, char trained)
{
    struct lm_ids ids = {0};
    lesson_encode(lesson->tokenizer, text, strlen(text), 0, &ids);
    add(talk, &ids, trained);
    lm_ids_free(&ids);
}

static void add_mark(const struct lesson *lesson, struct talk *talk, const char *mark, char trained)
{
    struct lm_ids ids = {0};
    lm_ids_push(&ids, lm_tokenizer_find(lesson->tokenizer, mark, strlen(mark)), NULL);
    assert_true(ids.data[0] >= 0);
    add(talk, &ids, trained);
    lm_ids_free(&ids);
}

/* Words from the last to the first. */
static void turn_round(const char *sentence, char answer[256])
{
    char copy[256], *words[32];
    int count = 0;
    snprintf(copy, sizeof copy, "%s", sentence);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
        words[count++] = word;
    answer[0] = 0;
    while (count-- > 0) {
        strcat(answer, words[count]);
        strcat(answer, count ? " " : "");
    }
}

static void write_talk(const struct lesson *lesson, struct talk *talk)
{
    char turn[512];
    *talk = (struct talk){.count = 0};
    snprintf(talk->sentence, sizeof talk->sentence, "%s", lesson->sentence);
    turn_round(talk->sentence, talk->answer);
    add_mark(lesson, talk, "<|im_start|>", 0);
    snprintf(turn, sizeof turn, "user\n%s", talk->sentence);
    add_text(lesson, talk, turn, 0);
    add_mark(lesson, talk, "<|im_end|>", 0);
    add_text(lesson, talk, "\n", 0);
    add_mark(lesson, talk, "<|im_start|>", 0);
    add_text(lesson, talk, "assistant\n", 0);
    talk->prompt = talk->count;
    add_text(lesson, talk, talk->answer, 1);
    add_mark(lesson, talk, "<|im_end|>", 1);
    add_text(lesson, talk, "\n", 0);
    for (int64_t i = 0; i < talk->count; i++)
        talk->targets[i] = i + 1 < talk->count && talk->trained[i + 1] ? talk->ids[i + 1] : -1;
}

static void check_templates(struct lesson *lesson, const struct talk *talk)
{
    static const char *const names[] = {"template_llama2", "template_llama3", "template_chatml", "template_plain"};
    static const char *const forms[] = {
        "<s>[INST] %s [/INST] %s </s>",
        ("<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n%s<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n%s"
         "<|eot_id|>"),
        "<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n%s<|im_end|>\n",
        "Human: %s\n\nAssistant: %s<|endoftext|>\n\n"};
    for (int i = 0; i < 4; i++) {
        struct lm_bytes text = {0};
        const char *first = strstr(forms[i], "%s"), *second = strstr(first + 2, "%s");
        lm_bytes_format(&text, NULL, "%.*s%s%.*s%s%s", (int)(first - forms[i]), forms[i], talk->sentence, (int)(second - first - 2),
                        first + 2, talk->answer, second + 2);
        struct lm_bytes wanted = lesson_shown(text.data, text.length);
        lesson_fact_text(lesson, names[i], wanted.data, wanted.length);
        lm_bytes_free(&wanted);
        lm_bytes_free(&text);
    }
    lesson_fact_text(lesson, "template", "chatml", 6);
}

static void check_talk_mask(struct lesson *lesson, const struct talk *talk)
{
    double table[2 * MOST], strip[MOST], trained = 0;
    for (int64_t i = 0; i < talk->count; i++) {
        table[2 * i] = talk->ids[i];
        table[2 * i + 1] = strip[i] = talk->trained[i];
        trained += talk->trained[i];
    }
    lesson_table(lesson, "mask", (size_t)talk->count, 1, strip);
    lesson_table(lesson, "mask_ids", (size_t)talk->count, 2, table);
    lesson_fact(lesson, "tokens", (double)talk->count);
    lesson_fact(lesson, "trained", trained);
}

/* Always the likeliest token, as many as were taught, up to a mark that ends. */
static void check_said(struct lesson *lesson, const struct talk *talk, const char *name)
{
    const int64_t vocabulary = lm_model_config(lesson->model)->vocabulary;
    int32_t ids[MOST];
    int64_t count = talk->prompt;
    float *logits = test_malloc((size_t)(MOST * vocabulary) * sizeof *logits);
    struct lm_stream stream = {0};
    struct lm_bytes text = {0};
    loam_error error;
    memcpy(ids, talk->ids, sizeof ids);
    while (count < talk->count) {
        int32_t best = 0;
        assert_ok(lm_model_logits(lesson->model, ids, count, logits, &error), &error);
        const float *last = logits + (count - 1) * vocabulary;
        for (int32_t i = 1; i < vocabulary; i++)
            best = last[i] > last[best] ? i : best;
        if (best < 3)    /* one of the three special tokens */
            break;
        ids[count++] = best;
    }
    for (int64_t i = talk->prompt; i < count; i++)    /* token by token: bytes that never become a character are U+FFFD */
        assert_ok(lm_stream_push(lesson->tokenizer, &stream, ids[i], false, &text, &error), &error);
    assert_ok(lm_stream_finish(lesson->tokenizer, &stream, &text, &error), &error);
    lm_stream_free(&stream);
    struct lm_bytes wanted = lesson_shown(text.data ? text.data : "", text.length);
    lesson_fact_text(lesson, name, wanted.data, wanted.length);
    lm_bytes_free(&wanted);
    lm_bytes_free(&text);
    test_free(logits);
}

/* The first built-in conversation that fits. */
static void find_other(const struct lesson *lesson, struct talk *other)
{
    struct lm_material *material;
    struct lm_conversations list = {0};
    struct lm_bytes lines = {0};
    struct lm_rendered rendered = {0};
    const struct lm_template *chatml;
    loam_error error;
    assert_ok(lm_material_open(&material, &error), &error);
    assert_ok(lm_material_conversations(material, lesson->seed, 32, &lines, &error), &error);
    assert_ok(lm_conversations_parse(lines.data, lines.length, "test", &list, &error), &error);
    assert_ok(lm_template_find("chatml", NULL, &chatml, &error), &error);
    size_t i = 0;
    do {
        assert_true(i < list.count);
        assert_ok(lm_template_render(chatml, lesson->tokenizer, &list.items[i++], false, &rendered, &error), &error);
    } while (rendered.ids.length > MOST);
    *other = (struct talk){.count = (int64_t)rendered.ids.length};
    memcpy(other->ids, rendered.ids.data, rendered.ids.length * sizeof *other->ids);
    for (int64_t k = 0; k < other->count; k++)
        other->targets[k] = k + 1 < other->count && rendered.trained.data[k + 1] ? other->ids[k + 1] : -1;
    lm_rendered_free(&rendered);
    lm_conversations_free(&list);
    lm_bytes_free(&lines);
    lm_material_close(material);
}

static double fact_value(struct lesson *lesson, const char *name)
{
    return lesson_number(lesson, lm_value_find(lesson_block(lesson, name), "value"));
}

static void check_shares(struct lesson *lesson, const struct talk *talk, const struct hand *hand, size_t column)
{
    size_t row = 0;
    for (int64_t i = 1; i < talk->count; i++)
        if (talk->trained[i])
            lesson_near(lesson, "probabilities", lesson_at(lesson, "probabilities", row++, column), exp(-(double)hand->losses[i - 1]), 1e-4);
    assert_int_equal(lm_value_find(lesson_block(lesson, "probabilities"), "values")->length, row);
}

static double other_loss(struct lesson *lesson, const struct talk *other)
{
    struct hand hand;
    open_hand(&hand, lesson->model, 1, other->count);
    const double loss = pass(&hand, other->ids, other->targets, other->count);
    close_hand(&hand);
    return loss;
}

static void check_tuning(struct lesson *lesson)
{
    struct talk talk, other;
    struct hand hand;
    int32_t all[MOST];
    double loss = 0;
    write_talk(lesson, &talk);
    find_other(lesson, &other);
    check_templates(lesson, &talk);
    check_talk_mask(lesson, &talk);
    check_said(lesson, &talk, "said_before");
    lesson_near(lesson, "other_before", fact_value(lesson, "other_before"), other_loss(lesson, &other), 1e-5);
    open_hand(&hand, lesson->model, 1, talk.count);
    for (int64_t i = 0; i < talk.count; i++)
        all[i] = i + 1 < talk.count ? talk.ids[i + 1] : -1;
    lesson_near(lesson, "loss_without_mask", fact_value(lesson, "loss_without_mask"), pass(&hand, talk.ids, all, talk.count), 1e-5);
    lesson_fact(lesson, "steps", 40);
    lesson_fact(lesson, "learning_rate", 1e-3);
    for (size_t step = 0; step <= 40; step++) {
        loss = pass(&hand, talk.ids, talk.targets, talk.count);
        lesson_near(lesson, "curve", lesson_at(lesson, "curve", step, 0), loss, 1e-4);
        if (step == 0)
            lesson_near(lesson, "loss_before", fact_value(lesson, "loss_before"), loss, 1e-5);
        if (step == 0 || step == 40)
            check_shares(lesson, &talk, &hand, step > 0);
        if (step < 40)
            adamw(&hand, 1e-3, 0.95, 0);
    }
    close_hand(&hand);
    lesson_near(lesson, "loss_after", fact_value(lesson, "loss_after"), loss, 1e-4);
    assert_true(loss < fact_value(lesson, "loss_before"));    /* something was learned */
    check_said(lesson, &talk, "said_after");
    lesson_near(lesson, "other_after", fact_value(lesson, "other_after"), other_loss(lesson, &other), 1e-3);
}

/* --- 14 --- */

enum { ROWS = 2, LENGTH = 256, MOST_CHANGES = 6 };
struct way {
    const char *changes[MOST_CHANGES];
};
static const struct way plans[] = {
    {{NULL}}, {{"recompute=inner"}}, {{"recompute=layer"}}, {{"optimizer_state=8bit"}}, {{"dtype=bf16", "masters=false"}},
    {{"fused_step=true"}}, {{"offload=optimizer"}}, {{"offload=weights"}}, {{"recompute=layer", "offload=activations"}},
    {{"recompute=layer", "optimizer_state=8bit", "dtype=bf16", "masters=false", "fused_step=true", "offload=optimizer,weights,activations"}},
}, runs[] = {
    {{NULL}}, {{"recompute=layer"}}, {{"fused_step=true"}}, {{"offload=optimizer"}},
    {{"recompute=layer", "fused_step=true", "offload=optimizer,weights,activations"}},
};

static void set(struct lm_run_settings *settings, const char *shape, int64_t length, const struct way *way)
{
    loam_error error;
    lm_run_settings_init(settings, LM_RUN_TRAIN);
    assert_ok(lm_run_settings_set(settings, "model", shape, &error), &error);
    settings->batch = ROWS;
    settings->seq = length;
    settings->threads = 2;
    for (int i = 0; i < MOST_CHANGES && way->changes[i]; i++) {
        char key[64];
        const char *value = strchr(way->changes[i], '=');
        snprintf(key, sizeof key, "%.*s", (int)(value - way->changes[i]), way->changes[i]);
        assert_ok(lm_run_settings_set(settings, key, value + 1, &error), &error);
    }
}

static struct lm_run_plan plan(const char *shape, int64_t length, const struct way *way)
{
    struct lm_run_settings settings;
    struct lm_run_plan made;
    loam_error error;
    set(&settings, shape, length, way);
    assert_ok(lm_run_plan_make(&settings, &made, &error), &error);
    lm_run_settings_free(&settings);
    return made;
}

static double mib(size_t bytes)
{
    return (double)bytes / (1 << 20);
}

static void check_plans(struct lesson *lesson, const char *shape, int64_t length, size_t parameters)
{
    double table[10 * 8];
    for (size_t i = 0; i < 10; i++) {
        const struct lm_run_plan p = plan(shape, length, &plans[i]);
        const double row[8] = {mib(p.weights), mib(p.gradients), mib(p.optimizer), mib(p.activations), mib(p.logits), mib(p.workspace),
                               mib(p.arena), mib(p.scratch_optimizer + p.scratch_weights + p.scratch_activations)};
        memcpy(table + 8 * i, row, sizeof row);
    }
    lesson_table(lesson, "plans", 10, 8, table);
    /* and some that need no plan: four bytes a parameter, twice that for moments, two bytes, what lies on disk */
    const double weights = mib(4 * parameters);
    lesson_near(lesson, "weights", lesson_at(lesson, "plans", 0, 0), weights, 1e-3);
    lesson_near(lesson, "moments", lesson_at(lesson, "plans", 0, 2), 2 * weights, 1e-2);
    lesson_near(lesson, "bf16", lesson_at(lesson, "plans", 4, 0), weights / 2, 1e-3);
    lesson_near(lesson, "moments on disk", lesson_at(lesson, "plans", 6, 7), 2 * weights, 1e-2);
    lesson_near(lesson, "weights on disk", lesson_at(lesson, "plans", 7, 7), weights, 1e-2);
}

static void check_picture(struct lesson *lesson, const char *name, const char *shape, int64_t length, const struct way *way)
{
    struct lm_run_settings settings;
    struct lm_run_plan made;
    struct lm_plan_picture picture;
    loam_error error;
    set(&settings, shape, length, way);
    assert_ok(lm_run_plan_picture(&settings, &made, &picture, &error), &error);
    double *wanted = test_malloc((size_t)picture.moments * 6 * sizeof *wanted), most = 0;
    for (int32_t i = 0; i < picture.moments; i++) {
        double sum = 0;
        for (int part = 0; part < 6; part++)
            sum += wanted[6 * i + part] = mib(picture.live[i][part]);
        most = fmax(most, sum);
    }
    lesson_table(lesson, name, (size_t)picture.moments, 6, wanted);
    assert_int_equal(made.peak, lesson_number(lesson, lm_value_find(lesson_block(lesson, name), "marked")));
    assert_true(fabs(most - mib(made.live)) < 1e-9);
    if (!way->changes[0])    /* at the optimizer's step there is a gradient for every weight */
        lesson_near(lesson, "gradients", lesson_at(lesson, name, (size_t)picture.moments - 1, 1),
                    lesson_at(lesson, name, (size_t)picture.moments - 1, 0), 1e-2);
    test_free(wanted);
    lm_plan_picture_free(&picture);
    lm_run_settings_free(&settings);
}

/* The loss that three steps end with, without a run: the sentence in two rows, AdamW by hand at the schedule's rates. */
static double last_loss(struct lesson *lesson)
{
    static int32_t ids[ROWS * LENGTH], targets[ROWS * LENGTH];
    const struct lm_config config = lm_lesson_config_of_runs(lesson->tokenizer);
    struct lm_run_settings settings;
    struct lm_model *model;
    struct hand hand;
    loam_error error;
    double loss = 0;
    for (int64_t i = 0; i < ROWS * LENGTH; i++) {
        const size_t at = (size_t)(i / LENGTH + i % LENGTH);
        ids[i] = lesson->ids.data[at % lesson->ids.length];
        targets[i] = lesson->ids.data[(at + 1) % lesson->ids.length];
    }
    assert_ok(lm_model_create(&config, lesson->seed, lesson->device, &(struct lm_model_options){.dtype = LM_F32}, &model, &error), &error);
    lm_run_settings_init(&settings, LM_RUN_TRAIN);
    settings.steps = 3;
    settings.warmup = 0;    /* a twentieth of three steps */
    settings.min_lr = settings.lr / 10;
    open_hand(&hand, model, ROWS, LENGTH);
    for (int step = 1; step <= 3; step++) {
        loss = pass(&hand, ids, targets, ROWS * LENGTH);
        adamw(&hand, lm_schedule_rate(&settings, step), 0.95, settings.weight_decay);
    }
    close_hand(&hand);
    lm_run_settings_free(&settings);
    lm_model_close(model);
    return loss;
}

static void check_runs(struct lesson *lesson, const char *shape)
{
    const double loss = last_loss(lesson);
    assert_int_equal(lm_value_find(lesson_block(lesson, "runs"), "values")->length, 5);
    for (size_t i = 0; i < 5; i++) {
        struct lm_run_plan p = plan(shape, LENGTH, &runs[i]);
        const double planned = lesson_at(lesson, "runs", i, 0);
        lesson_near(lesson, "planned", planned, mib(p.arena), 1e-6);
        lesson_near(lesson, "on disk", lesson_at(lesson, "runs", i, 2), mib(p.scratch_optimizer + p.scratch_weights + p.scratch_activations),
                    1e-6);
#if !TEST_SANITIZED
        lesson_near(lesson, "measured", lesson_at(lesson, "runs", i, 1), planned, planned / 100 + 8);    /* what the README says of plans */
#endif
        assert_true(lesson_at(lesson, "runs", i, 3) > 0 && lesson_at(lesson, "runs", i, 3) < 60);
        assert_true(lesson_at(lesson, "runs", i, 4) == lesson_at(lesson, "runs", 0, 4));    /* to the last bit */
        lesson_near(lesson, "loss", lesson_at(lesson, "runs", i, 4), loss, 1e-4);
    }
}

static size_t parameters_of(const struct lm_config *config)
{
    return lm_model_weight_bytes(config, LM_F32) / 4;
}

static char *write_shape(const char *name, const struct lm_config *config)
{
    loam_error error;
    const char *folder = test_path(test_folder(), name);
    assert_ok(lm_make_directories(folder, &error), &error);
    char *path = lm_path_join(folder, "config.json", &error);
    assert_ok(lm_config_write(config, LM_F32, path, &error), &error);
    path[strlen(path) - strlen("/config.json")] = 0;
    return path;
}

static void check_memory(struct lesson *lesson)
{
    const struct lm_config small = lm_lesson_config_of_runs(lesson->tokenizer);
    const struct lm_config config = lesson->given ? *lm_model_config(lesson->given) : small;
    const int64_t length = config.context < LENGTH ? config.context : LENGTH;
    char *shape = write_shape("shape", &config), *small_shape = write_shape("small", &small);
    lesson_fact(lesson, "parameters", (double)parameters_of(&config));
    lesson_fact(lesson, "batch", ROWS);
    lesson_fact(lesson, "length", (double)length);
    lesson_fact(lesson, "weights", 16.0 * (double)parameters_of(&config) / (1 << 20));
    check_picture(lesson, "step", shape, length, &plans[0]);
    check_plans(lesson, shape, length, parameters_of(&config));
    check_picture(lesson, "step_least", shape, length, &plans[9]);
    check_runs(lesson, small_shape);
    lm_free(shape);
    lm_free(small_shape);
}

static void test_tuning(void **state)
{
    (void)state;
    lesson_check(13, check_tuning, true);
    if (!TEST_SANITIZED)    /* slow there, and the training is that of test_practice */
        lesson_check(13, check_tuning, false);
}

static void test_memory(void **state)
{
    static const struct {
        const char *sentence;
        uint64_t seed;
        bool given;
    } cases[] = {{lm_lesson_sentence, 1, false}, {"A model of the reader's", 5, true}};
    (void)state;
#if TEST_SANITIZED
    print_message("SKIP: a sanitizer's own memory cannot be told apart from what the runs take\n");
#endif
    for (size_t i = TEST_SANITIZED; i < sizeof cases / sizeof *cases; i++) {
        struct lesson lesson;
        lesson_open(&lesson, 14, cases[i].sentence, cases[i].seed, cases[i].given);
        check_memory(&lesson);
        lesson_close(&lesson);
    }
}

/* --- What the lessons' small model learns before 8, 12 and 13 --- */

static double loss_on(struct lm_model *model, const struct lm_ids *ids)
{
    struct hand hand;
    const int64_t count = (int64_t)ids->length - 1;
    open_hand(&hand, model, 1, count);
    const double loss = pass(&hand, ids->data, ids->data + 1, count);
    close_hand(&hand);
    return loss;
}

/* Twenty steps by hand beside those of the lessons: the loss on the sentence, to what is asked of any training run of twenty steps. */
static void test_practice(void **state)
{
    enum { BATCH = 8, LONG = 32, STEPS = 20 };
    static int32_t ids[BATCH * LONG], targets[BATCH * LONG];
    struct lesson lesson;
    struct lm_ids text_ids = {0};
    struct lm_model *model;
    struct hand hand;
    loam_error error;
    (void)state;
    for (uint64_t seed = 7; seed < 9 - TEST_SANITIZED; seed++) {
        lesson_open(&lesson, 5, "The cat sat on the mat, the dog on the log", seed, false);    /* for its tokenizer, model and ids */
        struct lm_bytes text = lesson_small_text(seed, LM_LESSON_TEXT);
        struct lm_random random = lm_random_seed(seed, 1);
        const struct lm_config config = lm_lesson_config(lesson.tokenizer);
        lesson_encode(lesson.tokenizer, text.data, text.length, 0, &text_ids);
        assert_ok(lm_model_create(&config, seed, lesson.device, &(struct lm_model_options){.dtype = LM_F32}, &model, &error), &error);
        const double before = loss_on(model, &lesson.ids);
        open_hand(&hand, model, BATCH, LONG);
        for (int step = 0; step < STEPS; step++) {
            for (int b = 0; b < BATCH; b++) {
                const size_t at = (size_t)lm_random_below(&random, text_ids.length - LONG - 1);
                memcpy(ids + b * LONG, text_ids.data + at, LONG * sizeof *ids);
                memcpy(targets + b * LONG, text_ids.data + at + 1, LONG * sizeof *ids);
            }
            pass(&hand, ids, targets, BATCH * LONG);
            adamw(&hand, 5e-3, 0.98, 0);
        }
        close_hand(&hand);
        const double wanted = loss_on(model, &lesson.ids);
        assert_ok(lm_lesson_practise(lesson.model, lesson.tokenizer, seed, STEPS, &error), &error);
        lesson_near(&lesson, "loss after twenty steps", loss_on(lesson.model, &lesson.ids), wanted, 1e-4);
        assert_true(wanted < before - 0.1);
        lm_model_close(model);
        lm_ids_free(&text_ids);
        lm_bytes_free(&text);
        memset(lesson.claimed, true, lesson.blocks->length);    /* its page is another test's */
        lesson_close(&lesson);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tuning),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_practice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
