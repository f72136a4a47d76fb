#include "data.h"

static const char *const role_names[] = {"system", "user", "assistant"};

const char *lm_role_name(enum lm_role role)
{
    return role_names[role];
}

int lm_conversation_add(struct lm_conversation *conversation, enum lm_role role, const char *content, size_t length,
                        loam_error *error)
{
    if (conversation->count == conversation->capacity) {
        size_t capacity = conversation->capacity ? 2 * conversation->capacity : 4;
        struct lm_message *messages = lm_resize(conversation->messages, capacity, sizeof *messages, error);
        if (!messages)
            return LOAM_ENOMEM;
        conversation->messages = messages;
        conversation->capacity = capacity;
    }
    char *copy = lm_copy_string(content, length, error);
    if (!copy)
        return LOAM_ENOMEM;
    conversation->messages[conversation->count++] = (struct lm_message){role, copy, length};
    return LOAM_OK;
}

void lm_conversation_free(struct lm_conversation *conversation)
{
    for (size_t i = 0; i < conversation->count; i++)
        lm_free(conversation->messages[i].content);
    lm_free(conversation->messages);
    *conversation = (struct lm_conversation){0};
}

bool lm_conversation_answered(const struct lm_conversation *conversation)
{
    for (size_t i = 0; i < conversation->count; i++)
        if (conversation->messages[i].role == LM_ASSISTANT)
            return true;
    return false;
}

int lm_conversation_write(const struct lm_conversation *conversation, struct lm_bytes *out, loam_error *error)
{
    struct lm_json_writer writer = lm_json_writer(out, 0);
    lm_json_begin_object(&writer);
    lm_json_key(&writer, "messages");
    lm_json_begin_array(&writer);
    for (size_t i = 0; i < conversation->count; i++) {
        lm_json_begin_object(&writer);
        lm_json_key(&writer, "role");
        lm_json_text(&writer, role_names[conversation->messages[i].role]);
        lm_json_key(&writer, "content");
        lm_json_string(&writer, conversation->messages[i].content, conversation->messages[i].length);
        lm_json_end_object(&writer);
    }
    lm_json_end_array(&writer);
    lm_json_end_object(&writer);
    int code = lm_json_writer_finish(&writer, error);
    return code ? code : lm_bytes_append(out, "\n", 1, error);
}

int lm_conversations_push(struct lm_conversations *conversations, struct lm_conversation *conversation, loam_error *error)
{
    if (conversations->count == conversations->capacity) {
        size_t capacity = conversations->capacity ? 2 * conversations->capacity : 16;
        struct lm_conversation *items = lm_resize(conversations->items, capacity, sizeof *items, error);
        if (!items)
            return LOAM_ENOMEM;
        conversations->items = items;
        conversations->capacity = capacity;
    }
    conversations->items[conversations->count++] = *conversation;
    *conversation = (struct lm_conversation){0};
    return LOAM_OK;
}

void lm_conversations_free(struct lm_conversations *conversations)
{
    for (size_t i = 0; i < conversations->count; i++)
        lm_conversation_free(&conversations->items[i]);
    lm_free(conversations->items);
    *conversations = (struct lm_conversations){0};
}
