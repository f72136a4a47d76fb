/* loam bench */
#include "bench.h"
#include "common.h"

#include <string.h>

static bool names_known(const struct arguments *arguments)
{
    for (size_t i = 0; i < arguments->operand_count; i++)
        if (!bench_find(arguments->operands[i])) {
            struct lm_bytes names = {0};
            loam_error error;
            for (size_t j = 0; j < bench_case_count; j++)
                lm_bytes_format(&names, &error, "%s%s", j ? ", " : "", bench_cases[j].name);
            complain("bench: '%s': no such measurement; there are: %s", arguments->operands[i], names.data ? names.data : "");
            lm_bytes_free(&names);
            return false;
        }
    return true;
}

static bool wanted(const struct arguments *arguments, const struct bench_case *one)
{
    for (size_t i = 0; i < arguments->operand_count; i++)
        if (bench_find(arguments->operands[i]) == one)
            return true;
    return arguments->operand_count == 0;
}

static void begin_json(struct lm_json_writer *writer, const struct bench *bench)
{
    lm_json_begin_object(writer);
    lm_json_key(writer, "machine");
    lm_json_begin_object(writer);
    lm_json_key(writer, "peak_gflops_f32");
    lm_json_double(writer, bench->limits.gflops_f32);
    lm_json_key(writer, "read_gbps");
    lm_json_double(writer, bench->limits.read_gbps);
    lm_json_key(writer, "threads");
    lm_json_int(writer, bench->threads);
    lm_json_key(writer, "isa");
    lm_json_text(writer, lm_device_isa(bench->device));
    lm_json_end_object(writer);
    lm_json_key(writer, "results");
    lm_json_begin_array(writer);
}

static void add_json(struct lm_json_writer *writer, const char *name, const struct bench_result *result)
{
    lm_json_begin_object(writer);
    lm_json_key(writer, "name");
    lm_json_text(writer, name);
    lm_json_key(writer, "value");
    lm_json_double(writer, result->value);
    lm_json_key(writer, "unit");
    lm_json_text(writer, result->unit);
    lm_json_key(writer, "of_limit");
    lm_json_double(writer, result->of_limit);
    lm_json_end_object(writer);
}

/* --- The sweep --- */

enum { MOST_LISTED = 32, MOST_SWEPT = 1 << 20 };

/* "1,2,4" */
static int read_list(const char *text, const char *name, int64_t *list, size_t *count, loam_error *error)
{
    for (*count = 0; *count < MOST_LISTED; text++) {
        const size_t length = strcspn(text, ",");
        char number[24];
        int64_t value = 0;
        snprintf(number, sizeof number, "%.*s", length < sizeof number ? (int)length : 0, text);
        if (lm_parse_int(number, &value, NULL) != LOAM_OK || value < 1 || value > MOST_SWEPT)
            return lm_fail(error, LOAM_EUSAGE, "--%s: found '%.*s', wanted whole numbers from 1 to %d with commas between them", name,
                           (int)length, text, MOST_SWEPT);
        list[(*count)++] = value;
        text += length;
        if (!*text)
            return LOAM_OK;
    }
    return lm_fail(error, LOAM_EUSAGE, "--%s: wanted at most %d numbers", name, MOST_LISTED);
}

struct table {
    const struct arguments *arguments;
    struct lm_json_writer *writer;
};

static void show_row(void *user, const struct bench_row *row)
{
    const struct table *table = user;
    if (table->arguments->values[OPT_BENCH_CSV].given) {
        printf("%lld,%lld,%.2f,%.2f,%.4f\n", (long long)row->streams, (long long)row->context, row->prompt, row->decode,
               row->of_limit);
    } else if (table->arguments->values[OPT_JSON].given) {
        const struct {
            const char *key;
            double value;
        } pairs[] = {{"prompt_tokens_per_second", row->prompt}, {"decode_tokens_per_second", row->decode},
                     {"of_limit", row->of_limit}};
        lm_json_begin_object(table->writer);
        lm_json_key(table->writer, "streams");
        lm_json_int(table->writer, row->streams);
        lm_json_key(table->writer, "context");
        lm_json_int(table->writer, row->context);
        for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
            lm_json_key(table->writer, pairs[i].key);
            lm_json_double(table->writer, pairs[i].value);
        }
        lm_json_end_object(table->writer);
    } else {
        printf("%8lld %8lld %12.1f %12.1f %12.1f %9.1f%%\n", (long long)row->streams, (long long)row->context, row->prompt,
               row->decode, row->decode / (double)row->streams, 100 * row->of_limit);
    }
    fflush(stdout);
}

static int sweep(const struct arguments *arguments, struct bench *bench, struct lm_json_writer *writer, loam_error *error)
{
    const struct argument *values = arguments->values;
    const char *model = values[OPT_BENCH_MODEL].text;
    int64_t streams[MOST_LISTED], contexts[MOST_LISTED];
    size_t stream_count, context_count;
    int code = read_list(values[OPT_BENCH_STREAMS].text, "streams", streams, &stream_count, error);
    if (code == LOAM_OK)
        code = read_list(values[OPT_CONTEXTS].text, "contexts", contexts, &context_count, error);
    if (code != LOAM_OK)
        return code;
    if (values[OPT_BENCH_CSV].given)
        printf("streams,context,prompt_tokens_per_second,decode_tokens_per_second,of_limit\n");
    else if (!values[OPT_JSON].given)
        printf("%8s %8s %12s %12s %12s %10s\n", "streams", "context", "prompt t/s", "decode t/s", "each", "of memory");
    struct table table = {arguments, writer};
    return bench_sweep(bench, model, streams, stream_count, contexts, context_count, show_row, &table, error);
}

/* --- The measurements by name --- */

static int measure_cases(const struct arguments *arguments, struct bench *bench, struct lm_json_writer *writer, loam_error *error)
{
    const bool json = arguments->values[OPT_JSON].given;
    for (size_t i = 0; i < bench_case_count; i++) {
        struct bench_result result;
        const char *name = bench_case_name(bench, &bench_cases[i]);
        if (!wanted(arguments, &bench_cases[i]))
            continue;
        fflush(stdout);
        const int code = bench_cases[i].run(bench, &bench_cases[i], &result, error);
        if (code != LOAM_OK)
            return code;
        add_json(writer, name, &result);
        if (arguments->values[OPT_BENCH_CSV].given)
            printf("%s,%.4f,%s,%.4f\n", name, result.value, result.unit, result.of_limit);
        else if (!json)
            printf("%-24s %10.*f %-9s %5.1f%% of the limit\n", name, result.value < 10 ? 3 : 1, result.value, result.unit, 100 * result.of_limit);
    }
    return LOAM_OK;
}

/* As text and CSV each line comes when it is known; as JSON all comes at the end. */
static int measure(const struct arguments *arguments, struct bench *bench, struct lm_json_writer *writer, loam_error *error)
{
    const struct argument *values = arguments->values;
    const bool table = values[OPT_SWEEP].given || values[OPT_BENCH_MODEL].given;
    int code = bench_open(bench, error);
    if (code != LOAM_OK)
        return code;
    begin_json(writer, bench);
    if (!values[OPT_JSON].given && !values[OPT_BENCH_CSV].given)
        printf("machine: %s, %.0f GFLOP/s of fp32 multiply-adds, %.1f GB/s read\n", lm_device_name(bench->device),
               bench->limits.gflops_f32, bench->limits.read_gbps);
    if (values[OPT_BENCH_CSV].given && !table)
        printf("name,value,unit,of_limit\n");
    if (!values[OPT_LIMITS].given)
        code = (table ? sweep : measure_cases)(arguments, bench, writer, error);
    lm_json_end_array(writer);
    lm_json_end_object(writer);
    return code;
}

int command_bench(const struct arguments *arguments)
{
    struct bench bench = {.threads = thread_count(arguments), .tiny = arguments->values[OPT_TINY].given};
    struct lm_bytes out = {0};
    struct lm_json_writer writer = lm_json_writer(&out, 2);
    loam_error error;
    if (!names_known(arguments))
        return EXIT_USAGE;
    if (arguments->values[OPT_BENCH_CSV].given && arguments->values[OPT_JSON].given) {
        complain("bench: --csv and --json are two ways to print the same; choose one");
        return EXIT_USAGE;
    }
    catch_signals();
    int code = measure(arguments, &bench, &writer, &error);
    bench_close(&bench);
    if (code == LOAM_OK && arguments->values[OPT_JSON].given)
        return print_json(&writer);
    lm_bytes_free(&out);
    return code == LOAM_OK ? EXIT_DONE : complain_error(&error);
}
