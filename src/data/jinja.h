/* Jinja, the part of it that chat templates use: parsed once, rendered often.
 *
 *     struct lm_jinja *jinja;
 *     if (lm_jinja_parse(source, length, "chat_template.jinja", &jinja, error)) return error->code;
 *     struct lm_jinja_call call = {.variables = lm_document_root(document)};    // {"messages": [...], "bos_token":
 * "<s>", ...} struct lm_bytes text = {0}; if (lm_jinja_render(jinja, &call, &text, error)) ... lm_jinja_free(jinja);
 *
 * It behaves as Jinja2 3.1 does with the settings transformers gives it: trim_blocks, lstrip_blocks, no trailing
 * newline kept, undefined names print as nothing, lists and mappings cannot be changed; raise_exception(),
 * strftime_now(), tojson as json.dumps without ASCII escapes, break and continue, generation blocks. Whole numbers have
 * 64 bits: beyond is an error. Not there: include, import, extends, blocks, and filters and methods of no use in chat
 * templates; each is refused by name.
 *
 * Nothing that a template does is without bound: see struct lm_jinja_call. Errors: "NAME:LINE:COLUMN: ...",
 * LOAM_EFORMAT for what is wrong in the template (its own raise_exception, and what takes too much), LOAM_EUNSUPPORTED
 * for what loam lacks. A parsed template is constant: any number of threads may render it.
 */
#ifndef LOAM_JINJA_H
#define LOAM_JINJA_H

#include "base/base.h"

struct lm_jinja;
/* The source is copied. */
int lm_jinja_parse(const char *source, size_t length, const char *name, struct lm_jinja **jinja, loam_error *error);
void lm_jinja_free(struct lm_jinja *jinja);
const char *lm_jinja_source(const struct lm_jinja *jinja, size_t *length);

struct lm_jinja_span {
    size_t begin, end; /* bytes of the text */
};
/* Starts as {0}. */
struct lm_jinja_spans {
    struct lm_jinja_span *data;
    size_t length, capacity;
};

struct lm_jinja_call {
    const struct lm_value *variables; /* an object; NULL: none */
    int64_t now;           /* seconds since 1970 for strftime_now, shown in UTC; 0: the clock, in local time */
    int64_t steps;         /* how many nodes may be evaluated; 0: 10 million */
    size_t memory, output; /* bytes; 0: 256 MiB and 64 MiB */
    struct lm_jinja_spans *generated; /* what {% generation %} blocks wrote is appended; NULL: not wanted */
};
/* Replaces what is in `text`. */
int lm_jinja_render(const struct lm_jinja *jinja, const struct lm_jinja_call *call, struct lm_bytes *text,
                    loam_error *error);

#endif
