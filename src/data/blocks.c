#include "blocks.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

size_t lm_seam_of_lines(const char *text, size_t length)
{
    const char *end = memrchr(text, '\n', length);
    return end ? (size_t)(end - text) + 1 : 0;
}

static bool begins_a_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

size_t lm_seam_of_text(const char *text, size_t length)
{
    for (size_t at = length; at > 1; at--) /* the byte behind the block is not known yet */
        if (text[at - 2] == '\n' && begins_a_word(text[at - 1]))
            return at - 1;
    return lm_seam_of_lines(text, length);
}

int lm_blocks_open(struct lm_blocks *blocks, const char *path, loam_error *error)
{
    const bool standard = strcmp(path, "-") == 0;
    *blocks = (struct lm_blocks){.path = path};
    blocks->file = standard ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    if (blocks->file < 0)
        return lm_fail_errno(error, errno, "%s: cannot be opened for reading", path);
    struct stat facts;
    if (fstat(blocks->file, &facts) == 0 && S_ISREG(facts.st_mode))
        blocks->total = (int64_t)facts.st_size;
    return LOAM_OK;
}

static int read_more(struct lm_blocks *blocks, size_t wanted, loam_error *error)
{
    struct lm_bytes *held = &blocks->held;
    while (!blocks->ended && held->length < wanted) {
        int code = lm_bytes_reserve(held, wanted - held->length, error);
        if (code)
            return lm_fail_within(error, code, "%s", blocks->path);
        const ssize_t got = read(blocks->file, held->data + held->length, wanted - held->length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return lm_fail_errno(error, errno, "%s: reading failed at byte %lld", blocks->path,
                                 (long long)blocks->done + (long long)held->length);
        blocks->ended = got == 0;
        held->length += (size_t)got;
        held->data[held->length] = 0;
    }
    return LOAM_OK;
}

int lm_blocks_next(struct lm_blocks *blocks, size_t target, lm_seam *seam, const char **text, size_t *length,
                   loam_error *error)
{
    struct lm_bytes *held = &blocks->held;
    if (blocks->given) {
        memmove(held->data, held->data + blocks->given, held->length - blocks->given);
        held->length -= blocks->given;
        held->data[held->length] = 0;
        blocks->given = 0;
    }
    size_t cut = 0;
    for (size_t wanted = target; !cut; wanted *= 2) {
        int code = read_more(blocks, wanted, error);
        if (code)
            return code;
        if (blocks->ended)
            break;
        cut = seam(held->data, held->length);
    }
    blocks->given = blocks->ended ? held->length : cut;
    blocks->done += (int64_t)blocks->given;
    *text = held->data ? held->data : "";
    *length = blocks->given;
    return LOAM_OK;
}

void lm_blocks_close(struct lm_blocks *blocks)
{
    if (blocks->file >= 0)
        close(blocks->file);
    lm_bytes_free(&blocks->held);
    *blocks = (struct lm_blocks){.file = -1};
}
