#include "show.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <langinfo.h>
#include <locale.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* --out, or --svg, which names a file too. */
static const char *path_of(const struct arguments *arguments)
{
    const struct argument *values = arguments->values;
    return values[OPT_SVG].given ? values[OPT_SVG].text : values[OPT_OUT].text;
}

static bool ends_in(const char *path, const char *end)
{
    const size_t length = strlen(path), tail = strlen(end);
    return length > tail && strcmp(path + length - tail, end) == 0;
}

enum show_form show_form(const struct arguments *arguments, enum show_form other)
{
    static const char *const endings[] = {".txt", ".html", ".svg", ".png", ".json", ".safetensors"};
    const struct argument *values = arguments->values;
    const char *path = values[OPT_OUT].text;
    if (values[OPT_JSON].given)
        return SHOW_JSON;
    if (values[OPT_HTML].given)
        return SHOW_HTML;
    if (values[OPT_SVG].given)
        return SHOW_SVG;
    for (size_t i = 0; path && i < sizeof endings / sizeof *endings; i++)
        if (ends_in(path, endings[i]))
            return (enum show_form)i;
    return path ? other : SHOW_TEXT;
}

static int terminal_width(void)
{
    struct winsize size;
    if (isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return 80;
}

/* By the environment as it is: where it names no locale at all, as in a bare container, the terminal is taken for one of UTF-8. */
static bool has_unicode(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    bool named = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        named = named || (getenv(names[i]) && *getenv(names[i]));
    if (!named)
        return true;
    const locale_t locale = newlocale(LC_CTYPE_MASK, "", (locale_t)0);
    const bool unicode = locale && strcmp(nl_langinfo_l(CODESET, locale), "UTF-8") == 0;
    if (locale)
        freelocale(locale);
    return unicode;
}

struct lm_text_style text_style(const struct arguments *arguments)
{
    const struct argument *values = arguments->values;
    const char *when = values[OPT_COLOUR].text;
    return (struct lm_text_style){
        .width = values[OPT_WIDTH].given ? (int)values[OPT_WIDTH].whole : terminal_width(),
        .colour = !values[OPT_OUT].given && (strcmp(when, "always") == 0 || (strcmp(when, "auto") == 0 && may_colour(stdout))),
        .unicode = has_unicode()};
}

/* SVG into a PNG file by librsvg's own program. */
static int write_png(const char *path, const struct lm_bytes *svg, loam_error *error)
{
    char *const words[] = {"rsvg-convert", "--format=png", "--output", (char *)path, NULL};
    posix_spawn_file_actions_t actions;
    pid_t child;
    int status;
    const int file = memfd_create("picture", MFD_CLOEXEC);
    if (file < 0 || write(file, svg->data, svg->length) != (ssize_t)svg->length || lseek(file, 0, SEEK_SET) != 0) {
        const int failed = errno;
        if (file >= 0)
            close(file);
        return lm_fail_errno(error, failed, "%s: the picture cannot be handed over", path);
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, file, STDIN_FILENO);
    const int failed = posix_spawnp(&child, words[0], &actions, NULL, words, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(file);
    if (failed == ENOENT)
        return lm_fail(error, LOAM_ENOTFOUND, "%s: PNG needs the program rsvg-convert, which is not installed (Debian: librsvg2-bin); "
                       "write a file that ends in .svg instead", path);
    if (failed)
        return lm_fail_errno(error, failed, "%s: rsvg-convert", path);
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return lm_fail(error, LOAM_EIO, "%s: rsvg-convert could not write it; write a file that ends in .svg instead", path);
    return LOAM_OK;
}

static int write_form(const struct arguments *arguments, struct lm_bytes *bytes, enum show_form form, loam_error *error)
{
    const char *path = path_of(arguments);
    if (form == SHOW_PNG)
        return write_png(path, bytes, error);
    return lm_file_replace(path, bytes->data, bytes->length, error);
}

static int finish(const struct arguments *arguments, struct lm_bytes *bytes, enum show_form form)
{
    loam_error error;
    int status = EXIT_DONE;
    if (path_of(arguments)) {
        if (write_form(arguments, bytes, form, &error) != LOAM_OK)
            status = complain_error(&error);
    } else if (bytes->length) {
        fwrite(bytes->data, 1, bytes->length, stdout);
        if (form == SHOW_JSON)
            putchar('\n');
    }
    lm_bytes_free(bytes);
    return status;
}

static int spare_models(const char *path, loam_error *error)
{
    static const char *const patterns[] = {"model*.safetensors*", "*.gguf", "*config.json", "tokenizer*"};
    const char *slash = path ? strrchr(path, '/') : NULL, *name = slash ? slash + 1 : path;
    for (size_t i = 0; path && i < sizeof patterns / sizeof *patterns; i++)
        if (fnmatch(patterns[i], name, 0) == 0 && lm_file_exists(path))
            return lm_fail(error, LOAM_EUSAGE, "%s: is there already and looks like a part of a model; write to another file", path);
    return LOAM_OK;
}

int show_check(const struct arguments *arguments, loam_error *error)
{
    const struct argument *values = arguments->values;
    if (values[OPT_JSON].given + values[OPT_HTML].given + values[OPT_SVG].given > 1 || (values[OPT_SVG].given && values[OPT_OUT].given))
        return lm_fail(error, LOAM_EUSAGE, "%s: found %s, wanted one of --json, --html, --svg FILE; an --out whose ending says what it is does alone",
                       arguments->command->name, values[OPT_SVG].given && values[OPT_OUT].given ? "--svg and --out" : "several forms");
    return spare_models(path_of(arguments), error);
}

int show_bytes(const struct arguments *arguments, struct lm_bytes *bytes)
{
    return finish(arguments, bytes, SHOW_HTML);
}

int show_page(const struct arguments *arguments, struct lm_page *page)
{
    const enum show_form form = show_form(arguments, SHOW_TENSORS);
    struct lm_bytes out = {0};
    loam_error error;
    int code;
    const struct lm_text_style style = text_style(arguments);
    switch (form) {
    case SHOW_HTML:
        code = lm_page_html(page, &out, &error);
        break;
    case SHOW_SVG:
    case SHOW_PNG:
        code = lm_page_svg(page, &out, &error);
        break;
    case SHOW_JSON:
        code = lm_page_json(page, &out, &error);
        break;
    case SHOW_TEXT:
        code = lm_page_text(page, &style, &out, &error);
        break;
    default:
        code = lm_fail(&error, LOAM_EUSAGE, "%s: what should this be? A name that ends in .html, .svg, .png, .json or .txt says it",
                       arguments->values[OPT_OUT].text);
    }
    lm_page_free(page);
    if (code == LOAM_OK)
        return finish(arguments, &out, form);
    lm_bytes_free(&out);
    return complain_error(&error);
}
