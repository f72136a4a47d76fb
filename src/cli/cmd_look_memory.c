/* loam look memory */
#include "show.h"
#include "sweep.h"

static int make_page(struct lm_run_settings *settings, struct lm_page **page, loam_error *error)
{
    struct lm_run_plan plan;
    struct lm_plan_picture picture;
    int code = lm_run_settings_check_plan(settings, error);
    if (code == LOAM_OK)
        code = lm_run_settings_settle_length(settings, error);
    if (code == LOAM_OK)
        code = lm_run_plan_picture(settings, &plan, &picture, error);
    if (code != LOAM_OK)
        return code;
    code = lm_look_memory(&plan, &picture, page, error);
    lm_plan_picture_free(&picture);
    return code;
}

int command_look_memory(const struct arguments *arguments)
{
    struct sweep sweep;
    struct lm_page *page = NULL;
    loam_error error;
    int code = show_check(arguments, &error);
    if (code == LOAM_OK)
        code = sweep_open(&sweep, arguments, LM_RUN_TRAIN, &error);
    if (code != LOAM_OK)
        return complain_error(&error);
    code = make_page(&sweep.settings[0], &page, &error);
    sweep_close(&sweep);
    return code == LOAM_OK ? show_page(arguments, page) : complain_error(&error);
}
