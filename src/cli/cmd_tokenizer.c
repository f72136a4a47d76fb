/* loam tokenizer encode, decode, convert */
#include "common.h"
#include "tokenizer/tokenizer.h"

#include <string.h>

/* --- encode --- */

struct encoding {
    const struct lm_tokenizer *tokenizer;
    unsigned flags;
    bool json;
    int threads;
    size_t broken; /* stretches of the texts that are not UTF-8 */
};

static void write_token(struct lm_json_writer *writer, const struct encoding *how, int32_t id, int64_t start, int64_t end)
{
    size_t length = 0;
    const char *bytes = lm_tokenizer_token(how->tokenizer, id, &length);
    lm_json_begin_object(writer);
    lm_json_key(writer, "id");
    lm_json_int(writer, id);
    lm_json_key(writer, "text");
    lm_json_string(writer, bytes ? bytes : "", length);
    lm_json_key(writer, "bytes");
    struct lm_bytes hex = {0};
    for (size_t i = 0; i < length; i++)
        if (lm_bytes_format(&hex, NULL, "%02x", (unsigned)(unsigned char)bytes[i]) != LOAM_OK)
            writer->failed = true;
    lm_json_string(writer, hex.data, hex.length);
    lm_bytes_free(&hex);
    lm_json_key(writer, "start");
    lm_json_int(writer, start);
    lm_json_key(writer, "end");
    lm_json_int(writer, end);
    lm_json_end_object(writer);
}

static int print_tokens(const struct encoding *how, const struct lm_ids *ids, const struct lm_ids *starts,
                        const struct lm_ids *ends)
{
    struct lm_bytes out = {0};
    struct lm_json_writer writer = lm_json_writer(&out, 0);
    lm_json_begin_array(&writer);
    for (size_t i = 0; i < ids->length; i++)
        write_token(&writer, how, ids->data[i], starts->data[i], ends->data[i]);
    lm_json_end_array(&writer);
    return print_json(&writer);
}

/* "15 0 27\n" behind what is there. */
static int put_ids(struct lm_bytes *out, const struct lm_ids *ids, loam_error *error)
{
    enum { DIGITS = 11 };
    int code = lm_bytes_reserve(out, ids->length * DIGITS + 1, error);
    if (code != LOAM_OK)
        return code;
    char *at = out->data + out->length;
    for (size_t i = 0; i < ids->length; i++) {
        char digits[DIGITS];
        int count = 0;
        for (uint32_t id = (uint32_t)ids->data[i]; id || !count; id /= 10)
            digits[count++] = (char)('0' + id % 10);
        while (count)
            *at++ = digits[--count];
        *at++ = i + 1 < ids->length ? ' ' : '\n';
    }
    if (!ids->length)
        *at++ = '\n';
    out->length = (size_t)(at - out->data);
    return LOAM_OK;
}

/* Prints the ids, in parts, so that little memory is taken for their digits. */
static int print_ids(const struct lm_ids *ids)
{
    enum { PART = 1 << 16 };
    struct lm_bytes out = {0};
    loam_error error;
    int code = LOAM_OK;
    size_t at = 0;
    do {
        const bool last = ids->length - at <= PART;
        const struct lm_ids part = {.data = ids->data + at, .length = last ? ids->length - at : PART};
        code = put_ids(&out, &part, &error);
        if (code == LOAM_OK && !last)
            out.data[out.length - 1] = ' ';
        if (code == LOAM_OK)
            fwrite(out.data, 1, out.length, stdout);
        out.length = 0;
        at += part.length;
    } while (code == LOAM_OK && at < ids->length);
    lm_bytes_free(&out);
    return code == LOAM_OK ? EXIT_DONE : complain_error(&error);
}

static int encode_text(struct encoding *how, const char *text, size_t length)
{
    struct lm_ids ids = {0}, starts = {0}, ends = {0};
    loam_error error;
    int status = EXIT_DONE;
    int code = lm_tokenizer_encode_places(how->tokenizer, text, length, how->flags, &ids, how->json ? &starts : NULL,
                                          how->json ? &ends : NULL, &error);
    how->broken += lm_tokenizer_count_broken(how->tokenizer, text, length);
    if (code != LOAM_OK) {
        status = complain_error(&error);
    } else if (how->json) {
        status = print_tokens(how, &ids, &starts, &ends);
    } else {
        status = print_ids(&ids);
    }
    lm_ids_free(&ids);
    lm_ids_free(&starts);
    lm_ids_free(&ends);
    return status;
}

/* Calls `take` for every line; a newline ends a line, so that nothing follows the last one. */
static int each_line(const struct lm_bytes *text, int (*take)(void *user, const char *line, size_t length, size_t number),
                     void *user)
{
    size_t number = 0;
    for (size_t at = 0; at < text->length;) {
        const char *line = text->data + at;
        const char *end = memchr(line, '\n', text->length - at);
        const size_t length = end ? (size_t)(end - line) : text->length - at;
        int status = take(user, line, length, ++number);
        if (status != EXIT_DONE || ferror(stdout))
            return status;
        at += length + 1;
    }
    return EXIT_DONE;
}

static int encode_line(void *user, const char *line, size_t length, size_t number)
{
    (void)number;
    return encode_text(user, line, length);
}

/* Lines are encoded many at a time, over threads. */
enum { BATCH_LINES = 1 << 14, BATCH_BYTES = 16 << 20 };

static int encode_batch(struct encoding *how, const struct lm_piece_of_text *lines, struct lm_ids *ids, size_t count,
                        size_t before)
{
    struct lm_bytes out = {0};
    loam_error error;
    int code = lm_tokenizer_encode_batch(how->tokenizer, lines, count, how->flags, how->threads, ids, &error);
    if (code != LOAM_OK)
        code = lm_fail_within(&error, code, "standard input behind line %zu", before);
    for (size_t i = 0; code == LOAM_OK && i < count; i++) {
        code = put_ids(&out, &ids[i], &error);
        how->broken += lm_tokenizer_count_broken(how->tokenizer, lines[i].text, lines[i].length);
        ids[i].length = 0;
        if (code == LOAM_OK && (out.length > 1 << 20 || i + 1 == count)) {
            fwrite(out.data, 1, out.length, stdout);
            out.length = 0;
        }
    }
    lm_bytes_free(&out);
    return code == LOAM_OK ? EXIT_DONE : complain_error(&error);
}

static int encode_lines(struct encoding *how, const struct lm_bytes *text)
{
    loam_error error;
    int status = EXIT_DONE;
    struct lm_piece_of_text *lines = lm_alloc(BATCH_LINES, sizeof *lines, &error);
    struct lm_ids *ids = lines ? lm_alloc(BATCH_LINES, sizeof *ids, &error) : NULL;
    if (!ids)
        status = complain_error(&error);
    size_t done = 0;
    for (size_t at = 0; status == EXIT_DONE && at < text->length && !ferror(stdout);) {
        size_t count = 0;
        for (const size_t start = at; at < text->length && count < BATCH_LINES && at - start < BATCH_BYTES; count++) {
            const char *line = text->data + at, *end = memchr(line, '\n', text->length - at);
            lines[count] = (struct lm_piece_of_text){line, end ? (size_t)(end - line) : text->length - at};
            at += lines[count].length + 1;
        }
        status = encode_batch(how, lines, ids, count, done);
        done += count;
    }
    for (size_t i = 0; ids && i < BATCH_LINES; i++)
        lm_ids_free(&ids[i]);
    lm_free(ids);
    lm_free(lines);
    return status;
}

int command_tokenizer_encode(const struct arguments *arguments)
{
    loam_error error;
    struct lm_tokenizer *tokenizer;
    struct lm_bytes text = {0};
    if (lm_tokenizer_load_as(arguments->operands[0], arguments->values[OPT_FAMILY].text, &tokenizer, &error) != LOAM_OK)
        return complain_error(&error);
    struct encoding how = {.tokenizer = tokenizer, .json = arguments->values[OPT_JSON].given, .threads = thread_count(arguments)};
    how.flags = (arguments->values[OPT_SPECIAL].given ? LM_ENCODE_SPECIAL : 0u) |
                (arguments->values[OPT_ADD_SPECIAL].given ? LM_ENCODE_ADD_SPECIAL : 0u);
    int status;
    if (lm_file_read("-", 0, &text, &error) != LOAM_OK)
        status = complain_error(&error);
    else if (arguments->values[OPT_LINES].given)
        status = how.json ? each_line(&text, encode_line, &how) : encode_lines(&how, &text);
    else
        status = encode_text(&how, text.data ? text.data : "", text.length);
    if (how.broken)
        note("standard input: %zu stretch%s of bytes that are not UTF-8 became U+FFFD", how.broken,
             how.broken == 1 ? "" : "es");
    lm_bytes_free(&text);
    lm_tokenizer_free(tokenizer);
    return status;
}

/* --- decode --- */

struct decoding {
    const struct lm_tokenizer *tokenizer;
    bool skip_special;
};

/* A newline stands between texts, not behind the last: one line of ids gives exactly the bytes that were encoded. */
static int decode_line(void *user, const char *line, size_t length, size_t number)
{
    const struct decoding *how = user;
    char place[64];
    snprintf(place, sizeof place, "standard input: line %zu", number);
    struct lm_ids ids = {0};
    struct lm_bytes text = {0};
    loam_error error;
    int code = read_ids(line, length, place, &ids, &error);
    if (code == LOAM_OK) {
        code = lm_tokenizer_decode(how->tokenizer, ids.data, ids.length, how->skip_special, &text, &error);
        if (code != LOAM_OK)
            code = lm_fail_within(&error, code, "%s", place);
    }
    if (code == LOAM_OK) {
        if (number > 1)
            putchar('\n');
        if (text.length)
            fwrite(text.data, 1, text.length, stdout);
    }
    lm_ids_free(&ids);
    lm_bytes_free(&text);
    if (code == LOAM_OK)
        return EXIT_DONE;
    complain_error(&error);
    return EXIT_FAILED;    /* the command line was right: what came in was not */
}

int command_tokenizer_decode(const struct arguments *arguments)
{
    loam_error error;
    struct lm_tokenizer *tokenizer;
    struct lm_bytes input = {0};
    if (lm_tokenizer_load_as(arguments->operands[0], arguments->values[OPT_FAMILY].text, &tokenizer, &error) != LOAM_OK)
        return complain_error(&error);
    struct decoding how = {.tokenizer = tokenizer, .skip_special = arguments->values[OPT_SKIP_SPECIAL].given};
    int status;
    if (lm_file_read("-", 0, &input, &error) != LOAM_OK)
        status = complain_error(&error);
    else
        status = each_line(&input, decode_line, &how);
    lm_bytes_free(&input);
    lm_tokenizer_free(tokenizer);
    return status;
}

/* --- convert --- */

int command_tokenizer_convert(const struct arguments *arguments)
{
    const char *directory = needed(arguments, OPT_OUT);
    struct lm_tokenizer *tokenizer;
    loam_error error;
    if (!directory)
        return EXIT_USAGE;
    if (lm_tokenizer_load_as(arguments->operands[0], arguments->values[OPT_FAMILY].text, &tokenizer, &error) != LOAM_OK)
        return complain_error(&error);
    int code = lm_make_directories(directory, &error);
    if (code == LOAM_OK)
        code = lm_tokenizer_save(tokenizer, directory, &error);
    if (code == LOAM_OK)
        note("%s: a tokenizer of %d tokens", directory, (int)lm_tokenizer_size(tokenizer));
    lm_tokenizer_free(tokenizer);
    return code == LOAM_OK ? EXIT_DONE : complain_error(&error);
}
