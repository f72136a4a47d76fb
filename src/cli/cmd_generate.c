/* loam generate */
#include "common.h"
#include "sampling.h"

#include <string.h>

enum { USUAL_TOKENS = 256 };

static int read_prompt(const struct arguments *arguments, struct lm_runner *runner, struct lm_ids *ids, loam_error *error)
{
    const char *text = arguments->values[OPT_PROMPT].text, *list = arguments->values[OPT_IDS].text;
    if (list)
        return read_ids(list, strlen(list), "--ids", ids, error);
    struct lm_bytes input = {0};
    int code = strcmp(text, "-") == 0 ? lm_file_read("-", 0, &input, error) : lm_bytes_append(&input, text, strlen(text), error);
    if (code == LOAM_OK)
        code = lm_tokenizer_encode(lm_runner_tokenizer(runner), input.data ? input.data : "", input.length,
                                   LM_ENCODE_ADD_SPECIAL, ids, NULL, error);
    lm_bytes_free(&input);
    return code;
}

static int print_json_result(const struct lm_generation *made)
{
    struct lm_bytes out = {0};
    struct lm_json_writer writer = lm_json_writer(&out, 0);
    lm_json_begin_object(&writer);
    lm_json_key(&writer, "text");
    lm_json_string(&writer, made->text.data ? made->text.data : "", made->text.length);
    lm_json_key(&writer, "ids");
    lm_json_begin_array(&writer);
    for (size_t i = 0; i < made->ids.length; i++)
        lm_json_int(&writer, made->ids.data[i]);
    lm_json_end_array(&writer);
    lm_json_key(&writer, "stop_reason");
    lm_json_text(&writer, lm_stop_reason_name(made->reason));
    lm_json_key(&writer, "prompt_tokens");
    lm_json_int(&writer, made->prompt_tokens);
    lm_json_key(&writer, "tokens");
    lm_json_int(&writer, made->tokens);
    lm_json_key(&writer, "seconds");
    lm_json_double(&writer, made->seconds);
    lm_json_key(&writer, "tokens_per_second");
    lm_json_double(&writer, lm_generation_rate(made));
    lm_json_key(&writer, "seconds_to_first_token");
    lm_json_double(&writer, made->seconds_to_first);
    lm_json_end_object(&writer);
    return print_json(&writer);
}

static void print_ids(const struct lm_generation *made)
{
    for (size_t i = 0; i < made->ids.length; i++)
        printf(i ? " %d" : "%d", (int)made->ids.data[i]);
}

/* Text is streamed as it comes; where ids were given and no tokenizer is there, ids are printed. */
static int generate(const struct arguments *arguments, struct lm_runner *runner)
{
    struct lm_generation_options options = generation_options(arguments);
    struct lm_generation made = {0};
    struct lm_ids ids = {0};
    loam_error error;
    const bool json = arguments->values[OPT_JSON].given, text = lm_runner_tokenizer(runner) != NULL;
    bool shown = false;
    int code = read_prompt(arguments, runner, &ids, &error);
    if (code == LOAM_OK)
        code = lm_overflow_parse(arguments->values[OPT_OVERFLOW].text, &options.overflow, &error);
    /* The usual number where there is room for it, else until the context is full. */
    const bool shifts = options.overflow == LM_OVERFLOW_SHIFT;
    if (!options.max_tokens && (shifts || (int64_t)ids.length + USUAL_TOKENS <= lm_runner_context(runner)))
        options.max_tokens = USUAL_TOKENS;
    if (!json && text) {
        options.show = show_text;
        options.user = &shown;
    }
    if (code == LOAM_OK)
        code = lm_runner_generate(runner, ids.data, ids.length, &options, &made, &error);
    if (code == LOAM_OK && made.shifted)
        note("%lld of the oldest tokens were left out to make room", (long long)made.shifted);
    int status = EXIT_DONE;
    if (code != LOAM_OK) {
        if (shown)
            putchar('\n');
        status = complain_error(&error);
    } else if (json) {
        status = print_json_result(&made);
    } else {
        if (!text)
            print_ids(&made);
        putchar('\n');
    }
    lm_generation_free(&made);
    lm_ids_free(&ids);
    return status;
}

int command_generate(const struct arguments *arguments)
{
    const bool prompt = arguments->values[OPT_PROMPT].given, ids = arguments->values[OPT_IDS].given;
    struct lm_runner *runner;
    loam_error error;
    if (prompt == ids) {
        complain("generate: %s; usage: loam generate %s", prompt ? "found both --prompt and --ids, wanted one" :
                 "option '--prompt' or '--ids' is missing", arguments->command->operands);
        return EXIT_USAGE;
    }
    struct lm_runner_options options = {.threads = thread_count(arguments)};
    int code = lm_runner_open(arguments->operands[0], &options, &runner, &error);
    if (code == LOAM_ENOTFOUND && ids) {    /* a model without a tokenizer goes on from ids */
        options.no_tokenizer = true;
        code = lm_runner_open(arguments->operands[0], &options, &runner, &error);
    }
    if (code != LOAM_OK)
        return complain_error(&error);
    catch_signals();
    const int status = generate(arguments, runner);
    lm_runner_close(runner);
    return status;
}
