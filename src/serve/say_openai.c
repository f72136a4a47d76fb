/* Answers in OpenAI's form. */
#include "internal.h"

#include <string.h>

static const char *finish_reason(const struct choice *choice)
{
    return choice->reason == LM_STOP_LENGTH ? "length" : "stop";
}

/* --- Parts of both forms --- */

static void begin_object(struct lm_json_writer *json, struct job *job, const char *object)
{
    lm_json_begin_object(json);
    lm_json_key(json, "id");
    lm_json_text(json, job->id);
    lm_json_key(json, "object");
    lm_json_text(json, object);
    lm_json_key(json, "created");
    lm_json_int(json, job->created);
    lm_json_key(json, "model");
    lm_json_text(json, job->served->name);
    lm_json_key(json, "system_fingerprint");
    lm_json_text(json, "loam-" LOAM_VERSION);
}

static void write_usage(struct lm_json_writer *json, const struct job *job)
{
    int64_t prompt = 0, reused = 0, tokens = 0;
    const size_t n = (size_t)job->request.choices;
    for (size_t i = 0; i < job->choice_count; i++) {
        const struct lm_usage *usage = &job->choices[i].usage;
        tokens += usage->tokens;
        if (i % n)
            continue;
        prompt += usage->prompt_tokens;
        reused += usage->reused;
    }
    lm_json_key(json, "usage");
    lm_json_begin_object(json);
    lm_json_key(json, "prompt_tokens");
    lm_json_int(json, prompt);
    lm_json_key(json, "completion_tokens");
    lm_json_int(json, tokens);
    lm_json_key(json, "total_tokens");
    lm_json_int(json, prompt + tokens);
    lm_json_key(json, "prompt_tokens_details");
    lm_json_begin_object(json);
    lm_json_key(json, "cached_tokens");
    lm_json_int(json, reused);
    lm_json_end_object(json);
    lm_json_end_object(json);
}

/* loam's own: how long the first choice took. */
static void write_timings(struct lm_json_writer *json, const struct job *job)
{
    const struct lm_usage *usage = &job->choices[0].usage;
    const double decoding = usage->seconds - usage->seconds_to_first;
    lm_json_key(json, "timings");
    lm_json_begin_object(json);
    lm_json_key(json, "seconds_waiting");
    lm_json_double(json, usage->seconds_waiting);
    lm_json_key(json, "seconds_to_first_token");
    lm_json_double(json, usage->seconds_to_first);
    lm_json_key(json, "seconds");
    lm_json_double(json, usage->seconds);
    lm_json_key(json, "tokens_per_second");
    lm_json_double(json, usage->tokens > 1 && decoding > 0 ? (double)(usage->tokens - 1) / decoding : 0);
    lm_json_end_object(json);
}

static void say(struct job *job, struct lm_json_writer *json, struct lm_bytes *text)
{
    if (lm_json_writer_finish(json, NULL) != LOAM_OK || lm_event_append(&job->out, NULL, text->data, text->length, NULL) != LOAM_OK)
        job_no_memory(job);
    lm_bytes_free(text);
}

static const struct scored *scores_of(const struct choice *choice, size_t *count)
{
    *count = choice->scores.length / sizeof(struct scored);
    return (const struct scored *)(const void *)choice->scores.data;
}

static void write_token_text(struct lm_json_writer *json, const struct job *job, int32_t id)
{
    size_t length = 0;
    const char *text = lm_tokenizer_token(lm_engine_tokenizer(job->served->engine), id, &length);
    lm_json_string(json, text ? text : "", text ? length : 0);
}

/* --- Chat --- */

static void write_chat_score(struct lm_json_writer *json, const struct job *job, int32_t id, float logprob)
{
    size_t length = 0;
    const char *text = lm_tokenizer_token(lm_engine_tokenizer(job->served->engine), id, &length);
    lm_json_key(json, "token");
    write_token_text(json, job, id);
    lm_json_key(json, "logprob");
    lm_json_double(json, logprob < -9999 ? -9999 : (double)logprob);
    lm_json_key(json, "bytes");
    lm_json_begin_array(json);
    for (size_t i = 0; text && i < length; i++)
        lm_json_int(json, (unsigned char)text[i]);
    lm_json_end_array(json);
}

static void write_chat_scores(struct lm_json_writer *json, const struct job *job, const struct choice *choice, size_t from)
{
    size_t count;
    const struct scored *scores = scores_of(choice, &count);
    lm_json_key(json, "logprobs");
    if (job->request.logprobs < 0) {
        lm_json_null(json);
        return;
    }
    lm_json_begin_object(json);
    lm_json_key(json, "content");
    lm_json_begin_array(json);
    for (size_t i = from; i < count; i++) {
        lm_json_begin_object(json);
        write_chat_score(json, job, scores[i].id, scores[i].logprob);
        lm_json_key(json, "top_logprobs");
        lm_json_begin_array(json);
        for (size_t k = 0; k < scores[i].top_count; k++) {
            lm_json_begin_object(json);
            write_chat_score(json, job, scores[i].top[k].id, scores[i].top[k].logprob);
            lm_json_end_object(json);
        }
        lm_json_end_array(json);
        lm_json_end_object(json);
    }
    lm_json_end_array(json);
    lm_json_key(json, "refusal");
    lm_json_null(json);
    lm_json_end_object(json);
}

/* `role`: the first of a choice; `reason`: the last. */
static void chat_chunk(struct job *job, size_t index, const char *text, size_t length, bool role, const char *reason)
{
    struct choice *choice = &job->choices[index];
    struct lm_bytes out = {0};
    struct lm_json_writer json = lm_json_writer(&out, -1);
    begin_object(&json, job, "chat.completion.chunk");
    lm_json_key(&json, "choices");
    lm_json_begin_array(&json);
    lm_json_begin_object(&json);
    lm_json_key(&json, "index");
    lm_json_int(&json, (int64_t)index);
    lm_json_key(&json, "delta");
    lm_json_begin_object(&json);
    if (role) {
        lm_json_key(&json, "role");
        lm_json_text(&json, "assistant");
    }
    if (text) {
        lm_json_key(&json, "content");
        lm_json_string(&json, text, length);
    }
    lm_json_end_object(&json);
    if (role) {
        lm_json_key(&json, "logprobs");
        lm_json_null(&json);
    } else {
        write_chat_scores(&json, job, choice, choice->scores_said);
        scores_of(choice, &choice->scores_said);
    }
    lm_json_key(&json, "finish_reason");
    if (reason)
        lm_json_text(&json, reason);
    else
        lm_json_null(&json);
    lm_json_end_object(&json);
    lm_json_end_array(&json);
    if (job->include_usage) {
        lm_json_key(&json, "usage");
        lm_json_null(&json);
    }
    if (reason && job->ended == job->choice_count)
        write_timings(&json, job);
    lm_json_end_object(&json);
    say(job, &json, &out);
}

static void chat_begin(struct job *job)
{
    make_id("chatcmpl-", job->id);
    for (size_t i = 0; i < job->choice_count; i++)
        chat_chunk(job, i, "", 0, true, NULL);
}

static void chat_piece(struct job *job, size_t index, const char *text, size_t length)
{
    chat_chunk(job, index, text, length, false, NULL);
}

static void chat_ended(struct job *job, size_t index)
{
    chat_chunk(job, index, NULL, 0, false, finish_reason(&job->choices[index]));
}

static void stream_end(struct job *job, const char *object)
{
    if (job->include_usage) {
        struct lm_bytes out = {0};
        struct lm_json_writer json = lm_json_writer(&out, -1);
        begin_object(&json, job, object);
        lm_json_key(&json, "choices");
        lm_json_begin_array(&json);
        lm_json_end_array(&json);
        write_usage(&json, job);
        lm_json_end_object(&json);
        say(job, &json, &out);
    }
    lm_event_append(&job->out, NULL, "[DONE]", 6, NULL);
}

static void chat_end(struct job *job)
{
    stream_end(job, "chat.completion.chunk");
}

static void stream_fail(struct job *job, const struct refusal *refusal)
{
    struct lm_bytes out = {0};
    error_body(false, refusal, &out);
    lm_event_append(&job->out, NULL, out.data, out.length, NULL);
    lm_bytes_free(&out);
}

static void chat_whole(struct job *job)
{
    struct lm_json_writer json = lm_json_writer(&job->out, -1);
    make_id("chatcmpl-", job->id);
    begin_object(&json, job, "chat.completion");
    lm_json_key(&json, "choices");
    lm_json_begin_array(&json);
    for (size_t i = 0; i < job->choice_count; i++) {
        const struct choice *choice = &job->choices[i];
        lm_json_begin_object(&json);
        lm_json_key(&json, "index");
        lm_json_int(&json, (int64_t)i);
        lm_json_key(&json, "message");
        lm_json_begin_object(&json);
        lm_json_key(&json, "role");
        lm_json_text(&json, "assistant");
        lm_json_key(&json, "content");
        lm_json_string(&json, choice->text.data ? choice->text.data : "", choice->text.length);
        lm_json_key(&json, "refusal");
        lm_json_null(&json);
        lm_json_end_object(&json);
        write_chat_scores(&json, job, choice, 0);
        lm_json_key(&json, "finish_reason");
        lm_json_text(&json, finish_reason(choice));
        lm_json_end_object(&json);
    }
    lm_json_end_array(&json);
    write_usage(&json, job);
    write_timings(&json, job);
    lm_json_end_object(&json);
    if (lm_json_writer_finish(&json, NULL) != LOAM_OK)
        job_no_memory(job);
}

const struct shape chat_shape = {chat_begin, chat_piece, chat_ended, chat_end, stream_fail, chat_whole};

/* --- Completions --- */

static void write_completion_scores(struct lm_json_writer *json, const struct job *job, const struct choice *choice, size_t from)
{
    size_t count;
    const struct scored *scores = scores_of(choice, &count);
    lm_json_key(json, "logprobs");
    if (job->request.logprobs < 0) {
        lm_json_null(json);
        return;
    }
    lm_json_begin_object(json);
    lm_json_key(json, "tokens");
    lm_json_begin_array(json);
    for (size_t i = from; i < count; i++)
        write_token_text(json, job, scores[i].id);
    lm_json_end_array(json);
    lm_json_key(json, "token_logprobs");
    lm_json_begin_array(json);
    for (size_t i = from; i < count; i++)
        lm_json_double(json, scores[i].logprob < -9999 ? -9999 : (double)scores[i].logprob);
    lm_json_end_array(json);
    lm_json_key(json, "top_logprobs");
    lm_json_begin_array(json);
    for (size_t i = from; i < count; i++) {
        lm_json_begin_object(json);
        for (size_t k = 0; k < scores[i].top_count; k++) {
            struct lm_bytes key = {0};
            size_t length = 0;
            const char *text = lm_tokenizer_token(lm_engine_tokenizer(job->served->engine), scores[i].top[k].id, &length);
            if (text && length && lm_utf8_check(text, length) == length && !memchr(text, 0, length))
                lm_bytes_append(&key, text, length, NULL);
            else    /* no text of its own: OpenAI writes bytes so */
                for (size_t b = 0; text && b < length; b++)
                    lm_bytes_format(&key, NULL, "%s\\x%02x", b ? "" : "bytes:", (unsigned char)text[b]);
            lm_json_key(json, key.data ? key.data : "");
            lm_json_double(json, (double)scores[i].top[k].logprob);
            lm_bytes_free(&key);
        }
        lm_json_end_object(json);
    }
    lm_json_end_array(json);
    lm_json_key(json, "text_offset");
    lm_json_begin_array(json);
    for (size_t i = from; i < count; i++)
        lm_json_int(json, (int64_t)scores[i].place);
    lm_json_end_array(json);
    lm_json_end_object(json);
}

static void write_completion(struct lm_json_writer *json, const struct job *job, size_t index, const char *text, size_t length,
                             size_t scores_from, const char *reason)
{
    lm_json_begin_object(json);
    lm_json_key(json, "index");
    lm_json_int(json, (int64_t)index);
    lm_json_key(json, "text");
    lm_json_string(json, text, length);
    write_completion_scores(json, job, &job->choices[index], scores_from);
    lm_json_key(json, "finish_reason");
    if (reason)
        lm_json_text(json, reason);
    else
        lm_json_null(json);
    lm_json_end_object(json);
}

static void completion_chunk(struct job *job, size_t index, const char *text, size_t length, const char *reason)
{
    struct choice *choice = &job->choices[index];
    struct lm_bytes out = {0};
    struct lm_json_writer json = lm_json_writer(&out, -1);
    begin_object(&json, job, "text_completion");
    lm_json_key(&json, "choices");
    lm_json_begin_array(&json);
    write_completion(&json, job, index, text, length, choice->scores_said, reason);
    scores_of(choice, &choice->scores_said);
    lm_json_end_array(&json);
    if (job->include_usage) {
        lm_json_key(&json, "usage");
        lm_json_null(&json);
    }
    if (reason && job->ended == job->choice_count)
        write_timings(&json, job);
    lm_json_end_object(&json);
    say(job, &json, &out);
}

static void completion_begin(struct job *job)
{
    make_id("cmpl-", job->id);
    for (size_t i = 0; job->echo && i < job->choice_count; i++) {
        const struct lm_bytes *text = &job->texts[i / (size_t)job->request.choices];
        completion_chunk(job, i, text->data ? text->data : "", text->length, NULL);
    }
}

static void completion_piece(struct job *job, size_t index, const char *text, size_t length)
{
    completion_chunk(job, index, text, length, NULL);
}

static void completion_ended(struct job *job, size_t index)
{
    completion_chunk(job, index, "", 0, finish_reason(&job->choices[index]));
}

static void completion_end(struct job *job)
{
    stream_end(job, "text_completion");
}

static void completion_whole(struct job *job)
{
    struct lm_json_writer json = lm_json_writer(&job->out, -1);
    make_id("cmpl-", job->id);
    begin_object(&json, job, "text_completion");
    lm_json_key(&json, "choices");
    lm_json_begin_array(&json);
    for (size_t i = 0; i < job->choice_count; i++) {
        const struct choice *choice = &job->choices[i];
        struct lm_bytes text = {0};
        const struct lm_bytes *prompt = &job->texts[i / (size_t)job->request.choices];
        if ((job->echo && lm_bytes_append(&text, prompt->data, prompt->length, NULL) != LOAM_OK) ||
            lm_bytes_append(&text, choice->text.data, choice->text.length, NULL) != LOAM_OK)
            job_no_memory(job);
        write_completion(&json, job, i, text.data ? text.data : "", text.length, 0, finish_reason(choice));
        lm_bytes_free(&text);
    }
    lm_json_end_array(&json);
    write_usage(&json, job);
    write_timings(&json, job);
    lm_json_end_object(&json);
    if (lm_json_writer_finish(&json, NULL) != LOAM_OK)
        job_no_memory(job);
}

const struct shape completion_shape = {completion_begin, completion_piece, completion_ended, completion_end, stream_fail, completion_whole};
