/* Participants that are models run here: answers, passes that are scored, deadlines, cancelling, many at once on one engine. */
#include "support/chain_model.h"

#include "room/rooms_inside.h"

#include <pthread.h>
#include <unistd.h>

static loam_error error;

/* What a speech gave. */
struct told {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char text[512];
    int done;
    struct lm_speech_result result;
};

static void on_text(void *user, const char *text, size_t length)
{
    struct told *told = user;
    pthread_mutex_lock(&told->lock);
    assert_int_equal(told->done, 0);
    const size_t had = strlen(told->text), room = sizeof told->text - 1 - had;    /* a long answer's begin is enough */
    memcpy(told->text + had, text, length < room ? length : room);
    pthread_mutex_unlock(&told->lock);
}

static void on_done(void *user, const struct lm_speech_result *result)
{
    struct told *told = user;
    pthread_mutex_lock(&told->lock);
    told->result = *result;
    told->done++;
    pthread_cond_broadcast(&told->changed);
    pthread_mutex_unlock(&told->lock);
}

static void told_open(struct told *told)
{
    *told = (struct told){0};
    pthread_mutex_init(&told->lock, NULL);
    pthread_cond_init(&told->changed, NULL);
}

static void told_wait(struct told *told)
{
    pthread_mutex_lock(&told->lock);
    while (!told->done)
        pthread_cond_wait(&told->changed, &told->lock);
    pthread_mutex_unlock(&told->lock);
}

static struct lm_speech *start(const struct lm_speaker *speaker, struct told *told, double threshold, double seconds, int64_t most)
{
    static const struct lm_speech_message messages[] = {{LM_SYSTEM, "You are Ada.", 12}, {LM_USER, "Hello", 5}};
    const struct lm_speech_request request = {.messages = messages, .count = 2, .max_tokens = most, .seconds = seconds, .pass_threshold = threshold,
                                              .text = on_text, .done = on_done, .user = told};
    struct lm_speech *speech;
    assert_ok(lm_speaker_start(speaker, &request, &speech, &error), &error);
    return speech;
}

static struct lm_engines *engines;
static struct lm_speaker speakers[2];
static struct lm_participant participants[2];

static void open_two(const char *text, bool ring, const char *folder)
{
    struct chain chain;
    chain_open(text, ring, 4096, &chain);
    chain_save(&chain, folder);
    chain_close(&chain);
    assert_ok(lm_engines_create(2, &engines, &error), &error);
    const struct lm_speaker_kit kit = {.engines = engines};
    for (int i = 0; i < 2; i++) {
        participants[i] = (struct lm_participant){.name = i ? "Bix" : "Ada", .path = folder,
                                                  .sampling = {.how = {.temperature = 0, .top_p = 1, .repetition_penalty = 1}, .max_tokens = 100}};
        assert_ok(lm_speaker_open(&participants[i], &kit, &speakers[i], &error), &error);
    }
}

static void close_two(void)
{
    for (int i = 0; i < 2; i++)
        speakers[i].ops->close(speakers[i].self);
    lm_engines_free(engines);
}

static void answers(void **state)
{
    (void)state;
    struct told told;
    open_two("\nHi, Aned.", false, test_folder());
    told_open(&told);
    struct lm_speech *speech = start(&speakers[0], &told, 0.5, 60, 0);
    told_wait(&told);
    lm_speech_free(speech);
    assert_string_equal(told.text, "Hi, Aned.");
    assert_int_equal(told.result.end, LM_SPEECH_ANSWERED);
    assert_int_equal(told.result.tokens, 10);
    assert_true(told.result.prompt_tokens > 20 && !told.result.cut);
    told_open(&told);
    speech = start(&speakers[1], &told, 0, 0, 4);
    told_wait(&told);
    lm_speech_free(speech);
    assert_string_equal(told.text, "Hi, ");
    assert_true(told.result.cut);
    told_open(&told);
    speech = start(&speakers[1], &told, 1e-300, 0, 0);    /* anything is likelier than that */
    told_wait(&told);
    lm_speech_free(speech);
    assert_string_equal(told.text, "");
    assert_int_equal(told.result.end, LM_SPEECH_PASSED);
    assert_int_equal(speakers[0].ops->context(speakers[0].self), 4096);
    assert_int_equal(speakers[0].ops->count(speakers[0].self, "Hello", 5), 5);
    char *large = malloc(1 << 20);
    memset(large, 'x', 1 << 20);
    assert_int_equal(speakers[0].ops->count(speakers[0].self, large, 1 << 20), 1 << 20);
    free(large);
    close_two();
}

/* Endless answers: late, cancelled, at once and while they run, and by closing. */
static void endings(void **state)
{
    (void)state;
    struct told told[4];
    struct lm_speech *speeches[4];
    open_two("\nabcdefgh", true, test_folder());
    for (int i = 0; i < 4; i++)
        told_open(&told[i]);
    participants[0].sampling.max_tokens = 100000;
    speeches[0] = start(&speakers[0], &told[0], 0.5, 0.05, 100000);
    told_wait(&told[0]);
    assert_int_equal(told[0].result.end, LM_SPEECH_FAILED);
    assert_true(told[0].result.again);
    assert_non_null(strstr(told[0].result.error.message, "0.05 s"));
    speeches[1] = start(&speakers[0], &told[1], 0.5, 60, 100000);
    lm_speech_cancel(speeches[1]);
    told_wait(&told[1]);
    assert_int_equal(told[1].result.end, LM_SPEECH_CANCELLED);
    speeches[2] = start(&speakers[0], &told[2], 0.5, 60, 100000);
    for (bool some = false; !some; usleep(1000)) {
        pthread_mutex_lock(&told[2].lock);
        some = *told[2].text;
        pthread_mutex_unlock(&told[2].lock);
    }
    lm_speech_cancel(speeches[2]);
    told_wait(&told[2]);
    assert_int_equal(told[2].result.end, LM_SPEECH_CANCELLED);
    speeches[3] = start(&speakers[1], &told[3], 0.5, 60, 100000);
    speakers[1].ops->close(speakers[1].self);
    assert_int_equal(told[3].done, 1);
    assert_int_equal(told[3].result.end, LM_SPEECH_CANCELLED);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(told[i].done, 1);
        lm_speech_cancel(speeches[i]);    /* over: nothing happens */
        lm_speech_free(speeches[i]);
    }
    speakers[0].ops->close(speakers[0].self);
    lm_engines_free(engines);
}

static void many(void **state)
{
    (void)state;
    enum { MANY = 60 };
    static struct told told[MANY];
    struct lm_speech *speeches[MANY];
    open_two("\nHi, Aned.", false, test_folder());
    for (int i = 0; i < MANY; i++) {
        told_open(&told[i]);
        speeches[i] = start(&speakers[i % 2], &told[i], i % 3 ? 0.5 : 1e-300, 60, 0);
    }
    for (int i = 0; i < MANY; i++) {
        told_wait(&told[i]);
        assert_int_equal(told[i].result.end, i % 3 ? LM_SPEECH_ANSWERED : LM_SPEECH_PASSED);
        assert_string_equal(told[i].text, i % 3 ? "Hi, Aned." : "");
        lm_speech_free(speeches[i]);
    }
    close_two();
}

static void wrong_models(void **state)
{
    (void)state;
    struct lm_speaker speaker;
    const char *folder = test_folder();
    assert_ok(lm_engines_create(1, &engines, &error), &error);
    const struct lm_speaker_kit kit = {.engines = engines};
    struct lm_participant participant = {.name = "Ada", .path = "/nowhere/model"};
    assert_fails(lm_speaker_open(&participant, &kit, &speaker, &error), &error, LOAM_ENOTFOUND, "participant 'Ada'", "/nowhere/model");
    participant.path = folder;
    assert_int_not_equal(lm_speaker_open(&participant, &kit, &speaker, &error), LOAM_OK);
    assert_non_null(strstr(error.message, "participant 'Ada'"));
    participant.path = test_path(LOAM_TESTS "/golden/models", "gpt2");    /* no tokenizer, no template */
    assert_int_not_equal(lm_speaker_open(&participant, &kit, &speaker, &error), LOAM_OK);
    assert_non_null(strstr(error.message, "participant 'Ada'"));
    lm_engines_free(engines);
}

/* In a room: a model says the same whether it was scored for a pass or not, and its words are kept. */
static void in_a_room(void **state)
{
    (void)state;
    struct chain chain;
    struct lm_room_config *config;
    struct lm_rooms *rooms;
    struct lm_room *room;
    const char *folder = test_folder();
    char yaml[1024], path[512];
    chain_open("\nHi, Aned.", false, 1024, &chain);
    chain_save(&chain, folder);
    chain_close(&chain);
    snprintf(path, sizeof path, "%s/room.yaml", folder);
    snprintf(yaml, sizeof yaml, "room: {name: R, rounds: 1, order: fixed}\nparticipants:\n  - {name: Ada, model: ., sampling: {temperature: 0}}\n"
             "  - {name: Bix, model: ., sampling: {temperature: 0, max_tokens: 2}}\n");
    assert_ok(lm_room_config_parse(yaml, strlen(yaml), path, &config, &error), &error);
    assert_ok(lm_rooms_open(&(struct lm_rooms_options){.config = config, .threads = 1}, &rooms, &error), &error);
    assert_ok(lm_rooms_enter(rooms, "main", NULL, &room, &error), &error);
    const struct lm_post post = {.who = {"x", "Ann", false}, .text = "Hello", .length = 5, .position = -1};
    assert_ok(lm_room_post(room, &post, NULL, &error), &error);
    assert_true(lm_rooms_idle(rooms, 20));
    struct lm_bytes out = {0};
    assert_ok(lm_room_export(room, LM_EXPORT_TRAINING, NULL, &out, &error), &error);
    assert_non_null(strstr(out.data, "Hello\"}, {\"role\": \"assistant\", \"content\": \"Hi, Aned.\"}]}"));
    assert_non_null(strstr(out.data, "[Ada] Hi, Aned.\"}, {\"role\": \"assistant\", \"content\": \"Hi\"}]}"));
    lm_bytes_free(&out);
    lm_rooms_close(rooms);
    lm_room_config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(answers), cmocka_unit_test(endings), cmocka_unit_test(many), cmocka_unit_test(wrong_models),
                                       cmocka_unit_test(in_a_room)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
