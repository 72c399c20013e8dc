/* upstream/call, upstream/resume_point: a stream that breaks off is resumed, and no event is lost or told
 * twice. */
#include "base/clock.h"
#include "tests/unit/call_fixture.h"
#include "upstream/resume_point.h"

#include <stdatomic.h>

/* ---- a server that resumes ---------------------------------------------------------------------------- */

static const struct {
    const char *id;
    const char *block;
} blocks[] = {
    {"1", "id: 1\ndata: a\n\n"}, {NULL, "data: b\n\n"},
    {NULL, ": note\n\n"},        {"2", "id: 2\nevent: e\ndata: c\ndata: c\n\n"},
    {NULL, "data: d\n\n"},       {NULL, "data: d\n\n"},
    {"3", "id: 3\ndata: e\n\n"}, {"4", "data: f\nid: 4\n\n"},
};

enum { BLOCKS = sizeof blocks / sizeof *blocks };

#define ALL_TOLD "a|b|c\nc|d|d|e|f|"

/* Each connection has a thread. */
static atomic_size_t cut_at;        /* bytes of each answer that are sent; the connection breaks then */
static atomic_bool only_once;       /* only the first answer is cut */
static atomic_bool is_inclusive;    /* the event with the id is sent again, too */
static atomic_bool is_forgetful;    /* everything is sent again */
static atomic_bool is_reset;        /* the connection is reset, not closed */
static const char *_Atomic preface; /* before the events */

/** The block at which an answer to the newest request begins. */
static size_t first_block(struct raw_server *server) {
    static const char name[] = "Last-Event-ID: ";
    pthread_mutex_lock(&server->mutex);
    const char *request = server->log;
    for (const char *at = request; (at = strstr(at, "POST /")) != NULL; at++)
        request = at;
    const char *header = strstr(request, name);
    char id = header != NULL ? header[strlen(name)] : '\0';
    pthread_mutex_unlock(&server->mutex);
    for (size_t i = 0; i < BLOCKS && !is_forgetful; i++) {
        if (blocks[i].id != NULL && blocks[i].id[0] == id)
            return is_inclusive ? i : i + 1;
    }
    return 0;
}

static void write_answer(char *out, size_t size, size_t first) {
    size_t used = (size_t)snprintf(out, size, "%s", HEAD_CHUNKED);
    const char *before = preface;
    if (before != NULL)
        used += (size_t)snprintf(out + used, size - used, "%zx\r\n%s\r\n", strlen(before), before);
    for (size_t i = first; i < BLOCKS; i++)
        used += (size_t)snprintf(out + used, size - used, "%zx\r\n%s\r\n", strlen(blocks[i].block),
                                 blocks[i].block);
    snprintf(out + used, size - used, LAST_CHUNK);
}

static void serve_cut(struct raw_server *server, int fd, size_t connection) {
    char answer[1024];
    while (raw_server_read(server, fd)) {
        write_answer(answer, sizeof answer, first_block(server));
        bool is_cut = (connection == 0 || !only_once) && cut_at < strlen(answer);
        if (is_cut)
            answer[cut_at] = '\0';
        raw_server_write(fd, answer);
        if (!is_cut)
            continue;
        if (is_reset) {
            raw_server_reset(fd);
            usleep(20000); /* else the reset overtakes the bytes */
        }
        return;
    }
}

static void resume_begin(struct call_fixture *fixture,
                         void (*serve)(struct raw_server *server, int fd, size_t connection)) {
    is_inclusive = false;
    is_forgetful = false;
    is_reset = false;
    only_once = true;
    cut_at = SIZE_MAX;
    preface = NULL;
    call_fixture_begin(fixture, serve);
    fixture->settings[UPSTREAM_A].resumable = true;
}

/** What is told, without what is told of attempts. */
static void without_attempts(const char *told, char *out) {
    for (const char *at = told; *at != '\0'; at += strlen("resume:a|")) {
        const char *resume = strstr(at, "resume:a|");
        size_t length = resume != NULL ? (size_t)(resume - at) : strlen(at);
        memcpy(out, at, length);
        out[length] = '\0';
        out += length;
        if (resume == NULL)
            return;
        at = resume;
    }
}

/** Runs a call whose stream breaks at `cut_at`, and checks what it tells. */
static void check_whole(struct call_fixture *fixture) {
    struct call_recorder recorder = {0};
    char told[sizeof recorder.told] = "";
    call_fixture_open(fixture);
    call_do(&recorder, fixture);
    without_attempts(recorder.told, told);
    if (strcmp(told, "sent|" ALL_TOLD "end|") != 0 || recorder.result.end != UPSTREAM_COMPLETED)
        fail_msg("cut at %zu: %s, end %d, %s", atomic_load(&cut_at), recorder.told, (int)recorder.result.end,
                 recorder.message);
    call_fixture_end(fixture);
}

static size_t length_of_whole(void) {
    char answer[1024];
    write_answer(answer, sizeof answer, 0);
    return strlen(answer);
}

/** From here on the first event has come. */
static size_t length_of_first_event(void) {
    return strlen(HEAD_CHUNKED "f\r\n") + strlen(blocks[0].block);
}

static void stream_cut_at_any_byte_is_resumed_without_loss_or_doubling(void **state) {
    (void)state;
    preface = NULL;
    for (size_t at = length_of_first_event(); at <= length_of_whole(); at++) {
        struct call_fixture fixture;
        resume_begin(&fixture, serve_cut);
        cut_at = at;
        check_whole(&fixture);
    }
}

static void stream_resumed_with_the_event_of_the_id_is_not_told_twice(void **state) {
    (void)state;
    preface = NULL;
    for (size_t at = length_of_first_event(); at <= length_of_whole(); at++) {
        struct call_fixture fixture;
        resume_begin(&fixture, serve_cut);
        is_inclusive = true;
        cut_at = at;
        check_whole(&fixture);
    }
}

static void stream_that_breaks_again_and_again_is_resumed_as_long_as_it_gets_on(void **state) {
    (void)state;
    preface = NULL;
    /* What is between two ids fits, so each answer brings a new one. */
    size_t least = strlen(HEAD_CHUNKED);
    for (size_t i = 1; i <= 3; i++)
        least += strlen("xx\r\n\r\n") + strlen(blocks[i].block);
    for (size_t at = least; at <= length_of_whole(); at++) {
        struct call_fixture fixture;
        resume_begin(&fixture, serve_cut);
        only_once = false;
        cut_at = at;
        check_whole(&fixture);
    }
}

static void stream_that_is_reset_is_resumed(void **state) {
    (void)state;
    struct call_fixture fixture;
    resume_begin(&fixture, serve_cut);
    is_reset = true;
    cut_at = length_of_whole() - 40;
    check_whole(&fixture);
}

/* ---- when it is not, and how often ----------------------------------------------------------------------
 */

static void check_end(struct call_fixture *fixture, const char *told, enum upstream_end end) {
    call_fixture_open(fixture);
    check_call(fixture, told, end);
    call_fixture_end(fixture);
}

static void stream_is_not_resumed_without_an_id(void **state) {
    (void)state;
    struct call_fixture fixture;
    resume_begin(&fixture, serve_cut);
    cut_at = length_of_first_event() - 1;
    check_end(&fixture, "sent|end|", UPSTREAM_TRUNCATED);
    resume_begin(&fixture, serve_cut);
    preface = "data: x\n\n";
    cut_at = strlen(HEAD_CHUNKED "9\r\ndata: x\n\n");
    check_end(&fixture, "sent|x|end|", UPSTREAM_TRUNCATED);
}

static void stream_is_not_resumed_unless_the_upstream_can(void **state) {
    (void)state;
    struct call_fixture fixture;
    resume_begin(&fixture, serve_cut);
    fixture.settings[UPSTREAM_A].resumable = false;
    fixture.settings[UPSTREAM_A].retry.attempts_max = 5;
    cut_at = length_of_first_event();
    check_end(&fixture, "sent|a|end|", UPSTREAM_TRUNCATED);
    resume_begin(&fixture, serve_cut);
    fixture.settings[UPSTREAM_A].adapter = &adapter_adk;
    cut_at = length_of_first_event();
    check_end(&fixture, "sent|a|end|", UPSTREAM_TRUNCATED);
}

static void stream_is_not_resumed_when_the_upstream_begins_anew(void **state) {
    (void)state;
    struct call_fixture fixture;
    resume_begin(&fixture, serve_cut);
    is_forgetful = true;
    fixture.settings[UPSTREAM_A].retry.attempts_max = 5;
    cut_at = length_of_whole() - strlen(LAST_CHUNK);
    check_end(&fixture, "sent|" ALL_TOLD "resume:a|end|", UPSTREAM_TRUNCATED);
    resume_begin(&fixture, serve_cut);
    is_forgetful = true;
    preface = "data: x\n\n";
    cut_at = length_of_whole() - strlen(LAST_CHUNK);
    check_end(&fixture, "sent|x|" ALL_TOLD "resume:a|end|", UPSTREAM_TRUNCATED);
}

static void serve_first_event_only(struct raw_server *server, int fd, size_t connection) {
    if (raw_server_read(server, fd))
        raw_server_write(fd, connection == 0 ? HEAD_CHUNKED "f\r\nid: 1\ndata: a\n\n\r\n" : HEAD_CHUNKED);
}

static void resumptions_without_an_event_are_bounded(void **state) {
    (void)state;
    struct call_fixture fixture;
    resume_begin(&fixture, serve_first_event_only);
    check_end(&fixture, "sent|a|resume:a|end|", UPSTREAM_TRUNCATED);
    resume_begin(&fixture, serve_first_event_only);
    fixture.settings[UPSTREAM_A].retry.attempts_max = 3;
    call_fixture_open(&fixture);
    check_call(&fixture, "sent|a|resume:a|resume:a|resume:a|end|", UPSTREAM_TRUNCATED);
    assert_int_equal(fixture.upstreams.items[UPSTREAM_A].resumptions, 3);
    assert_int_equal(fixture.upstreams.items[UPSTREAM_A].retries, 0);
    call_fixture_end(&fixture);
}

/* ---- how soon ------------------------------------------------------------------------------------------ */

enum { BREAKS = 24 };

static int64_t stream_lasts_ms, longest_wait_ms;

/* Each answer brings one event with an id of its own, then breaks. */
static void serve_one_event_each(struct raw_server *server, int fd, size_t connection) {
    char answer[256];
    snprintf(answer, sizeof answer, HEAD_CHUNKED "13\r\nid: %05zu\ndata: a\n\n\r\n", connection + 10000);
    if (raw_server_read(server, fd))
        raw_server_write(fd, answer);
}

static bool last_for_a_while(struct call_recorder *recorder) {
    (void)recorder;
    clock_fake_advance(stream_lasts_ms);
    return true;
}

static void note_wait(struct call_recorder *recorder) {
    int64_t wait_ms = recorder->retry.delay_ms;
    longest_wait_ms = wait_ms > longest_wait_ms ? wait_ms : longest_wait_ms;
    if (recorder->retry.attempt > BREAKS)
        upstream_call_cancel(recorder->call);
}

/* The longest wait of many before a stream is resumed that lasts for so long each time. */
static int64_t longest_of_waits(int64_t lasts_ms) {
    struct call_fixture fixture;
    struct call_recorder recorder = {.in_event = last_for_a_while, .in_retry = note_wait};
    stream_lasts_ms = lasts_ms;
    longest_wait_ms = 0;
    clock_fake(1000, 1700000000000);
    resume_begin(&fixture, serve_one_event_each);
    fixture.settings[UPSTREAM_A].retry.base_ms = 4;
    fixture.settings[UPSTREAM_A].retry.max_ms = 40;
    call_fixture_open(&fixture);
    call_start(&recorder, &fixture);
    assert_given_back(&fixture);
    assert_int_equal(recorder.retry.attempt, BREAKS + 1);
    call_fixture_end(&fixture);
    clock_real();
    return longest_wait_ms;
}

/* An event each time does not make the next answer come as soon as the first one. */
static void stream_that_breaks_off_soon_each_time_is_resumed_less_and_less_often(void **state) {
    (void)state;
    assert_in_range(longest_of_waits(0), 5, 40);
    assert_in_range(longest_of_waits(39), 5, 40);
}

static void stream_that_lasted_is_resumed_soon(void **state) {
    (void)state;
    assert_in_range(longest_of_waits(40), 0, 4);
}

static void check_answers(const char *const *texts, const char *told, enum upstream_end end) {
    struct call_fixture fixture;
    answers = texts;
    resume_begin(&fixture, serve_answers);
    fixture.settings[UPSTREAM_A].retry.attempts_max = 2;
    fixture.settings[UPSTREAM_A].idle_timeout_ms = 100;
    check_end(&fixture, told, end);
}

#define EVENT_1 HEAD_CHUNKED "f\r\nid: 1\ndata: a\n\n\r\n"

/* The server holds behind each of these answers: the stream falls silent. */
static void stream_that_falls_silent_is_resumed(void **state) {
    (void)state;
    static const char *const rest[] = {EVENT_1, HEAD_CHUNKED "f\r\nid: 2\ndata: b\n\n\r\n" LAST_CHUNK, NULL};
    check_answers(rest, "sent|a|resume:a|b|end|", UPSTREAM_COMPLETED);
    static const char *const nothing_more[] = {EVENT_1, "HTTP/1.1 204 No Content\r\n\r\n", NULL};
    check_answers(nothing_more, "sent|a|resume:a|end|", UPSTREAM_COMPLETED);
    static const char *const busy[] = {EVENT_1, REFUSAL(503), HEAD_CHUNKED LAST_CHUNK, NULL};
    check_answers(busy, "sent|a|resume:a|resume:a|end|", UPSTREAM_COMPLETED);
    static const char *const gone[] = {EVENT_1, REFUSAL(410), NULL};
    check_answers(gone, "sent|a|resume:a|end|", UPSTREAM_STATUS);
}

static void stream_that_is_refused_with_204_from_the_start_has_not_completed(void **state) {
    (void)state;
    static const char *const nothing[] = {"HTTP/1.1 204 No Content\r\n\r\n", NULL};
    check_answers(nothing, "sent|end|", UPSTREAM_STATUS);
}

static void stream_says_when_it_wants_to_be_resumed(void **state) {
    (void)state;
    struct call_fixture fixture;
    struct call_recorder recorder = {0};
    resume_begin(&fixture, serve_cut);
    preface = "retry: 200\n\n";
    cut_at = length_of_whole() - 20;
    call_fixture_open(&fixture);
    uint64_t begin = uv_hrtime();
    call_do(&recorder, &fixture);
    assert_in_range((uv_hrtime() - begin) / 1000000, 195, 5000);
    assert_int_equal(recorder.retry.delay_ms, 200);
    assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
    call_fixture_end(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stream_cut_at_any_byte_is_resumed_without_loss_or_doubling),
        cmocka_unit_test(stream_resumed_with_the_event_of_the_id_is_not_told_twice),
        cmocka_unit_test(stream_that_breaks_again_and_again_is_resumed_as_long_as_it_gets_on),
        cmocka_unit_test(stream_that_is_reset_is_resumed),
        cmocka_unit_test(stream_is_not_resumed_without_an_id),
        cmocka_unit_test(stream_is_not_resumed_unless_the_upstream_can),
        cmocka_unit_test(stream_is_not_resumed_when_the_upstream_begins_anew),
        cmocka_unit_test(resumptions_without_an_event_are_bounded),
        cmocka_unit_test(stream_that_breaks_off_soon_each_time_is_resumed_less_and_less_often),
        cmocka_unit_test(stream_that_lasted_is_resumed_soon),
        cmocka_unit_test(stream_that_falls_silent_is_resumed),
        cmocka_unit_test(stream_that_is_refused_with_204_from_the_start_has_not_completed),
        cmocka_unit_test(stream_says_when_it_wants_to_be_resumed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
