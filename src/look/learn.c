/* The table of lessons, and the small model that they use where none is given. */
#include "data/data.h"
#include "labels.h"
#include "lessons.h"

#include <string.h>

const char lm_lesson_sentence[] = "Your journey starts with one step";

static const struct {
    const char *title;
    lm_teacher *teach;
    bool trains;
    int64_t practice;
} lessons[] = {
    {"Words to numbers", lm_teach_words, false, 0},
    {"Byte-pair encoding", lm_teach_merges, false, 0},
    {"Samples", lm_teach_samples, false, 0},
    {"Embeddings", lm_teach_embeddings, false, 0},
    {"Attention without weights", lm_teach_plain_attention, false, 0},
    {"Attention with weights", lm_teach_weighted_attention, false, 0},
    {"The causal mask, and dropout", lm_teach_mask, false, 0},
    {"Several heads, grouped heads", lm_teach_heads, false, 200},
    {"Normalisation, feed-forward, shortcuts", lm_teach_layer, false, 0},
    {"A whole model, parameter by parameter", lm_teach_whole, false, 0},
    {"Loss, gradients, and one optimizer step", lm_teach_step, true, 0},
    {"Generation", lm_teach_generation, false, 400},
    {"Fine-tuning", lm_teach_tuning, true, 400},
    {"Memory", lm_teach_memory, false, 0},
};

int lm_lesson_count(void)
{
    return (int)(sizeof lessons / sizeof *lessons);
}

const char *lm_lesson_title(int number)
{
    return lessons[number - 1].title;
}

bool lm_lesson_trains(int number)
{
    return lessons[number - 1].trains;
}

int64_t lm_lesson_practice(int number)
{
    return lessons[number - 1].practice;
}

static void close_lesson(struct lm_lesson *lesson)
{
    if (lesson->labels)
        lm_free_strings(lesson->labels, lesson->ids.length);
    if (lesson->words)
        lm_free_strings(lesson->words, (size_t)lesson->word_count);
    lm_ids_free(&lesson->ids);
    lm_model_close(lesson->own_model);
    lm_tokenizer_free(lesson->own_tokenizer);
    lm_device_close(lesson->own_device);
}

const char *lm_sentence_of(const struct lm_lesson_options *options)
{
    return options->sentence ? options->sentence : lm_lesson_sentence;
}

int lm_lesson_hold(int number, const struct lm_lesson_options *options, struct lm_page **page, loam_error *error)
{
    struct lm_lesson lesson = {.options = options, .number = number};
    struct lm_bytes title = {0};
    if (number < 1 || number > lm_lesson_count())
        return lm_fail(error, LOAM_EUSAGE, "lesson %d: there are lessons 1 to %d", number, lm_lesson_count());
    const char *sentence = lm_sentence_of(options);
    if (strspn(sentence, " \t\r\n") == strlen(sentence))
        return lm_fail(error, LOAM_EUSAGE, "the sentence is empty; give one with words in it");
    int code = lm_bytes_format(&title, error, "%d. %s", number, lessons[number - 1].title);
    if (!code && !(lesson.page = lm_page_create(title.data, error)))
        code = LOAM_ENOMEM;
    if (!code)
        code = lessons[number - 1].teach(&lesson, error);
    if (!code)
        code = lm_page_check(lesson.page, error);
    close_lesson(&lesson);
    lm_bytes_free(&title);
    if (code)
        lm_page_free(lesson.page);
    else
        *page = lesson.page;
    return code;
}

int lm_lesson_bind(struct lm_page *const *pages, int count, struct lm_page **book, loam_error *error)
{
    struct lm_page *made = lm_page_create("The lessons", error);
    if (!made)
        return LOAM_ENOMEM;
    for (int i = 0; i < count; i++) {
        if (!pages[i])
            continue;
        lm_page_section(made, "%s", pages[i]->title);
        for (size_t k = 0; k < pages[i]->count; k++)
            lm_page_add(made, &pages[i]->blocks[k]);
    }
    int code = lm_page_check(made, error);
    if (code)
        lm_page_free(made);
    else
        *book = made;
    return code;
}

/* --- What lessons work with --- */

int lm_lesson_device(struct lm_lesson *lesson, loam_error *error)
{
    if (lesson->device)
        return LOAM_OK;
    if (lesson->options->model) {
        lesson->device = lm_model_device(lesson->options->model);
        return LOAM_OK;
    }
    /* One thread: on a model as small as the lessons' two spend longer waiting for each other. */
    int code = lm_device_open(&(struct lm_device_options){.threads = 1}, &lesson->own_device, error);
    lesson->device = lesson->own_device;
    return code;
}

int lm_lesson_may_train(const struct lm_lesson *lesson, loam_error *error)
{
    if (lesson->options->model && !lesson->options->loaded)
        return lm_fail(error, LOAM_EUSAGE, "this lesson trains the model; it must be loaded in fp32");
    return LOAM_OK;
}

int lm_lesson_text(uint64_t seed, size_t size, struct lm_bytes *text, loam_error *error)
{
    struct lm_material *material;
    int code = lm_material_open(&material, error);
    if (code)
        return code;
    code = lm_material_corpus(material, seed, size, text, error);
    lm_material_close(material);
    return code;
}

int lm_lesson_tokenizer(struct lm_lesson *lesson, loam_error *error)
{
    static const char *const specials[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    struct lm_bytes text = {0};
    lesson->tokenizer = lesson->options->tokenizer ? lesson->options->tokenizer : lesson->own_tokenizer;
    if (lesson->tokenizer)
        return LOAM_OK;
    int code = lm_lesson_text(lesson->options->seed, LM_LESSON_TEXT, &text, error);
    const struct lm_tokenizer_training training = {.text = text.data, .text_length = text.length, .vocabulary_size = 384,
                                                   .specials = specials, .special_count = 3, .threads = lesson->options->threads};
    if (!code)
        code = lm_tokenizer_train(&training, &lesson->own_tokenizer, error);
    lm_bytes_free(&text);
    lesson->tokenizer = lesson->own_tokenizer;
    return code;
}

struct lm_config lm_lesson_config(const struct lm_tokenizer *tokenizer)
{
    return (struct lm_config){.family = LM_LLAMA, .vocabulary = lm_tokenizer_size(tokenizer), .width = 64, .layers = 2, .heads = 4,
                              .kv_heads = 2, .head_size = 16, .feed_forward = 128, .context = 128, .tied = true, .norm_eps = 1e-5,
                              .rope_theta = 10000, .initializer_range = 0.05, .bos = -1, .eos = -1, .pad = -1};
}

/* Windows of the text at places drawn from the seed, AdamW without decay. */
enum { BATCH = 8, LENGTH = 32 };
struct training {
    struct lm_layout layout;
    struct lm_pass *pass;
    void *block;
    float *gradients, *m, *v;
    int32_t *ids, *targets;
};

static int open_training(struct lm_model *model, int64_t numbers, struct training *training, loam_error *error)
{
    const struct lm_pass_options options = {.batch = BATCH, .length = LENGTH, .backward = true};
    const size_t bytes = (size_t)numbers * sizeof(float), ids = (size_t)BATCH * LENGTH * sizeof(int32_t);
    lm_layout_add(&training->layout, (void **)&training->gradients, "gradients", bytes);
    lm_layout_add(&training->layout, (void **)&training->m, "m", bytes);
    lm_layout_add(&training->layout, (void **)&training->v, "v", bytes);
    lm_layout_add(&training->layout, (void **)&training->ids, "ids", ids);
    lm_layout_add(&training->layout, (void **)&training->targets, "targets", ids);
    int code = lm_pass_create(model, &options, &training->layout, &training->pass, error);
    if (!code && !(training->block = lm_block_map(training->layout.size, error)))
        code = LOAM_ENOMEM;
    if (!code)
        lm_layout_bind(&training->layout, training->block);
    return code;
}

static int train_step(struct lm_model *model, struct training *training, int64_t numbers, const struct lm_ids *text, int64_t step,
                      struct lm_random *random, loam_error *error)
{
    const struct lm_ops *ops = lm_device_ops(lm_model_device(model));
    enum lm_dtype dtype;
    double loss;
    for (int64_t b = 0; b < BATCH; b++) {
        const size_t at = (size_t)lm_random_below(random, text->length - LENGTH - 1);
        memcpy(training->ids + b * LENGTH, text->data + at, LENGTH * sizeof(int32_t));
        memcpy(training->targets + b * LENGTH, text->data + at + 1, LENGTH * sizeof(int32_t));
    }
    ops->fill(lm_model_device(model), numbers, 0, training->gradients);
    const struct lm_pass_input input = {.ids = training->ids, .targets = training->targets};
    int code = lm_pass_run(training->pass, &input, 1.0F / (BATCH * LENGTH), training->gradients, &loss, NULL, error);
    const struct lm_adamw work = {.count = numbers, .step = step, .lr = 5e-3, .beta1 = 0.9, .beta2 = 0.98, .eps = 1e-8,
                                  .grad_scale = 1, .parameter = lm_model_weights(model, &dtype), .gradient = training->gradients,
                                  .m = training->m, .v = training->v};
    if (!code)
        ops->adamw(lm_model_device(model), &work);
    return code;
}

int lm_lesson_practise(struct lm_model *model, const struct lm_tokenizer *tokenizer, uint64_t seed, int64_t steps, loam_error *error)
{
    struct training training = {0};
    struct lm_ids ids = {0};
    struct lm_bytes text = {0};
    size_t count;
    const struct lm_parameter *table = lm_model_parameters(model, &count);
    const int64_t numbers = (int64_t)table[count - 1].offset + table[count - 1].count;
    struct lm_random random = lm_random_seed(seed, 1);
    int code = lm_lesson_text(seed, LM_LESSON_TEXT, &text, error);
    if (!code)
        code = lm_tokenizer_encode(tokenizer, text.data, text.length, 0, &ids, NULL, error);
    if (!code)
        code = open_training(model, numbers, &training, error);
    for (int64_t step = 1; step <= steps && !code; step++)
        code = train_step(model, &training, numbers, &ids, step, &random, error);
    lm_pass_free(training.pass);
    if (training.block)
        lm_block_unmap(training.block, training.layout.size);
    lm_layout_free(&training.layout);
    lm_bytes_free(&text);
    lm_ids_free(&ids);
    return code;
}

int lm_lesson_train(struct lm_lesson *lesson, loam_error *error)
{
    if (!lesson->own_model)
        return LOAM_OK;
    return lm_lesson_practise(lesson->own_model, lesson->tokenizer, lesson->options->seed, lm_lesson_practice(lesson->number), error);
}

int lm_lesson_model(struct lm_lesson *lesson, loam_error *error)
{
    int code = lm_lesson_device(lesson, error);
    if (!code)
        code = lm_lesson_tokenizer(lesson, error);
    if (code)
        return code;
    lesson->model = lesson->options->model;
    if (lesson->model)
        return LOAM_OK;
    const struct lm_config config = lm_lesson_config(lesson->tokenizer);
    code = lm_model_create(&config, lesson->options->seed, lesson->device, &(struct lm_model_options){.dtype = LM_F32},
                           &lesson->own_model, error);
    lesson->model = lesson->own_model;
    return code;
}

int lm_lesson_encode(struct lm_lesson *lesson, loam_error *error)
{
    const char *sentence = lm_sentence_of(lesson->options);
    int code = lm_tokenizer_encode(lesson->tokenizer, sentence, strlen(sentence), LM_ENCODE_ADD_SPECIAL, &lesson->ids, NULL, error);
    if (!code)
        code = lm_labels_make(lesson->tokenizer, lesson->ids.data, (int64_t)lesson->ids.length, &lesson->labels, error);
    if (!code && lesson->model && (int64_t)lesson->ids.length > lm_model_config(lesson->model)->context)
        code = lm_fail(error, LOAM_EUSAGE, "the sentence has %zu tokens, and the model's context is %lld; give a shorter one",
                       lesson->ids.length, (long long)lm_model_config(lesson->model)->context);
    return code;
}

static int cut_words(struct lm_lesson *lesson, loam_error *error)
{
    static const char blanks[] = " \t\r\n";
    const char *at = lm_sentence_of(lesson->options);
    lesson->words = lm_alloc(LM_LESSON_WORDS, sizeof *lesson->words, error);
    if (!lesson->words)
        return LOAM_ENOMEM;
    for (at += strspn(at, blanks); *at && lesson->word_count < LM_LESSON_WORDS; at += strspn(at, blanks)) {
        const size_t length = strcspn(at, blanks);
        struct lm_bytes word = {0};
        if (lm_label_write(at, length, &word, error))
            return LOAM_ENOMEM;
        lesson->words[lesson->word_count++] = word.data;
        at += length;
    }
    return LOAM_OK;
}

int lm_lesson_vectors(struct lm_lesson *lesson, float **vectors, loam_error *error)
{
    /* Raschka, Build a Large Language Model (From Scratch), 2024, section 3.3. */
    static const float published[] = {0.43F, 0.15F, 0.89F, 0.55F, 0.87F, 0.66F, 0.57F, 0.85F, 0.64F,
                                      0.22F, 0.58F, 0.33F, 0.77F, 0.25F, 0.10F, 0.05F, 0.80F, 0.55F};
    int code = cut_words(lesson, error);
    if (code)
        return code;
    float *made = lm_alloc((size_t)(3 * lesson->word_count), sizeof *made, error);
    if (!made)
        return LOAM_ENOMEM;
    struct lm_random random = lm_random_seed(lesson->options->seed, 2);
    for (int64_t i = 0; i < 3 * lesson->word_count; i++)
        made[i] = (float)lm_random_unit(&random);
    if (strcmp(lm_sentence_of(lesson->options), lm_lesson_sentence) == 0)
        memcpy(made, published, sizeof published);
    *vectors = made;
    return LOAM_OK;
}

void lm_lesson_show(struct lm_page *page, const struct lm_block *block, const float *values)
{
    const size_t count = (size_t)(block->rows * block->columns);
    double *wide = lm_alloc(count + 1, sizeof *wide, &page->error);
    if (!wide)
        return;
    for (size_t i = 0; i < count; i++)
        wide[i] = values[i];
    struct lm_block shown = *block;
    shown.values = wide;
    lm_page_add(page, &shown);
    lm_free(wide);
}
