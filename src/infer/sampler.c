/* From logits to one token. */
#include "infer.h"

#include <math.h>
#include <string.h>

struct candidate {
    float weight;    /* exp((logit - largest) / temperature): a probability but for its scale */
    int32_t id;
};

struct lm_sampler {
    loam_sampling how;
    int64_t vocabulary;
    struct lm_random random;
    struct candidate *heap;     /* [vocabulary] */
    unsigned char *seen;        /* [vocabulary], 1 where the id stands in the text; NULL without a penalty */
};

loam_sampling loam_sampling_default(void)
{
    return (loam_sampling){.temperature = 0.7, .top_p = 0.95, .repetition_penalty = 1};
}

int lm_sampling_check(const loam_sampling *how, loam_error *error)
{
    if (!(how->temperature >= 0 && how->temperature <= 1000))
        return lm_fail(error, LOAM_EUSAGE, "temperature: found %g, wanted 0 to 1000", how->temperature);
    if (how->top_k < 0)
        return lm_fail(error, LOAM_EUSAGE, "top-k: found %lld, wanted 0 (off) or more", (long long)how->top_k);
    if (!(how->top_p > 0 && how->top_p <= 1))
        return lm_fail(error, LOAM_EUSAGE, "top-p: found %g, wanted more than 0, at most 1 (off)", how->top_p);
    if (!(how->min_p >= 0 && how->min_p <= 1))
        return lm_fail(error, LOAM_EUSAGE, "min-p: found %g, wanted 0 (off) to 1", how->min_p);
    if (!(how->repetition_penalty > 0 && how->repetition_penalty <= 1000))
        return lm_fail(error, LOAM_EUSAGE, "repetition-penalty: found %g, wanted more than 0 (1: off)",
                       how->repetition_penalty);
    return LOAM_OK;
}

int lm_sampler_create(const loam_sampling *how, int64_t vocabulary, struct lm_sampler **result, loam_error *error)
{
    int code = lm_sampling_check(how, error);
    if (code != LOAM_OK)
        return code;
    struct lm_sampler *sampler = lm_alloc(1, sizeof *sampler, error);
    if (!sampler)
        return LOAM_ENOMEM;
    *sampler = (struct lm_sampler){.how = *how, .vocabulary = vocabulary, .random = lm_random_seed(how->seed, 0)};
    sampler->heap = lm_alloc((size_t)vocabulary, sizeof *sampler->heap, error);
    if (sampler->heap && how->repetition_penalty != 1)
        sampler->seen = lm_alloc((size_t)vocabulary, 1, error);
    if (!sampler->heap || (how->repetition_penalty != 1 && !sampler->seen)) {
        lm_sampler_free(sampler);
        return LOAM_ENOMEM;
    }
    *result = sampler;
    return LOAM_OK;
}

void lm_sampler_free(struct lm_sampler *sampler)
{
    if (!sampler)
        return;
    lm_free(sampler->heap);
    lm_free(sampler->seen);
    lm_free(sampler);
}

void lm_sampler_see(struct lm_sampler *sampler, int32_t id)
{
    if (sampler->seen && id >= 0 && id < sampler->vocabulary)
        sampler->seen[id] = 1;
}

static void penalise(const struct lm_sampler *sampler, float *logits)
{
    const float penalty = (float)sampler->how.repetition_penalty;
    for (int64_t i = 0; i < sampler->vocabulary; i++)
        if (sampler->seen[i])
            logits[i] = logits[i] > 0 ? logits[i] / penalty : logits[i] * penalty;
}

/* Index of the largest logit, the first on a tie; -1 where none is finite or one is +infinity. NaN never wins. */
static int64_t largest(const float *logits, int64_t count)
{
    int64_t best = -1;
    for (int64_t i = 0; i < count; i++)
        if (logits[i] > (best < 0 ? -INFINITY : logits[best]))
            best = i;
    return best >= 0 && isfinite(logits[best]) ? best : -1;
}

static bool before(struct candidate a, struct candidate b)
{
    return a.weight > b.weight || (a.weight == b.weight && a.id < b.id);
}

static void sift_down(struct candidate *heap, int64_t at, int64_t count)
{
    for (;;) {
        int64_t top = at, left = 2 * at + 1, right = left + 1;
        if (left < count && before(heap[left], heap[top]))
            top = left;
        if (right < count && before(heap[right], heap[top]))
            top = right;
        if (top == at)
            return;
        const struct candidate swapped = heap[at];
        heap[at] = heap[top];
        heap[top] = swapped;
        at = top;
    }
}

/* Takes the likeliest from the heap one after the other to its end, where they then lie in falling order from the back, until `most`
 * are there or their weights reach `enough`. Returns how many. */
static int64_t take_likeliest(struct candidate *heap, int64_t count, int64_t most, double enough)
{
    for (int64_t i = count / 2; i-- > 0;)
        sift_down(heap, i, count);
    double sum = 0;
    int64_t taken = 0;
    while (taken < most && taken < count && sum < enough) {
        const int64_t last = count - 1 - taken;
        const struct candidate top = heap[0];
        heap[0] = heap[last];
        heap[last] = top;
        sift_down(heap, 0, last);
        sum += top.weight;
        taken++;
    }
    return taken;
}

static double sum_weights(const struct candidate *items, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += items[i].weight;
    return sum;
}

/* The candidates that the filters leave: a run of the heap array. */
static struct candidate *filter(struct lm_sampler *sampler, int64_t *count)
{
    const loam_sampling *how = &sampler->how;
    struct candidate *items = sampler->heap;
    const int64_t all = *count;
    if (how->top_k > 0 && how->top_k < all) {
        const int64_t kept = take_likeliest(items, all, how->top_k, INFINITY);
        items += all - kept;
        *count = kept;
    }
    if (how->top_p < 1) {
        const int64_t kept = take_likeliest(items, *count, *count, how->top_p * sum_weights(items, *count));
        items += *count - kept;
        *count = kept;
    }
    if (how->min_p > 0) {
        int64_t kept = 0;
        for (int64_t i = 0; i < *count; i++)    /* the largest weight is 1 */
            if (items[i].weight >= (float)how->min_p)
                items[kept++] = items[i];
        *count = kept;
    }
    return items;
}

int lm_sampler_pick(struct lm_sampler *sampler, float *logits, int32_t *id, loam_error *error)
{
    if (sampler->seen)
        penalise(sampler, logits);
    const int64_t best = largest(logits, sampler->vocabulary);
    if (best < 0)
        return lm_fail(error, LOAM_ENUMERIC, "the model gave no finite logit for the next token; its weights are damaged "
                       "(look weights shows them)");
    if (sampler->how.temperature == 0) {
        *id = (int32_t)best;
        lm_sampler_see(sampler, *id);
        return LOAM_OK;
    }
    const float top = logits[best];
    int64_t count = 0;
    for (int64_t i = 0; i < sampler->vocabulary; i++) {
        const float weight = (float)exp((double)(logits[i] - top) / sampler->how.temperature);
        if (weight > 0)    /* leaves out NaN and what is too small to count */
            sampler->heap[count++] = (struct candidate){weight, (int32_t)i};
    }
    const struct candidate *items = filter(sampler, &count);
    double left = lm_random_unit(&sampler->random) * sum_weights(items, count);
    int64_t i = 0;
    while (i < count - 1 && (left -= items[i].weight) >= 0)
        i++;
    *id = items[i].id;
    lm_sampler_see(sampler, *id);
    return LOAM_OK;
}
