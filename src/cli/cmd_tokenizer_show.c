/* loam tokenizer show */
#include "common.h"
#include "data/data.h"
#include "tokenizer/tokenizer.h"

#include <string.h>

/* Colours that follow each other, as backgrounds with black letters; special tokens stand out inverted. */
static const char *const colours[] = {"\x1b[30;48;5;153m", "\x1b[30;48;5;157m", "\x1b[30;48;5;223m", "\x1b[30;48;5;182m",
                                      "\x1b[30;48;5;187m"};
enum { COLOURS = sizeof colours / sizeof *colours, BYTES_SHOWN = 12, TEXT_SHOWN = 400 };
static const char special_colour[] = "\x1b[1;7m", trained_line[] = "\x1b[4m", plain[] = "\x1b[0m";

struct shown {
    struct lm_tokenizer *tokenizer;
    struct lm_ids ids, starts, ends;
    const char *trained;    /* one byte (0 or 1) an id; NULL: nothing is said of training */
};

static void shown_free(struct shown *shown)
{
    lm_tokenizer_free(shown->tokenizer);
    lm_ids_free(&shown->ids);
    lm_ids_free(&shown->starts);
    lm_ids_free(&shown->ends);
}

static bool is_harmless(uint32_t c)
{
    if (c < 0x20 || (c >= 0x7F && c < 0xA0))
        return false;
    /* What changes the direction of writing, or is not seen at all. */
    return !((c >= 0x200B && c <= 0x200F) || (c >= 0x2028 && c <= 0x202E) || (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF);
}

/* The bytes as a terminal may have them: \n, \t, and \xNN for what is no character or would do something. `breaks`: a line
 * break follows each \n. */
static void print_visible(const char *text, size_t length, bool breaks, const char *colour)
{
    for (size_t at = 0; at < length;) {
        uint32_t c = 0;
        size_t n = lm_utf8_decode(text + at, length - at, &c);
        if (n && is_harmless(c)) {
            fwrite(text + at, 1, n, stdout);
        } else if (n == 1 && (c == '\n' || c == '\t' || c == '\r')) {
            printf("\\%c", c == '\n' ? 'n' : c == '\t' ? 't' : 'r');
            if (breaks && c == '\n')
                printf("%s\n%s", colour ? plain : "", colour ? colour : "");
        } else {
            for (size_t i = 0; i < (n ? n : 1); i++)
                printf("\\x%02x", (unsigned)(unsigned char)text[at + i]);
        }
        at += n ? n : 1;
    }
}

/* What the token stands for in the text where it stands for something there, else what it is by itself. */
static const char *text_of(const struct shown *shown, size_t i, const struct lm_bytes *text, size_t *length)
{
    *length = (size_t)(shown->ends.data[i] - shown->starts.data[i]);
    if (*length)
        return text->data + shown->starts.data[i];
    const char *own = lm_tokenizer_token(shown->tokenizer, shown->ids.data[i], length);
    return own ? own : "";
}

static void print_text(const struct shown *shown, const struct lm_bytes *text, bool colour)
{
    for (size_t i = 0; i < shown->ids.length; i++) {
        size_t length;
        const char *bytes = text_of(shown, i, text, &length);
        const bool special = lm_tokenizer_is_special(shown->tokenizer, shown->ids.data[i]);
        const char *here = colour ? special ? special_colour : colours[i % COLOURS] : NULL;
        fputs(here ? here : "|", stdout);
        if (here && shown->trained && shown->trained[i])
            fputs(trained_line, stdout);
        print_visible(bytes, length, true, here);
        if (here)
            fputs(plain, stdout);
    }
    puts(colour ? "" : "|");
}

static void print_table(const struct shown *shown, const struct lm_bytes *text)
{
    printf("%10s %8s  %-*s  %s\n", "place", "id", BYTES_SHOWN * 3, "bytes", "text");
    for (size_t i = 0; i < shown->ids.length; i++) {
        size_t length;
        const char *bytes = text_of(shown, i, text, &length);
        printf("%10d %8d  ", (int)shown->starts.data[i], (int)shown->ids.data[i]);
        for (size_t k = 0; k < BYTES_SHOWN; k++)
            if (k + 1 == BYTES_SHOWN && length > BYTES_SHOWN)
                fputs(".. ", stdout);
            else if (k < length)
                printf("%02x ", (unsigned)(unsigned char)bytes[k]);
            else
                fputs("   ", stdout);
        fputs("  ", stdout);
        print_visible(bytes, length, false, NULL);
        const bool special = lm_tokenizer_is_special(shown->tokenizer, shown->ids.data[i]);
        const bool trained = shown->trained && shown->trained[i];
        puts(special && trained ? "  (special, trained on)" : special ? "  (special)" : trained ? "  (trained on)" : "");
    }
}

static int load_and_encode(const char *path, const char *family, const struct lm_bytes *text, unsigned flags, struct shown *shown)
{
    loam_error error;
    *shown = (struct shown){0};
    int code = lm_tokenizer_load_as(path, family, &shown->tokenizer, &error);
    if (code == LOAM_OK)
        code = lm_tokenizer_encode_places(shown->tokenizer, text->data ? text->data : "", text->length, flags, &shown->ids,
                                          &shown->starts, &shown->ends, &error);
    if (code == LOAM_OK)
        return EXIT_DONE;
    shown_free(shown);
    return complain_error(&error);
}

static int show_one(const char *path, const char *family, const struct lm_bytes *text, unsigned flags)
{
    struct shown shown;
    int status = load_and_encode(path, family, text, flags, &shown);
    if (status != EXIT_DONE)
        return status;
    print_text(&shown, text, may_colour(stdout));
    putchar('\n');
    print_table(&shown, text);
    printf("\n%zu tokens, %zu bytes, %.2f bytes a token\n", shown.ids.length, text->length,
           shown.ids.length ? (double)text->length / (double)shown.ids.length : 0.0);
    shown_free(&shown);
    return EXIT_DONE;
}

/* The places of a rendering: its tokens follow each other without a gap. */
static int lay_places(struct shown *shown, loam_error *error)
{
    size_t at = 0, length;
    int code = LOAM_OK;
    for (size_t i = 0; code == LOAM_OK && i < shown->ids.length; i++) {
        lm_tokenizer_token(shown->tokenizer, shown->ids.data[i], &length);
        code = lm_ids_push(&shown->starts, (int32_t)at, error);
        at += length;
        if (code == LOAM_OK)
            code = lm_ids_push(&shown->ends, (int32_t)at, error);
    }
    return code;
}

static int show_conversation(struct lm_tokenizer *tokenizer, const struct lm_template *chosen, const struct lm_conversation *conversation,
                             loam_error *error)
{
    struct lm_rendered rendered = {0};
    struct lm_bytes bytes = {0};
    int code = lm_template_render(chosen, tokenizer, conversation, false, &rendered, error);
    struct shown shown = {.tokenizer = tokenizer, .ids = rendered.ids, .trained = rendered.trained.data};
    if (code == LOAM_OK)
        code = lay_places(&shown, error);
    for (size_t i = 0, length; code == LOAM_OK && i < shown.ids.length; i++) {
        const char *own = lm_tokenizer_token(tokenizer, shown.ids.data[i], &length);
        code = lm_bytes_append(&bytes, own ? own : "", own ? length : 0, error);
    }
    if (code == LOAM_OK) {
        size_t trained = 0;
        for (size_t i = 0; i < shown.ids.length; i++)
            trained += shown.trained[i] != 0;
        print_text(&shown, &bytes, may_colour(stdout));
        putchar('\n');
        print_table(&shown, &bytes);
        printf("\n%zu tokens, %zu trained on\n", shown.ids.length, trained);
    }
    lm_ids_free(&shown.starts);
    lm_ids_free(&shown.ends);
    lm_bytes_free(&bytes);
    lm_rendered_free(&rendered);
    return code;
}

static int show_conversations(const struct arguments *arguments, const struct lm_bytes *text)
{
    const char *path = arguments->operands[0];
    struct lm_tokenizer *tokenizer = NULL;
    const struct lm_template *chosen = NULL;
    struct lm_conversations conversations = {0};
    loam_error error;
    int code = lm_tokenizer_load_as(path, arguments->values[OPT_FAMILY].text, &tokenizer, &error);
    if (code == LOAM_OK)
        code = lm_template_find(arguments->values[OPT_TEMPLATE].text, path, &chosen, &error);
    if (code == LOAM_OK)
        code = lm_template_fit(chosen, tokenizer, false, NULL, &error);
    if (code == LOAM_OK)
        code = lm_conversations_parse(text->data ? text->data : "", text->length, "standard input", &conversations, &error);
    for (size_t i = 0; code == LOAM_OK && i < conversations.count; i++) {
        if (i)
            putchar('\n');
        code = show_conversation(tokenizer, chosen, &conversations.items[i], &error);
    }
    lm_conversations_free(&conversations);
    lm_template_free(chosen);
    lm_tokenizer_free(tokenizer);
    return code == LOAM_OK ? EXIT_DONE : complain_error(&error);
}

static void write_compared(struct lm_json_writer *writer, const char *path, const struct shown *shown, size_t bytes)
{
    const double tokens = (double)shown->ids.length;
    lm_json_begin_object(writer);
    lm_json_key(writer, "tokenizer");
    lm_json_text(writer, path);
    lm_json_key(writer, "vocabulary");
    lm_json_int(writer, lm_tokenizer_size(shown->tokenizer));
    lm_json_key(writer, "tokens");
    lm_json_int(writer, (int64_t)shown->ids.length);
    lm_json_key(writer, "bytes");
    lm_json_int(writer, (int64_t)bytes);
    lm_json_key(writer, "bytes_per_token");
    lm_json_double(writer, tokens > 0 ? (double)bytes / tokens : 0);
    lm_json_key(writer, "tokens_per_byte");
    lm_json_double(writer, bytes ? tokens / (double)bytes : 0);
    lm_json_end_object(writer);
}

static int compare(const struct arguments *arguments, const struct lm_bytes *text, unsigned flags)
{
    const bool json = arguments->values[OPT_JSON].given;
    struct lm_bytes out = {0};
    struct lm_json_writer writer = lm_json_writer(&out, 0);
    int status = EXIT_DONE;
    lm_json_begin_array(&writer);
    if (!json)
        printf("%8s %13s %13s %11s  %s\n", "tokens", "bytes a token", "tokens a byte", "vocabulary", "tokenizer");
    for (size_t i = 0; status == EXIT_DONE && i < arguments->operand_count; i++) {
        const char *path = arguments->operands[i];
        struct shown shown;
        status = load_and_encode(path, arguments->values[OPT_FAMILY].text, text, flags, &shown);
        if (status != EXIT_DONE)
            break;
        const double tokens = (double)shown.ids.length, bytes = (double)text->length;
        if (json)
            write_compared(&writer, path, &shown, text->length);
        else
            printf("%8zu %13.3f %13.4f %11d  %s\n", shown.ids.length, tokens > 0 ? bytes / tokens : 0,
                   bytes > 0 ? tokens / bytes : 0, (int)lm_tokenizer_size(shown.tokenizer), path);
        if (!json && text->length <= TEXT_SHOWN)
            print_text(&shown, text, may_colour(stdout));
        shown_free(&shown);
    }
    lm_json_end_array(&writer);
    if (json && status == EXIT_DONE)
        return print_json(&writer);
    lm_bytes_free(&out);
    return status;
}

int command_tokenizer_show(const struct arguments *arguments)
{
    const bool comparing = arguments->values[OPT_COMPARE].given;
    const unsigned flags = (arguments->values[OPT_SPECIAL].given ? LM_ENCODE_SPECIAL : 0u) |
                           (arguments->values[OPT_ADD_SPECIAL].given ? LM_ENCODE_ADD_SPECIAL : 0u);
    if (!comparing && (arguments->operand_count > 1 || arguments->values[OPT_JSON].given)) {
        complain("tokenizer show: %s", arguments->operand_count > 1
                                           ? "several tokenizers are shown side by side with --compare"
                                           : "--json goes with --compare; tokenizer encode --json lists a text's tokens");
        return EXIT_USAGE;
    }
    const bool conversations = arguments->values[OPT_CONVERSATIONS].given;
    if (conversations ? comparing || flags : arguments->values[OPT_TEMPLATE].given) {
        complain("tokenizer show: %s", conversations ? "--conversations goes with neither --compare, --special nor --add-special"
                                                     : "--template goes with --conversations");
        return EXIT_USAGE;
    }
    struct lm_bytes text = {0};
    loam_error error;
    if (lm_file_read("-", 0, &text, &error) != LOAM_OK)
        return complain_error(&error);
    int status = comparing       ? compare(arguments, &text, flags)
                 : conversations ? show_conversations(arguments, &text)
                                 : show_one(arguments->operands[0], arguments->values[OPT_FAMILY].text, &text, flags);
    lm_bytes_free(&text);
    return status;
}
