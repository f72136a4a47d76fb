/* loam look */
#include "show.h"
#include "subject.h"
#include "tensor/tensor.h"

#include <inttypes.h>
#include <string.h>

static int print_tensor_list(const struct lm_tensors *tensors)
{
    struct lm_bytes out = {0};
    struct lm_json_writer writer = lm_json_writer(&out, 2);
    lm_json_begin_array(&writer);
    for (size_t i = 0; i < lm_tensors_count(tensors); i++) {
        const struct lm_tensor *tensor = lm_tensors_at(tensors, i);
        lm_json_begin_object(&writer);
        lm_json_key(&writer, "name");
        lm_json_text(&writer, tensor->name);
        lm_json_key(&writer, "dtype");
        lm_json_text(&writer, lm_dtype_name(tensor->dtype));
        lm_json_key(&writer, "shape");
        lm_json_begin_array(&writer);
        for (int k = 0; k < tensor->rank; k++)
            lm_json_int(&writer, tensor->shape[k]);
        lm_json_end_array(&writer);
        lm_json_key(&writer, "bytes");
        lm_json_int(&writer, (int64_t)tensor->bytes);
        lm_json_end_object(&writer);
    }
    lm_json_end_array(&writer);
    return print_json(&writer);
}

static int print_tensor(const struct lm_tensor *tensor)
{
    struct lm_bytes shape = {0};
    loam_error error, clean;
    int code = LOAM_OK;
    for (int k = 0; k < tensor->rank && code == LOAM_OK; k++)
        code = lm_bytes_format(&shape, &error, "%s%" PRId64, k ? ", " : "", tensor->shape[k]);
    lm_fail(&clean, LOAM_OK, "%s", tensor->name);    /* names come from a file: nothing that drives the terminal */
    if (code == LOAM_OK)
        printf("%-5s [%s]%*s %12" PRIu64 "  %s\n", lm_dtype_name(tensor->dtype), shape.data ? shape.data : "",
               shape.length < 16 ? (int)(16 - shape.length) : 0, "", tensor->bytes, clean.message);
    lm_bytes_free(&shape);
    return code == LOAM_OK ? EXIT_DONE : complain_error(&error);
}

static int print_tensors(const struct lm_tensors *tensors)
{
    uint64_t count = 0, bytes = 0;
    int status = EXIT_DONE;
    for (size_t i = 0; i < lm_tensors_count(tensors) && status == EXIT_DONE && !ferror(stdout); i++) {
        const struct lm_tensor *tensor = lm_tensors_at(tensors, i);
        status = print_tensor(tensor);
        count += tensor->count;
        bytes += tensor->bytes;
    }
    char size[32];
    lm_format_size((int64_t)bytes, size);
    note("%zu tensors, %" PRIu64 " numbers, %s", lm_tensors_count(tensors), count, size);
    return status;
}

/* Ranges, or the way from one to the other. */
static int show_weights(const struct arguments *arguments, const struct lm_tensors *tensors)
{
    struct lm_tensors *other = NULL;
    struct lm_page *page;
    loam_error error;
    int code = arguments->operand_count > 1 ? lm_tensors_open(arguments->operands[1], &other, &error) : LOAM_OK;
    if (code == LOAM_OK)
        code = lm_look_weights(tensors, other, &page, &error);
    const int status = code == LOAM_OK ? show_page(arguments, page) : complain_error(&error);
    lm_tensors_close(other);
    return status;
}

int command_look_weights(const struct arguments *arguments)
{
    const struct argument *values = arguments->values;
    struct lm_tensors *tensors;
    loam_error error;
    int status;
    if (show_check(arguments, &error) != LOAM_OK || lm_tensors_open(arguments->operands[0], &tensors, &error) != LOAM_OK)
        return complain_error(&error);
    if (values[OPT_RANGES].given || values[OPT_HTML].given || values[OPT_SVG].given || values[OPT_OUT].given ||
        arguments->operand_count > 1)
        status = show_weights(arguments, tensors);
    else
        status = values[OPT_JSON].given ? print_tensor_list(tensors) : print_tensors(tensors);
    lm_tensors_close(tensors);
    return status;
}

int command_look_tokens(const struct arguments *arguments)
{
    struct lm_tokenizer *tokenizer;
    struct lm_page *page;
    struct lm_bytes text = {0};
    loam_error error;
    const unsigned flags = (arguments->values[OPT_SPECIAL].given ? LM_ENCODE_SPECIAL : 0u) |
                           (arguments->values[OPT_ADD_SPECIAL].given ? LM_ENCODE_ADD_SPECIAL : 0u);
    if (!arguments->values[OPT_SENTENCE].given) {
        complain("look tokens: option '--sentence' is missing; usage: loam look tokens %s", arguments->command->operands);
        return EXIT_USAGE;
    }
    if (show_check(arguments, &error) != LOAM_OK || lm_tokenizer_load(arguments->operands[0], &tokenizer, &error) != LOAM_OK)
        return complain_error(&error);
    int code = read_sentence(arguments, &text, &error);
    if (code == LOAM_OK)
        code = lm_look_tokens(tokenizer, text.data ? text.data : "", text.length, flags, &page, &error);
    lm_bytes_free(&text);
    lm_tokenizer_free(tokenizer);
    return code == LOAM_OK ? show_page(arguments, page) : complain_error(&error);
}

/* --- On a sequence --- */

/* Makes the page of one command; or, for files of tensors, writes it and leaves the page NULL. */
typedef int looker(const struct arguments *arguments, const struct lm_subject *subject, bool tensors, struct lm_page **page,
                   loam_error *error);

static int look_at(const struct arguments *arguments, bool load, enum show_form other, looker *look)
{
    const bool sentence = arguments->values[OPT_SENTENCE].given, ids = arguments->values[OPT_IDS].given;
    struct subject subject;
    struct lm_page *page = NULL;
    loam_error error;
    if (sentence == ids) {
        complain("%s: %s; usage: loam %s %s", arguments->command->name, sentence ? "found both --sentence and --ids, wanted one" :
                 "option '--sentence' or '--ids' is missing", arguments->command->name, arguments->command->operands);
        return EXIT_USAGE;
    }
    int code = show_check(arguments, &error);
    if (code == LOAM_OK)
        code = subject_open(arguments, load, &subject, &error);
    if (code != LOAM_OK)
        return complain_error(&error);
    code = look(arguments, &subject.look, show_form(arguments, other) == SHOW_TENSORS, &page, &error);
    subject_close(&subject);
    if (code != LOAM_OK)
        return complain_error(&error);
    return page ? show_page(arguments, page) : EXIT_DONE;
}

static int attention(const struct arguments *arguments, const struct lm_subject *subject, bool tensors, struct lm_page **page,
                     loam_error *error)
{
    const struct argument *values = arguments->values;
    const struct lm_attention_choice choice = {.layer = values[OPT_LAYER].given ? values[OPT_LAYER].whole : -1,
                                               .head = values[OPT_HEAD].given ? values[OPT_HEAD].whole : -1};
    if (tensors)
        return lm_look_attention_write(subject, values[OPT_OUT].text, error);
    if (show_form(arguments, SHOW_TENSORS) != SHOW_HTML)
        return lm_look_attention(subject, &choice, page, error);
    struct lm_bytes html = {0};
    int code = lm_look_attention_html(subject, choice.layer, &html, error);
    if (code == LOAM_OK && values[OPT_OUT].text)
        code = lm_file_replace(values[OPT_OUT].text, html.data, html.length, error);
    else if (code == LOAM_OK)
        fwrite(html.data, 1, html.length, stdout);
    lm_bytes_free(&html);
    return code;
}

static int logits(const struct arguments *arguments, const struct lm_subject *subject, bool tensors, struct lm_page **page,
                  loam_error *error)
{
    if (tensors)
        return lm_look_logits(subject->model, subject->ids, subject->count, arguments->values[OPT_OUT].text, error);
    const char *top = arguments->values[OPT_TOP].text;
    int64_t candidates = 0;
    int code = lm_parse_int(top, &candidates, error);
    return code ? code : lm_look_predictions(subject, candidates, page, error);
}

static int step(const struct arguments *arguments, const struct lm_subject *subject, bool tensors, struct lm_page **page,
                loam_error *error)
{
    const struct argument *values = arguments->values;
    double loss;
    if (!tensors)
        return lm_look_training(subject, values[OPT_LR].given ? values[OPT_LR].number : -1, page, error);
    int code = lm_look_step(subject->model, subject->ids, subject->count, values[OPT_OUT].text, &loss, error);
    if (code == LOAM_OK)
        note("%s: the loss is %.6f", values[OPT_OUT].text, loss);
    return code;
}

static int norms(const struct arguments *arguments, const struct lm_subject *subject, bool tensors, struct lm_page **page,
                 loam_error *error)
{
    (void)arguments, (void)tensors;
    return lm_look_norms(subject, page, error);
}

static int neurons(const struct arguments *arguments, const struct lm_subject *subject, bool tensors, struct lm_page **page,
                   loam_error *error)
{
    (void)arguments, (void)tensors;
    return lm_look_neurons(subject, page, error);
}

int command_look_attention(const struct arguments *arguments)
{
    return look_at(arguments, false, SHOW_TENSORS, attention);
}

int command_look_logits(const struct arguments *arguments)
{
    return look_at(arguments, false, SHOW_TENSORS, logits);
}

int command_look_step(const struct arguments *arguments)
{
    return look_at(arguments, true, SHOW_TENSORS, step);
}

int command_look_norms(const struct arguments *arguments)
{
    return look_at(arguments, false, SHOW_TEXT, norms);
}

int command_look_neurons(const struct arguments *arguments)
{
    return look_at(arguments, false, SHOW_TEXT, neurons);
}
