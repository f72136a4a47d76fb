/* Inside room/: Markdown as Telegram shows it: plain text and a list of what is bold, code, a link; cut into messages.
 *
 *     struct lm_markup markup = {0};
 *     lm_markup_make("**Hello** `x`", 13, &markup, error);           // "Hello x", bold over 0..5, code over 6..7
 *     for (size_t begin = 0, end, next; begin < markup.text.length; begin = next) {
 *         end = lm_markup_cut(&markup, begin, LM_MESSAGE_UNITS, &next);
 *         … markup.text.data[begin..end) …
 *         lm_markup_write(&markup, begin, end, 0, &json);            // entities of this part, as the Bot API wants them
 *     }
 *     lm_markup_free(&markup);
 *
 * Inside, places are bytes of UTF-8; what is written counts UTF-16 units, as Telegram does. An entity that goes on behind a cut is
 * written for both parts, so that a code block is one in each of them. One object, one thread. */
#ifndef LOAM_ROOM_MARKUP_H
#define LOAM_ROOM_MARKUP_H

#include "base/base.h"

enum { LM_MESSAGE_UNITS = 4096, LM_MESSAGE_ENTITIES = 100 };

enum lm_entity_kind { LM_ENTITY_BOLD, LM_ENTITY_ITALIC, LM_ENTITY_STRIKE, LM_ENTITY_QUOTE, LM_ENTITY_LINK, LM_ENTITY_CODE, LM_ENTITY_PRE };
struct lm_entity {
    enum lm_entity_kind kind;
    size_t begin, end;          /* bytes of the text */
    size_t extra;               /* where in `extra` its address or language begins, 0 behind it; SIZE_MAX: it has none */
};
struct lm_markup {              /* starts as {0} */
    struct lm_bytes text;       /* valid UTF-8 without blanks at its ends */
    struct lm_entity *entities; /* by begin; none empty; code and pre overlap no other but a quote */
    size_t count, capacity;
    struct lm_bytes extra;
};
/* `markdown` is valid UTF-8 (GitHub's dialect). HTML in it is text. */
int lm_markup_make(const char *markdown, size_t length, struct lm_markup *markup, loam_error *error);
void lm_markup_free(struct lm_markup *markup);
/* End of the part that begins at `begin`, of at most `units` UTF-16 units (2 at least) and LM_MESSAGE_ENTITIES entities: behind a
 * paragraph, else a line, else a word, else a character as people see it. `next`: where the next part begins, blanks passed over. */
size_t lm_markup_cut(const struct lm_markup *markup, size_t begin, size_t units, size_t *next);
/* The part's entities as members of an array that is open, `before` units in front of them. */
void lm_markup_write(const struct lm_markup *markup, size_t begin, size_t end, size_t before, struct lm_json_writer *json);
size_t lm_utf16_units(const char *text, size_t length);

#endif
