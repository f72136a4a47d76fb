/* Workspaces: one a thread that is encoding, kept in a pool between calls. */
#include "internal.h"

struct lm_pool {
    pthread_mutex_t lock;
    struct lm_workspace *idle;
};

int lm_pool_create(struct lm_pool **pool, loam_error *error)
{
    struct lm_pool *made = lm_alloc(1, sizeof *made, error);
    if (!made)
        return LOAM_ENOMEM;
    if (pthread_mutex_init(&made->lock, NULL)) {
        lm_free(made);
        return lm_fail(error, LOAM_ENOMEM, "not enough memory for a lock");
    }
    *pool = made;
    return LOAM_OK;
}

static void workspace_free(struct lm_workspace *w)
{
    lm_piece_cache_free(w->cache);
    lm_free(w->symbols);
    lm_free(w->best);
    lm_free(w->heap);
    lm_free(w->links);
    lm_bytes_free(&w->clean.bytes);
    lm_ids_free(&w->clean.origins);
    for (size_t i = 0; i < 2; i++) {
        lm_bytes_free(&w->texts[i].bytes);
        lm_ids_free(&w->texts[i].origins);
    }
    for (size_t i = 0; i < LM_STAGES_MOST; i++) {
        lm_bytes_free(&w->stage_texts[i].bytes);
        lm_ids_free(&w->stage_texts[i].origins);
    }
    lm_free(w->points);
    lm_free(w->steps);
    lm_regex_match_free(w->match);
    lm_free(w);
}

void lm_pool_free(struct lm_pool *pool)
{
    if (!pool)
        return;
    while (pool->idle) {
        struct lm_workspace *next = pool->idle->next;
        workspace_free(pool->idle);
        pool->idle = next;
    }
    pthread_mutex_destroy(&pool->lock);
    lm_free(pool);
}

int lm_pool_take(struct lm_pool *pool, struct lm_workspace **workspace, loam_error *error)
{
    pthread_mutex_lock(&pool->lock);
    struct lm_workspace *w = pool->idle;
    if (w)
        pool->idle = w->next;
    pthread_mutex_unlock(&pool->lock);
    if (!w)
        w = lm_alloc(1, sizeof *w, error);
    *workspace = w;
    return w ? LOAM_OK : LOAM_ENOMEM;
}

/* Buffers that a huge word or text needed are let go, so that what is kept stays bounded. */
static void trim(struct lm_workspace *w)
{
    enum { KEEP = 1 << 20 };
    if (w->symbol_capacity > KEEP / sizeof *w->symbols) {
        lm_free(w->symbols);
        lm_free(w->best);
        lm_free(w->heap);
        lm_free(w->links);
        w->symbols = NULL;
        w->best = w->heap = NULL;
        w->links = NULL;
        w->symbol_capacity = w->list_capacity = 0;
    }
    if (w->step_capacity > KEEP / 16) {
        lm_free(w->steps);
        w->steps = NULL;
        w->step_capacity = 0;
    }
    for (size_t i = 0; i < 3 + LM_STAGES_MOST; i++) {
        struct lm_text *text = i < 2 ? &w->texts[i] : i == 2 ? &w->clean : &w->stage_texts[i - 3];
        if (text->bytes.capacity > KEEP)
            lm_bytes_free(&text->bytes);
        if (text->origins.capacity > KEEP)
            lm_ids_free(&text->origins);
    }
    if (w->point_capacity > KEEP) {
        lm_free(w->points);
        w->points = NULL;
        w->point_capacity = 0;
    }
}

void lm_pool_give(struct lm_pool *pool, struct lm_workspace *workspace)
{
    if (!workspace)
        return;
    trim(workspace);
    pthread_mutex_lock(&pool->lock);
    workspace->next = pool->idle;
    pool->idle = workspace;
    pthread_mutex_unlock(&pool->lock);
}
