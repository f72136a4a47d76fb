/* loam bench */
#include "bench.h"
#include "common.h"

static bool names_known(const struct arguments *arguments)
{
    for (size_t i = 0; i < arguments->operand_count; i++)
        if (!bench_find(arguments->operands[i])) {
            complain("bench: '%s': no such measurement; there are: %s, %s, %s, %s", arguments->operands[i], bench_cases[0].name,
                     bench_cases[1].name, bench_cases[2].name, bench_cases[3].name);
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

/* As text each line comes when it is known; as JSON all comes at the end. */
static int measure(const struct arguments *arguments, struct bench *bench, struct lm_json_writer *writer, loam_error *error)
{
    const bool json = arguments->values[OPT_JSON].given;
    int code = bench_open(bench, error);
    if (code != LOAM_OK)
        return code;
    begin_json(writer, bench);
    if (!json)
        printf("machine: %s, %.0f GFLOP/s of fp32 multiply-adds, %.1f GB/s read\n", lm_device_name(bench->device),
               bench->limits.gflops_f32, bench->limits.read_gbps);
    for (size_t i = 0; i < bench_case_count && !arguments->values[OPT_LIMITS].given; i++) {
        struct bench_result result;
        const char *name = bench_case_name(bench, &bench_cases[i]);
        if (!wanted(arguments, &bench_cases[i]))
            continue;
        fflush(stdout);
        if ((code = bench_cases[i].run(bench, &result, error)) != LOAM_OK)
            return code;
        add_json(writer, name, &result);
        if (!json)
            printf("%-24s %10.*f %-9s %5.1f%% of the limit\n", name, result.value < 10 ? 3 : 1, result.value, result.unit, 100 * result.of_limit);
    }
    lm_json_end_array(writer);
    lm_json_end_object(writer);
    return LOAM_OK;
}

int command_bench(const struct arguments *arguments)
{
    struct bench bench = {.threads = thread_count(arguments), .tiny = arguments->values[OPT_TINY].given};
    struct lm_bytes out = {0};
    struct lm_json_writer writer = lm_json_writer(&out, 2);
    loam_error error;
    if (!names_known(arguments))
        return EXIT_USAGE;
    catch_signals();
    int code = measure(arguments, &bench, &writer, &error);
    bench_close(&bench);
    if (code == LOAM_OK && arguments->values[OPT_JSON].given)
        return print_json(&writer);
    lm_bytes_free(&out);
    return code == LOAM_OK ? EXIT_DONE : complain_error(&error);
}
