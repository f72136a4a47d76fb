#include "subject.h"

#include <string.h>

int read_sentence(const struct arguments *arguments, struct lm_bytes *text, loam_error *error)
{
    const char *sentence = arguments->values[OPT_SENTENCE].text;
    if (strcmp(sentence, "-") == 0)
        return lm_file_read("-", 0, text, error);
    return lm_bytes_append(text, sentence, strlen(sentence), error);
}

static int read_sequence(const struct arguments *arguments, struct subject *subject, loam_error *error)
{
    const char *list = arguments->values[OPT_IDS].text;
    struct lm_bytes text = {0};
    if (list)
        return read_ids(list, strlen(list), "--ids", &subject->ids, error);
    int code = read_sentence(arguments, &text, error);
    if (!code)
        code = lm_tokenizer_encode(subject->tokenizer, text.data ? text.data : "", text.length, LM_ENCODE_ADD_SPECIAL, &subject->ids,
                                   NULL, error);
    if (!code && subject->ids.length == 0)
        code = lm_fail(error, LOAM_EUSAGE, "--sentence: the text is empty: there is no token to look at");
    lm_bytes_free(&text);
    return code;
}

/* A tokenizer there must be for --sentence; for --ids it gives names where it is there. */
static int open_tokenizer(const struct arguments *arguments, struct subject *subject, loam_error *error)
{
    loam_error own;
    int code = lm_tokenizer_load(arguments->operands[0], &subject->tokenizer, &own);
    if (!code || (code == LOAM_ENOTFOUND && arguments->values[OPT_IDS].given))
        return LOAM_OK;
    return lm_fail(error, code, "%s", own.message);
}

int subject_open(const struct arguments *arguments, bool load, struct subject *subject, loam_error *error)
{
    const struct lm_model_options options = {.load = load, .dtype = LM_F32};
    *subject = (struct subject){0};
    int code = lm_device_open(&(struct lm_device_options){.threads = thread_count(arguments)}, &subject->device, error);
    if (!code)
        code = lm_model_open(arguments->operands[0], subject->device, &options, &subject->look.model, error);
    if (!code)
        code = open_tokenizer(arguments, subject, error);
    if (!code)
        code = read_sequence(arguments, subject, error);
    if (code) {
        subject_close(subject);
        return code;
    }
    subject->look.tokenizer = subject->tokenizer;
    subject->look.ids = subject->ids.data;
    subject->look.count = (int64_t)subject->ids.length;
    return LOAM_OK;
}

void subject_close(struct subject *subject)
{
    lm_ids_free(&subject->ids);
    lm_tokenizer_free(subject->tokenizer);
    lm_model_close(subject->look.model);
    lm_device_close(subject->device);
    *subject = (struct subject){0};
}
