/* From the start of the program to the first token, as a person at a terminal waits for it: `loam generate` as a process
 * of its own, on a model directory that lies in the page cache. */
#include "bench.h"
#include "model/model.h"
#include "terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STARTS = 5 };

/* In the child: only what is allowed between fork and exec. */
static void become_generate(const char *directory, const char *threads, int output)
{
    const int nothing = open("/dev/null", O_RDWR);
    dup2(nothing, STDIN_FILENO);
    dup2(output, STDOUT_FILENO);
    execl("/proc/self/exe", "loam", "generate", directory, "--ids", "1 2 3", "--max-tokens", "1", "--ignore-eos",
          "--temperature", "0", "--threads", threads, (char *)NULL);
    _exit(127);
}

static int wait_for(pid_t child, loam_error *error)
{
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return lm_fail_errno(error, errno, "bench: waiting for loam generate");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return lm_fail(error, LOAM_EIO, "bench: loam generate ended with status %d, wanted 0; what it said stands above",
                       WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
    return LOAM_OK;
}

/* Seconds from before the fork to the first byte that comes out. */
static int time_start(const char *directory, const char *threads, double *seconds, loam_error *error)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return lm_fail_errno(error, errno, "bench: a pipe");
    const double start = lm_seconds();
    const pid_t child = fork();
    if (child == 0)
        become_generate(directory, threads, ends[1]);
    const int failed = errno;
    close(ends[1]);
    char byte;
    ssize_t got = 0;
    if (child > 0)
        while ((got = read(ends[0], &byte, 1)) < 0 && errno == EINTR)
            ;
    *seconds = lm_seconds() - start;
    char rest[256];
    while (got > 0 && read(ends[0], rest, sizeof rest) > 0)
        ;
    close(ends[0]);
    if (child < 0)
        return lm_fail_errno(error, failed, "bench: starting loam generate");
    int code = wait_for(child, error);
    return code == LOAM_OK && got != 1 ? lm_fail(error, LOAM_EIO, "bench: loam generate printed nothing, wanted a token") : code;
}

static int write_model(struct bench *bench, const struct lm_config *config, const char *directory, loam_error *error)
{
    int64_t room;
    const size_t bytes = lm_model_weight_bytes(config, LM_BF16);
    int code = lm_free_space(directory, &room, error);
    if (code == LOAM_OK && (size_t)room < bytes + bytes / 16)
        return lm_fail(error, LOAM_ENOSPACE, "%s: the model takes %zu bytes, found room for %lld; set TMPDIR to a folder with more",
                       directory, bytes, (long long)room);
    struct lm_model *model = NULL;
    if (code == LOAM_OK)
        code = lm_model_create(config, 1, bench->device, &(struct lm_model_options){.load = true, .dtype = LM_BF16}, &model, error);
    if (code == LOAM_OK)
        code = lm_model_save(model, directory, LM_BF16, 0, error);
    lm_model_close(model);
    return code;
}

static int measure(struct bench *bench, const char *directory, double *seconds, loam_error *error)
{
    double times[STARTS];
    char threads[16];
    snprintf(threads, sizeof threads, "%d", bench->threads);
    for (int i = -1; i < STARTS; i++) {    /* the first brings the file into the page cache */
        double time = 0;
        int code = stop_wanted() ? lm_fail(error, LOAM_ECANCELLED, "bench: stopped on request")
                                 : time_start(directory, threads, &time, error);
        if (code != LOAM_OK)
            return code;
        if (i >= 0)
            times[i] = time;
    }
    *seconds = bench_median(times, STARTS);
    return LOAM_OK;
}

int bench_start(struct bench *bench, const struct bench_case *one, struct bench_result *result, loam_error *error)
{
    (void)one;
    const char *folder = getenv("TMPDIR");
    struct lm_config config;
    double seconds;
    int code = bench_shape(bench, "llama-3.2-1b", &config, error);
    char *directory = code == LOAM_OK ? lm_path_join(folder && *folder ? folder : "/tmp", "loam-bench-XXXXXX", error) : NULL;
    if (!directory)
        return code == LOAM_OK ? LOAM_ENOMEM : code;
    if (!mkdtemp(directory)) {
        code = lm_fail_errno(error, errno, "%s: a folder for the model; set TMPDIR to one that can be written", directory);
        lm_free(directory);
        return code;
    }
    code = write_model(bench, &config, directory, error);
    if (code == LOAM_OK)
        code = measure(bench, directory, &seconds, error);
    int removed = lm_remove_tree(directory, code == LOAM_OK ? error : NULL);
    lm_free(directory);
    if (code != LOAM_OK || removed != LOAM_OK)
        return code != LOAM_OK ? code : removed;
    const double least = (double)lm_model_weight_bytes(&config, LM_BF16) * 1e-9 / bench->limits.read_gbps;
    *result = (struct bench_result){seconds, "s", least / seconds};
    return LOAM_OK;
}
