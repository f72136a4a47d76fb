#include "screen.h"

#include <stdio.h>
#include <string.h>

void lm_screen_put(struct lm_screen *screen, const char *text, size_t length)
{
    if (!screen->code)
        screen->code = lm_bytes_append(screen->out, text, length, screen->error);
}

void lm_screen_text(struct lm_screen *screen, const char *text)
{
    lm_screen_put(screen, text, strlen(text));
}

void lm_screen_repeat(struct lm_screen *screen, const char *text, int64_t times)
{
    for (int64_t i = 0; i < times; i++)
        lm_screen_text(screen, text);
}

/* What stands for a character that the terminal may lack. */
static const char *plain_of(uint32_t character)
{
    switch (character) {
    case 0xB7: return "_";        /* the blank's mark in tokens */
    case 0x21B5: return "\\n";
    case 0x2192: return "->";
    case 0xB2: return "^2";
    case 0x221A: return "sqrt";
    case 0xD7: return "x";
    case 0x2026: return "...";
    case 0x25CC: return "";
    default: return "?";
    }
}

size_t lm_screen_next(const struct lm_screen *screen, const char *text, const char **shown, size_t *bytes, int *columns)
{
    uint32_t character;
    const size_t length = lm_utf8_decode(text, strlen(text), &character);
    if (!length || character < 32 || (character >= 127 && character < 160)) { /* names out of files do not steer the terminal */
        *shown = "?";
        *bytes = 1;
        *columns = 1;
        return length ? length : 1;
    }
    if (length <= 1 || screen->style->unicode) {
        *shown = text;
        *bytes = length;
        *columns = lm_utf8_width(character);
        return *bytes;
    }
    *shown = plain_of(character);
    *bytes = strlen(*shown);
    *columns = (int)*bytes;
    return length;
}

int lm_screen_columns(const struct lm_screen *screen, const char *text)
{
    int sum = 0;
    while (*text) {
        const char *shown;
        size_t bytes;
        int columns;
        text += lm_screen_next(screen, text, &shown, &bytes, &columns);
        sum += columns;
    }
    return sum;
}

void lm_screen_cell(struct lm_screen *screen, const char *text, int width, bool right)
{
    int used = lm_screen_columns(screen, text), left = width;
    if (right && used < width)
        lm_screen_repeat(screen, " ", width - used);
    while (*text) {
        const char *shown;
        size_t bytes;
        int columns;
        const size_t read = lm_screen_next(screen, text, &shown, &bytes, &columns);
        if (width >= 0 && columns > left)
            break;
        lm_screen_put(screen, shown, bytes);
        left -= columns;
        text += read;
    }
    if (width >= 0 && (!right || used > width))
        lm_screen_repeat(screen, " ", left);
}

void lm_screen_wrap(struct lm_screen *screen, const char *text)
{
    int used = 0;
    while (*text) {
        char word[512];
        const size_t length = strcspn(text, " \n");
        snprintf(word, sizeof word, "%.*s", (int)(length < sizeof word ? length : sizeof word - 1), text);
        const int columns = lm_screen_columns(screen, word);
        if (used && used + 1 + columns > screen->width) {
            lm_screen_text(screen, "\n");
            used = 0;
        }
        if (used && columns) {
            lm_screen_text(screen, " ");
            used++;
        }
        lm_screen_cell(screen, word, -1, false);
        used += columns;
        text += length;
        if (*text == '\n') {
            lm_screen_text(screen, "\n");
            used = 0;
        }
        text += *text != 0;
    }
    lm_screen_text(screen, "\n");
}
