/* The computing thread: who runs, in which pass, on which pages. */
#include "engine_inside.h"

#include <math.h>
#include <string.h>

/* --- Pages of a sequence --- */

static void release_pages(struct lm_engine *engine, struct lm_sequence *sequence)
{
    while (sequence->page_count > 0)
        lm_pages_drop(engine->pages, sequence->pages[--sequence->page_count], !engine->options.no_reuse);
    sequence->done = 0;
    sequence->decoding = false;
}

static int32_t last_page(const struct lm_sequence *sequence)
{
    return sequence->page_count ? sequence->pages[sequence->page_count - 1] : LM_NO_PAGE;
}

/* One more page for the sequence; false where all are held. */
static bool take_page(struct lm_engine *engine, struct lm_sequence *sequence)
{
    const int32_t page = lm_pages_take(engine->pages, last_page(sequence));
    if (page == LM_NO_PAGE)
        return false;
    sequence->pages[sequence->page_count++] = page;
    return true;
}

/* Takes over the longest beginning that is in the pages, all but the last id, whose logits are wanted: whole pages are shared, and of
 * the one in which the texts part, what is the same is copied. */
static void reuse(struct lm_engine *engine, struct lm_sequence *sequence)
{
    const int64_t most = (int64_t)sequence->ids.length - 1;
    while (!engine->options.no_reuse && sequence->done < most) {
        const struct lm_found found = lm_pages_find(engine->pages, last_page(sequence), sequence->ids.data + sequence->done,
                                                    most - sequence->done < LM_PAGE ? most - sequence->done : LM_PAGE);
        if (found.same == 0)
            return;
        if (found.same == LM_PAGE) {
            lm_pages_hold(engine->pages, found.page);
            sequence->pages[sequence->page_count++] = found.page;
            sequence->done += LM_PAGE;
            continue;
        }
        lm_pages_hold(engine->pages, found.page);    /* it must not be the one that goes for the copy */
        if (take_page(engine, sequence)) {
            lm_paged_copy(engine->pool, last_page(sequence), found.page, found.same);
            lm_pages_fill(engine->pages, last_page(sequence), sequence->ids.data + sequence->done, found.same, false);
            sequence->done += found.same;
        }
        lm_pages_drop(engine->pages, found.page, true);
        return;
    }
}

static void begin(struct lm_engine *engine, struct lm_sequence *sequence)
{
    reuse(engine, sequence);
    if (sequence->first_pass)
        sequence->usage.reused = sequence->done;
}

/* After a pass over `count` ids: they stand in the pages now. */
static void fill_pages(struct lm_engine *engine, struct lm_sequence *sequence, int64_t count)
{
    while (count > 0) {
        const int64_t index = sequence->done / LM_PAGE, room = LM_PAGE - sequence->done % LM_PAGE;
        const int64_t now = count < room ? count : room;
        sequence->pages[index] = lm_pages_fill(engine->pages, sequence->pages[index], sequence->ids.data + sequence->done, now,
                                               !engine->options.no_reuse);
        sequence->done += now;
        count -= now;
    }
}

/* --- Coming and going --- */

/* What those who ask see. `requests` and `refused` are counted by those who submit. With the lock held. */
static void publish(struct lm_engine *engine)
{
    engine->now.running = engine->count;
    lm_pages_count(engine->pages, &engine->now.pages_used, &engine->now.pages_kept);
    engine->now.requests = engine->stats.requests;
    engine->now.refused = engine->stats.refused;
    engine->stats = engine->now;
}

static void publish_locking(struct lm_engine *engine)
{
    pthread_mutex_lock(&engine->core->lock);
    publish(engine);
    pthread_mutex_unlock(&engine->core->lock);
}

static void leave(struct lm_engine *engine, int64_t index, const struct lm_verdict *verdict, const loam_error *error)
{
    struct lm_sequence *sequence = engine->running[index];
    release_pages(engine, sequence);
    engine->now.shifted_tokens += sequence->usage.shifted;
    if (error)
        engine->now.failed++;
    else if (verdict->reason == LM_STOP_CANCELLED)
        engine->now.cancelled++;
    else
        engine->now.ended++;
    memmove(&engine->running[index], &engine->running[index + 1],
            (size_t)(--engine->count - index) * sizeof *engine->running);
    publish_locking(engine);    /* who has read the end finds it counted */
    lm_sequence_end(sequence, verdict, error);
    lm_sequence_free(sequence);
}

static const struct lm_verdict cancelled = {true, LM_STOP_CANCELLED, -1};

static void end_cancelled(struct lm_engine *engine, bool all)
{
    for (int64_t i = engine->count; i-- > 0;)
        if (all || atomic_load(&engine->running[i]->ticket->cancelled))
            leave(engine, i, &cancelled, NULL);
}

/* Takes those out of the line that were cancelled in it; with the lock held. They are ended without it. */
static struct lm_sequence *cut_cancelled(struct lm_engine *engine)
{
    struct lm_sequence *out = NULL, **out_end = &out, *before = NULL;
    for (struct lm_sequence **at = &engine->first; *at;) {
        struct lm_sequence *sequence = *at;
        if (!engine->closing && !atomic_load(&sequence->ticket->cancelled)) {
            before = sequence;
            at = &sequence->next;
            continue;
        }
        *at = sequence->next;
        sequence->next = NULL;
        *out_end = sequence;
        out_end = &sequence->next;
        engine->waiting--;
    }
    engine->last = before;
    return out;
}

static void end_line(struct lm_engine *engine, struct lm_sequence *sequence)
{
    while (sequence) {
        struct lm_sequence *next = sequence->next;
        engine->now.cancelled++;
        publish_locking(engine);
        lm_sequence_end(sequence, &cancelled, NULL);
        lm_sequence_free(sequence);
        sequence = next;
    }
}

/* A choice waits until the one before it has its prompt in the pages, to share it. */
static bool worth_waiting(const struct lm_engine *engine, const struct lm_sequence *sequence)
{
    for (int64_t i = 0; i < engine->count && !engine->options.no_reuse; i++)
        if (engine->running[i]->ticket == sequence->ticket && !engine->running[i]->decoding)
            return true;
    return false;
}

/* Pages that its prompt needs, were nothing of it there, with one for what follows. */
static int64_t pages_wanted(const struct lm_sequence *sequence)
{
    return ((int64_t)sequence->ids.length + LM_PAGE) / LM_PAGE;
}

static struct lm_sequence *next_in_line(struct lm_engine *engine)
{
    struct lm_sequence *sequence = engine->first;
    if (!sequence || engine->count == engine->options.streams || worth_waiting(engine, sequence))
        return NULL;
    if (engine->count > 0 && pages_wanted(sequence) > lm_pages_room(engine->pages))
        return NULL;
    engine->first = sequence->next;
    if (!engine->first)
        engine->last = NULL;
    engine->waiting--;
    sequence->next = NULL;
    return sequence;
}

/* Sleeps until there is something to do; false when all is over. */
static bool gather(struct lm_engine *engine)
{
    pthread_mutex_lock(&engine->core->lock);
    publish(engine);
    while (!engine->closing && engine->count == 0 && !engine->first)
        pthread_cond_wait(&engine->core->wake, &engine->core->lock);
    const bool closing = engine->closing;
    struct lm_sequence *out = cut_cancelled(engine);
    for (struct lm_sequence *next; !closing && (next = next_in_line(engine));) {
        engine->running[engine->count++] = next;
        next->usage.seconds_waiting = lm_seconds() - next->order->submitted;
    }
    pthread_mutex_unlock(&engine->core->lock);
    end_line(engine, out);
    end_cancelled(engine, closing);
    return !closing;
}

/* --- Room for the next positions --- */

/* Pages for the positions up to `end`. Where all are held, the one that came last steps back: it gives its pages up and is computed
 * again when there is room. False where that is the sequence itself. */
static bool make_room(struct lm_engine *engine, int64_t index, int64_t end)
{
    struct lm_sequence *sequence = engine->running[index];
    while (sequence->page_count * LM_PAGE < end) {
        if (take_page(engine, sequence))
            continue;
        int64_t victim = engine->count - 1;
        while (victim > index && engine->running[victim]->page_count == 0)
            victim--;
        release_pages(engine, engine->running[victim]);
        engine->now.stepped_back++;
        if (victim == index)
            return false;
    }
    return true;
}

/* --- Passes --- */

/* Runs the spans of the sequences `who` (indices that rise); a device that fails ends them all. */
static bool run(struct lm_engine *engine, const int64_t *who, int64_t count)
{
    loam_error error;
    if (lm_paged_run(engine->pool, engine->spans, count, &error) == LOAM_OK)
        return true;
    for (int64_t i = count; i-- > 0;)
        leave(engine, who[i], NULL, &error);
    return false;
}

/* Tokens for the sequences `who` out of the last pass's logits; those that end leave. */
static void pick(struct lm_engine *engine, const int64_t *who, int64_t count)
{
    const int64_t vocabulary = lm_engine_config(engine)->vocabulary;
    for (int64_t i = count; i-- > 0;) {
        struct lm_sequence *sequence = engine->running[who[i]];
        struct lm_verdict verdict;
        loam_error error;
        const int code = lm_sequence_pick(sequence, engine->spans[i].logits, vocabulary, engine->runner->context,
                                          &engine->runner->ends, &verdict, &error);
        engine->now.tokens++;
        if (code != LOAM_OK)
            leave(engine, who[i], NULL, &error);
        else if (verdict.ended)
            leave(engine, who[i], &verdict, NULL);
    }
}

/* Sequences whose context is full lose their oldest ids, and begin anew. */
static void shift_full(struct lm_engine *engine)
{
    const int64_t context = engine->runner->context;
    for (int64_t i = 0; i < engine->count; i++) {
        struct lm_sequence *sequence = engine->running[i];
        if ((int64_t)sequence->ids.length <= context)
            continue;
        release_pages(engine, sequence);
        lm_sequence_shift(sequence, context);
    }
}

/* The next token of up to LM_FEW_ROWS sequences from `from` on; returns where the next ones begin. */
static int64_t decode_some(struct lm_engine *engine, int64_t from)
{
    int64_t who[LM_FEW_ROWS], count = 0, i = from;
    for (; i < engine->count && count < LM_FEW_ROWS; i++) {
        struct lm_sequence *sequence = engine->running[i];
        if (!sequence->decoding || !make_room(engine, i, sequence->done + 1))
            continue;
        who[count++] = i;
    }
    /* Making room for a later one never takes from an earlier one, so that all of these still have theirs. */
    for (int64_t j = 0; j < count; j++) {
        struct lm_sequence *sequence = engine->running[who[j]];
        engine->spans[j] = (struct lm_span){.ids = sequence->ids.data + sequence->done, .count = 1, .start = sequence->done,
                                            .pages = sequence->pages, .wanted = true};
    }
    const int64_t before = engine->count;
    if (count > 0 && run(engine, who, count)) {
        for (int64_t j = 0; j < count; j++)
            fill_pages(engine, engine->running[who[j]], 1);
        engine->now.passes++;
        engine->now.rows += count;
        pick(engine, who, count);
    }
    return i - (before - engine->count);
}

static void decode(struct lm_engine *engine)
{
    const double start = lm_seconds();
    for (int64_t from = 0; from < engine->count;)
        from = decode_some(engine, from);
    engine->now.decode_seconds += lm_seconds() - start;
}

static int64_t decoding(const struct lm_engine *engine)
{
    int64_t count = 0;
    for (int64_t i = 0; i < engine->count; i++)
        count += engine->running[i]->decoding;
    return count;
}

/* Where the next piece of a prompt ends: at multiples of LM_PIECE_BESIDE, whatever else runs, and a last piece of few rows goes by
 * itself. So each row goes through the same kind of pass whether the pieces are long or short. */
static int64_t piece_end(const struct lm_sequence *sequence, bool beside)
{
    const int64_t all = (int64_t)sequence->ids.length, tail = all % LM_PIECE_BESIDE;
    const int64_t end = sequence->done / LM_PIECE_BESIDE * LM_PIECE_BESIDE + (beside ? LM_PIECE_BESIDE : LM_PIECE);
    if (end < all)
        return end;
    return tail > 0 && tail <= LM_FEW_ROWS && all - tail > sequence->done ? all - tail : all;
}

/* What is expected behind the prompt, whose last logits are in the first span. Its tokens are rows of one pass, each a span of its own,
 * so that each has its logits; what the pass leaves in the cache lies behind `done`, where the next pass writes. True: the sequence
 * has left. Else the logits behind the prompt are in the first span again. */
static bool expected_comes(struct lm_engine *engine, int64_t index)
{
    struct lm_sequence *sequence = engine->running[index];
    const struct lm_request *request = &sequence->order->request;
    const int64_t vocabulary = lm_engine_config(engine)->vocabulary, count = (int64_t)request->expected_count;
    float *kept = sequence->behind_prompt;
    if (!kept || sequence->usage.tokens > 0)
        return false;
    memcpy(kept, engine->spans[0].logits, (size_t)vocabulary * sizeof *kept);
    double sum = lm_log_probability(kept, vocabulary, request->expected[0]);
    const bool likely = exp(sum) > request->expected_threshold;
    if (likely && sequence->done + count > engine->runner->context)
        return false;
    if (likely && count > 1) {
        if (!make_room(engine, index, sequence->done + count - 1))
            return true;    /* it has stepped back, and is asked again later */
        for (int64_t i = 0; i < count - 1; i++)
            engine->spans[i] = (struct lm_span){.ids = request->expected + i, .count = 1, .start = sequence->done + i,
                                                .pages = sequence->pages, .wanted = true};
        loam_error error;
        if (lm_paged_run(engine->pool, engine->spans, count - 1, &error) != LOAM_OK) {
            leave(engine, index, NULL, &error);
            return true;
        }
        for (int64_t i = 0; i < count - 1; i++)
            sum += lm_log_probability(engine->spans[i].logits, vocabulary, request->expected[i + 1]);
    }
    sequence->usage.expected = exp(sum);
    if (likely && exp(sum) > request->expected_threshold) {
        const struct lm_verdict verdict = {true, LM_STOP_EXPECTED, -1};
        leave(engine, index, &verdict, NULL);
        return true;
    }
    engine->spans[0].logits = kept;
    return false;
}

static void run_piece(struct lm_engine *engine, int64_t index)
{
    struct lm_sequence *sequence = engine->running[index];
    if (sequence->page_count == 0)
        begin(engine, sequence);    /* for the first time, or it had stepped back or was shifted */
    const bool beside = decoding(engine) > 0;
    const int64_t end = piece_end(sequence, beside), all = (int64_t)sequence->ids.length;
    if (!make_room(engine, index, end))
        return;
    const double start = lm_seconds();
    engine->spans[0] = (struct lm_span){.ids = sequence->ids.data + sequence->done, .count = end - sequence->done,
                                        .start = sequence->done, .pages = sequence->pages, .wanted = end == all};
    if (!run(engine, &index, 1))
        return;
    fill_pages(engine, sequence, end - sequence->done);
    sequence->first_pass = false;
    const double seconds = lm_seconds() - start;
    engine->now.prompt_seconds += seconds;
    engine->owed = beside ? seconds / 2 : 0;
    if (end < all)
        return;
    sequence->decoding = true;
    if (sequence->usage.tokens == 0) {
        engine->now.prompt_tokens += sequence->usage.prompt_tokens;
        engine->now.reused_tokens += sequence->usage.reused;
    }
    if (expected_comes(engine, index))
        return;
    pick(engine, &index, 1);
}

/* One piece of the prompt whose turn it is, unless decoding is still owed time for the last one. */
static void prompt(struct lm_engine *engine)
{
    for (int64_t i = 0; i < engine->count; i++) {
        const int64_t index = (engine->turn + i) % engine->count;
        if (engine->running[index]->decoding)
            continue;
        engine->turn = index + 1;
        run_piece(engine, index);
        return;
    }
}

void *lm_engine_compute(void *user)
{
    struct lm_engine *engine = user;
    while (gather(engine)) {
        const double start = lm_seconds();
        decode(engine);
        shift_full(engine);
        engine->owed -= lm_seconds() - start;
        if (engine->count > 0 && (engine->owed <= 0 || decoding(engine) == 0))
            prompt(engine);
        shift_full(engine);
    }
    return NULL;
}
