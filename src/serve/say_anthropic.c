/* Answers in Anthropic's form. */
#include "internal.h"

#include <string.h>

/* The stop text that ended the answer: it stands in the tokens' text behind what was given out. NULL: none did. */
static const char *stop_of(const struct job *job)
{
    const struct choice *choice = &job->choices[0];
    struct lm_bytes text = {0};
    const char *found = NULL;
    if (choice->reason != LM_STOP_STRING ||
        lm_tokenizer_decode(lm_engine_tokenizer(job->served->engine), choice->ids.data, choice->ids.length, true, &text, NULL) != LOAM_OK)
        return NULL;
    for (size_t i = 0; i < job->request.stop_count && !found && text.length >= choice->text.length; i++) {
        const size_t length = strlen(job->stops[i]), left = text.length - choice->text.length;
        if (length <= left && !memcmp(text.data + choice->text.length, job->stops[i], length))
            found = job->stops[i];
    }
    lm_bytes_free(&text);
    return found ? found : job->stops[0];
}

static const char *stop_reason(const struct job *job)
{
    switch (job->choices[0].reason) {
    case LM_STOP_STRING:
        return "stop_sequence";
    case LM_STOP_LENGTH:
        return job->room_is_limit ? "model_context_window_exceeded" : "max_tokens";
    default:
        return "end_turn";
    }
}

static void write_stop(struct lm_json_writer *json, const struct job *job, bool ended)
{
    const char *stop = ended ? stop_of(job) : NULL;
    lm_json_key(json, "stop_reason");
    if (ended)
        lm_json_text(json, stop_reason(job));
    else
        lm_json_null(json);
    lm_json_key(json, "stop_sequence");
    if (stop)
        lm_json_text(json, stop);
    else
        lm_json_null(json);
}

/* The cache here is no cache in that service's sense, which is asked for and paid for: all of the prompt counts as read anew. */
static void write_usage(struct lm_json_writer *json, const struct job *job, bool ended)
{
    lm_json_key(json, "usage");
    lm_json_begin_object(json);
    lm_json_key(json, "input_tokens");
    lm_json_int(json, (int64_t)job->prompts[0].length);
    lm_json_key(json, "cache_creation_input_tokens");
    lm_json_int(json, 0);
    lm_json_key(json, "cache_read_input_tokens");
    lm_json_int(json, 0);
    lm_json_key(json, "output_tokens");
    lm_json_int(json, ended ? job->choices[0].usage.tokens : 1);
    lm_json_end_object(json);
}

static void write_message(struct lm_json_writer *json, struct job *job, bool ended)
{
    const struct lm_bytes *text = &job->choices[0].text;
    lm_json_begin_object(json);
    lm_json_key(json, "id");
    lm_json_text(json, job->id);
    lm_json_key(json, "type");
    lm_json_text(json, "message");
    lm_json_key(json, "role");
    lm_json_text(json, "assistant");
    lm_json_key(json, "model");
    lm_json_text(json, job->served->name);
    lm_json_key(json, "content");
    lm_json_begin_array(json);
    if (ended) {
        lm_json_begin_object(json);
        lm_json_key(json, "type");
        lm_json_text(json, "text");
        lm_json_key(json, "text");
        lm_json_string(json, text->data ? text->data : "", text->length);
        lm_json_end_object(json);
    }
    lm_json_end_array(json);
    write_stop(json, job, ended);
    write_usage(json, job, ended);
    lm_json_end_object(json);
}

static void say(struct job *job, const char *event, struct lm_json_writer *json)
{
    struct lm_bytes *text = json->out;
    lm_json_end_object(json);
    if (lm_json_writer_finish(json, NULL) != LOAM_OK || lm_event_append(&job->out, event, text->data, text->length, NULL) != LOAM_OK)
        job_no_memory(job);
    lm_bytes_free(text);
}

/* {"type": event, … which the caller goes on with, and closes by say. */
static struct lm_json_writer begin(struct lm_bytes *text, const char *event)
{
    struct lm_json_writer json = lm_json_writer(text, -1);
    lm_json_begin_object(&json);
    lm_json_key(&json, "type");
    lm_json_text(&json, event);
    return json;
}

static void messages_begin(struct job *job)
{
    struct lm_bytes text = {0};
    make_id("msg_", job->id);
    struct lm_json_writer json = begin(&text, "message_start");
    lm_json_key(&json, "message");
    write_message(&json, job, false);
    say(job, "message_start", &json);

    json = begin(&text, "content_block_start");
    lm_json_key(&json, "index");
    lm_json_int(&json, 0);
    lm_json_key(&json, "content_block");
    lm_json_begin_object(&json);
    lm_json_key(&json, "type");
    lm_json_text(&json, "text");
    lm_json_key(&json, "text");
    lm_json_text(&json, "");
    lm_json_end_object(&json);
    say(job, "content_block_start", &json);

    json = begin(&text, "ping");
    say(job, "ping", &json);
}

static void messages_piece(struct job *job, size_t index, const char *piece, size_t length)
{
    struct lm_bytes text = {0};
    struct lm_json_writer json = begin(&text, "content_block_delta");
    (void)index;
    lm_json_key(&json, "index");
    lm_json_int(&json, 0);
    lm_json_key(&json, "delta");
    lm_json_begin_object(&json);
    lm_json_key(&json, "type");
    lm_json_text(&json, "text_delta");
    lm_json_key(&json, "text");
    lm_json_string(&json, piece, length);
    lm_json_end_object(&json);
    say(job, "content_block_delta", &json);
}

static void messages_ended(struct job *job, size_t index)
{
    struct lm_bytes text = {0};
    struct lm_json_writer json = begin(&text, "content_block_stop");
    (void)index;
    lm_json_key(&json, "index");
    lm_json_int(&json, 0);
    say(job, "content_block_stop", &json);

    json = begin(&text, "message_delta");
    lm_json_key(&json, "delta");
    lm_json_begin_object(&json);
    write_stop(&json, job, true);
    lm_json_end_object(&json);
    write_usage(&json, job, true);
    say(job, "message_delta", &json);
}

static void messages_end(struct job *job)
{
    struct lm_bytes text = {0};
    struct lm_json_writer json = begin(&text, "message_stop");
    say(job, "message_stop", &json);
}

static void messages_fail(struct job *job, const struct refusal *refusal)
{
    struct lm_bytes out = {0};
    error_body(true, refusal, &out);
    lm_event_append(&job->out, "error", out.data, out.length, NULL);
    lm_bytes_free(&out);
}

static void messages_whole(struct job *job)
{
    struct lm_json_writer json = lm_json_writer(&job->out, -1);
    make_id("msg_", job->id);
    write_message(&json, job, true);
    if (lm_json_writer_finish(&json, NULL) != LOAM_OK)
        job_no_memory(job);
}

const struct shape messages_shape = {messages_begin, messages_piece, messages_ended, messages_end, messages_fail, messages_whole};
