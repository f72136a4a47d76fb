/* The tables of the program: no name twice, everything filled in, every example parses, and what the parser does with
 * words that are wrong. */
#include "support/support.h"

#include "cli/options.h"
#include "train/train.h"

#include <fcntl.h>
#include <unistd.h>

/* Runs the parser on the words of a line (blanks between them, '...' kept together), with standard output and error going
 * to a file whose text is left in `shown`. */
static char shown[1 << 16];

static int split(char *line, char **words, int most)
{
    int count = 0;
    for (char *s = line; *s && count < most;) {
        while (*s == ' ')
            *s++ = 0;
        if (!*s)
            break;
        const bool quoted = *s == '\'' || *s == '"';
        const char end = quoted ? *s++ : ' ';
        words[count++] = s;
        while (*s && *s != end)
            s++;
        if (quoted && *s)
            *s++ = 0;
    }
    return count;
}

static int parse(const char *line, struct arguments *arguments)
{
    static char copy[1024];
    static char *words[64];
    snprintf(copy, sizeof copy, "%s", line);
    const int count = split(copy, words, 64);
    const char *path = test_path(test_folder(), "shown");
    fflush(NULL);
    const int out = dup(1), err = dup(2), file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    dup2(file, 1);
    dup2(file, 2);
    const int status = arguments_parse(arguments, count, words);
    fflush(NULL);
    dup2(out, 1);
    dup2(err, 2);
    close(out);
    close(err);
    const ssize_t length = pread(file, shown, sizeof shown - 1, 0);
    shown[length > 0 ? length : 0] = 0;
    close(file);
    return status;
}

static void assert_wrong(const char *line, const char *word)
{
    struct arguments arguments;
    const int status = parse(line, &arguments);
    if (status != EXIT_USAGE || !strstr(shown, word) || strncmp(shown, "loam: ", 6) != 0)
        fail_msg("'%s': gave %d, wanted 2 and \"%s\" in: %s", line, status, word, shown);
}

static void test_options_are_complete(void **state)
{
    (void)state;
    for (int i = 0; i < OPTION_IDS; i++) {
        const struct option *option = &option_table[i];
        if (!option->name || !option->help || !option->commands)
            fail_msg("option number %d is not filled in", i);
        assert_true(strspn(option->name, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(option->name));
        assert_true((option->kind == KIND_FLAG) == (option->placeholder == NULL));
        assert_true((option->kind == KIND_CHOICE) == (option->choices != NULL));
        assert_true(option->help[strlen(option->help) - 1] != '.');
        if (option->kind == KIND_INT || option->kind == KIND_SIZE || option->kind == KIND_DOUBLE)
            assert_true(option->least < option->most);
        else
            assert_true(option->least == 0 && option->most == 0);
        for (int k = 0; k < i; k++) {
            const struct option *other = &option_table[k];
            if ((option->commands & other->commands) == 0)
                continue;
            if (strcmp(option->name, other->name) == 0 || (option->letter && option->letter == other->letter))
                fail_msg("--%s stands twice for one command", option->name);
        }
    }
}

static void test_commands_are_complete(void **state)
{
    (void)state;
    assert_true(command_count > 0);
    for (size_t i = 0; i < command_count; i++) {
        const struct command *command = &command_table[i];
        assert_true(command->name && command->operands && command->summary && command->text && command->example);
        assert_non_null(command->run);
        assert_true(command->least <= command->most);
        assert_ptr_equal(command_find(command->name), command);
        for (size_t k = 0; k < i; k++)
            if (command_table[k].id == command->id || command_table[k].run == command->run)
                fail_msg("'%s' stands twice", command->name);
    }
}

/* Takes the part of a line that belongs to loam: behind a pipe, before the next. */
static void test_examples_parse(void **state)
{
    (void)state;
    for (size_t i = 0; i < command_count; i++) {
        char lines[1024];
        snprintf(lines, sizeof lines, "%s", command_table[i].example);
        for (char *rest = lines, *line; (line = strsep(&rest, "\n"));) {
            char *call = strstr(line, "loam ");
            assert_non_null(call);
            call[strcspn(call, "<>")] = 0;
            struct arguments arguments;
            const int status = parse(call + 5, &arguments);
            if (status >= 0)
                fail_msg("the example of '%s' does not parse: %s", command_table[i].name, shown);
            assert_ptr_equal(arguments.command, &command_table[i]);
            arguments_free(&arguments);
        }
    }
}

static void test_help_names_every_option(void **state)
{
    (void)state;
    for (size_t i = 0; i < command_count; i++) {
        char line[128];
        struct arguments arguments;
        snprintf(line, sizeof line, "%s --help", command_table[i].name);
        assert_int_equal(parse(line, &arguments), EXIT_DONE);
        for (int k = 0; k < OPTION_IDS; k++) {
            if (!command_has(&command_table[i], (enum option_id)k))
                continue;
            char name[64];
            snprintf(name, sizeof name, "--%s", option_table[k].name);
            assert_non_null(strstr(shown, name));
        }
        for (const char *text = command_table[i].example; *text;) { /* each line stands there, whatever it is indented by */
            char one[512];
            snprintf(one, sizeof one, "%.*s\n", (int)strcspn(text, "\n"), text);
            assert_non_null(strstr(shown, one));
            text += strcspn(text, "\n") + (text[strcspn(text, "\n")] == '\n');
        }
    }
    struct arguments arguments;
    assert_int_equal(parse("--help", &arguments), EXIT_DONE);
    for (size_t i = 0; i < command_count; i++)
        assert_non_null(strstr(shown, command_table[i].name));
    assert_int_equal(parse("--version", &arguments), EXIT_DONE);
    assert_non_null(strstr(shown, loam_version()));
}

static void test_forms(void **state)
{
    (void)state;
    static const char *const forms[] = {
        "tokenizer encode --lines model --json", "tokenizer encode -- model --json", "tokenizer encode model --lines",
    };
    struct arguments arguments;
    assert_int_equal(parse(forms[0], &arguments), -1);
    assert_true(arguments.values[OPT_LINES].given && arguments.values[OPT_JSON].given);
    assert_int_equal(arguments.operand_count, 1);
    assert_string_equal(arguments.operands[0], "model");
    arguments_free(&arguments);
    assert_int_equal(parse(forms[1], &arguments), EXIT_USAGE);
    assert_int_equal(parse(forms[2], &arguments), -1);
    assert_false(arguments.values[OPT_JSON].given);
    arguments_free(&arguments);
}

static void test_wrong_words(void **state)
{
    (void)state;
    assert_wrong("tokenzier", "did you mean 'tokenizer'");
    assert_wrong("xyzzy", "unknown command 'xyzzy'");
    assert_wrong("--jsno", "--jsno");
    assert_wrong("tokenizer", "'tokenizer encode'");
    assert_wrong("tokenizer encdoe", "no command 'encdoe'");
    assert_wrong("tokenizer encode", "usage: loam tokenizer encode MODEL|FILE");
    assert_wrong("tokenizer encode a b", "'b' is one too many");
    assert_wrong("tokenizer encode a --liens", "did you mean '--lines'");
    assert_wrong("tokenizer encode a --lines=3", "takes no value");
    assert_wrong("tokenizer encode a --skip-special", "unknown option '--skip-special'");
    assert_wrong("tokenizer encode a -x", "unknown option '-x'");
    assert_wrong("tokenizer encode \x1b[31m --nosuch\x1b[2J", "\\x1b[2J");
    struct arguments arguments;
    assert_int_equal(parse("", &arguments), EXIT_USAGE);
}

/* The manual as the whole of it, and a completion that bash understands. */
static void test_generated_pages(void **state)
{
    (void)state;
    struct arguments arguments;
    assert_int_equal(parse("--man", &arguments), EXIT_DONE);
    assert_non_null(strstr(shown, ".TH LOAM 1"));
    assert_non_null(strstr(shown, "skip\\-special"));
    assert_int_equal(parse("--completion", &arguments), EXIT_DONE);
    const char *path = test_path(test_folder(), "completion");
    loam_error error;
    assert_ok(lm_file_replace(path, shown, strlen(shown), &error), &error);
    char command[2048];
    snprintf(command, sizeof command,
             "bash -c '. %s; COMP_WORDS=(loam tokenizer enc); COMP_CWORD=2; _loam; echo \"${COMPREPLY[*]}\" > %s.out; "
             "COMP_WORDS=(loam tokenizer encode --li); COMP_CWORD=3; _loam; echo \"${COMPREPLY[*]}\" >> %s.out'",
             path, path, path);
    assert_int_equal(system(command), 0);
    struct lm_bytes out = {0};
    snprintf(command, sizeof command, "%s.out", path);
    assert_ok(lm_file_read(command, 0, &out, &error), &error);
    assert_string_equal(out.data, "encode\n--lines\n");
    lm_bytes_free(&out);
}

/* What can be typed can stand in a recipe, and the other way round: the settings have the same bounds. */
static void bounds_are_those_of_the_settings(void **state)
{
    (void)state;
    for (int id = 0; id < OPTION_IDS; id++) {
        const struct option *option = &option_table[id];
        const bool number = option->kind == KIND_INT || option->kind == KIND_DOUBLE;
        if (!option->setting || !number || !lm_run_settings_knows(option->name))
            continue;
        struct lm_run_settings settings;
        loam_error error;
        char text[64];
        lm_run_settings_init(&settings, LM_RUN_TRAIN);
        lm_format_double(option->most, text);
        if (lm_run_settings_set(&settings, option->name, text, &error) != LOAM_OK)
            fail_msg("--%s %s: %s", option->name, text, error.message);
        lm_format_double(option->kind == KIND_INT ? option->most + 1 : option->most >= 1 ? option->most * 1.01 : 1, text);
        if (lm_run_settings_set(&settings, option->name, text, &error) == LOAM_OK)
            fail_msg("a recipe takes '%s: %s', --%s ends at %g", option->name, text, option->name, option->most);
        lm_format_double(option->least - 1, text);
        assert_int_not_equal(lm_run_settings_set(&settings, option->name, text, &error), LOAM_OK);
        lm_run_settings_free(&settings);
    }
    struct arguments arguments;
    assert_int_equal(parse("train m --data d -o r --seed 18446744073709551615", &arguments), -1);
    assert_true(arguments.values[OPT_SEED].seed == UINT64_MAX);
    arguments_free(&arguments);
    assert_wrong("train m --data d -o r --seed 18446744073709551616", "too large");
    assert_wrong("train m --data d -o r --seed -1", "at least 0");
    assert_wrong("train m --data d -o r --seed 0x10", "whole number");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_are_complete),    cmocka_unit_test(test_commands_are_complete),
        cmocka_unit_test(test_examples_parse),          cmocka_unit_test(test_help_names_every_option),
        cmocka_unit_test(test_forms),                   cmocka_unit_test(test_wrong_words),
        cmocka_unit_test(test_generated_pages),         cmocka_unit_test(bounds_are_those_of_the_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
