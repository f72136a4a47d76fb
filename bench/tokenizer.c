/* Encoding through the library, without the program's start, reading and printing. bench/tokenizer.sh builds it:
 *
 *     build/tokenizer_bench MODEL TEXT LENGTHS IDS [THREADS]
 *
 * TEXT is cut into texts of the LENGTHS (bytes, one a line); all of them are encoded, one after the other, and then the
 * whole of TEXT as one. Prints seconds to load, seconds for the parts, seconds for the whole, and kilobytes: resident
 * before, and the most while encoding beyond the ids. IDS gets the parts' ids and then the whole's as int32.
 */
#include "base/base.h"
#include "tokenizer/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(int code, const loam_error *error)
{
    if (code == LOAM_OK)
        return;
    fprintf(stderr, "tokenizer_bench: %s\n", error->message);
    exit(1);
}

/* A line of /proc/self/status in kilobytes. */
static long status_of(const char *key)
{
    char line[256];
    long value = -1;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, key, strlen(key)))
            value = strtol(line + strlen(key) + 1, NULL, 10);
    if (file)
        fclose(file);
    return value;
}

static double encode_parts(const struct lm_tokenizer *tokenizer, const struct lm_bytes *text, const struct lm_ids *lengths,
                           struct lm_ids *ids)
{
    loam_error error = {0};
    size_t at = 0;
    const double start = lm_seconds();
    for (size_t i = 0; i < lengths->length; i++) {
        must(lm_tokenizer_encode(tokenizer, text->data + at, (size_t)lengths->data[i], 0, ids, NULL, &error), &error);
        at += (size_t)lengths->data[i];
    }
    return lm_seconds() - start;
}

static void read_lengths(const char *path, size_t total, struct lm_ids *lengths)
{
    loam_error error = {0};
    struct lm_bytes text = {0};
    size_t sum = 0;
    must(lm_file_read(path, 0, &text, &error), &error);
    for (char *at = text.data, *end; at && *at; at = end) {
        const long length = strtol(at, &end, 10);
        if (end == at)
            break;
        must(lm_ids_push(lengths, (int32_t)length, &error), &error);
        sum += (size_t)length;
    }
    lm_bytes_free(&text);
    if (sum == total)
        return;
    fprintf(stderr, "tokenizer_bench: the lengths make %zu bytes, the text has %zu\n", sum, total);
    exit(1);
}

int main(int count, char **words)
{
    struct lm_tokenizer *tokenizer;
    struct lm_bytes text = {0};
    struct lm_ids lengths = {0}, parts = {0}, whole = {0};
    loam_error error = {0};
    if (count != 5) {
        fprintf(stderr, "usage: tokenizer_bench MODEL TEXT LENGTHS IDS\n");
        return 2;
    }
    must(lm_file_read(words[2], 0, &text, &error), &error);
    read_lengths(words[3], text.length, &lengths);
    double start = lm_seconds();
    must(lm_tokenizer_load(words[1], &tokenizer, &error), &error);
    const double loading = lm_seconds() - start;
    /* The lists of ids get their pages beforehand: the peers' lists are not counted either. */
    for (int i = 0; i < 2; i++) {
        struct lm_ids *ids = i ? &whole : &parts;
        ids->data = lm_resize(NULL, text.length + 64, sizeof *ids->data, &error);
        must(ids->data ? LOAM_OK : LOAM_ENOMEM, &error);
        memset(ids->data, 0, (text.length + 64) * sizeof *ids->data);
        ids->capacity = text.length + 64;
    }
    const long before = status_of("VmRSS");
    const double in_parts = encode_parts(tokenizer, &text, &lengths, &parts);
    start = lm_seconds();
    must(lm_tokenizer_encode(tokenizer, text.data, text.length, 0, &whole, NULL, &error), &error);
    const double at_once = lm_seconds() - start;
    printf("%.6f %.6f %.6f %ld %ld\n", loading, in_parts, at_once, before, status_of("VmHWM") - before);
    FILE *file = fopen(words[4], "wb");
    if (!file || fwrite(parts.data, sizeof *parts.data, parts.length, file) != parts.length ||
        fwrite(whole.data, sizeof *whole.data, whole.length, file) != whole.length || fclose(file)) {
        perror(words[4]);
        return 1;
    }
    lm_ids_free(&parts);
    lm_ids_free(&whole);
    lm_ids_free(&lengths);
    lm_bytes_free(&text);
    lm_tokenizer_free(tokenizer);
    return 0;
}
