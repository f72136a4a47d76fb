/* loam learn */
#include "show.h"
#include "subject.h"

#include <string.h>

struct learning {
    const struct arguments *arguments;
    struct lm_lesson_options options;
    int64_t number;         /* 0: all */
    const char *path;       /* MODEL, or NULL */
    struct lm_device *device;
    struct lm_model *model;
    struct lm_tokenizer *tokenizer;
    const struct lm_template *chat_template;
    struct lm_bytes sentence;
};

static int read_operands(struct learning *l, loam_error *error)
{
    for (size_t i = 0; i < l->arguments->operand_count; i++) {
        const char *word = l->arguments->operands[i];
        if (lm_parse_int(word, &l->number, NULL) != LOAM_OK) {
            if (l->path)
                return lm_fail(error, LOAM_EUSAGE, "learn: found two models, '%s' and '%s', wanted one", l->path, word);
            l->path = word;
        } else if (l->number < 1 || l->number > lm_lesson_count()) {
            return lm_fail(error, LOAM_EUSAGE, "learn: lesson %s: there are lessons 1 to %d", word, lm_lesson_count());
        }
    }
    if (l->path && l->arguments->operand_count > 1 && !l->number)
        return lm_fail(error, LOAM_EUSAGE, "learn: found two models, wanted a lesson and a model");
    return LOAM_OK;
}

/* Lessons that train get a model of their own in memory. */
static int open_model(struct learning *l, bool load, loam_error *error)
{
    lm_model_close(l->model);
    l->model = NULL;
    const struct lm_model_options options = {.load = load, .dtype = LM_F32};
    int code = lm_model_open(l->path, l->device, &options, &l->model, error);
    l->options.model = l->model;
    l->options.loaded = load;
    return code;
}

/* The model's own, where it has one. */
static int open_template(struct learning *l, loam_error *error)
{
    const int code = lm_template_find(NULL, l->path, &l->chat_template, error);
    l->options.chat_template = l->chat_template;
    return code == LOAM_ENOTFOUND ? LOAM_OK : code;
}

static int open_all(struct learning *l, loam_error *error)
{
    const struct argument *values = l->arguments->values;
    int code = LOAM_OK;
    if (values[OPT_SENTENCE].given) {
        code = read_sentence(l->arguments, &l->sentence, error);
        if (!code && l->sentence.length && memchr(l->sentence.data, 0, l->sentence.length))
            code = lm_fail(error, LOAM_EUSAGE, "--sentence: found a zero byte, wanted text");
        l->options.sentence = l->sentence.data ? l->sentence.data : "";
    }
    l->options.seed = values[OPT_SEED].given ? values[OPT_SEED].seed : 1;
    l->options.threads = thread_count(l->arguments);
    if (!code && l->path)
        code = lm_device_open(&(struct lm_device_options){.threads = thread_count(l->arguments)}, &l->device, error);
    if (!code && l->path)
        code = lm_tokenizer_load(l->path, &l->tokenizer, error);
    if (!code && l->path)
        code = open_template(l, error);
    if (!code && l->path && !l->number)
        code = open_model(l, false, error);
    l->options.tokenizer = l->tokenizer;
    return code;
}

static void close_all(struct learning *l)
{
    lm_bytes_free(&l->sentence);
    lm_template_free(l->chat_template);
    lm_tokenizer_free(l->tokenizer);
    lm_model_close(l->model);
    lm_device_close(l->device);
}

static int hold(struct learning *l, int number, struct lm_page **page, loam_error *error)
{
    const bool load = lm_lesson_trains(number);
    if (l->path && (!l->model || load != l->options.loaded)) {
        int code = open_model(l, load, error);
        if (code)
            return code;
    }
    return lm_lesson_hold(number, &l->options, page, error);
}

static int hold_all(struct learning *l, struct lm_page **book, loam_error *error)
{
    struct lm_page *pages[64] = {0};
    const int count = lm_lesson_count();
    int code = LOAM_OK;
    for (int i = 0; i < count && !code; i++)
        code = hold(l, i + 1, &pages[i], error);
    if (!code)
        code = lm_lesson_bind(pages, count, book, error);
    for (int i = 0; i < count; i++)
        lm_page_free(pages[i]);
    return code;
}

static int list_lessons(void)
{
    for (int i = 1; i <= lm_lesson_count(); i++)
        printf("%3d  %s\n", i, lm_lesson_title(i));
    note("loam learn N holds one of them; loam learn --html -o lessons.html writes all.");
    return EXIT_DONE;
}

int command_learn(const struct arguments *arguments)
{
    struct learning l = {.arguments = arguments};
    struct lm_page *page = NULL;
    loam_error error;
    int code = show_check(arguments, &error);
    if (code == LOAM_OK)
        code = read_operands(&l, &error);
    if (code == LOAM_OK && !l.number && show_form(arguments, SHOW_TENSORS) == SHOW_TEXT && !arguments->values[OPT_OUT].given)
        return list_lessons();
    if (code == LOAM_OK)
        code = open_all(&l, &error);
    if (code == LOAM_OK)
        code = l.number ? hold(&l, (int)l.number, &page, &error) : hold_all(&l, &page, &error);
    close_all(&l);
    return code == LOAM_OK ? show_page(arguments, page) : complain_error(&error);
}
