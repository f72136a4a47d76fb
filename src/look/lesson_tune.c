/* Lesson thirteen: from a model that goes on with a text to one that answers. */
#include "infer/infer.h"
#include "labels.h"
#include "lessons.h"
#include "step.h"

#include <math.h>
#include <string.h>

enum { STEPS = 40, OTHERS = 32 };
static const double RATE = 1e-3;

struct tuning {
    struct lm_lesson *lesson;
    const struct lm_template *chat_template;
    struct lm_conversation talk;        /* the sentence, answered backwards */
    struct lm_rendered rendered, other; /* it, and a conversation that nobody trains on */
    char **labels;                      /* of the first */
    struct lm_learning learning;
    double losses[STEPS + 1], other_before, other_after, all_before;
    double *before, *after;             /* of each token of the first: how probable the model held it; NaN where it does not count */
};

/* The words of the sentence from the last to the first: an answer that nobody would give who was not taught it. */
static int answer_backwards(const char *sentence, struct lm_bytes *answer, loam_error *error)
{
    static const char blanks[] = " \t\r\n";
    const char *end = sentence + strlen(sentence);
    int code = LOAM_OK;
    while (!code) {
        while (end > sentence && strchr(blanks, end[-1]))
            end--;
        const char *word = end;
        while (word > sentence && !strchr(blanks, word[-1]))
            word--;
        if (word == end)
            break;
        if (answer->length)
            code = lm_bytes_append(answer, " ", 1, error);
        if (!code)
            code = lm_bytes_append(answer, word, (size_t)(end - word), error);
        end = word;
    }
    return code;
}

static int make_talk(struct tuning *t, loam_error *error)
{
    const char *sentence = lm_sentence_of(t->lesson->options);
    struct lm_bytes answer = {0};
    int code = answer_backwards(sentence, &answer, error);
    if (!code)
        code = lm_conversation_add(&t->talk, LM_USER, sentence, strlen(sentence), error);
    if (!code)
        code = lm_conversation_add(&t->talk, LM_ASSISTANT, answer.data, answer.length, error);
    lm_bytes_free(&answer);
    return code;
}

/* --- Templates --- */

static int show_text(struct lm_page *page, const char *name, const char *label, const struct lm_bytes *text, loam_error *error)
{
    struct lm_bytes clean = {0};
    int code = lm_label_write(text->data ? text->data : "", text->length, &clean, error);
    if (!code)
        lm_page_fact_text(page, name, label, clean.data);
    lm_bytes_free(&clean);
    return code;
}

/* The conversation as each of ours writes it. A vocabulary of its own gets the tokens that they need. */
static int show_templates(struct tuning *t, loam_error *error)
{
    const struct lm_lesson_options plain = {.seed = t->lesson->options->seed, .threads = t->lesson->options->threads};
    struct lm_lesson own = {.options = &plain};
    int code = lm_lesson_tokenizer(&own, error);
    for (size_t i = 0; lm_template_at(i) && !code; i++) {
        const struct lm_template *template = lm_template_at(i);
        struct lm_rendered rendered = {0};
        char name[64];
        lm_format(name, sizeof name, "template_%s", lm_template_name(template));
        code = lm_template_fit(template, own.own_tokenizer, true, NULL, error);
        if (!code)
            code = lm_template_render(template, own.own_tokenizer, &t->talk, false, &rendered, error);
        if (!code)
            code = show_text(t->lesson->page, name, lm_template_name(template), &rendered.text, error);
        lm_rendered_free(&rendered);
    }
    lm_tokenizer_free(own.own_tokenizer);
    return code;
}

static bool can_be_trained_on(const struct lm_rendered *rendered, int64_t context)
{
    const int64_t count = (int64_t)rendered->ids.length;
    return count >= 2 && count <= context && memchr(rendered->trained.data + 1, 1, (size_t)count - 1);
}

/* The model's template; else the first of ours whose tokens the vocabulary has, chatml before the others. */
static int choose_template(struct tuning *t, loam_error *error)
{
    const struct lm_tokenizer *tokenizer = t->lesson->tokenizer;
    const struct lm_template *chatml;
    t->chat_template = t->lesson->options->chat_template;
    if (t->chat_template)
        return lm_template_render(t->chat_template, tokenizer, &t->talk, false, &t->rendered, error);
    int code = lm_template_find("chatml", NULL, &chatml, error);
    if (code)
        return code;
    for (size_t i = 0; !t->chat_template && (i == 0 || lm_template_at(i - 1)); i++) {
        const struct lm_template *template = i == 0 ? chatml : lm_template_at(i - 1);
        if (lm_template_render(template, tokenizer, &t->talk, false, &t->rendered, NULL) == LOAM_OK)
            t->chat_template = template;
    }
    return t->chat_template ? LOAM_OK : lm_fail(error, LOAM_EMISMATCH, "the vocabulary has the tokens of no chat template, not even one that "
                                                "ends a text; loam finetune --add-tokens adds them");
}

static int render(struct tuning *t, loam_error *error)
{
    const int64_t context = lm_model_config(t->lesson->model)->context;
    int code = choose_template(t, error);
    if (!code && (int64_t)t->rendered.ids.length > context)
        code = lm_fail(error, LOAM_EUSAGE, "the sentence and its answer have %zu tokens, and the model's context is %lld; give a shorter "
                       "sentence", t->rendered.ids.length, (long long)context);
    if (!code && !can_be_trained_on(&t->rendered, context))
        code = lm_fail(error, LOAM_EUSAGE, "the template leaves nothing of the answer to train on; give a sentence with words in it");
    return code;
}

static int find_other(struct tuning *t, const struct lm_conversations *list, loam_error *error)
{
    const int64_t context = lm_model_config(t->lesson->model)->context;
    for (size_t i = 0; i < list->count; i++)
        if (lm_template_render(t->chat_template, t->lesson->tokenizer, &list->items[i], false, &t->other, NULL) == LOAM_OK &&
            can_be_trained_on(&t->other, context))
            return LOAM_OK;
    return lm_fail(error, LOAM_EUSAGE, "no built-in conversation fits the model's context of %lld tokens", (long long)context);
}

/* The first of the built-in conversations that the context holds. */
static int make_other(struct tuning *t, loam_error *error)
{
    struct lm_material *material;
    struct lm_conversations list = {0};
    struct lm_bytes lines = {0};
    int code = lm_material_open(&material, error);
    if (code)
        return code;
    code = lm_material_conversations(material, t->lesson->options->seed, OTHERS, &lines, error);
    if (!code)
        code = lm_conversations_parse(lines.data, lines.length, "the built-in conversations", &list, error);
    if (!code)
        code = find_other(t, &list, error);
    lm_conversations_free(&list);
    lm_bytes_free(&lines);
    lm_material_close(material);
    return code;
}

/* --- The mask --- */

static int show_mask(struct tuning *t, loam_error *error)
{
    static const char *const columns[] = {"id", "trained on"};
    const struct lm_rendered *rendered = &t->rendered;
    const int64_t count = (int64_t)rendered->ids.length;
    struct lm_page *page = t->lesson->page;
    double trained = 0, *values = lm_alloc(3 * (size_t)count, sizeof *values, error);
    if (!values)
        return LOAM_ENOMEM;
    double *strip = values + 2 * count;
    for (int64_t i = 0; i < count; i++) {
        values[2 * i] = rendered->ids.data[i];
        values[2 * i + 1] = strip[i] = rendered->trained.data[i];
        trained += strip[i];
    }
    struct lm_block block = {.kind = LM_BLOCK_TOKENS, .name = "mask", .title = "The conversation in tokens, and which are trained on",
                             .rows = count, .columns = 1, .row_names = (const char *const *)t->labels, .values = strip};
    lm_page_add(page, &block);
    block.kind = LM_BLOCK_TABLE;
    block.name = "mask_ids";
    block.title = "The mask";
    block.columns = 2;
    block.column_names = columns;
    block.values = values;
    lm_page_add(page, &block);
    lm_page_fact(page, "tokens", "tokens", "", 0, (double)count);
    lm_page_fact(page, "trained", "of these trained on", "", 0, trained);
    lm_free(values);
    return LOAM_OK;
}

/* --- Before, training, after --- */

static int loss_of(struct tuning *t, const struct lm_rendered *rendered, const char *trained, double *loss, loam_error *error)
{
    struct lm_step step;
    int code = lm_step_run(t->lesson->model, rendered->ids.data, (int64_t)rendered->ids.length, trained, NULL, &step, error);
    if (code)
        return code;
    *loss = step.loss;
    lm_step_free(t->lesson->model, &step);
    return LOAM_OK;
}

/* What the assistant says to the sentence, always the likeliest token. */
static int ask(struct tuning *t, const char *name, const char *label, loam_error *error)
{
    struct lm_lesson *lesson = t->lesson;
    const int64_t context = lm_model_config(lesson->model)->context;
    struct lm_conversation question = {0};
    struct lm_rendered prompt = {0};
    struct lm_runner *runner;
    struct lm_generation reply = {0};
    struct lm_generation_options options = lm_generation_default();
    const char *sentence = lm_sentence_of(lesson->options);
    options.sampling = (loam_sampling){.temperature = 0, .top_p = 1, .repetition_penalty = 1, .seed = lesson->options->seed};
    int code = lm_runner_attach(lesson->model, lesson->tokenizer, t->chat_template, context, &runner, error);
    if (code)
        return code;
    code = lm_conversation_add(&question, LM_USER, sentence, strlen(sentence), error);
    if (!code)
        code = lm_runner_prompt(runner, &question, &prompt, error);
    /* as much as it was taught, and no more than there is room for */
    const int64_t taught = (int64_t)(t->rendered.ids.length - prompt.ids.length), room = context - (int64_t)prompt.ids.length;
    options.max_tokens = taught > 0 && taught < room ? taught : room;
    if (!code && options.max_tokens < 1)
        code = lm_fail(error, LOAM_EUSAGE, "the sentence and its answer do not fit the model's context of %lld tokens; give a shorter "
                       "sentence", (long long)context);
    if (!code)
        code = lm_runner_reply(runner, &question, &options, &reply, error);
    if (!code)
        code = show_text(lesson->page, name, label, &reply.text, error);
    lm_generation_free(&reply);
    lm_rendered_free(&prompt);
    lm_conversation_free(&question);
    lm_runner_close(runner);
    return code;
}

static void keep_shares(const struct tuning *t, const struct lm_step *step, double *shares)
{
    for (size_t i = 0; i < t->rendered.ids.length; i++)
        shares[i] = i > 0 && t->rendered.trained.data[i] ? exp(-(double)step->losses[i - 1]) : NAN;
}

static int train(struct tuning *t, loam_error *error)
{
    const struct lm_rendered *rendered = &t->rendered;
    int code = lm_learning_open(t->lesson, RATE, &t->learning, error);
    for (int i = 0; i <= STEPS && !code; i++) {
        struct lm_step step;
        code = lm_step_run(t->lesson->model, rendered->ids.data, (int64_t)rendered->ids.length, rendered->trained.data, NULL, &step, error);
        if (code)
            return code;
        t->losses[i] = step.loss;
        if (i == 0 || i == STEPS)
            keep_shares(t, &step, i == 0 ? t->before : t->after);
        if (i < STEPS)
            code = lm_learning_step(&t->learning, step.gradients, error);
        lm_step_free(t->lesson->model, &step);
    }
    return code;
}

static int show_shares(struct tuning *t, loam_error *error)
{
    static const char *const columns[] = {"before", "after"};
    const size_t count = t->rendered.ids.length;
    double *values = lm_alloc(2 * count, sizeof *values, error);
    const char **names = lm_alloc(count, sizeof *names, error);
    int64_t used = 0;
    for (size_t i = 0; values && names && i < count; i++) {
        if (isnan(t->before[i]))
            continue;
        names[used] = t->labels[i];
        values[2 * used] = t->before[i];
        values[2 * used++ + 1] = t->after[i];
    }
    const struct lm_block block = {.kind = LM_BLOCK_TABLE, .name = "probabilities", .title = "How probable each token of the answer is to the "
                                   "model", .rows = used, .columns = 2, .row_names = names, .column_names = columns, .values = values,
                                   .decimals = 4};
    if (values && names)
        lm_page_add(t->lesson->page, &block);
    const int code = values && names ? LOAM_OK : LOAM_ENOMEM;
    lm_free(names);
    lm_free(values);
    return code;
}

static int show_after(struct tuning *t, loam_error *error)
{
    static const char *const column[] = {"loss"};
    struct lm_page *page = t->lesson->page;
    lm_page_fact(page, "steps", "steps", "", 0, STEPS);
    lm_page_fact(page, "learning_rate", "learning rate", "", -1, RATE);
    const struct lm_block lines = {.kind = LM_BLOCK_LINES, .name = "curve", .title = "The loss on the answer, step after step",
                                   .row_axis = "steps done", .unit = "nats", .rows = STEPS + 1, .columns = 1, .column_names = column,
                                   .values = t->losses, .decimals = 4};
    lm_page_add(page, &lines);
    lm_page_say(page, "After it:");
    int code = ask(t, "said_after", "it says", error);
    lm_page_fact(page, "loss_after", "loss on the answer", "nats", 4, t->losses[STEPS]);
    if (!code)
        code = show_shares(t, error);
    lm_page_say(page, "One conversation, again and again, is learned by heart and nothing else; what the model could before suffers. On a built-in "
                "conversation that was not trained on, the loss of the assistant's words was and is:");
    lm_page_fact(page, "other_before", "another conversation, before", "nats", 4, t->other_before);
    lm_page_fact(page, "other_after", "another conversation, after", "nats", 4, t->other_after);
    lm_page_say(page, "So fine-tuning takes many different conversations, few rounds, small steps, and keeps some conversations aside to see "
                "when to stop: loam finetune has --eval-data and --patience for that. To try: loam data show prints your own file as it will be "
                "trained on, the mask included. No file is changed.");
    return code;
}

static int teach(struct tuning *t, loam_error *error)
{
    struct lm_lesson *lesson = t->lesson;
    struct lm_page *page = lesson->page;
    lm_page_say(page, "A model goes on with a text, no more. It becomes an assistant by being trained on conversations that are written as texts, "
                "all in the same manner: a chat template says where a turn begins, who speaks, and where it ends. Here is one conversation, the "
                "sentence and as its answer the words backwards, in the manner of each built-in template:");
    int code = show_templates(t, error);
    if (code)
        return code;
    lm_page_say(page, "Marks such as these are tokens of their own that no one can type. The model shall learn to answer, not to ask: the loss counts "
                "only where the next token is the assistant's, or the mark that ends its turn. That is the mask.");
    lm_page_fact_text(page, "template", "the template from here on", lm_template_name(t->chat_template) ? lm_template_name(t->chat_template)
                                                                                                     : "the model's own");
    code = show_mask(t, error);
    if (!lesson->options->model)
        lm_page_say(page, "The model here is a small one that has just been trained for a moment on the built-in text, only to have something "
                    "to unlearn. MODEL takes yours.");
    lm_page_say(page, "Before fine-tuning:");
    if (!code)
        code = ask(t, "said_before", "it says", error);
    if (!code)
        code = loss_of(t, &t->rendered, NULL, &t->all_before, error);
    if (!code)
        code = loss_of(t, &t->other, t->other.trained.data, &t->other_before, error);
    if (!code)
        code = train(t, error);
    if (!code)
        code = loss_of(t, &t->other, t->other.trained.data, &t->other_after, error);
    if (code)
        return code;
    lm_page_fact(page, "loss_before", "loss on the answer", "nats", 4, t->losses[0]);
    lm_page_fact(page, "loss_without_mask", "loss on all tokens, without the mask", "nats", 4, t->all_before);
    lm_page_say(page, "Fine-tuning is the training of the lessons before, with the mask and every weight free to move:");
    return show_after(t, error);
}

int lm_teach_tuning(struct lm_lesson *lesson, loam_error *error)
{
    struct tuning t = {.lesson = lesson};
    int code = lm_lesson_may_train(lesson, error);
    if (!code)
        code = lm_lesson_model(lesson, error);
    if (!code)
        code = make_talk(&t, error);
    if (!code)
        code = render(&t, error);
    if (!code)
        code = make_other(&t, error);
    const size_t count = t.rendered.ids.length;
    if (!code)
        code = lm_labels_make(lesson->tokenizer, t.rendered.ids.data, (int64_t)count, &t.labels, error);
    t.before = code ? NULL : lm_alloc(2 * count, sizeof *t.before, error);
    t.after = t.before ? t.before + count : NULL;
    if (!code && !t.before)
        code = LOAM_ENOMEM;
    if (!code)
        code = lm_lesson_train(lesson, error);
    if (!code)
        code = teach(&t, error);
    lm_learning_close(&t.learning);
    if (t.labels)
        lm_free_strings(t.labels, count);
    lm_free(t.before);
    lm_rendered_free(&t.rendered);
    lm_rendered_free(&t.other);
    lm_conversation_free(&t.talk);
    return code;
}
