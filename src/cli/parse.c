/* From words to arguments. */
#include "options.h"
#include "terminal.h"

#include <stdlib.h>
#include <string.h>

const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < command_count; i++)
        if (strcmp(command_table[i].name, name) == 0)
            return &command_table[i];
    return NULL;
}

bool command_has(const struct command *command, enum option_id id)
{
    return (option_table[id].commands >> command->id & 1) != 0;
}

/* Edits (insert, remove, change, swap neighbours) from `a` to the first word of `b`; 99 for texts too long to be typing
 * errors. */
static int edits(const char *a, const char *b)
{
    enum { LONGEST = 40 };
    int rows[3][LONGEST + 1];
    const size_t n = strlen(a), m = strcspn(b, " ");
    if (n > LONGEST || m > LONGEST)
        return 99;
    int *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t k = 0; k <= m; k++)
        last[k] = (int)k;
    for (size_t i = 1; i <= n; i++) {
        row[0] = (int)i;
        for (size_t k = 1; k <= m; k++) {
            int least = last[k - 1] + (a[i - 1] != b[k - 1]);
            if (last[k] + 1 < least)
                least = last[k] + 1;
            if (row[k - 1] + 1 < least)
                least = row[k - 1] + 1;
            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1] && before[k - 2] + 1 < least)
                least = before[k - 2] + 1;
            row[k] = least;
        }
        int *spare = before;
        before = last;
        last = row;
        row = spare;
    }
    return last[m];
}

const char *nearest_name(const char *typed, const char *(*next)(const void *user, size_t index), const void *user)
{
    const char *best = NULL;
    int least = 99;
    for (size_t i = 0;; i++) {
        const char *name = next(user, i);
        if (!name)
            break;
        const int distance = *name ? edits(typed, name) : 99;
        if (distance < least) {
            least = distance;
            best = name;
        }
    }
    const int allowed = strlen(typed) < 4 ? 1 : strlen(typed) < 8 ? 2 : 3;
    return least <= allowed ? best : NULL;
}

static const char *next_option(const void *user, size_t index)
{
    if (index >= OPTION_IDS)
        return NULL;
    return command_has(user, (enum option_id)index) ? option_table[index].name : "";
}

static const char *next_command(const void *user, size_t index)
{
    (void)user;
    return index < command_count ? command_table[index].name : NULL;
}

static int fail_unknown_option(const struct command *command, const char *word, size_t length)
{
    char typed[64];
    snprintf(typed, sizeof typed, "%.*s", (int)(length < 60 ? length : 60), word);
    const char *near = nearest_name(typed + strspn(typed, "-"), next_option, command);
    if (near)
        complain("%s: unknown option '%s'; did you mean '--%s'?", command->name, typed, near);
    else
        complain("%s: unknown option '%s'; 'loam %s --help' lists them all", command->name, typed, command->name);
    return EXIT_USAGE;
}

static bool has_prefix(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* "tokenizer" alone, or with a second word that is none of its own. */
static int fail_group(const char *group, const char *word)
{
    char prefix[64];
    snprintf(prefix, sizeof prefix, "%.60s ", group);
    struct lm_bytes names = {0};
    for (size_t i = 0; i < command_count; i++)
        if (has_prefix(command_table[i].name, prefix))
            lm_bytes_format(&names, NULL, "%s'%s'", names.length ? ", " : "", command_table[i].name);
    if (word)
        complain("'%s' has no command '%s'; there are %s", group, word, names.data);
    else
        complain("'%s' wants a second word; there are %s", group, names.data);
    lm_bytes_free(&names);
    return EXIT_USAGE;
}

static bool is_group(const char *word)
{
    for (size_t i = 0; i < command_count; i++) {
        const char *name = command_table[i].name;
        const size_t length = strcspn(name, " ");
        if (name[length] && strlen(word) == length && strncmp(name, word, length) == 0)
            return true;
    }
    return false;
}

/* Finds the command at the beginning; *used gets how many words it took. -1: found. */
static int find_command(struct arguments *arguments, int count, char **words, int *used)
{
    if (!is_group(words[0])) {
        arguments->command = command_find(words[0]);
        *used = 1;
    } else {
        if (count < 2 || words[1][0] == '-') {
            const bool help = count > 1 && (strcmp(words[1], "--help") == 0 || strcmp(words[1], "-h") == 0);
            if (!help)
                return fail_group(words[0], NULL);
            print_group(stdout, words[0]);
            return EXIT_DONE;
        }
        char name[64];
        snprintf(name, sizeof name, "%.30s %.30s", words[0], words[1]);
        arguments->command = command_find(name);
        if (!arguments->command)
            return fail_group(words[0], words[1]);
        *used = 2;
    }
    if (arguments->command)
        return -1;
    const char *near = nearest_name(words[0], next_command, NULL);
    if (near)
        complain("unknown command '%s'; did you mean '%.*s'?", words[0], (int)strcspn(near, " "), near);
    else
        complain("unknown command '%s'; 'loam --help' lists them all", words[0]);
    return EXIT_USAGE;
}

static bool find_option(const struct command *command, const char *name, size_t length, enum option_id *id)
{
    for (int i = 0; i < OPTION_IDS; i++) {
        const struct option *option = &option_table[i];
        if (command_has(command, (enum option_id)i) && strlen(option->name) == length &&
            strncmp(option->name, name, length) == 0) {
            *id = (enum option_id)i;
            return true;
        }
    }
    return false;
}

static bool find_letter(const struct command *command, char letter, enum option_id *id)
{
    for (int i = 0; i < OPTION_IDS; i++) {
        if (option_table[i].letter == letter && command_has(command, (enum option_id)i)) {
            *id = (enum option_id)i;
            return true;
        }
    }
    return false;
}

static bool is_choice(const char *choices, const char *text)
{
    const size_t length = strlen(text);
    for (const char *s = choices; s; s = strchr(s, '|')) {
        s += *s == '|';
        if (strcspn(s, "|") == length && strncmp(s, text, length) == 0)
            return true;
    }
    return false;
}

/* Checks a value and reads the number in it. Nothing wrong: LOAM_OK. */
static int read_value(const struct option *option, const char *text, struct argument *value, loam_error *error)
{
    double number = 0;
    int code = LOAM_OK;
    switch (option->kind) {
    case KIND_INT:
        code = lm_parse_int(text, &value->whole, error);
        number = (double)value->whole;
        break;
    case KIND_SEED:
        return lm_parse_unsigned(text, &value->seed, error);
    case KIND_SIZE:
        code = lm_parse_size(text, &value->whole, error);
        number = (double)value->whole;
        break;
    case KIND_DOUBLE:
        code = lm_parse_double(text, &value->number, error);
        number = value->number;
        break;
    case KIND_CHOICE:
        if (!is_choice(option->choices, text))
            return lm_fail(error, LOAM_EUSAGE, "found '%s', wanted one of %s", text, option->choices);
        return LOAM_OK;
    default:
        return LOAM_OK;
    }
    if (code != LOAM_OK || (number >= option->least && number <= option->most))
        return code;
    char least[32], most[32];
    lm_format_double(option->least, least);
    lm_format_double(option->most, most);
    if (option->most < 1e300)
        return lm_fail(error, LOAM_EUSAGE, "found %s, wanted %s to %s", text, least, most);
    return lm_fail(error, LOAM_EUSAGE, "found %s, wanted %s or more", text, least);
}

bool option_swept(const struct command *command, const struct option *option, const char *text)
{
    const bool one = option->kind == KIND_FILES || option->kind == KIND_FLAG || option == &option_table[OPT_OFFLOAD];
    return (command->id == CMD_PLAN || command->id == CMD_MEASURE) && option->setting && !one && strchr(text, ',');
}

/* "512,1024" is two values, each checked. */
static int read_values(const struct command *command, const struct option *option, const char *text, struct argument *value,
                       loam_error *error)
{
    if (!option_swept(command, option, text))
        return read_value(option, text, value, error);
    char one[64];
    for (const char *at = text; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        const size_t length = strcspn(at, ",");
        if (length == 0 || length >= sizeof one)
            return lm_fail(error, LOAM_EUSAGE, "found '%s', wanted values with commas between", text);
        memcpy(one, at, length);
        one[length] = 0;
        int code = read_value(option, one, value, error);
        if (code != LOAM_OK)
            return code;
    }
    return LOAM_OK;
}

static int add_to_list(struct argument *value, const char *text)
{
    const char **larger = lm_resize(value->list, value->count + 1, sizeof *larger, NULL);
    if (!larger)
        return LOAM_ENOMEM;
    larger[value->count++] = text;
    value->list = larger;
    return LOAM_OK;
}

static int store(struct arguments *arguments, enum option_id id, const char *text)
{
    const struct option *option = &option_table[id];
    struct argument *value = &arguments->values[id];
    loam_error error = {0};
    int code = text ? read_values(arguments->command, option, text, value, &error) : LOAM_OK;
    if (code != LOAM_OK) {
        complain("%s: option '--%s': %s", arguments->command->name, option->name, error.message);
        return EXIT_USAGE;
    }
    const bool list = option->kind == KIND_LIST || option->kind == KIND_FILES;
    if (list && add_to_list(value, text) != LOAM_OK) {
        complain("not enough memory");
        return EXIT_FAILED;
    }
    value->given = true;
    value->text = text;
    return -1;
}

/* The option that word number *at names, with what belongs to it; *at moves on to its last word. */
static int take_option(struct arguments *arguments, int count, char **words, int *at)
{
    const struct command *command = arguments->command;
    const char *word = words[*at];
    const bool is_long = word[1] == '-';
    const char *name = word + 1 + is_long;
    const size_t length = is_long ? strcspn(name, "=") : 1;
    enum option_id id;
    if (is_long ? !find_option(command, name, length, &id) : !find_letter(command, *name, &id))
        return fail_unknown_option(command, word, (size_t)(name - word) + length);
    const struct option *option = &option_table[id];
    const char *value = is_long ? (name[length] ? name + length + 1 : NULL) : (name[1] ? name + 1 : NULL);
    if (option->kind == KIND_FLAG) {
        if (value) {
            complain("%s: option '--%s' takes no value, found '%s'", command->name, option->name, value);
            return EXIT_USAGE;
        }
        return store(arguments, id, NULL);
    }
    if (!value) {
        if (*at + 1 >= count) {
            complain("%s: option '--%s' wants a value: %s", command->name, option->name, option->placeholder);
            return EXIT_USAGE;
        }
        value = words[++*at];
    }
    int status = store(arguments, id, value);
    while (status < 0 && option->kind == KIND_FILES && *at + 1 < count && words[*at + 1][0] != '-')
        status = store(arguments, id, words[++*at]);
    return status;
}

static int check_operands(const struct arguments *arguments)
{
    const struct command *command = arguments->command;
    if (arguments->operand_count < command->least)
        complain("%s: something is missing; usage: loam %s %s", command->name, command->name, command->operands);
    else if (arguments->operand_count > command->most)
        complain("%s: '%s' is one too many; usage: loam %s %s", command->name, arguments->operands[command->most],
                 command->name, command->operands);
    else
        return -1;
    return EXIT_USAGE;
}

static void set_defaults(struct arguments *arguments)
{
    for (int i = 0; i < OPTION_IDS; i++) {
        const struct option *option = &option_table[i];
        struct argument *value = &arguments->values[i];
        if (!option->standard)
            continue;
        value->text = option->standard;
        read_value(option, option->standard, value, NULL);
    }
}

static int parse_words(struct arguments *arguments, int count, char **words)
{
    int at = 0;
    int status = find_command(arguments, count, words, &at);
    set_defaults(arguments);
    bool options = true;
    for (; status < 0 && at < count; at++) {
        if (options && strcmp(words[at], "--") == 0)
            options = false;
        else if (options && words[at][0] == '-' && words[at][1])
            status = take_option(arguments, count, words, &at);
        else
            arguments->operands[arguments->operand_count++] = words[at];
    }
    if (status >= 0)
        return status;
    if (arguments->values[OPT_HELP].given) {
        print_help(stdout, arguments->command);
        return EXIT_DONE;
    }
    return check_operands(arguments);
}

int arguments_parse(struct arguments *arguments, int count, char **words)
{
    *arguments = (struct arguments){0};
    static const struct {
        const char *name;
        void (*print)(FILE *to);
    } pages[] = {
        {"--help", print_overview}, {"-h", print_overview}, {"help", print_overview}, {"--version", print_version},
        {"--man", print_manual},    {"--completion", print_completion},
    };
    for (size_t i = 0; count > 0 && i < sizeof pages / sizeof pages[0]; i++) {
        if (strcmp(words[0], pages[i].name) == 0) {
            pages[i].print(stdout);
            return EXIT_DONE;
        }
    }
    if (count == 0) {
        print_overview(stderr);
        return EXIT_USAGE;
    }
    if (words[0][0] == '-') {
        complain("unknown option '%s'; an option stands behind its command, 'loam --help' lists these", words[0]);
        return EXIT_USAGE;
    }
    arguments->operands = lm_alloc((size_t)count, sizeof *arguments->operands, NULL);
    if (!arguments->operands) {
        complain("not enough memory");
        return EXIT_FAILED;
    }
    int status = parse_words(arguments, count, words);
    if (status >= 0)
        arguments_free(arguments);
    return status;
}

void arguments_free(struct arguments *arguments)
{
    for (int i = 0; i < OPTION_IDS; i++)
        lm_free(arguments->values[i].list);
    lm_free(arguments->operands);
    *arguments = (struct arguments){0};
}
