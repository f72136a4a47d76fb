/* loam quickstart */
#include "chat.h"
#include "common.h"
#include "quickstart.h"
#include "sampling.h"

#include <string.h>
#include <unistd.h>

static double accuracy(const struct quickstart_result *result, enum lm_skill skill)
{
    return result->asked[skill] ? (double)result->right[skill] / (double)result->asked[skill] : 0;
}

static int print_result_json(const struct quickstart_result *result, const char *directory)
{
    struct lm_bytes out = {0};
    struct lm_json_writer writer = lm_json_writer(&out, 2);
    lm_json_begin_object(&writer);
    lm_json_key(&writer, "accuracy");
    lm_json_begin_object(&writer);
    for (int skill = 0; skill < LM_SKILLS; skill++) {
        lm_json_key(&writer, lm_skill_name(skill));
        lm_json_double(&writer, accuracy(result, skill));
    }
    lm_json_end_object(&writer);
    lm_json_key(&writer, "questions");
    lm_json_begin_array(&writer);
    for (size_t i = 0; i < result->questions.count; i++) {
        lm_json_begin_object(&writer);
        lm_json_key(&writer, "prompt");
        lm_json_text(&writer, result->questions.items[i].prompt);
        lm_json_key(&writer, "expected");
        lm_json_text(&writer, result->questions.items[i].expected);
        lm_json_key(&writer, "answer");
        lm_json_text(&writer, result->answers[i].text);
        lm_json_key(&writer, "right");
        lm_json_bool(&writer, result->answers[i].right);
        lm_json_end_object(&writer);
    }
    lm_json_end_array(&writer);
    lm_json_key(&writer, "training_seconds");
    lm_json_double(&writer, result->training_seconds);
    lm_json_key(&writer, "parameters");
    lm_json_int(&writer, result->parameters);
    lm_json_key(&writer, "model");
    lm_json_text(&writer, directory);
    lm_json_end_object(&writer);
    return print_json(&writer);
}

static void print_table(const struct quickstart_result *result)
{
    static const char *const names[] = {"letters in words", "two-digit sums", "facts"};
    printf("\nQuestions it never saw, answered by the model alone:\n\n");
    printf("  %-18s %8s %8s\n", "", "asked", "right");
    for (int skill = 0; skill < LM_SKILLS; skill++)
        printf("  %-18s %8zu %7.1f%%\n", names[skill], result->asked[skill], 100 * accuracy(result, (enum lm_skill)skill));
    printf("\n%lld parameters, trained in %.0f seconds.\n", (long long)result->parameters, result->training_seconds);
}

/* Each exchange is a conversation of its own. */
static int print_exchanges(const char *directory)
{
    static const char *const prompts[] = {"Hello!", "How many r's are in strawberry?", "What is 47 + 38?",
                                          "What is the capital of France?", "Tell me a story about a fox.", "Who are you?"};
    struct lm_runner *runner;
    loam_error error;
    if (quickstart_open(directory, &runner, &error) != LOAM_OK)
        return complain_error(&error);
    int code = LOAM_OK;
    for (size_t i = 0; code == LOAM_OK && i < sizeof prompts / sizeof *prompts; i++) {
        struct lm_bytes answer = {0};
        code = quickstart_ask(runner, prompts[i], &answer, &error);
        if (code == LOAM_OK)
            printf("\n> %s\n%s\n", prompts[i], answer.data ? answer.data : "");
        lm_bytes_free(&answer);
    }
    lm_runner_close(runner);
    return code == LOAM_OK ? EXIT_DONE : complain_error(&error);
}

static int finish(const struct arguments *arguments, const struct quickstart_result *result, const char *directory)
{
    if (arguments->values[OPT_JSON].given)
        return print_result_json(result, directory);
    print_table(result);
    if (!arguments->values[OPT_NO_CHAT].given && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)) {
        struct chat_settings settings = {.models = &directory, .count = 1, .threads = 1, .options = generation_options(arguments)};
        settings.options.sampling.temperature = 0;
        printf("\nTry: How many r's are in strawberry?\n");
        fflush(stdout);
        return chat_with(&settings);
    }
    int status = print_exchanges(directory);
    printf("\nThe model is in %s. Talk to it: loam chat %s\n", directory, directory);
    return status;
}

int command_quickstart(const struct arguments *arguments)
{
    const char *directory = arguments->values[OPT_OUT].text;
    struct progress progress;
    struct quickstart_result result;
    loam_error error;
    progress_init(&progress);
    catch_signals();
    struct quickstart_options options = {
        .directory = directory ? directory : "loam-quickstart",
        .seed = arguments->values[OPT_SEED].given ? arguments->values[OPT_SEED].seed : 1,
        .threads = thread_count(arguments),
        .recipe = &quickstart_standard,
        .observer = &progress.observer,
    };
    int code = quickstart_grow(&options, &result, &error);
    progress_clear(&progress);
    if (code != LOAM_OK)
        return complain_error(&error);
    int status = finish(arguments, &result, options.directory);
    quickstart_result_free(&result);
    return status;
}
