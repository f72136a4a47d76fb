/* Matrix products of loam beside oneDNN's, at the shapes of a training step of GPT-2 124M (1024 rows), both as fractions of the
 * multiply-adds measured in the same run. bench/products.sh builds and runs it; the first argument is the number of threads.
 */
#include "base/base.h"
#include "compute/compute.h"

#include <oneapi/dnnl/dnnl.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 7 };

static const struct shape {
    const char *name;
    int64_t m, n, k;
    bool transpose_a, transpose_b;
} shapes[] = {
    {"qkv forward", 1024, 2304, 768, false, false},     {"qkv to its input", 1024, 768, 2304, false, true},
    {"qkv to its weights", 768, 2304, 1024, true, false}, {"attention's output", 1024, 768, 768, false, false},
    {"up forward", 1024, 3072, 768, false, false},      {"up to its input", 1024, 768, 3072, false, true},
    {"up to its weights", 768, 3072, 1024, true, false},  {"down forward", 1024, 768, 3072, false, false},
    {"head, one chunk", 256, 50257, 768, false, true},  {"head to its input", 256, 768, 50257, false, false},
    {"head to its weights", 50257, 768, 256, true, false},
};

static void must(bool fine, const char *what)
{
    if (fine)
        return;
    fprintf(stderr, "products: %s failed\n", what);
    exit(1);
}

static void fill(float *x, int64_t count, uint32_t seed)
{
    for (int64_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = (float)(seed >> 8) / (float)(1 << 24) - 0.5f;
    }
}

static void memory_of(dnnl_memory_t *memory, dnnl_memory_desc_t *desc, dnnl_engine_t engine, int64_t rows, int64_t columns,
                      bool transposed, float *data)
{
    const dnnl_dims_t dims = {rows, columns}, strides = {transposed ? 1 : columns, transposed ? rows : 1};
    must(dnnl_memory_desc_init_by_strides(desc, 2, dims, dnnl_f32, strides) == dnnl_success, "a description");
    must(dnnl_memory_create(memory, desc, engine, data) == dnnl_success, "memory");
}

/* The best of ROUNDS, in seconds, of oneDNN's product with a scratchpad of the caller's. */
static double time_onednn(const struct shape *s, dnnl_engine_t engine, dnnl_stream_t stream, float *a, float *b, float *c)
{
    dnnl_memory_desc_t ad, bd, cd;
    dnnl_memory_t am, bm, cm, scratch;
    memory_of(&am, &ad, engine, s->m, s->k, s->transpose_a, a);
    memory_of(&bm, &bd, engine, s->k, s->n, s->transpose_b, b);
    memory_of(&cm, &cd, engine, s->m, s->n, false, c);
    dnnl_matmul_desc_t desc;
    dnnl_primitive_attr_t attributes;
    dnnl_primitive_desc_t description;
    dnnl_primitive_t primitive;
    must(dnnl_matmul_desc_init(&desc, &ad, &bd, NULL, &cd) == dnnl_success, "a product");
    must(dnnl_primitive_attr_create(&attributes) == dnnl_success, "attributes");
    must(dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user) == dnnl_success, "a scratchpad");
    must(dnnl_primitive_desc_create(&description, &desc, attributes, engine, NULL) == dnnl_success, "a product");
    must(dnnl_primitive_create(&primitive, description) == dnnl_success, "a product");
    const dnnl_memory_desc_t *room = dnnl_primitive_desc_query_md(description, dnnl_query_scratchpad_md, 0);
    void *block = aligned_alloc(64, (dnnl_memory_desc_get_size(room) + 64) / 64 * 64);
    must(block && dnnl_memory_create(&scratch, room, engine, block) == dnnl_success, "a scratchpad");
    const dnnl_exec_arg_t arguments[] = {
        {DNNL_ARG_SRC, am}, {DNNL_ARG_WEIGHTS, bm}, {DNNL_ARG_DST, cm}, {DNNL_ARG_SCRATCHPAD, scratch}};
    double best = 1e30;
    for (int i = 0; i < ROUNDS; i++) {
        const double start = lm_seconds();
        must(dnnl_primitive_execute(primitive, stream, 4, arguments) == dnnl_success, "running");
        must(dnnl_stream_wait(stream) == dnnl_success, "running");
        const double took = lm_seconds() - start;
        best = took < best ? took : best;
    }
    dnnl_primitive_destroy(primitive);
    dnnl_primitive_desc_destroy(description);
    dnnl_primitive_attr_destroy(attributes);
    const dnnl_memory_t all[] = {am, bm, cm, scratch};
    for (int i = 0; i < 4; i++)
        dnnl_memory_destroy(all[i]);
    free(block);
    return best;
}

static double time_loam(const struct shape *s, struct lm_device *device, float *a, float *b, float *c)
{
    const struct lm_matmul product = {
        .m = s->m, .n = s->n, .k = s->k, .transpose_a = s->transpose_a, .transpose_b = s->transpose_b,
        .a = {a, LM_F32, s->transpose_a ? s->m : s->k}, .b = {b, LM_F32, s->transpose_b ? s->k : s->n}, .c = {c, LM_F32, s->n}};
    double best = 1e30;
    for (int i = 0; i < ROUNDS; i++) {
        const double start = lm_seconds();
        lm_device_ops(device)->matmul(device, &product);
        const double took = lm_seconds() - start;
        best = took < best ? took : best;
    }
    must(!lm_device_check(device, NULL), "loam's product");
    return best;
}

int main(int count, char **arguments)
{
    const int threads = count > 1 ? atoi(arguments[1]) : 2;
    omp_set_num_threads(threads);
    struct lm_device *device;
    must(!lm_device_open(&(struct lm_device_options){.threads = threads}, &device, NULL), "the device");
    struct lm_limits limits;
    must(!lm_device_limits(device, 1, &limits, NULL), "the limits");
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    must(dnnl_engine_create(&engine, dnnl_cpu, 0) == dnnl_success, "an engine");
    must(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags) == dnnl_success, "a stream");
    const int64_t most = (int64_t)50257 * 1024;
    float *a = aligned_alloc(64, most * 4), *b = aligned_alloc(64, most * 4), *c = aligned_alloc(64, most * 4),
          *other = aligned_alloc(64, most * 4);
    must(a && b && c && other, "memory");
    fill(a, most, 1);
    fill(b, most, 2);
    fill(c, most, 3);
    fill(other, most, 4);
    printf("%s, %.0f GFLOP/s; percent of it\n%-22s %18s %6s %8s %12s\n", lm_device_name(device), limits.gflops_f32, "product",
           "m x n x k", "loam", "oneDNN", "difference");
    double work = 0, ours = 0, theirs = 0;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const struct shape *s = &shapes[i];
        const double one = time_loam(s, device, a, b, c), two = time_onednn(s, engine, stream, a, b, other);
        float difference = 0;
        for (int64_t j = 0; j < s->m * s->n; j++) {
            const float d = c[j] > other[j] ? c[j] - other[j] : other[j] - c[j];
            difference = d > difference ? d : difference;
        }
        const double flops = 2.0 * (double)s->m * (double)s->n * (double)s->k, whole = limits.gflops_f32 * 1e9 / 100;
        char size[32];
        snprintf(size, sizeof size, "%ld x %ld x %ld", (long)s->m, (long)s->n, (long)s->k);
        printf("%-22s %18s %6.1f %8.1f %12.1e\n", s->name, size, flops / one / whole, flops / two / whole, (double)difference);
        work += flops, ours += one, theirs += two;
    }
    const double whole = limits.gflops_f32 * 1e9 / 100;
    printf("%-22s %18s %6.1f %8.1f\n", "all together", "", work / ours / whole, work / theirs / whole);
    lm_device_close(device);
    return 0;
}
