/* Which kind of speaker a participant is. */
#include "speaker.h"

void lm_speech_cancel(struct lm_speech *speech)
{
    if (speech)
        (*(const struct lm_speaker_ops **)speech)->cancel(speech);
}

void lm_speech_free(struct lm_speech *speech)
{
    if (speech)
        (*(const struct lm_speaker_ops **)speech)->free(speech);
}

int lm_speaker_open(const struct lm_participant *participant, const struct lm_speaker_kit *kit, struct lm_speaker *speaker,
                    loam_error *error)
{
    int code;
    switch (participant->kind) {
    case LM_PARTICIPANT_MODEL:
        code = lm_speaker_local_open(participant, kit, speaker, error);
        break;
    case LM_PARTICIPANT_OPENAI:
        code = lm_speaker_openai_open(participant, kit, speaker, error);
        break;
    default:
        code = lm_speaker_anthropic_open(participant, kit, speaker, error);
        break;
    }
    return code == LOAM_OK ? code : lm_fail_within(error, code, "participant '%s'", participant->name);
}
