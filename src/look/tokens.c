/* How a text is cut. */
#include "labels.h"
#include "page.h"

#include <stdio.h>
#include <string.h>

struct cut {
    const struct lm_tokenizer *tokenizer;
    const char *text;
    size_t length;
    struct lm_ids ids, starts, ends;
    char **labels;
};

static int hex_of(const struct lm_tokenizer *tokenizer, int32_t id, struct lm_bytes *out, loam_error *error)
{
    size_t length;
    const char *bytes = lm_tokenizer_token(tokenizer, id, &length);
    int code = lm_bytes_append(out, "", 0, error);
    for (size_t i = 0; bytes && i < length && !code; i++)
        code = lm_bytes_format(out, error, i ? " %02x" : "%02x", (unsigned)(unsigned char)bytes[i]);
    return code;
}

static void add_table(struct lm_page *page, const struct cut *cut)
{
    static const char *const columns[] = {"id", "bytes from, to", "bytes"};
    const size_t count = cut->ids.length;
    char **cells = lm_alloc(3 * count + 1, sizeof *cells, &page->error);
    for (size_t i = 0; cells && i < count && !page->error.code; i++) {
        struct lm_bytes id = {0}, place = {0}, hex = {0};
        lm_bytes_format(&id, &page->error, "%d%s", (int)cut->ids.data[i],
                        lm_tokenizer_is_special(cut->tokenizer, cut->ids.data[i]) ? " special" : "");
        lm_bytes_format(&place, &page->error, "%d to %d", (int)cut->starts.data[i], (int)cut->ends.data[i]);
        hex_of(cut->tokenizer, cut->ids.data[i], &hex, &page->error);
        cells[3 * i] = id.data;
        cells[3 * i + 1] = place.data;
        cells[3 * i + 2] = hex.data;
    }
    const struct lm_block table = {.kind = LM_BLOCK_TABLE, .name = "table", .title = "Each token", .row_axis = "token",
                                   .rows = (int64_t)count, .columns = 3, .row_names = (const char *const *)cut->labels,
                                   .column_names = columns, .texts = (const char *const *)cells};
    if (cells)
        lm_page_add(page, &table);
    if (cells)
        lm_free_strings(cells, 3 * count);
}

static int64_t count_characters(const char *text, size_t length)
{
    int64_t count = 0;
    uint32_t character;
    for (size_t at = 0; at < length; count++) {
        const size_t used = lm_utf8_decode(text + at, length - at, &character);
        at += used ? used : 1;
    }
    return count;
}

static void fill(struct lm_page *page, const struct cut *cut)
{
    double *ids = lm_alloc(cut->ids.length + 1, sizeof *ids, &page->error);
    for (size_t i = 0; ids && i < cut->ids.length; i++)
        ids[i] = cut->ids.data[i];
    const int64_t characters = count_characters(cut->text, cut->length), count = (int64_t)cut->ids.length;
    const struct lm_block strip = {.kind = LM_BLOCK_TOKENS, .name = "tokens", .title = "The tokens", .rows = count, .columns = 1,
                                   .row_names = (const char *const *)cut->labels, .values = ids};
    lm_page_fact(page, "token_count", "tokens", "", 0, (double)count);
    lm_page_fact(page, "characters", "characters", "", 0, (double)characters);
    lm_page_fact(page, "bytes", "bytes", "", 0, (double)cut->length);
    if (count)
        lm_page_fact(page, "characters_per_token", "characters a token", "", 2, (double)characters / (double)count);
    lm_page_fact(page, "vocabulary", "tokens the vocabulary has", "", 0, (double)lm_tokenizer_size(cut->tokenizer));
    if (count && ids) {
        lm_page_add(page, &strip);
        add_table(page, cut);
    } else {
        lm_page_say(page, "The text is empty: there is no token.");
    }
    lm_free(ids);
}

int lm_look_tokens(const struct lm_tokenizer *tokenizer, const char *text, size_t length, unsigned flags, struct lm_page **page,
                   loam_error *error)
{
    struct cut cut = {.tokenizer = tokenizer, .text = text, .length = length};
    struct lm_page *made = lm_page_create("Tokens", error);
    int code = made ? lm_tokenizer_encode_places(tokenizer, text, length, flags, &cut.ids, &cut.starts, &cut.ends,
                                                error) : LOAM_ENOMEM;
    if (!code)
        code = lm_labels_make(tokenizer, cut.ids.data, (int64_t)cut.ids.length, &cut.labels, error);
    if (!code)
        fill(made, &cut);
    if (!code)
        code = lm_page_check(made, error);
    if (cut.labels)
        lm_free_strings(cut.labels, cut.ids.length);
    lm_ids_free(&cut.ids);
    lm_ids_free(&cut.starts);
    lm_ids_free(&cut.ends);
    if (code)
        lm_page_free(made);
    else
        *page = made;
    return code;
}
