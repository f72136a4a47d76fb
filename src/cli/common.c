#include "common.h"

#include <string.h>

int read_ids(const char *text, size_t length, const char *place, struct lm_ids *ids, loam_error *error)
{
    for (size_t at = 0; at < length;) {
        if (text[at] == ' ' || text[at] == '\t' || text[at] == '\r' || text[at] == '\n') {
            at++;
            continue;
        }
        char word[32];
        size_t used = 0;
        while (at + used < length && text[at + used] && !strchr(" \t\r\n", text[at + used]))
            used++;
        snprintf(word, sizeof word, "%.*s", (int)(used < 30 ? used : 30), text + at);
        int64_t id;
        if (lm_parse_int(word, &id, NULL) != LOAM_OK || id < 0 || id > INT32_MAX)
            return lm_fail_at(error, LOAM_EUSAGE, (int64_t)at, "%s: found '%s', wanted token ids such as 15 0 27", place, word);
        int code = lm_ids_push(ids, (int32_t)id, error);
        if (code != LOAM_OK)
            return code;
        at += used ? used : 1;
    }
    return LOAM_OK;
}

const char *needed(const struct arguments *arguments, enum option_id id)
{
    const char *text = arguments->values[id].text;
    if (!text || !*text) {
        complain("%s: option '--%s' is missing; usage: loam %s %s", arguments->command->name, option_table[id].name,
                 arguments->command->name, arguments->command->operands);
        return NULL;
    }
    return text;
}

int thread_count(const struct arguments *arguments)
{
    const struct argument *threads = &arguments->values[OPT_THREADS];
    return threads->given ? (int)threads->whole : lm_processors();
}

void print_bytes(struct lm_bytes *bytes)
{
    if (bytes->length)
        fwrite(bytes->data, 1, bytes->length, stdout);
    putchar('\n');
    lm_bytes_free(bytes);
}

int print_json(struct lm_json_writer *writer)
{
    loam_error error;
    int status = EXIT_DONE;
    if (lm_json_writer_finish(writer, &error) != LOAM_OK)
        status = complain_error(&error);
    else
        print_bytes(writer->out);
    lm_bytes_free(writer->out);
    return status;
}
