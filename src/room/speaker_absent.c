/* Services, until their files are there. */
#include "speaker.h"

static int absent(const struct lm_participant *participant, loam_error *error)
{
    return lm_fail(error, LOAM_EUNSUPPORTED, "%s: this loam was built without services", participant->base_url);
}

int lm_speaker_openai_open(const struct lm_participant *participant, const struct lm_speaker_kit *kit, struct lm_speaker *speaker,
                           loam_error *error)
{
    (void)kit, (void)speaker;
    return absent(participant, error);
}

int lm_speaker_anthropic_open(const struct lm_participant *participant, const struct lm_speaker_kit *kit, struct lm_speaker *speaker,
                              loam_error *error)
{
    (void)kit, (void)speaker;
    return absent(participant, error);
}
