/* A page's numbers for other programs: an object with title and blocks, each by kind, name, title and values. */
#include "page.h"

static void put_names(struct lm_json_writer *writer, const char *key, const char *const *names, int64_t count)
{
    if (!names)
        return;
    lm_json_key(writer, key);
    lm_json_begin_array(writer);
    for (int64_t i = 0; i < count; i++)
        lm_json_text(writer, names[i]);
    lm_json_end_array(writer);
}

static void put_cell(struct lm_json_writer *writer, const struct lm_block *block, int64_t at)
{
    if (!block->texts)
        lm_json_double(writer, block->values[at]);
    else if (block->texts[at])
        lm_json_text(writer, block->texts[at]);
    else
        lm_json_null(writer);
}

static void put_cells(struct lm_json_writer *writer, const struct lm_block *block)
{
    if (!block->values && !block->texts)
        return;
    lm_json_key(writer, block->kind == LM_BLOCK_FACT ? "value" : "values");
    if (block->kind == LM_BLOCK_FACT) {
        put_cell(writer, block, 0);
        return;
    }
    lm_json_begin_array(writer);
    for (int64_t row = 0; row < block->rows; row++) {
        lm_json_begin_array(writer);
        for (int64_t column = 0; column < block->columns; column++)
            put_cell(writer, block, row * block->columns + column);
        lm_json_end_array(writer);
    }
    lm_json_end_array(writer);
}

static void put_text(struct lm_json_writer *writer, const char *key, const char *text)
{
    if (!text || !*text)
        return;
    lm_json_key(writer, key);
    lm_json_text(writer, text);
}

static void put_block(struct lm_json_writer *writer, const struct lm_block *block)
{
    static const char *const kinds[] = {"section", "text", "fact", "table", "heat", "bars", "lines", "tokens", "areas"};
    lm_json_begin_object(writer);
    put_text(writer, "kind", kinds[block->kind]);
    put_text(writer, "name", block->name);
    put_text(writer, block->kind == LM_BLOCK_TEXT ? "text" : "title", block->title);
    put_text(writer, "unit", block->unit);
    put_text(writer, "row_axis", block->row_axis);
    put_text(writer, "column_axis", block->column_axis);
    if (block->marked) {
        lm_json_key(writer, "marked");
        lm_json_int(writer, block->marked - 1);
    }
    put_names(writer, "rows", block->row_names, block->rows);
    put_names(writer, "columns", block->column_names, block->columns);
    put_cells(writer, block);
    lm_json_end_object(writer);
}

int lm_page_json(const struct lm_page *page, struct lm_bytes *out, loam_error *error)
{
    int code = lm_page_check(page, error);
    if (code)
        return code;
    struct lm_json_writer writer = lm_json_writer(out, -1);
    lm_json_begin_object(&writer);
    put_text(&writer, "title", page->title);
    lm_json_key(&writer, "blocks");
    lm_json_begin_array(&writer);
    for (size_t i = 0; i < page->count; i++)
        put_block(&writer, &page->blocks[i]);
    lm_json_end_array(&writer);
    lm_json_end_object(&writer);
    return lm_json_writer_finish(&writer, error);
}
