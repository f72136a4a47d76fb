/* Markdown into text and entities; md4c tells what stands where. */
#include "markup.h"

#include <md4c.h>
#include <stdlib.h>
#include <string.h>

enum { DEEPEST = 64, MOST_ENTITIES = 20000 };

struct list {
    bool ordered;
    unsigned number;
};
struct making {
    struct lm_markup *markup;
    loam_error *error;
    int code;
    size_t open[DEEPEST];       /* entities that are not closed yet, by their place; SIZE_MAX: one that is not kept */
    size_t depth;
    struct list lists[DEEPEST];
    size_t list_depth;
    int quotes, code_depth, links, tables, cells;
    const char *from, *to;      /* the input */
    bool broken;                /* md4c gave a text that is none of it */
    bool at_item;               /* the item's mark has been written and nothing behind it */
};

/* --- Text --- */

static void put(struct making *making, const char *text, size_t length)
{
    if (making->code == LOAM_OK)
        making->code = lm_bytes_append(&making->markup->text, text, length, making->error);
    if (length)
        making->at_item = false;
}

static void put_text(struct making *making, const char *text)
{
    put(making, text, strlen(text));
}

/* So many line ends behind what there is, none at the very beginning. */
static void lines(struct making *making, size_t wanted)
{
    const struct lm_bytes *text = &making->markup->text;
    size_t there = 0;
    if (!text->length || making->at_item)
        return;
    while (there < wanted && there < text->length && text->data[text->length - 1 - there] == '\n')
        there++;
    for (; there < wanted; there++)
        put(making, "\n", 1);
}

/* --- Entities --- */

static size_t keep_extra(struct making *making, const MD_ATTRIBUTE *attribute)
{
    struct lm_bytes *extra = &making->markup->extra;
    const size_t at = extra->length;
    if (!attribute || !attribute->size || memchr(attribute->text, 0, attribute->size))
        return SIZE_MAX;
    if (making->code == LOAM_OK)
        making->code = lm_bytes_append(extra, attribute->text, attribute->size, making->error);
    if (making->code == LOAM_OK)
        making->code = lm_bytes_append(extra, "", 1, making->error);
    return at;
}

static void begin_entity(struct making *making, enum lm_entity_kind kind, size_t extra, bool kept)
{
    struct lm_markup *markup = making->markup;
    size_t place = SIZE_MAX;
    if (kept && making->code == LOAM_OK && markup->count < MOST_ENTITIES) {
        if (markup->count == markup->capacity) {
            const size_t capacity = markup->capacity ? 2 * markup->capacity : 16;
            struct lm_entity *grown = lm_resize(markup->entities, capacity, sizeof *grown, making->error);
            if (!grown) {
                making->code = LOAM_ENOMEM;
                return;
            }
            markup->entities = grown;
            markup->capacity = capacity;
        }
        place = markup->count++;
        markup->entities[place] = (struct lm_entity){kind, markup->text.length, markup->text.length, extra};
    }
    if (making->depth < DEEPEST)
        making->open[making->depth] = place;
    making->depth++;
}

static void end_entity(struct making *making)
{
    if (!making->depth)
        return;
    making->depth--;
    const size_t place = making->depth < DEEPEST ? making->open[making->depth] : SIZE_MAX;
    if (place != SIZE_MAX)
        making->markup->entities[place].end = making->markup->text.length;
}

/* --- What md4c tells --- */

static void begin_item(struct making *making, const MD_BLOCK_LI_DETAIL *item)
{
    struct list *list = making->list_depth && making->list_depth <= DEEPEST ? &making->lists[making->list_depth - 1] : NULL;
    char mark[32];
    lines(making, 1);
    for (size_t i = 1; i < making->list_depth && i < DEEPEST; i++)
        put_text(making, "  ");
    if (item->is_task)
        put_text(making, item->task_mark == ' ' ? "\xe2\x98\x90 " : "\xe2\x98\x91 ");
    else if (list && list->ordered) {
        lm_format(mark, sizeof mark, "%u. ", list->number++);
        put_text(making, mark);
    } else
        put_text(making, "\xe2\x80\xa2 ");
    making->at_item = true;
}

static void begin_list(struct making *making, bool ordered, unsigned start)
{
    lines(making, making->list_depth ? 1 : 2);
    if (making->list_depth < DEEPEST)
        making->lists[making->list_depth] = (struct list){ordered, start};
    making->list_depth++;
    making->at_item = false;
}

static int enter_block(MD_BLOCKTYPE type, void *detail, void *user)
{
    struct making *making = user;
    switch (type) {
    case MD_BLOCK_QUOTE:
        lines(making, 2);
        begin_entity(making, LM_ENTITY_QUOTE, SIZE_MAX, !making->quotes++);
        break;
    case MD_BLOCK_UL:
        begin_list(making, false, 0);
        break;
    case MD_BLOCK_OL:
        begin_list(making, true, ((MD_BLOCK_OL_DETAIL *)detail)->start);
        break;
    case MD_BLOCK_LI:
        begin_item(making, detail);
        break;
    case MD_BLOCK_HR:
        lines(making, 2);
        put_text(making, "\xe2\x80\x94\xe2\x80\x94\xe2\x80\x94");
        break;
    case MD_BLOCK_H:
        lines(making, 2);
        begin_entity(making, LM_ENTITY_BOLD, SIZE_MAX, true);
        break;
    case MD_BLOCK_CODE:
        lines(making, making->list_depth ? 1 : 2);
        making->code_depth++;
        begin_entity(making, LM_ENTITY_PRE, keep_extra(making, &((MD_BLOCK_CODE_DETAIL *)detail)->lang), true);
        break;
    case MD_BLOCK_P:
        lines(making, making->list_depth ? 1 : 2);
        break;
    case MD_BLOCK_TABLE:
        lines(making, 2);
        making->tables++;
        begin_entity(making, LM_ENTITY_PRE, SIZE_MAX, true);
        break;
    case MD_BLOCK_TR:
        lines(making, 1);
        making->cells = 0;
        break;
    case MD_BLOCK_TH:
    case MD_BLOCK_TD:
        if (making->cells++)
            put_text(making, " | ");
        break;
    default:
        break;
    }
    return making->code != LOAM_OK;
}

static int leave_block(MD_BLOCKTYPE type, void *detail, void *user)
{
    struct making *making = user;
    (void)detail;
    struct lm_bytes *text = &making->markup->text;
    switch (type) {
    case MD_BLOCK_CODE:    /* its last line's end is none of it */
        making->code_depth--;
        if (text->length && text->data[text->length - 1] == '\n')
            text->data[--text->length] = 0;
        end_entity(making);
        break;
    case MD_BLOCK_TABLE:
        making->tables--;
        end_entity(making);
        break;
    case MD_BLOCK_QUOTE:
        making->quotes--;
        end_entity(making);
        break;
    case MD_BLOCK_H:
        end_entity(making);
        break;
    case MD_BLOCK_UL:
    case MD_BLOCK_OL:
        making->list_depth--;
        break;
    default:
        break;
    }
    return making->code != LOAM_OK;
}

static bool shown_address(const MD_ATTRIBUTE *address)
{
    static const char *const schemes[] = {"http://", "https://", "tg://", "mailto:"};
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (address->size > strlen(schemes[i]) && address->size < 2048 && !strncasecmp(address->text, schemes[i], strlen(schemes[i])))
            return true;
    return false;
}

static int enter_span(MD_SPANTYPE type, void *detail, void *user)
{
    struct making *making = user;
    const bool plain = !making->tables;
    const MD_ATTRIBUTE *address = type == MD_SPAN_A ? &((MD_SPAN_A_DETAIL *)detail)->href
                                  : type == MD_SPAN_IMG ? &((MD_SPAN_IMG_DETAIL *)detail)->src : NULL;
    switch (type) {
    case MD_SPAN_STRONG:
        begin_entity(making, LM_ENTITY_BOLD, SIZE_MAX, plain);
        break;
    case MD_SPAN_DEL:
        begin_entity(making, LM_ENTITY_STRIKE, SIZE_MAX, plain);
        break;
    case MD_SPAN_CODE:
        begin_entity(making, LM_ENTITY_CODE, SIZE_MAX, plain && !making->links);
        break;
    case MD_SPAN_A:
    case MD_SPAN_IMG: {
        const bool linked = plain && !making->links && shown_address(address);
        making->links++;
        begin_entity(making, LM_ENTITY_LINK, linked ? keep_extra(making, address) : SIZE_MAX, linked);
        break;
    }
    default:
        begin_entity(making, LM_ENTITY_ITALIC, SIZE_MAX, plain);
        break;
    }
    return making->code != LOAM_OK;
}

/* An address that is not made a link is said. */
static int leave_span(MD_SPANTYPE type, void *detail, void *user)
{
    struct making *making = user;
    if (type == MD_SPAN_A || type == MD_SPAN_IMG) {
        const MD_ATTRIBUTE *address = type == MD_SPAN_A ? &((MD_SPAN_A_DETAIL *)detail)->href : &((MD_SPAN_IMG_DETAIL *)detail)->src;
        const size_t place = making->depth && making->depth <= DEEPEST ? making->open[making->depth - 1] : SIZE_MAX;
        making->links--;
        if (place == SIZE_MAX && address->size && !shown_address(address)) {
            put_text(making, " (");
            put(making, address->text, address->size);
            put_text(making, ")");
        }
    }
    end_entity(making);
    return making->code != LOAM_OK;
}

static void put_entity(struct making *making, const char *text, size_t length)
{
    static const struct {
        const char *name, *text;
    } named[] = {{"&amp;", "&"},  {"&lt;", "<"},   {"&gt;", ">"},  {"&quot;", "\""},  {"&apos;", "'"},
                 {"&nbsp;", "\xc2\xa0"}, {"&hellip;", "\xe2\x80\xa6"}, {"&ndash;", "\xe2\x80\x93"}, {"&mdash;", "\xe2\x80\x94"},
                 {"&copy;", "\xc2\xa9"}, {"&rarr;", "\xe2\x86\x92"}, {"&times;", "\xc3\x97"}, {"&deg;", "\xc2\xb0"}, {"&euro;", "\xe2\x82\xac"}};
    char bytes[4];
    for (size_t i = 0; i < sizeof named / sizeof *named; i++)
        if (strlen(named[i].name) == length && !memcmp(named[i].name, text, length)) {
            put_text(making, named[i].text);
            return;
        }
    if (length > 3 && text[1] == '#') {
        const bool hexadecimal = text[2] == 'x' || text[2] == 'X';
        const unsigned long value = strtoul(text + (hexadecimal ? 3 : 2), NULL, hexadecimal ? 16 : 10);
        const size_t size = value >= 32 && value <= 0x10FFFF ? lm_utf8_encode((uint32_t)value, bytes) : 0;
        if (size) {
            put(making, bytes, size);
            return;
        }
    }
    put(making, text, length);
}

/* md4c 0.4.8 has been seen (tests/room/fuzz_markup.c) to give a length below zero; what is not from the input is a literal of its own. */
static bool from_input(const struct making *making, const MD_CHAR *text, MD_SIZE size)
{
    return text >= making->from && text <= making->to ? size <= (size_t)(making->to - text) : size <= 4;
}

static int on_text(MD_TEXTTYPE type, const MD_CHAR *text, MD_SIZE size, void *user)
{
    struct making *making = user;
    if (!from_input(making, text, size)) {
        making->broken = true;
        return 1;
    }
    if (type == MD_TEXT_BR || type == MD_TEXT_SOFTBR)
        put_text(making, making->tables ? " " : "\n");
    else if (type == MD_TEXT_NULLCHAR)
        put_text(making, "\xef\xbf\xbd");
    else if (type == MD_TEXT_ENTITY)
        put_entity(making, text, size);
    else
        put(making, text, size);
    return making->code != LOAM_OK;
}

/* --- Setting in order --- */

static bool blank(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static bool is_code(const struct lm_entity *entity)
{
    return entity->kind == LM_ENTITY_CODE || entity->kind == LM_ENTITY_PRE;
}

static int by_place(const void *a, const void *b)
{
    const struct lm_entity *one = a, *two = b;
    if (one->begin != two->begin)
        return one->begin < two->begin ? -1 : 1;
    return one->end != two->end ? (one->end > two->end ? -1 : 1) : (int)one->kind - (int)two->kind;
}

/* Bold, italic and struck text around code would be refused: it ends in front of the code, and begins anew behind it. */
static int cut_around_code(struct lm_markup *markup, loam_error *error)
{
    const size_t count = markup->count;
    struct lm_entity *made = NULL;
    size_t made_count = 0, room = 0;
    for (size_t i = 0; i < count; i++) {
        struct lm_entity rest = markup->entities[i];
        const bool cut = rest.kind == LM_ENTITY_BOLD || rest.kind == LM_ENTITY_ITALIC || rest.kind == LM_ENTITY_STRIKE;
        /* What lies in it stands behind it in the list, as entities begin in order. */
        for (size_t j = i + 1; ; j++) {
            const struct lm_entity *code = cut && j < count && markup->entities[j].begin < rest.end ? &markup->entities[j] : NULL;
            if (code && !is_code(code))
                continue;
            if (made_count >= MOST_ENTITIES)
                break;
            if (made_count + 1 > room) {
                room = room ? 2 * room : count + 16;
                struct lm_entity *grown = lm_resize(made, room, sizeof *grown, error);
                if (!grown) {
                    lm_free(made);
                    return LOAM_ENOMEM;
                }
                made = grown;
            }
            made[made_count] = rest;
            if (code)
                made[made_count].end = code->begin;
            made_count += made[made_count].begin < made[made_count].end;
            if (!code || code->end >= rest.end)
                break;
            rest.begin = code->end;
        }
    }
    lm_free(markup->entities);
    markup->entities = made;
    markup->count = made_count;
    markup->capacity = room;
    if (made_count)
        qsort(made, made_count, sizeof *made, by_place);
    return LOAM_OK;
}

/* No blanks at the ends of the text, nor at the ends of an entity. */
static void trim(struct lm_markup *markup)
{
    struct lm_bytes *text = &markup->text;
    size_t first = 0, kept = 0;
    while (text->length && blank(text->data[text->length - 1]))
        text->data[--text->length] = 0;
    while (first < text->length && blank(text->data[first]))
        first++;
    for (size_t i = 0; i < markup->count; i++) {
        struct lm_entity entity = markup->entities[i];
        entity.end = entity.end < text->length ? entity.end : text->length;
        entity.begin = entity.begin > first ? entity.begin : first;
        while (entity.begin < entity.end && blank(text->data[entity.end - 1]))
            entity.end--;
        while (entity.begin < entity.end && blank(text->data[entity.begin]))
            entity.begin++;
        if (entity.begin >= entity.end)
            continue;
        entity.begin -= first;
        entity.end -= first;
        markup->entities[kept++] = entity;
    }
    markup->count = kept;
    if (first)
        memmove(text->data, text->data + first, (text->length -= first) + 1);
}

int lm_markup_make(const char *markdown, size_t length, struct lm_markup *markup, loam_error *error)
{
    struct making making = {.markup = markup, .error = error, .from = markdown, .to = markdown + length};
    const MD_PARSER parser = {.flags = MD_DIALECT_GITHUB | MD_FLAG_NOHTML | MD_FLAG_NOINDENTEDCODEBLOCKS, .enter_block = enter_block,
                              .leave_block = leave_block, .enter_span = enter_span, .leave_span = leave_span, .text = on_text};
    if (length > UINT32_MAX / 4)
        return lm_fail(error, LOAM_EUSAGE, "a text of %zu bytes is too long", length);
    const int failed = length ? md_parse(markdown, (MD_SIZE)length, &parser, &making) : 0;
    if (making.broken) {    /* as it stands, then */
        lm_markup_free(markup);
        making.code = lm_bytes_append(&markup->text, markdown, length, error);
    } else if (making.code == LOAM_OK && failed)
        making.code = lm_fail(error, LOAM_ENOMEM, "Markdown: not enough memory");
    if (making.code == LOAM_OK)
        trim(markup);
    return making.code == LOAM_OK && markup->count ? cut_around_code(markup, error) : making.code;
}

void lm_markup_free(struct lm_markup *markup)
{
    lm_bytes_free(&markup->text);
    lm_bytes_free(&markup->extra);
    lm_free(markup->entities);
    *markup = (struct lm_markup){0};
}
