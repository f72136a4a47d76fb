/* Merging: the most frequent pair of neighbouring symbols becomes a token, again and again (Sennrich et al., 2016).
 *
 * All words stand in one array of cells, a cell a symbol at first, with a WALL before, between and behind them. A token
 * that covers several cells has its id in the first, minus its length in the last and INSIDE in those between, so that
 * the neighbours on both sides are found in one step. Every pair knows where it occurs; only those places are looked at
 * when it is merged.
 */
#include "train.h"

#include <stdlib.h>

enum {
    WALL = INT32_MIN,
    GAP, /* inside a word: bytes that no token stands for, which nothing is merged with */
    INSIDE = -1,
};

struct place {
    uint32_t cell, word;
};

struct pair {
    int64_t count;
    int32_t left, right;
    struct place *places;
    size_t place_count, place_capacity;
    bool touched, unsorted;
};

struct waiting { /* in the heap; stale where the pair's count is another by now */
    int64_t count;
    uint32_t pair;
};

struct merger {
    const struct lm_tokenizer_training *training;
    struct lm_tokenizer *tokenizer;
    int32_t *cells;
    size_t cell_count;
    uint64_t *times; /* [words] */
    struct pair *pairs;
    size_t pair_count, pair_capacity;
    uint32_t *slots; /* index of the pair + 1; 0: empty */
    size_t slot_count;
    struct waiting *heap;
    size_t heap_count, heap_capacity;
    uint32_t *touched;
    size_t touched_count, touched_capacity;
    size_t word_count, place_bytes; /* of all pairs' places */
    size_t limit;                   /* bytes of all this */
    loam_error *error;
};

enum { LIST_OVERHEAD = 16 }; /* what the allocator adds to a list of places */

static size_t memory_of(const struct merger *m)
{
    return m->cell_count * sizeof *m->cells + m->word_count * sizeof *m->times + m->pair_capacity * sizeof *m->pairs +
           m->slot_count * sizeof *m->slots + m->heap_capacity * sizeof *m->heap + m->place_bytes;
}

static size_t slot_of(const struct merger *m, int32_t left, int32_t right)
{
    uint64_t mixed = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * UINT64_C(0x9E3779B97F4A7C15);
    return (size_t)(mixed ^ mixed >> 32) & (m->slot_count - 1);
}

static struct pair *find_pair(const struct merger *m, int32_t left, int32_t right)
{
    for (size_t slot = slot_of(m, left, right);; slot = (slot + 1) & (m->slot_count - 1)) {
        uint32_t index = m->slots[slot];
        if (!index)
            return NULL;
        struct pair *pair = &m->pairs[index - 1];
        if (pair->left == left && pair->right == right)
            return pair;
    }
}

static int grow_slots(struct merger *m)
{
    size_t count = m->slot_count ? m->slot_count * 2 : 1 << 16;
    uint32_t *slots = lm_alloc(count, sizeof *slots, m->error);
    if (!slots)
        return LOAM_ENOMEM;
    lm_free(m->slots);
    m->slots = slots;
    m->slot_count = count;
    for (size_t i = 0; i < m->pair_count; i++) {
        size_t slot = slot_of(m, m->pairs[i].left, m->pairs[i].right);
        while (slots[slot])
            slot = (slot + 1) & (count - 1);
        slots[slot] = (uint32_t)i + 1;
    }
    return LOAM_OK;
}

static struct pair *get_pair(struct merger *m, int32_t left, int32_t right)
{
    if (m->pair_count * 2 >= m->slot_count && grow_slots(m) != LOAM_OK)
        return NULL;
    struct pair *found = find_pair(m, left, right);
    if (found)
        return found;
    if (m->pair_count == m->pair_capacity) {
        size_t capacity = m->pair_capacity ? m->pair_capacity + m->pair_capacity / 2 : 1 << 14;
        struct pair *pairs = capacity < UINT32_MAX ? lm_resize(m->pairs, capacity, sizeof *pairs, m->error) : NULL;
        if (!pairs)
            return NULL;
        m->pairs = pairs;
        m->pair_capacity = capacity;
    }
    m->pairs[m->pair_count] = (struct pair){.left = left, .right = right};
    size_t slot = slot_of(m, left, right);
    while (m->slots[slot])
        slot = (slot + 1) & (m->slot_count - 1);
    m->slots[slot] = (uint32_t)++m->pair_count;
    return &m->pairs[m->pair_count - 1];
}

static int add_place(struct merger *m, struct pair *pair, size_t cell, uint32_t word)
{
    if (pair->place_count == pair->place_capacity) {
        size_t capacity = pair->place_capacity ? pair->place_capacity * 2 : 2;
        struct place *places = lm_resize(pair->places, capacity, sizeof *places, m->error);
        if (!places)
            return LOAM_ENOMEM;
        m->place_bytes += (capacity - pair->place_capacity) * sizeof *places + (pair->places ? 0 : LIST_OVERHEAD);
        pair->places = places;
        pair->place_capacity = capacity;
    }
    if (pair->place_count && pair->places[pair->place_count - 1].cell > cell)
        pair->unsorted = true;
    pair->places[pair->place_count++] = (struct place){(uint32_t)cell, word};
    return LOAM_OK;
}

/* Whether pair a is merged before pair b when both occur equally often. */
static bool ties_before(const struct merger *m, const struct pair *a, const struct pair *b)
{
    if (!m->training->ties_by_bytes)
        return a->left != b->left ? a->left < b->left : a->right < b->right;
    for (int side = 0; side < 2; side++) {
        size_t la, lb;
        const char *ta = lm_vocabulary_text(&m->tokenizer->vocabulary, side ? a->right : a->left, &la);
        const char *tb = lm_vocabulary_text(&m->tokenizer->vocabulary, side ? b->right : b->left, &lb);
        int order = memcmp(ta, tb, la < lb ? la : lb);
        if (order || la != lb)
            return order ? order > 0 : la > lb;
    }
    return false;
}

static bool comes_before(const struct merger *m, const struct waiting *a, const struct waiting *b)
{
    if (a->count != b->count)
        return a->count > b->count;
    return ties_before(m, &m->pairs[a->pair], &m->pairs[b->pair]);
}

static int heap_push(struct merger *m, uint32_t pair)
{
    if (m->heap_count == m->heap_capacity) {
        size_t capacity = m->heap_capacity ? m->heap_capacity * 2 : 1 << 14;
        struct waiting *heap = lm_resize(m->heap, capacity, sizeof *heap, m->error);
        if (!heap)
            return LOAM_ENOMEM;
        m->heap = heap;
        m->heap_capacity = capacity;
    }
    struct waiting entry = {m->pairs[pair].count, pair};
    size_t at = m->heap_count++;
    while (at && comes_before(m, &entry, &m->heap[(at - 1) / 2])) {
        m->heap[at] = m->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    m->heap[at] = entry;
    return LOAM_OK;
}

static struct waiting heap_pop(struct merger *m)
{
    struct waiting top = m->heap[0], last = m->heap[--m->heap_count];
    size_t at = 0;
    for (size_t child; (child = at * 2 + 1) < m->heap_count; at = child) {
        if (child + 1 < m->heap_count && comes_before(m, &m->heap[child + 1], &m->heap[child]))
            child++;
        if (!comes_before(m, &m->heap[child], &last))
            break;
        m->heap[at] = m->heap[child];
    }
    m->heap[at] = last;
    return top;
}

/* The most frequent pair there is, or none. */
static int next_pair(struct merger *m, struct pair **pair)
{
    *pair = NULL;
    while (m->heap_count) {
        struct waiting top = heap_pop(m);
        int64_t count = m->pairs[top.pair].count;
        if (count == top.count && count > 0) {
            *pair = &m->pairs[top.pair];
            return LOAM_OK;
        }
        if (count > 0 && count < top.count && heap_push(m, top.pair) != LOAM_OK)
            return LOAM_ENOMEM;
    }
    return LOAM_OK;
}

static int more(struct merger *m, int32_t left, int32_t right, size_t cell, uint32_t word)
{
    struct pair *pair = get_pair(m, left, right);
    if (!pair || add_place(m, pair, cell, word) != LOAM_OK)
        return LOAM_ENOMEM;
    pair->count += (int64_t)m->times[word];
    if (pair->touched)
        return LOAM_OK;
    if (m->touched_count == m->touched_capacity) {
        size_t capacity = m->touched_capacity ? m->touched_capacity * 2 : 1024;
        uint32_t *touched = lm_resize(m->touched, capacity, sizeof *touched, m->error);
        if (!touched)
            return LOAM_ENOMEM;
        m->touched = touched;
        m->touched_capacity = capacity;
    }
    pair->touched = true;
    m->touched[m->touched_count++] = (uint32_t)(pair - m->pairs);
    return LOAM_OK;
}

static void fewer(struct merger *m, int32_t left, int32_t right, uint32_t word)
{
    struct pair *pair = find_pair(m, left, right);
    if (pair)
        pair->count -= (int64_t)m->times[word];
}

static inline bool is_edge(int32_t cell)
{
    return cell == WALL || cell == GAP;
}

static size_t cells_of(const struct merger *m, size_t cell)
{
    if (m->cells[cell + 1] >= 0 || is_edge(m->cells[cell + 1]))
        return 1;
    return m->tokenizer->vocabulary.tokens[m->cells[cell]].length;
}

/* Joins what begins at the place with its right neighbour, where the pair still stands there. */
static int merge_place(struct merger *m, struct place place, int32_t left, int32_t right, int32_t merged)
{
    int32_t *cells = m->cells;
    size_t at = place.cell;
    if (cells[at] != left)
        return LOAM_OK;
    size_t first = cells_of(m, at), second_at = at + first;
    if (cells[second_at] != right)
        return LOAM_OK;
    size_t second = cells_of(m, second_at), end = second_at + second;
    if (first > 1)
        cells[second_at - 1] = INSIDE;
    cells[second_at] = INSIDE;
    cells[at] = merged;
    cells[end - 1] = -(int32_t)(first + second);
    int code = LOAM_OK;
    int32_t before = cells[at - 1], behind = cells[end];
    if (!is_edge(before)) {
        size_t start = before >= 0 ? at - 1 : at - (size_t)-before;
        fewer(m, cells[start], left, place.word);
        code = more(m, cells[start], merged, start, place.word);
    }
    if (!is_edge(behind) && code == LOAM_OK) {
        fewer(m, right, behind, place.word);
        code = more(m, merged, behind, at, place.word);
    }
    return code;
}

static int by_cell(const void *a, const void *b)
{
    uint32_t left = ((const struct place *)a)->cell, right = ((const struct place *)b)->cell;
    return left < right ? -1 : left > right;
}

static int merge_pair(struct merger *m, struct pair *pair, int32_t merged)
{
    int32_t left = pair->left, right = pair->right;
    struct place *places = pair->places;
    size_t count = pair->place_count;
    if (pair->unsorted)
        qsort(places, count, sizeof *places, by_cell);
    m->place_bytes -= places ? pair->place_capacity * sizeof *places + LIST_OVERHEAD : 0;
    pair->places = NULL;
    pair->place_count = pair->place_capacity = 0;
    int code = LOAM_OK;
    for (size_t i = 0; code == LOAM_OK && i < count; i++)
        code = merge_place(m, places[i], left, right, merged);
    lm_free(places);
    /* Overlaps ("aaa") leave a rest in the count that stands nowhere any more. */
    find_pair(m, left, right)->count = 0;
    for (size_t i = 0; code == LOAM_OK && i < m->touched_count; i++) {
        struct pair *touched = &m->pairs[m->touched[i]];
        touched->touched = false;
        if (touched->count > 0)
            code = heap_push(m, m->touched[i]);
    }
    m->touched_count = 0;
    return code;
}

/* The id of the token that left and right make: a new one, or the one that another merge made of the same bytes. */
static int merged_token(struct merger *m, int32_t left, int32_t right, int32_t *merged)
{
    struct lm_vocabulary *vocabulary = &m->tokenizer->vocabulary;
    struct lm_bytes text = {0};
    size_t length;
    const char *part = lm_vocabulary_text(vocabulary, left, &length);
    int code = lm_bytes_append(&text, part, length, m->error);
    part = lm_vocabulary_text(vocabulary, right, &length);
    if (code == LOAM_OK)
        code = lm_bytes_append(&text, part, length, m->error);
    if (code == LOAM_OK) {
        *merged = lm_vocabulary_find(vocabulary, text.data, text.length, false);
        if (*merged < 0) {
            *merged = (int32_t)vocabulary->size;
            code = lm_vocabulary_add(vocabulary, *merged, text.data, text.length, 0, m->error);
        }
    }
    lm_bytes_free(&text);
    return code;
}

/* A word's cells: a symbol for each byte, or for each character. */
static void lay_word(struct merger *m, const unsigned char *text, size_t length)
{
    const struct lm_tokenizer *tokenizer = m->tokenizer;
    int32_t *cells = m->cells + m->cell_count;
    m->cell_count += length;
    for (size_t at = 0, n = 1; at < length; at += n) {
        uint32_t code_point = 0;
        int32_t id = -1;
        if (tokenizer->byte_level)
            id = tokenizer->model.bytes[text[at]];
        else if (n = lm_character(text + at, text + length, &code_point), code_point != UINT32_MAX)
            id = lm_vocabulary_find(&tokenizer->vocabulary, (const char *)text + at, n, false);
        for (size_t i = 1; i < n; i++)
            cells[at + i] = id < 0 ? GAP : INSIDE;
        cells[at] = id < 0 ? GAP : id;
        if (n > 1 && id >= 0)
            cells[at + n - 1] = -(int32_t)n;
    }
}

static int lay_out(struct merger *m, struct lm_words *words)
{
    size_t cells = 1;
    for (size_t i = 0; i < words->count; i++)
        cells += words->items[i].length + 1;
    if (cells >= UINT32_MAX)
        return lm_fail(m->error, LOAM_EUNSUPPORTED,
                       "the corpus has over 4 thousand million bytes in different words; "
                       "train on a part of it");
    m->cells = lm_resize(NULL, cells, sizeof *m->cells, m->error);
    m->times = lm_resize(NULL, words->count + 1, sizeof *m->times, m->error);
    if (!m->cells || !m->times)
        return LOAM_ENOMEM;
    m->word_count = words->count;
    m->cells[m->cell_count++] = WALL;
    for (size_t i = 0; i < words->count; i++) {
        m->times[i] = words->items[i].count;
        lay_word(m, (const unsigned char *)words->text.data + words->items[i].offset, words->items[i].length);
        m->cells[m->cell_count++] = WALL;
    }
    lm_words_free(words);
    return LOAM_OK;
}

/* Calls `visit` for every two neighbours. */
static int each_neighbours(struct merger *m, int (*visit)(struct merger *, int32_t left, int32_t right, size_t cell, uint32_t word))
{
    uint32_t word = 0;
    int code = LOAM_OK;
    for (size_t i = 1, n = 1; code == LOAM_OK && i + 1 < m->cell_count; i += n) {
        n = 1;
        if (m->cells[i] == WALL) {
            word++;
        } else if (m->cells[i] != GAP) {
            n = cells_of(m, i);
            if (!is_edge(m->cells[i + n]))
                code = visit(m, m->cells[i], m->cells[i + n], i, word);
        }
    }
    return code;
}

static int expect_place(struct merger *m, int32_t left, int32_t right, size_t cell, uint32_t word)
{
    struct pair *pair = get_pair(m, left, right);
    (void)cell;
    (void)word;
    if (!pair)
        return LOAM_ENOMEM;
    pair->place_capacity++;
    return LOAM_OK;
}

/* The lists get the size they take at once: grown one beside the other, they would leave as much memory unused between them. */
static int first_pairs(struct merger *m)
{
    int code = grow_slots(m);
    if (code == LOAM_OK)
        code = each_neighbours(m, expect_place);
    for (size_t i = 0; code == LOAM_OK && i < m->pair_count; i++) {
        struct pair *pair = &m->pairs[i];
        pair->places = lm_resize(NULL, pair->place_capacity, sizeof *pair->places, m->error);
        if (!pair->places)
            return LOAM_ENOMEM;
        m->place_bytes += pair->place_capacity * sizeof *pair->places + LIST_OVERHEAD;
    }
    if (code == LOAM_OK)
        code = each_neighbours(m, more);
    for (size_t i = 0; code == LOAM_OK && i < m->pair_count; i++) {
        m->pairs[i].touched = false;
        code = heap_push(m, (uint32_t)i);
    }
    m->touched_count = 0;
    return code;
}

/* Whether the pair still stands there: a neighbour may have been merged away. */
static bool stands(const struct merger *m, const struct pair *pair, struct place place)
{
    return m->cells[place.cell] == pair->left && m->cells[place.cell + cells_of(m, place.cell)] == pair->right;
}

static void keep_standing(struct merger *m, struct pair *pair)
{
    size_t kept = 0;
    for (size_t i = 0; i < pair->place_count; i++)
        if (stands(m, pair, pair->places[i]))
            pair->places[kept++] = pair->places[i];
    m->place_bytes -= pair->places ? pair->place_capacity * sizeof *pair->places + LIST_OVERHEAD : 0;
    struct place *fitting = kept ? lm_resize(pair->places, kept, sizeof *fitting, NULL) : NULL;
    if (!kept)
        lm_free(pair->places);
    if (fitting || !kept) {
        pair->places = fitting;
        pair->place_capacity = kept;
    }
    pair->place_count = kept;
    m->place_bytes += pair->places ? pair->place_capacity * sizeof *pair->places + LIST_OVERHEAD : 0;
}

/* Gives back the memory of pairs that are gone, of places where a pair stands no more, and of stale entries in the heap. */
static int collect(struct merger *m)
{
    size_t kept = 0;
    for (size_t i = 0; i < m->pair_count; i++) {
        struct pair *pair = &m->pairs[i];
        if (pair->count <= 0)
            pair->place_count = 0;
        keep_standing(m, pair);
        if (pair->count > 0)
            m->pairs[kept++] = *pair;
    }
    m->pair_count = kept;
    m->heap_count = 0;
    memset(m->slots, 0, m->slot_count * sizeof *m->slots);
    int code = LOAM_OK;
    for (size_t i = 0; code == LOAM_OK && i < kept; i++) {
        size_t slot = slot_of(m, m->pairs[i].left, m->pairs[i].right);
        while (m->slots[slot])
            slot = (slot + 1) & (m->slot_count - 1);
        m->slots[slot] = (uint32_t)i + 1;
        code = heap_push(m, (uint32_t)i);
    }
    return code;
}

static int stay_within(struct merger *m)
{
    if (memory_of(m) <= m->limit)
        return LOAM_OK;
    const size_t before = memory_of(m);
    int code = collect(m);
    if (code == LOAM_OK && memory_of(m) > m->limit / 16 * 15)
        return lm_fail(m->error, LOAM_ENOMEM,
                       "merging takes more than the memory given (%zu MiB, %zu before what is stale was let go): give more, or "
                       "less text", memory_of(m) >> 20, before >> 20);
    return code;
}

static int merge_all(struct merger *m)
{
    struct lm_tokenizer *tokenizer = m->tokenizer;
    int64_t first = (int64_t)tokenizer->vocabulary.size, last = m->training->vocabulary_size;
    uint32_t rank = 0;
    int code = LOAM_OK;
    while (code == LOAM_OK && (int64_t)tokenizer->vocabulary.size < last) {
        struct pair *pair;
        int32_t merged;
        code = next_pair(m, &pair);
        if (code != LOAM_OK || !pair)
            break;
        code = merged_token(m, pair->left, pair->right, &merged);
        if (code == LOAM_OK)
            code = lm_pairs_set(&tokenizer->model.pairs, pair->left, pair->right, rank++, merged, m->error);
        if (code == LOAM_OK)
            code = merge_pair(m, pair, merged);
        if (code == LOAM_OK)
            code = stay_within(m);
        if (rank % 64 == 0 || (int64_t)tokenizer->vocabulary.size == last)
            lm_train_progress(m->training, "merging", (int64_t)tokenizer->vocabulary.size - first, last - first);
        if (code == LOAM_OK && rank % 64 == 0 && lm_train_cancelled(m->training))
            code = lm_fail(m->error, LOAM_ECANCELLED, "training the tokenizer was stopped");
    }
    return code;
}

int lm_train_merge(const struct lm_tokenizer_training *training, struct lm_tokenizer *tokenizer, struct lm_words *words,
                   loam_error *error)
{
    struct merger m = {.training = training, .tokenizer = tokenizer, .error = error};
    m.limit = lm_train_share(training, 7, 8);    /* the rest: what the allocator loses between lists that come and go */
    int code = lay_out(&m, words);
    if (code == LOAM_OK)
        code = first_pairs(&m);
    if (code == LOAM_OK)
        code = merge_all(&m);
    for (size_t i = 0; i < m.pair_count; i++)
        lm_free(m.pairs[i].places);
    if (code == LOAM_OK)
        code = lm_pairs_seal(&tokenizer->model.pairs, tokenizer->byte_level ? tokenizer->model.bytes : NULL, error);
    lm_free(m.cells);
    lm_free(m.times);
    lm_free(m.pairs);
    lm_free(m.slots);
    lm_free(m.heap);
    lm_free(m.touched);
    return code;
}
