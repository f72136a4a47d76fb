/* Control groups, version 2 and 1: a limit may stand in the process's own group or in any above it, and inside a
 * container the group's own path may not be visible, so every level up to the root is looked at. */
#include "base.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TEXT = 4096 };

/* The first bytes of a small file, with a 0; false where it cannot be read. */
static bool read_text(const char *path, char *text, size_t room)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    size_t length = fread(text, 1, room - 1, file);
    text[length] = 0;
    fclose(file);
    return length > 0;
}

/* The path of this process in the hierarchy of `controller` ("" for version 2). */
static bool group_path(const char *controller, char *path, size_t room)
{
    char text[TEXT];
    if (!read_text("/proc/self/cgroup", text, sizeof text))
        return false;
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *controllers = strchr(line, ':');
        char *where = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!where)
            continue;
        *where++ = 0;
        controllers++;
        bool found = *controller == 0 ? *controllers == 0 : false;
        char *inner = NULL;
        for (char *name = strtok_r(controllers, ",", &inner); name && *controller; name = strtok_r(NULL, ",", &inner))
            found = found || strcmp(name, controller) == 0;
        if (found && strlen(where) < room) {
            strcpy(path, where);
            return true;
        }
    }
    return false;
}

/* Calls `look` with "ROOT/GROUP/" for the process's group and every group above it. */
static void each_group(const char *root, const char *controller, void (*look)(const char *folder, void *user), void *user)
{
    char path[TEXT], folder[TEXT + 64];
    if (!group_path(controller, path, sizeof path))
        strcpy(path, "/");
    for (;;) {
        snprintf(folder, sizeof folder, "%s%s/", root, strcmp(path, "/") == 0 ? "" : path);
        look(folder, user);
        char *slash = strrchr(path, '/');
        if (!slash || strcmp(path, "/") == 0)
            return;
        if (slash == path)
            slash[1] = 0;
        else
            *slash = 0;
    }
}

static bool read_group_file(const char *folder, const char *name, char *text, size_t room)
{
    char path[TEXT + 128];
    snprintf(path, sizeof path, "%s%s", folder, name);
    return read_text(path, text, room);
}

static void lower_processors(long long quota, long long period, int *most)
{
    if (quota <= 0 || period <= 0)
        return;
    long long whole = (quota + period - 1) / period;
    if (whole < *most)
        *most = whole < 1 ? 1 : (int)whole;
}

static void look_processors(const char *folder, void *user)
{
    char text[128], period[128];
    char *rest;
    if (read_group_file(folder, "cpu.max", text, sizeof text)) {
        long long quota = strtoll(text, &rest, 10);    /* "max 100000" gives 0: no limit */
        lower_processors(quota, strtoll(rest, NULL, 10), user);
    }
    if (read_group_file(folder, "cpu.cfs_quota_us", text, sizeof text) &&
        read_group_file(folder, "cpu.cfs_period_us", period, sizeof period))
        lower_processors(strtoll(text, NULL, 10), strtoll(period, NULL, 10), user);
}

static int allowed_processors(void)
{
    for (int most = 1024; most <= 1 << 20; most *= 4) {
        cpu_set_t *set = CPU_ALLOC((size_t)most);
        if (!set)
            return 1;
        size_t size = CPU_ALLOC_SIZE((size_t)most);
        CPU_ZERO_S(size, set);
        int failed = sched_getaffinity(0, size, set);
        int count = failed ? 0 : CPU_COUNT_S(size, set);
        CPU_FREE(set);
        if (!failed)
            return count < 1 ? 1 : count;
        if (errno != EINVAL)    /* EINVAL: the machine has more processors than the set */
            return 1;
    }
    return 1;
}

int lm_processors(void)
{
    int most = allowed_processors();
    each_group("/sys/fs/cgroup", "", look_processors, &most);
    each_group("/sys/fs/cgroup/cpu", "cpu", look_processors, &most);
    return most;
}

static void look_memory(const char *folder, void *user)
{
    static const char *const names[] = {"memory.max", "memory.limit_in_bytes"};
    int64_t *least = user;
    char text[128];
    for (int i = 0; i < 2; i++) {
        if (!read_group_file(folder, names[i], text, sizeof text))
            continue;
        long long limit = strtoll(text, NULL, 10);    /* "max" gives 0: no limit */
        if (limit > 0 && limit < *least)
            *least = limit;
    }
}

int64_t lm_memory_limit(void)
{
    int64_t least = (int64_t)sysconf(_SC_PHYS_PAGES) * (int64_t)sysconf(_SC_PAGESIZE);
    each_group("/sys/fs/cgroup", "", look_memory, &least);
    each_group("/sys/fs/cgroup/memory", "memory", look_memory, &least);
    return least;
}

static int64_t status_bytes(const char *field)
{
    char text[TEXT];
    if (!read_text("/proc/self/status", text, sizeof text))
        return 0;
    const char *line = strstr(text, field);
    return line ? strtoll(line + strlen(field), NULL, 10) * 1024 : 0;
}

int64_t lm_memory_resident(void)
{
    return status_bytes("\nVmRSS:");
}

/* Not getrusage: its peak counts what the parent held at the fork. */
int64_t lm_memory_peak(void)
{
    return status_bytes("\nVmHWM:");
}

double lm_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

double lm_time(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void lm_time_text(char out[32])
{
    time_t now = time(NULL);
    struct tm parts;
    if (!gmtime_r(&now, &parts) || strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
        strcpy(out, "1970-01-01T00:00:00Z");
}
