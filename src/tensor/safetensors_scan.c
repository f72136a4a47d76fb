/* The JSON header of a safetensors file, read in place.
 *
 * base/json.h would build a tree, and a hostile header of 100 MB makes a tree of gigabytes. The header's grammar is
 * small, so it is read here one entry after the other, and what is kept takes a few times the bytes it came from.
 */
#include "tensor/safetensors.h"

#include <stdio.h>
#include <string.h>

enum { MOST_LEVELS = 128 }; /* of what is skipped; the reference reader stops there too */

struct scan {
    const char *start, *at, *end;
    struct lm_header *header;
    struct lm_bytes scratch; /* the text of a key or element type */
    loam_error *error;
};

static int64_t place(const struct scan *scan)
{
    return 8 + (scan->at - scan->start);
}

/* A complaint about the character at the present place. */
static int wanted(const struct scan *scan, const char *what)
{
    char found[24] = "the header's end";
    if (scan->at<scan->end && * scan->at> 0)
        snprintf(found, sizeof found, "'%c'", *scan->at);
    else if (scan->at < scan->end)
        snprintf(found, sizeof found, "a byte %02x", (unsigned char)*scan->at);
    return lm_fail_at(scan->error, LOAM_EFORMAT, place(scan),
                      "%s: header: byte %lld: found %s, wanted %s; the file is damaged, "
                      "fetch or write it again",
                      scan->header->path, (long long)place(scan), found, what);
}

static void skip_blanks(struct scan *scan)
{
    while (scan->at < scan->end && (*scan->at == ' ' || *scan->at == '\t' || *scan->at == '\n' || *scan->at == '\r'))
        scan->at++;
}

static bool take(struct scan *scan, char c)
{
    skip_blanks(scan);
    if (scan->at == scan->end || *scan->at != c)
        return false;
    scan->at++;
    return true;
}

static bool take_word(struct scan *scan, const char *word)
{
    size_t length = strlen(word);
    if ((size_t)(scan->end - scan->at) < length || memcmp(scan->at, word, length) != 0)
        return false;
    scan->at += length;
    return true;
}

/* The four hexadecimal digits behind \u; false where there are none. */
static bool take_unit(struct scan *scan, uint32_t *unit)
{
    if (scan->end - scan->at < 4)
        return false;
    *unit = 0;
    for (int i = 0; i < 4; i++) {
        char c = *scan->at++;
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return false;
        *unit = *unit << 4 | (uint32_t)digit;
    }
    return true;
}

static int take_escape(struct scan *scan, struct lm_bytes *out)
{
    static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    const char *from = scan->at;
    const char *letter = scan->at < scan->end && *scan->at ? strchr(letters, *scan->at) : NULL;
    uint32_t unit, low;
    char utf8[4];
    if (letter) {
        scan->at++;
        return lm_bytes_append(out, &meant[letter - letters], 1, scan->error);
    }
    if (!take_word(scan, "u") || !take_unit(scan, &unit)) {
        scan->at = from;
        return wanted(scan, "an escape that JSON knows");
    }
    if (unit >= 0xd800 && unit < 0xdc00 && take_word(scan, "\\u") && take_unit(scan, &low) && low >= 0xdc00 &&
        low < 0xe000)
        unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
    size_t length = lm_utf8_encode(unit, utf8);
    if (length == 0 || unit == 0) {
        scan->at = from;
        return wanted(scan, unit == 0 ? "no 0 byte in a text" : "surrogates in pairs");
    }
    return lm_bytes_append(out, utf8, length, scan->error);
}

/* A string, appended to `out` with its escapes resolved. The bytes were checked as UTF-8 before. */
static int take_string(struct scan *scan, struct lm_bytes *out, const char *what)
{
    if (!take(scan, '"'))
        return wanted(scan, what);
    for (;;) {
        const char *from = scan->at;
        while (scan->at < scan->end && *scan->at != '"' && *scan->at != '\\' && (unsigned char)*scan->at >= 0x20)
            scan->at++;
        int code = lm_bytes_append(out, from, (size_t)(scan->at - from), scan->error);
        if (code)
            return code;
        if (scan->at == scan->end || (unsigned char)*scan->at < 0x20)
            return wanted(scan, "the string's closing quote");
        if (*scan->at++ == '"')
            return LOAM_OK;
        if ((code = take_escape(scan, out)))
            return code;
    }
}

/* A string kept in the header's text, with a 0 behind it. */
static int take_text(struct scan *scan, size_t *offset, const char *what)
{
    struct lm_bytes *text = &scan->header->text;
    size_t from = text->length;
    int code = take_string(scan, text, what);
    if (code)
        return code;
    if ((code = lm_bytes_append(text, "", 1, scan->error)))
        return code;
    *offset = from;
    return LOAM_OK;
}

/* A string that is looked at once and forgotten. */
static int take_scratch(struct scan *scan, const char *what)
{
    scan->scratch.length = 0;
    int code = take_string(scan, &scan->scratch, what);
    return code ? code : lm_bytes_append(&scan->scratch, "", 1, scan->error);
}

static int take_unsigned(struct scan *scan, uint64_t *value, const char *what)
{
    skip_blanks(scan);
    const char *from = scan->at;
    uint64_t sum = 0;
    while (scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9') {
        uint64_t digit = (uint64_t)(*scan->at - '0');
        if (__builtin_mul_overflow(sum, (uint64_t)10, &sum) || __builtin_add_overflow(sum, digit, &sum)) {
            scan->at = from;
            return wanted(scan, "a number below 2^64");
        }
        scan->at++;
    }
    bool fraction = scan->at < scan->end && (*scan->at == '.' || *scan->at == 'e' || *scan->at == 'E');
    if (scan->at == from || fraction || (*from == '0' && scan->at > from + 1)) {
        scan->at = from;
        return wanted(scan, what);
    }
    *value = sum;
    return LOAM_OK;
}

static size_t skip_digits(struct scan *scan)
{
    const char *from = scan->at;
    while (scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9')
        scan->at++;
    return (size_t)(scan->at - from);
}

static int skip_number(struct scan *scan)
{
    if (scan->at < scan->end && *scan->at == '-')
        scan->at++;
    bool zero = scan->at < scan->end && *scan->at == '0';
    size_t digits = skip_digits(scan);
    bool right = digits > 0 && (!zero || digits == 1);
    if (right && scan->at < scan->end && *scan->at == '.') {
        scan->at++;
        right = skip_digits(scan) > 0;
    }
    if (right && scan->at < scan->end && (*scan->at == 'e' || *scan->at == 'E')) {
        scan->at++;
        if (scan->at < scan->end && (*scan->at == '+' || *scan->at == '-'))
            scan->at++;
        right = skip_digits(scan) > 0;
    }
    return right ? LOAM_OK : wanted(scan, "a value");
}

/* Any JSON value, looked at for its form only: what an unknown field holds. */
static int skip_value(struct scan *scan, int level)
{
    int code;
    skip_blanks(scan);
    if (level > MOST_LEVELS)
        return wanted(scan, "at most 128 levels of nesting");
    if (scan->at < scan->end && *scan->at == '"')
        return take_scratch(scan, "a value");
    if (take_word(scan, "true") || take_word(scan, "false") || take_word(scan, "null"))
        return LOAM_OK;
    bool object = scan->at < scan->end && *scan->at == '{';
    if (!object && !(scan->at < scan->end && *scan->at == '['))
        return skip_number(scan);
    scan->at++;
    char close = object ? '}' : ']';
    if (take(scan, close))
        return LOAM_OK;
    do {
        if (object) {
            if ((code = take_scratch(scan, "a key")))
                return code;
            if (!take(scan, ':'))
                return wanted(scan, "':'");
        }
        if ((code = skip_value(scan, level + 1)))
            return code;
    } while (take(scan, ','));
    return take(scan, close) ? LOAM_OK : wanted(scan, object ? "',' or '}'" : "',' or ']'");
}

static int take_shape(struct scan *scan, struct lm_entry *entry)
{
    struct lm_header *header = scan->header;
    entry->dims = header->dim_count;
    if (!take(scan, '['))
        return wanted(scan, "'[' and the shape");
    if (take(scan, ']'))
        return LOAM_OK;
    do {
        uint64_t size;
        int code = take_unsigned(scan, &size, "a dimension: a whole number, 0 or more");
        if (code)
            return code;
        if (size > INT64_MAX)
            return wanted(scan, "a dimension below 2^63 before this place");
        if ((code = lm_list_reserve((void **)&header->dims, &header->dim_capacity, header->dim_count,
                                    sizeof *header->dims, scan->error)))
            return code;
        header->dims[header->dim_count++] = (int64_t)size;
        entry->rank++;
    } while (take(scan, ','));
    return take(scan, ']') ? LOAM_OK : wanted(scan, "',' or ']'");
}

static int take_offsets(struct scan *scan, struct lm_entry *entry)
{
    int code;
    if (!take(scan, '['))
        return wanted(scan, "'[' and two offsets");
    if ((code = take_unsigned(scan, &entry->begin, "an offset: a whole number, 0 or more")))
        return code;
    if (!take(scan, ','))
        return wanted(scan, "',' and the second offset");
    if ((code = take_unsigned(scan, &entry->end, "an offset: a whole number, 0 or more")))
        return code;
    return take(scan, ']') ? LOAM_OK : wanted(scan, "']' behind two offsets");
}

static int take_dtype(struct scan *scan, struct lm_entry *entry)
{
    int code = take_scratch(scan, "the name of an element type");
    if (code)
        return code;
    for (int i = 0; i < LM_DTYPE_COUNT; i++)
        if (!strcmp(lm_dtype_name((enum lm_dtype)i), scan->scratch.data)) {
            entry->dtype = (enum lm_dtype)i;
            return LOAM_OK;
        }
    return lm_fail_at(scan->error, LOAM_EFORMAT, place(scan),
                      "%s: tensor \"%s\": dtype: found \"%.40s\", wanted one that safetensors "
                      "knows (F32, BF16, F16, …); convert the file with the program that wrote it",
                      scan->header->path, scan->header->text.data + entry->name, scan->scratch.data);
}

/* The fields of one tensor; its name was read before. */
static int take_entry(struct scan *scan, struct lm_entry *entry)
{
    static const char *const names[] = {"dtype", "shape", "data_offsets"};
    static int (*const takers[])(struct scan *, struct lm_entry *) = {take_dtype, take_shape, take_offsets};
    unsigned seen = 0;
    if (!take(scan, '{'))
        return wanted(scan, "'{' and a tensor's fields");
    bool more = !take(scan, '}');
    while (more) {
        int code = take_scratch(scan, "a field's name");
        if (code)
            return code;
        unsigned field = 0;
        while (field < 3 && strcmp(names[field], scan->scratch.data) != 0)
            field++;
        if (field < 3 && seen & 1u << field)
            return wanted(scan, "each field of a tensor once, but one is repeated before this place");
        seen |= 1u << field;
        if (!take(scan, ':'))
            return wanted(scan, "':'");
        if ((code = field < 3 ? takers[field](scan, entry) : skip_value(scan, 1)))
            return code;
        more = take(scan, ',');
        if (!more && !take(scan, '}'))
            return wanted(scan, "',' or '}'");
    }
    for (unsigned field = 0; field < 3; field++)
        if (!(seen & 1u << field))
            return lm_fail_at(scan->error, LOAM_EFORMAT, entry->position,
                              "%s: tensor \"%s\": found no field %s, wanted dtype, shape "
                              "and data_offsets; the file is damaged, fetch or write it again",
                              scan->header->path, scan->header->text.data + entry->name, names[field]);
    return LOAM_OK;
}

static int take_metadata(struct scan *scan)
{
    struct lm_header *header = scan->header;
    skip_blanks(scan);
    if (take_word(scan, "null"))
        return LOAM_OK;
    if (!take(scan, '{'))
        return wanted(scan, "'{' and metadata");
    if (take(scan, '}'))
        return LOAM_OK;
    do {
        struct lm_pair pair = {.position = place(scan)};
        int code = take_text(scan, &pair.key, "a metadata key");
        if (code)
            return code;
        if (!take(scan, ':'))
            return wanted(scan, "':'");
        if ((code = take_text(scan, &pair.value, "a string as metadata")))
            return code;
        if ((code = lm_list_reserve((void **)&header->metadata, &header->pair_capacity, header->pair_count,
                                    sizeof *header->metadata, scan->error)))
            return code;
        header->metadata[header->pair_count++] = pair;
    } while (take(scan, ','));
    return take(scan, '}') ? LOAM_OK : wanted(scan, "',' or '}'");
}

static int take_member(struct scan *scan, bool *metadata_seen)
{
    struct lm_header *header = scan->header;
    struct lm_entry entry = {.position = place(scan)};
    int code = take_text(scan, &entry.name, "a tensor's name in quotes");
    if (code)
        return code;
    if (!take(scan, ':'))
        return wanted(scan, "':'");
    if (!strcmp(header->text.data + entry.name, "__metadata__")) {
        if (*metadata_seen)
            return wanted(scan, "one __metadata__, but this is the second");
        *metadata_seen = true;
        return take_metadata(scan);
    }
    if ((code = take_entry(scan, &entry)))
        return code;
    if ((code = lm_list_reserve((void **)&header->entries, &header->entry_capacity, header->entry_count,
                                sizeof *header->entries, scan->error)))
        return code;
    header->entries[header->entry_count++] = entry;
    return LOAM_OK;
}

static int take_header(struct scan *scan)
{
    bool metadata_seen = false;
    if (!take(scan, '{'))
        return wanted(scan, "'{'");
    if (!take(scan, '}')) {
        do {
            int code = take_member(scan, &metadata_seen);
            if (code)
                return code;
        } while (take(scan, ','));
        if (!take(scan, '}'))
            return wanted(scan, "',' or '}'");
    }
    skip_blanks(scan);
    return scan->at == scan->end ? LOAM_OK : wanted(scan, "nothing but blanks behind the object");
}

int lm_header_scan(struct lm_header *header, const char *json, size_t length, loam_error *error)
{
    size_t valid = lm_utf8_check(json, length);
    if (valid < length)
        return lm_fail_at(error, LOAM_EFORMAT, 8 + (int64_t)valid,
                          "%s: header: byte %zu: found bytes that are not UTF-8, wanted JSON; "
                          "is this a safetensors file?",
                          header->path, 8 + valid);
    struct scan scan = {.start = json, .at = json, .end = json + length, .header = header, .error = error};
    int code = take_header(&scan);
    lm_bytes_free(&scan.scratch);
    return code;
}
