/* Help, manual page and completion, all from the two tables. */
#include "sweep.h"

#include <string.h>

enum { COLUMNS = 100, TEXT_START = 28 };

void print_version(FILE *to)
{
    fprintf(to, "loam %s\n", loam_version());
}

/* Text in lines of at most COLUMNS, every line behind `indent` blanks; the first line already has `used`. */
static void print_wrapped(FILE *to, const char *text, int indent, int used)
{
    int column = used;
    while (*text) {
        if (*text == '\n') {
            fputc('\n', to);
            column = 0;
            text++;
            continue;
        }
        const int word = (int)strcspn(text, " \n");
        if (column > indent && column + 1 + word > COLUMNS) {
            fputc('\n', to);
            column = 0;
        }
        if (column < indent) {
            fprintf(to, "%*s", indent - column, "");
            column = indent;
        } else if (column > indent) {
            fputc(' ', to);
            column++;
        }
        fwrite(text, 1, (size_t)word, to);
        column += word;
        text += word;
        text += strspn(text, " ");
    }
    fputc('\n', to);
}

void print_overview(FILE *to)
{
    fprintf(to, "loam %s: language models from a text file to an assistant\n\n"
                "Usage: loam COMMAND [MODEL] [options]\n\nCommands:\n", loam_version());
    for (size_t i = 0; i < command_count; i++)
        fprintf(to, "  %-18s %s\n", command_table[i].name, command_table[i].summary);
    fputs("\n'loam COMMAND --help' explains a command and shows an example; 'loam --version' prints the version.\n"
          "MODEL is a directory as Hugging Face has it: config.json, model.safetensors, tokenizer.json.\n", to);
}

/* The default: the option's own, or, of a run's settings, what the library has; "" where there is none or the help says it in words. */
static void default_of(const struct command *command, const struct option *option, char out[96])
{
    const bool runs = command->id == CMD_TRAIN || command->id == CMD_FINETUNE || command->id == CMD_PLAN || command->id == CMD_MEASURE ||
                      command->id == CMD_LOOK_MEMORY;
    struct lm_run_settings settings;
    struct lm_bytes text = {0};
    char key[64];
    *out = 0;
    if (option->standard)
        snprintf(out, 96, "%s", option->standard);
    if (option->standard || !option->setting || option->kind == KIND_FLAG || strstr(option->help, "(default"))
        return;
    if (option == &option_table[OPT_DTYPE] && command->id == CMD_INIT)
        snprintf(out, 96, "f32");
    if (!runs)
        return;
    setting_key(option, key);
    lm_run_settings_init(&settings, command->id == CMD_FINETUNE ? LM_RUN_FINETUNE : LM_RUN_TRAIN);
    if (lm_run_settings_text(&settings, key, &text, NULL) == LOAM_OK && text.data && strcmp(text.data, "auto") != 0 && strcmp(text.data, "none") != 0)
        snprintf(out, 96, "%.90s", text.data);
    lm_bytes_free(&text);
    lm_run_settings_free(&settings);
}

static void print_choices(FILE *to, const struct option *option, const char *before, const char *after)
{
    if (option->kind != KIND_CHOICE)
        return;
    fputs(before, to);
    for (const char *s = option->choices; *s; s++)
        *s == '|' ? fputs(", ", to) : fputc(*s, to);
    fputs(after, to);
}

static void print_option(FILE *to, const struct command *command, const struct option *option)
{
    char left[64], text[512], found[96];
    const char letter[] = {'-', option->letter, ',', 0};
    const int length = snprintf(left, sizeof left, "  %3s --%s%s%s", option->letter ? letter : "", option->name,
                                option->placeholder ? " " : "", option->placeholder ? option->placeholder : "");
    fputs(left, to);
    int used = length;
    if (length >= TEXT_START) {
        fputc('\n', to);
        used = 0;
    }
    char choices[160] = "", standard[96] = "";
    if (option->kind == KIND_CHOICE)
        snprintf(choices, sizeof choices, ": %s", option->choices);
    default_of(command, option, found);
    if (*found)
        snprintf(standard, sizeof standard, " (default: %.80s)", found);
    snprintf(text, sizeof text, "%s%s%s", option->help, choices, standard);
    print_wrapped(to, text, TEXT_START, used);
}

void print_help(FILE *to, const struct command *command)
{
    fprintf(to, "loam %s: %s\n\nUsage: loam %s %s [options]\n\n", command->name, command->summary, command->name,
            command->operands);
    print_wrapped(to, command->text, 0, 0);
    fputs("\nOptions:\n", to);
    for (int i = 1; i < OPTION_IDS; i++)
        if (command_has(command, (enum option_id)i))
            print_option(to, command, &option_table[i]);
    print_option(to, command, &option_table[OPT_HELP]);
    fputs(strchr(command->example, '\n') ? "\nExamples:\n" : "\nExample:\n", to);
    for (const char *line = command->example; *line; line += line[strcspn(line, "\n")] == '\n' ? strcspn(line, "\n") + 1
                                                                                             : strcspn(line, "\n"))
        fprintf(to, "  %.*s\n", (int)strcspn(line, "\n"), line);
}

/* All commands with this first word. */
void print_group(FILE *to, const char *group)
{
    const size_t length = strlen(group);
    fprintf(to, "Usage: loam %s COMMAND [MODEL] [options]\n\nCommands:\n", group);
    for (size_t pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < command_count; i++) {
            const struct command *command = &command_table[i];
            if (strncmp(command->name, group, length) != 0 || command->name[length] != ' ')
                continue;
            if (pass == 0)
                fprintf(to, "  %-18s %s\n", command->name, command->summary);
            else
                fprintf(to, "  %.*s\n", (int)strcspn(command->example, "\n"), command->example);
        }
        fputs(pass == 0 ? "\nExamples:\n" : "\n", to);
    }
    fprintf(to, "'loam %s COMMAND --help' explains each.\n", group);
}

/* For troff: a backslash and a dash have meanings, and so has a line that begins with a point or a quote. */
static void print_troff(FILE *to, const char *text)
{
    bool start = true;
    for (; *text; text++) {
        if (start && (*text == '.' || *text == '\''))
            fputs("\\&", to);
        start = *text == '\n';
        if (*text == '\\')
            fputs("\\e", to);
        else if (*text == '-')
            fputs("\\-", to);
        else
            fputc(*text, to);
    }
}

static void print_manual_option(FILE *to, const struct command *command, const struct option *option)
{
    char found[96];
    fputs(".TP\n\\fB", to);
    if (option->letter)
        fprintf(to, "\\-%c, ", option->letter);
    fputs("\\-\\-", to);
    print_troff(to, option->name);
    fputs("\\fR", to);
    if (option->placeholder) {
        fputs(" \\fI", to);
        print_troff(to, option->placeholder);
        fputs("\\fR", to);
    }
    fputc('\n', to);
    print_troff(to, option->help);
    print_choices(to, option, ": ", "");
    default_of(command, option, found);
    if (*found) {
        fputs(" (default: ", to);
        print_troff(to, found);
        fputc(')', to);
    }
    fputs(".\n", to);
}

static void print_manual_command(FILE *to, const struct command *command)
{
    fputs(".SS loam ", to);
    print_troff(to, command->name);
    fputc(' ', to);
    print_troff(to, command->operands);
    fputs("\n", to);
    print_troff(to, command->text);
    fputc('\n', to);
    for (int i = 1; i < OPTION_IDS; i++)
        if (command_has(command, (enum option_id)i))
            print_manual_option(to, command, &option_table[i]);
    fputs(".PP\n.nf\n.RS\n", to);
    print_troff(to, command->example);
    fputs("\n.RE\n.fi\n", to);
}

void print_manual(FILE *to)
{
    fprintf(to, ".TH LOAM 1 \"\" \"loam %s\" \"User Commands\"\n", loam_version());
    fputs(".SH NAME\nloam \\- language models from a text file to an assistant\n"
          ".SH SYNOPSIS\n.B loam\n.I COMMAND\n[\\fIMODEL\\fR] [\\fIoptions\\fR]\n"
          ".SH DESCRIPTION\nTrains, fine\\-tunes, evaluates and runs decoder\\-only language models on the CPU. MODEL is a "
          "directory as Hugging Face has it: config.json, model.safetensors (or shards with an index) and tokenizer.json. "
          "Results go to standard output, everything else to standard error.\n"
          ".SH COMMANDS\n", to);
    for (size_t i = 0; i < command_count; i++)
        print_manual_command(to, &command_table[i]);
    fputs(".SH EXIT STATUS\n0: done. 1: it could not be done. 2: wrong usage.\n"
          ".SH ENVIRONMENT\n.TP\n\\fBNO_COLOR\\fR\nNo colours, where it is set.\n", to);
}

/* "tokenizer train" is one word in a shell pattern: "tokenizer\ train". */
static void print_completion_command(FILE *to, const struct command *command)
{
    fprintf(to, "    '%s') options='", command->name);
    for (int i = 0; i < OPTION_IDS; i++)
        if (command_has(command, (enum option_id)i))
            fprintf(to, "--%s ", option_table[i].name);
    fputs("' ;;\n", to);
}

/* By the command too: the same name may be a flag of another. */
static void print_completion_choices(FILE *to, enum option_id id)
{
    const struct option *option = &option_table[id];
    const char *between = "    ";
    for (size_t i = 0; i < command_count; i++) {
        if (!command_has(&command_table[i], id))
            continue;
        fprintf(to, "%s'%s --%s'", between, command_table[i].name, option->name);
        between = "|";
    }
    fputs(") COMPREPLY=($(compgen -W '", to);
    for (const char *s = option->choices; *s; s++)
        fputc(*s == '|' ? ' ' : *s, to);
    fputs("' -- \"$word\")); return ;;\n", to);
}

static void print_first_words(FILE *to)
{
    const char *last = "";
    size_t length = 0;
    for (size_t i = 0; i < command_count; i++) {
        const char *name = command_table[i].name;
        const size_t word = strcspn(name, " ");
        if (word == length && strncmp(name, last, word) == 0)
            continue;
        fprintf(to, "%.*s ", (int)word, name);
        last = name;
        length = word;
    }
}

void print_completion(FILE *to)
{
    fputs("# bash completion for loam\n_loam()\n{\n    local word=${COMP_WORDS[COMP_CWORD]} last=${COMP_WORDS[COMP_CWORD-1]} "
          "options='' command=${COMP_WORDS[1]}\n    COMPREPLY=()\n    if [[ $COMP_CWORD == 1 ]]; then\n"
          "        COMPREPLY=($(compgen -W '", to);
    print_first_words(to);
    fputs("--help --version' -- \"$word\"))\n        return\n    fi\n    case $command in\n", to);
    for (size_t i = 0; i < command_count; i++) {
        const char *name = command_table[i].name;
        const size_t word = strcspn(name, " ");
        if (!name[word] || (i > 0 && strncmp(command_table[i - 1].name, name, word + 1) == 0))
            continue;
        fprintf(to, "    %.*s)\n        if [[ $COMP_CWORD == 2 ]]; then\n            COMPREPLY=($(compgen -W '", (int)word, name);
        for (size_t k = i; k < command_count; k++)
            if (strncmp(command_table[k].name, name, word + 1) == 0)
                fprintf(to, "%s ", command_table[k].name + word + 1);
        fputs("' -- \"$word\"))\n            return\n        fi\n        command+=\" ${COMP_WORDS[2]}\" ;;\n", to);
    }
    fputs("    esac\n    case \"$command $last\" in\n", to);
    for (int i = 0; i < OPTION_IDS; i++)
        if (option_table[i].kind == KIND_CHOICE)
            print_completion_choices(to, (enum option_id)i);
    fputs("    esac\n    case $command in\n", to);
    for (size_t i = 0; i < command_count; i++)
        print_completion_command(to, &command_table[i]);
    fputs("    esac\n    if [[ $word == -* ]]; then\n        COMPREPLY=($(compgen -W \"$options\" -- \"$word\"))\n"
          "    else\n        COMPREPLY=($(compgen -f -- \"$word\"))\n    fi\n}\ncomplete -o filenames -F _loam loam\n", to);
}
