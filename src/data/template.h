/* What the parts of chat templates share. */
#ifndef LOAM_TEMPLATE_H
#define LOAM_TEMPLATE_H

#include "data/data.h"
#include "data/jinja.h"

enum { LM_TEMPLATE_TOKENS = 4 };

struct lm_template {
    const char *name, *jinja;
    const char *tokens[LM_TEMPLATE_TOKENS]; /* that must be single ids; those in the texts below are encoded as such */
    const char *begin;                      /* of the conversation */
    struct {
        const char *before, *after; /* what is written around a turn's content */
    } turn[3];                      /* by role */
    const char *lead;         /* between the assistant's `before`, where a prompt ends, and its words; trained on */
    const char *trail, *end;  /* behind the assistant's words: blank and end of turn, both trained on */
    bool trims;               /* content without blanks at its ends */
    bool folds_system;        /* the system prompt stands in the first user turn, and turns alternate */
    struct lm_jinja *program; /* a template that came with a model: everything above but name and jinja is empty */
};

struct lm_rendering {
    const struct lm_template *chosen;
    const struct lm_tokenizer *tokenizer;
    struct lm_rendered *out;
    size_t run;   /* where the text begins that has no ids yet */
    bool trained; /* whether that text is trained on */
    loam_error *error;
};
int lm_rendering_text(struct lm_rendering *r, const char *text, size_t length, bool trained);
int lm_rendering_id(struct lm_rendering *r, int32_t id, const char *text, size_t length, bool trained);
int lm_rendering_close(struct lm_rendering *r);

/* A template of Jinja's; free with lm_template_free. `name`: for messages. */
int lm_template_parse(const char *source, size_t length, const char *name, const struct lm_template **chosen,
                      loam_error *error);
/* "guanaco": a template of its own; free with lm_template_free. */
int lm_template_guanaco(const struct lm_template **chosen, loam_error *error);
int lm_template_run(struct lm_rendering *r, const struct lm_conversation *conversation, bool prompt);
int32_t lm_template_run_end(const struct lm_template *chosen, const struct lm_tokenizer *tokenizer);

#endif
