/* Inside look: characters on a terminal's lines. What a terminal without Unicode lacks gets a plain stand-in, what would steer
 * it a question mark.
 *
 *     struct lm_screen screen = {.style = style, .out = out, .error = error, .width = 80};
 *     lm_screen_wrap(&screen, "Words, in lines no wider than the screen.");
 *     lm_screen_cell(&screen, name, 16, false);
 *     return screen.code;
 *
 * The first failure stays in `code`; what follows it puts nothing.
 */
#ifndef LOAM_LOOK_SCREEN_H
#define LOAM_LOOK_SCREEN_H

#include "look.h"

struct lm_screen {
    const struct lm_text_style *style;
    struct lm_bytes *out;
    loam_error *error;
    int code, width;
};
/* As it is. */
void lm_screen_put(struct lm_screen *screen, const char *text, size_t length);
void lm_screen_text(struct lm_screen *screen, const char *text);
void lm_screen_repeat(struct lm_screen *screen, const char *text, int64_t times);
/* The next character of a text: what to print, its columns; gives the bytes read. */
size_t lm_screen_next(const struct lm_screen *screen, const char *text, const char **shown, size_t *bytes, int *columns);
/* Of a text as it will be shown. */
int lm_screen_columns(const struct lm_screen *screen, const char *text);
/* Exactly `width` columns (or as many as it has, where negative): cut, or filled on the right, or on the left where `right`. */
void lm_screen_cell(struct lm_screen *screen, const char *text, int width, bool right);
/* Words in lines, and a line's end. */
void lm_screen_wrap(struct lm_screen *screen, const char *text);

#endif
