/* Rotary frequencies, in fp32 and in the order of operations of transformers' modeling_rope_utils.py ("default", "linear",
 * "llama3"), so that the angles agree to the last bit or nearly so. */
#include "network.h"

#include <math.h>

/* "llama3" (Llama 3.1's model card): long waves are slowed by `factor`, short ones stay, those between are blended. */
static float scale_llama3(const struct lm_config *config, float frequency)
{
    const float original = (float)config->rope_original_context, factor = (float)config->rope_factor;
    const float low = (float)config->rope_low;
    const float wave = (float)(2 * 3.14159265358979323846) / frequency;
    if (wave > (float)((double)config->rope_original_context / config->rope_low))
        return frequency / factor;
    if (wave < (float)((double)config->rope_original_context / config->rope_high))
        return frequency;
    const float smooth = (original / wave - low) / (float)(config->rope_high - config->rope_low);
    return (1 - smooth) * frequency / factor + smooth * frequency;
}

void lm_rope_frequencies(const struct lm_config *config, float *frequencies)
{
    for (int64_t i = 0; i < config->head_size / 2; i++) {
        float frequency = 1.0F / powf((float)config->rope_theta, (float)(2 * i) / (float)config->head_size);
        if (config->rope_linear)
            frequency /= (float)config->rope_factor;
        if (config->rope_llama3)
            frequency = scale_llama3(config, frequency);
        frequencies[i] = frequency;
    }
}
