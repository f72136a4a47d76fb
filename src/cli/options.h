/* The one table of commands and the one table of options. The parser, the help, the manual page and the completion of
 * the shell all come from them:
 *
 *     struct arguments arguments;
 *     int status = arguments_parse(&arguments, argc - 1, argv + 1);       // status >= 0: the program ends with it
 *     if (status < 0)
 *         status = arguments.command->run(&arguments);
 *     arguments_free(&arguments);
 */
#ifndef LOAM_CLI_OPTIONS_H
#define LOAM_CLI_OPTIONS_H

#include "base/base.h"

#include <stdio.h>

/* What the program ends with. */
enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

enum command_id {
    CMD_QUICKSTART, CMD_TOKENIZER_TRAIN, CMD_TOKENIZER_ENCODE, CMD_TOKENIZER_DECODE, CMD_TOKENIZER_SHOW, CMD_TOKENIZER_CONVERT,
    CMD_INIT, CMD_CONVERT, CMD_TRAIN,
    CMD_FINETUNE, CMD_PLAN, CMD_DATA_SHOW, CMD_EVAL, CMD_GENERATE, CMD_CHAT, CMD_LOOK_WEIGHTS, CMD_LOOK_LOGITS, CMD_LOOK_STEP,
    CMD_LOOK_LOSSES, CMD_LOOK_TOKENS, CMD_LOOK_ATTENTION, CMD_LOOK_NORMS, CMD_LOOK_NEURONS, CMD_LOOK_MEMORY, CMD_LEARN,
    CMD_MEASURE, CMD_SERVE, CMD_ROOM, CMD_BENCH,
    COMMAND_IDS
};

enum option_id {
    OPT_HELP, OPT_OUT, OPT_JSON, OPT_THREADS, OPT_SEED, OPT_DTYPE,
    OPT_LIKE, OPT_CONFIG, OPT_TYPE,
    OPT_VOCAB_SIZE, OPT_PATTERN, OPT_SPECIAL_TOKEN, OPT_TIES, OPT_KIND, OPT_TRAINING_MEMORY, OPT_LINES, OPT_COMPARE, OPT_CONVERSATIONS, OPT_ADD_SPECIAL,
    OPT_SPECIAL, OPT_SKIP_SPECIAL, OPT_FAMILY,
    OPT_DATA, OPT_EVAL_DATA, OPT_TEMPLATE, OPT_STEPS, OPT_EPOCHS, OPT_BATCH, OPT_ACCUMULATE, OPT_SEQ, OPT_LR,
    OPT_MIN_LR, OPT_SCHEDULE, OPT_WARMUP, OPT_WEIGHT_DECAY, OPT_BETA1, OPT_BETA2, OPT_EPSILON, OPT_CLIP,
    OPT_NO_SHUFFLE, OPT_NO_PACK, OPT_TRAIN_ON_ALL, OPT_ADD_TOKENS, OPT_RECOMPUTE,
    OPT_OPTIMIZER_STATE, OPT_MASTERS, OPT_GRADIENTS, OPT_PRODUCTS, OPT_FUSED_STEP, OPT_FUSED_CLIP, OPT_OFFLOAD, OPT_MEMORY, OPT_RANKS, OPT_ZERO,
    OPT_FIT, OPT_SVG, OPT_COMPARE_WITH, OPT_EVAL_EVERY, OPT_PATIENCE,
    OPT_SAVE_EVERY, OPT_KEEP, OPT_SAMPLE_PROMPT, OPT_OVERFIT_ONE_BATCH, OPT_RECIPE, OPT_RESUME, OPT_ALLOW_CHANGES,
    OPT_FAITHFUL, OPT_WEIGHTS_ONLY, OPT_CACHE, OPT_MODEL, OPT_KEY, OPT_CSV, OPT_CHART,
    OPT_PROMPT, OPT_IDS, OPT_MAX_TOKENS, OPT_TEMPERATURE, OPT_TOP_K, OPT_TOP_P, OPT_MIN_P, OPT_REPETITION_PENALTY,
    OPT_STOP, OPT_IGNORE_EOS, OPT_SYSTEM, OPT_DEBUG, OPT_NO_CHAT, OPT_LIMITS, OPT_TINY, OPT_LIMIT,
    OPT_HOST, OPT_PORT, OPT_KEYS, OPT_CORS, OPT_SERVE_MEMORY, OPT_CONTEXT, OPT_STREAMS, OPT_SERVE_CACHE, OPT_QUEUE, OPT_BODY_LIMIT, OPT_TIMEOUT,
    OPT_DRAIN, OPT_OVERFLOW, OPT_VERBOSE, OPT_SWEEP, OPT_BENCH_MODEL, OPT_BENCH_STREAMS, OPT_CONTEXTS, OPT_BENCH_CSV,
    OPT_SESSION, OPT_NO_SAVE,
    OPT_DEMO, OPT_ROOM, OPT_NAME, OPT_SECRETS, OPT_WEB, OPT_TELEGRAM,
    OPT_SENTENCE, OPT_LAYER, OPT_HEAD, OPT_TOP, OPT_RANGES, OPT_HTML, OPT_WIDTH, OPT_COLOUR,
    OPTION_IDS
};

enum option_kind {
    KIND_FLAG,      /* no value */
    KIND_INT, KIND_SEED, KIND_DOUBLE, KIND_SIZE, KIND_TEXT,
    KIND_CHOICE,    /* one of `choices` */
    KIND_LIST,      /* text, may be given again */
    KIND_FILES      /* a list that takes every word up to the next option */
};

struct option {
    const char *name;          /* without the dashes */
    char letter;               /* -o, or 0 */
    enum option_kind kind;
    bool setting;              /* a setting of a run: also a key of recipes, with _ for -; its default is the library's */
    const char *placeholder;   /* what the value is called in the help; NULL for flags */
    const char *standard;      /* the default as it would be typed; NULL: none */
    const char *choices;       /* "a|b|c" */
    double least, most;        /* of numbers, both allowed */
    uint64_t commands;         /* a bit for every command that has it */
    const char *help;          /* one sentence without a full stop */
};

struct arguments;
struct command {
    enum command_id id;
    const char *name;          /* one word or two */
    const char *operands;      /* as the usage line has them, required options included */
    size_t least, most;        /* number of operands */
    const char *summary;       /* one line, no full stop */
    const char *text;          /* a paragraph or more for the help */
    const char *example;       /* one or more lines, each a command that works */
    int (*run)(const struct arguments *arguments);    /* gives the exit status */
};

extern const struct option option_table[OPTION_IDS];
extern const struct command command_table[];
extern const size_t command_count;

/* What one option got. */
struct argument {
    bool given;
    int64_t whole;             /* KIND_INT, KIND_SIZE */
    uint64_t seed;             /* KIND_SEED */
    double number;             /* KIND_DOUBLE */
    const char *text;          /* as typed, or the default; NULL: neither. Of a setting that is swept: all values, with commas */
    const char **list;         /* KIND_LIST, KIND_FILES */
    size_t count;
};

struct arguments {
    const struct command *command;
    struct argument values[OPTION_IDS];
    const char **operands;
    size_t operand_count;
};

/* Parses the words behind the program's name. -1: `arguments` is filled, run its command. Else the help (to standard
 * output) or a complaint (to standard error) has been printed, and the program ends with the result. */
int arguments_parse(struct arguments *arguments, int count, char **words);
void arguments_free(struct arguments *arguments);

const struct command *command_find(const char *name);
/* Settings are swept over where a command looks at many runs: whether the text is several values with commas between them.
 * (One value of --offload has commas of its own.) */
bool option_swept(const struct command *command, const struct option *option, const char *text);
/* True where the command has the option. --help is everywhere. */
bool command_has(const struct command *command, enum option_id id);
/* The nearest name to what was typed, or NULL where none is near. Names are given one by one by `next`(user, i). */
const char *nearest_name(const char *typed, const char *(*next)(const void *user, size_t index), const void *user);

/* help.c */
void print_overview(FILE *to);
void print_help(FILE *to, const struct command *command);
void print_group(FILE *to, const char *group);    /* "look": its commands, an example of each */
void print_version(FILE *to);
void print_manual(FILE *to);          /* troff, for man */
void print_completion(FILE *to);      /* bash */

/* The commands. */
int command_quickstart(const struct arguments *arguments);
int command_tokenizer_train(const struct arguments *arguments);
int command_tokenizer_encode(const struct arguments *arguments);
int command_tokenizer_decode(const struct arguments *arguments);
int command_tokenizer_show(const struct arguments *arguments);
int command_tokenizer_convert(const struct arguments *arguments);
int command_convert(const struct arguments *arguments);
int command_init(const struct arguments *arguments);
int command_train(const struct arguments *arguments);
int command_finetune(const struct arguments *arguments);
int command_plan(const struct arguments *arguments);
int command_data_show(const struct arguments *arguments);
int command_eval(const struct arguments *arguments);
int command_generate(const struct arguments *arguments);
int command_chat(const struct arguments *arguments);
int command_serve(const struct arguments *arguments);
int command_room(const struct arguments *arguments);
int command_look_weights(const struct arguments *arguments);
int command_look_logits(const struct arguments *arguments);
int command_look_step(const struct arguments *arguments);
int command_look_tokens(const struct arguments *arguments);
int command_look_attention(const struct arguments *arguments);
int command_look_norms(const struct arguments *arguments);
int command_look_neurons(const struct arguments *arguments);
int command_look_memory(const struct arguments *arguments);
int command_learn(const struct arguments *arguments);
int command_look_losses(const struct arguments *arguments);
int command_measure(const struct arguments *arguments);
int command_bench(const struct arguments *arguments);

#endif
