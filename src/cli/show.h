/* How a page is shown: on the terminal, as HTML, SVG or JSON, or into a file whose ending says which. */
#ifndef LOAM_CLI_SHOW_H
#define LOAM_CLI_SHOW_H

#include "common.h"
#include "look/look.h"

enum show_form { SHOW_TEXT, SHOW_HTML, SHOW_SVG, SHOW_PNG, SHOW_JSON, SHOW_TENSORS };
/* By --html, --svg, --json, or --out's ending; `other` is what an ending means that is none of these. */
enum show_form show_form(const struct arguments *arguments, enum show_form other);
/* Shows the page as asked for, frees it, and gives the exit status. */
int show_page(const struct arguments *arguments, struct lm_page *page);
/* The same for text that is made already, HTML as a rule; frees it. */
int show_bytes(const struct arguments *arguments, struct lm_bytes *bytes);
/* Before anything else: LOAM_EUSAGE where two forms are asked for, or where what is seen would take the place of a file of a model's. */
int show_check(const struct arguments *arguments, loam_error *error);
/* The terminal as it is, or as --width and --colour say. */
struct lm_text_style text_style(const struct arguments *arguments);

#endif
