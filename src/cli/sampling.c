#include "sampling.h"
#include "terminal.h"

void show_text(void *user, const char *text, size_t length)
{
    if (user)
        *(bool *)user = true;
    fwrite(text, 1, length, stdout);
    fflush(stdout);
}

struct lm_generation_options generation_options(const struct arguments *arguments)
{
    const struct argument *values = arguments->values;
    struct lm_generation_options options = lm_generation_default();
    loam_sampling *sampling = &options.sampling;
    options.cancelled = stop_asked;
    options.max_tokens = values[OPT_MAX_TOKENS].given ? values[OPT_MAX_TOKENS].whole : 0;
    options.stops = values[OPT_STOP].list;
    options.stop_count = values[OPT_STOP].count;
    options.ignore_end = values[OPT_IGNORE_EOS].given;
    if (values[OPT_TEMPERATURE].given)
        sampling->temperature = values[OPT_TEMPERATURE].number;
    if (values[OPT_TOP_K].given)
        sampling->top_k = values[OPT_TOP_K].whole;
    if (values[OPT_TOP_P].given)
        sampling->top_p = values[OPT_TOP_P].number;
    if (values[OPT_MIN_P].given)
        sampling->min_p = values[OPT_MIN_P].number;
    if (values[OPT_REPETITION_PENALTY].given)
        sampling->repetition_penalty = values[OPT_REPETITION_PENALTY].number;
    if (values[OPT_SEED].given)
        sampling->seed = values[OPT_SEED].seed;
    return options;
}
