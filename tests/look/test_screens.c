/* What every look and every lesson puts on a terminal, beside stored text: at widths of 60, 80 and 120, plain, with Unicode, with colours.
 * The plain C device computes, so that the numbers are those of any machine; of a number that differs all the same (the system's exp may
 * round otherwise) two units of its last digit are allowed, of all else nothing. LOAM_REWRITE=1 writes the stored screens anew. */
#include "support/support.h"

#include "look/page.h"

#include <math.h>
#include <stdlib.h>

static const char sentence[] = "One small step";
static const char *const forms[] = {"plain", "unicode", "colour"};
static const int widths[] = {60, 80, 120};

/* --- Comparing --- */

static bool of_number(char c)
{
    return (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '+' || c == 'e';
}

/* Two numbers of the same digits but for the last, by two at most. */
static bool same_number(const char *a, size_t length, const char *b, size_t other)
{
    char x[64], y[64];
    if (length != other || length == 0 || length >= sizeof x)
        return false;
    snprintf(x, sizeof x, "%.*s", (int)length, a);
    snprintf(y, sizeof y, "%.*s", (int)length, b);
    const char *point = strchr(x, '.'), *exponent = strchr(x, 'e');
    const int decimals = point ? (int)strspn(point + 1, "0123456789") : 0;
    return fabs(atof(x) - atof(y)) <= 2.000001 * pow(10, (exponent ? atoi(exponent + 1) : 0) - decimals);
}

static bool same_screen(const char *a, size_t a_length, const char *b, size_t b_length, size_t *at)
{
    size_t i = 0, k = 0;
    while (i < a_length && k < b_length) {
        if (a[i] == b[k]) {
            i++, k++;
            continue;
        }
        *at = i;
        while (i > 0 && of_number(a[i - 1]))
            i--, k--;
        size_t x = 0, y = 0;
        while (i + x < a_length && of_number(a[i + x]))
            x++;
        while (k + y < b_length && of_number(b[k + y]))
            y++;
        if (!same_number(a + i, x, b + k, y))
            return false;
        i += x, k += y;
    }
    *at = i;
    return i == a_length && k == b_length;
}

/* No line is wider than the screen, and nothing on it is more than the form has. */
static void check_form(const char *name, const struct lm_bytes *screen, const struct lm_text_style *style)
{
    int used = 0;
    for (const char *text = screen->data; *text;) {
        uint32_t character;
        if (*text == '\x1b') {
            assert_true(style->colour);
            text += strcspn(text, "m") + 1;
            continue;
        }
        const size_t length = lm_utf8_decode(text, strlen(text), &character);
        assert_true(length > 0 && (style->unicode || character < 0x80));
        used = *text == '\n' ? 0 : used + lm_utf8_width(character);
        if (used > style->width)
            fail_msg("%s: a line is wider than %d: %.60s", name, style->width, text);
        text += length;
    }
}

/* All nine screens of a page, one behind the other, beside the file. Takes the page. */
static void compare(const char *name, struct lm_page *page)
{
    struct lm_bytes all = {0}, stored = {0};
    loam_error error;
    char path[1024];
    size_t at;
    for (int form = 0; form < 3; form++)
        for (int i = 0; i < 3; i++) {
            const struct lm_text_style style = {.width = widths[i], .unicode = form > 0, .colour = form == 2};
            struct lm_bytes screen = {0};
            assert_ok(lm_page_text(page, &style, &screen, &error), &error);
            check_form(name, &screen, &style);
            lm_bytes_format(&all, NULL, "=== %s, %d columns\n", forms[form], widths[i]);
            lm_bytes_append(&all, screen.data, screen.length, NULL);
            lm_bytes_free(&screen);
        }
    lm_page_free(page);
    snprintf(path, sizeof path, "%s/look/screens/%s.txt", LOAM_TESTS, name);
    if (getenv("LOAM_REWRITE"))
        assert_ok(lm_file_replace(path, all.data, all.length, &error), &error);
    assert_ok(lm_file_read(path, 0, &stored, &error), &error);
    if (!same_screen(stored.data, stored.length, all.data, all.length, &at))
        fail_msg("%s: the screens are not as stored; from here on they are now:\n%.600s", name, all.data + (at > 200 ? at - 200 : 0));
    lm_bytes_free(&stored);
    lm_bytes_free(&all);
}

/* --- What is looked at --- */

struct scene {
    struct lm_device *device;
    struct lm_tokenizer *tokenizer;
    struct lm_model *model;
    struct lm_ids ids;
    struct lm_subject subject;
};

static void learn_tokenizer(struct scene *scene)
{
    static const char *const specials[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    struct lm_bytes text = {0};
    loam_error error;
    assert_ok(lm_lesson_text(1, LM_LESSON_TEXT, &text, &error), &error);
    const struct lm_tokenizer_training training = {.text = text.data, .text_length = text.length, .vocabulary_size = 384,
                                                   .specials = specials, .special_count = 3, .threads = 1};
    assert_ok(lm_tokenizer_train(&training, &scene->tokenizer, &error), &error);
    lm_bytes_free(&text);
}

static struct lm_model *make_model(const struct scene *scene, uint64_t seed)
{
    const struct lm_config config = lm_lesson_config(scene->tokenizer);
    struct lm_model *model;
    loam_error error;
    assert_ok(lm_model_create(&config, seed, scene->device, &(struct lm_model_options){.dtype = LM_F32}, &model, &error), &error);
    return model;
}

static int open_scene(void **state)
{
    struct scene *scene = test_calloc(1, sizeof *scene);
    loam_error error;
    assert_ok(lm_device_open(&(struct lm_device_options){.threads = 1, .isa = LM_ISA_SCALAR}, &scene->device, &error), &error);
    learn_tokenizer(scene);
    scene->model = make_model(scene, 1);
    assert_ok(lm_tokenizer_encode(scene->tokenizer, sentence, strlen(sentence), 0, &scene->ids, NULL, &error), &error);
    scene->subject = (struct lm_subject){.model = scene->model, .tokenizer = scene->tokenizer, .ids = scene->ids.data,
                                         .count = (int64_t)scene->ids.length};
    *state = scene;
    return 0;
}

static int close_scene(void **state)
{
    struct scene *scene = *state;
    lm_ids_free(&scene->ids);
    lm_model_close(scene->model);
    lm_tokenizer_free(scene->tokenizer);
    lm_device_close(scene->device);
    test_free(scene);
    return 0;
}

static void test_sequence(void **state)
{
    struct scene *scene = *state;
    struct lm_page *page;
    loam_error error;
    assert_ok(lm_look_tokens(scene->tokenizer, sentence, strlen(sentence), 0, &page, &error), &error);
    compare("tokens", page);
    assert_ok(lm_look_attention(&scene->subject, &(struct lm_attention_choice){-1, -1}, &page, &error), &error);
    compare("attention", page);
    assert_ok(lm_look_attention(&scene->subject, &(struct lm_attention_choice){1, 2}, &page, &error), &error);
    compare("attention_head", page);
    assert_ok(lm_look_predictions(&scene->subject, 3, &page, &error), &error);
    compare("logits", page);
    assert_ok(lm_look_norms(&scene->subject, &page, &error), &error);
    compare("norms", page);
    assert_ok(lm_look_neurons(&scene->subject, &page, &error), &error);
    compare("neurons", page);
    assert_ok(lm_look_training(&scene->subject, -1, &page, &error), &error);
    compare("step", page);

    /* A single token: nothing to predict, everything else as ever. */
    const struct lm_subject one = {.model = scene->model, .tokenizer = scene->tokenizer, .ids = scene->ids.data, .count = 1};
    struct lm_page *none = NULL;
    assert_ok(lm_look_norms(&one, &page, &error), &error);
    compare("norms_one", page);
    assert_ok(lm_look_attention(&one, &(struct lm_attention_choice){-1, -1}, &page, &error), &error);
    compare("attention_one", page);
    assert_ok(lm_look_predictions(&one, 3, &page, &error), &error);
    compare("logits_one", page);
    assert_ok(lm_look_neurons(&one, &page, &error), &error);
    compare("neurons_one", page);
    assert_fails(lm_look_training(&one, -1, &none, &error), &error, LOAM_EUSAGE, "at least 2");
}

static void test_weights(void **state)
{
    struct scene *scene = *state;
    struct lm_model *other = make_model(scene, 2);
    struct lm_tensors *first, *second;
    struct lm_page *page;
    loam_error error;
    char one[1024], two[1024];
    snprintf(one, sizeof one, "%s", test_path(test_folder(), "one"));
    snprintf(two, sizeof two, "%s", test_path(test_folder(), "two"));
    assert_ok(lm_model_save(scene->model, one, LM_F32, 0, &error), &error);
    assert_ok(lm_model_save(other, two, LM_F32, 0, &error), &error);
    assert_ok(lm_tensors_open(one, &first, &error), &error);
    assert_ok(lm_tensors_open(two, &second, &error), &error);
    assert_ok(lm_look_weights(first, NULL, &page, &error), &error);
    compare("weights", page);
    assert_ok(lm_look_weights(first, second, &page, &error), &error);
    compare("weights_two", page);
    lm_tensors_close(first);
    lm_tensors_close(second);
    lm_model_close(other);
}

/* A plan of the test's own: how large scratch memory is depends on the machine. */
static void test_memory(void **state)
{
    enum { MOMENTS = 40 };
    static size_t live[MOMENTS][LM_PLAN_PARTS];
    static char names[MOMENTS][64];
    struct lm_plan_line lines[] = {{"weights", 5 << 20, 1}, {"activations: layers' inputs", 3 << 20, 12}, {"workspace: batches", 4096, 4}};
    struct lm_run_plan plan = {.weights = 5 << 20, .gradients = 5 << 20, .optimizer = 10 << 20, .other = 7 << 20, .parameters = 1310720,
                               .peak = 17, .scratch_optimizer = 10 << 20, .checkpoint = 15 << 20, .disk = 60 << 20};
    struct lm_plan_picture picture = {.moments = MOMENTS, .live = live, .names = names, .lines = lines, .line_count = 3};
    struct lm_page *page;
    loam_error error;
    (void)state;
    for (int i = 0; i < MOMENTS; i++) {
        const size_t up = (size_t)(i <= 17 ? i : 17 - (i - 17) * 17 / 22);
        const size_t parts[LM_PLAN_PARTS] = {5 << 20, 5 << 20, 10 << 20, up << 20, i == 17 ? 3 << 20 : 0, 1 << 20};
        memcpy(live[i], parts, sizeof parts);
        snprintf(names[i], sizeof names[i], i == 17 ? "head and loss" : "layer %d: attention, backward", i);
    }
    snprintf(plan.peak_moment, sizeof plan.peak_moment, "head and loss");
    plan.activations = live[17][LM_PLAN_ACTIVATIONS];
    plan.logits = live[17][LM_PLAN_LOGITS];
    plan.workspace = live[17][LM_PLAN_WORKSPACE];
    plan.live = plan.arena = plan.weights + plan.gradients + plan.optimizer + plan.activations + plan.logits + plan.workspace;
    plan.total = plan.arena + plan.other;
    assert_ok(lm_look_memory(&plan, &picture, &page, &error), &error);
    compare("memory", page);
}

static void test_curves(void **state)
{
    struct lm_series series[2] = {{.name = strdup("run loss")}, {.name = strdup("run eval_loss"), .points = true}};
    struct lm_page *page;
    loam_error error;
    (void)state;
    for (int i = 1; i <= 30; i++) {
        assert_ok(lm_series_add(&series[0], i, 4.0 / i, &error), &error);
        if (i % 10 == 0)
            assert_ok(lm_series_add(&series[1], i, 5.0 / i, &error), &error);
    }
    assert_ok(lm_look_curves(series, 2, "loss", &page, &error), &error);
    compare("losses", page);
    for (int i = 0; i < 3; i++)
        for (int form = 0; form < 3; form++) {    /* what loam look losses draws on a terminal */
            const struct lm_chart chart = {.title = "loss", .x_label = "step", .series = series, .count = 2};
            const struct lm_text_style style = {.width = widths[i], .unicode = form > 0, .colour = form == 2};
            struct lm_bytes text = {0}, stored = {0};
            char path[1024];
            assert_ok(lm_chart_text(&chart, widths[i] - 1, 12, form > 0, form == 2, &text, &error), &error);
            check_form("chart", &text, &style);
            snprintf(path, sizeof path, "%s/look/screens/chart_%s_%d.txt", LOAM_TESTS, forms[form], widths[i]);
            if (getenv("LOAM_REWRITE"))
                assert_ok(lm_file_replace(path, text.data, text.length, &error), &error);
            assert_ok(lm_file_read(path, 0, &stored, &error), &error);
            if (stored.length != text.length || memcmp(stored.data, text.data, text.length) != 0)
                fail_msg("%s: it is now\n%s", path, text.data);
            lm_bytes_free(&stored);
            lm_bytes_free(&text);
        }
    for (int i = 0; i < 2; i++) {
        free(series[i].name);
        series[i].name = NULL;
        lm_series_free(&series[i]);
    }
}

/* What a machine or a moment decides: the memory of plans and runs, and the seconds. Their numbers are looked at elsewhere. */
static void settle(struct lm_page *page)
{
    static const char *const names[] = {"step", "plans", "step_least", "runs"};
    for (size_t i = 0; i < page->count; i++)
        for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
            const struct lm_block *block = &page->blocks[i];
            if (!block->name || strcmp(block->name, names[k]) != 0)
                continue;
            page->blocks[i].high = 0;
            page->blocks[i].marked = block->marked ? 15 : 0;
            for (int64_t at = 0; at < block->rows * block->columns; at++)
                ((double *)block->values)[at] = 1 + (double)(at % 7) / 8;
        }
}

static void test_lessons(void **state)
{
    struct scene *scene = *state;
    for (int number = 1; number <= lm_lesson_count(); number++) {
        struct lm_page *page;
        loam_error error;
        char name[32];
        struct lm_model *own = make_model(scene, 1);    /* some lessons change it */
        const struct lm_lesson_options options = {.sentence = sentence, .seed = 1, .threads = 1, .model = own, .tokenizer = scene->tokenizer,
                                                  .loaded = lm_lesson_trains(number)};
        assert_ok(lm_lesson_hold(number, &options, &page, &error), &error);
        if (number == 14)
            settle(page);
        snprintf(name, sizeof name, "lesson_%02d", number);
        compare(name, page);
        lm_model_close(own);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sequence), cmocka_unit_test(test_weights), cmocka_unit_test(test_memory),
        cmocka_unit_test(test_curves),   cmocka_unit_test(test_lessons),
    };
    return cmocka_run_group_tests(tests, open_scene, close_scene);
}
