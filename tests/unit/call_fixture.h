/* What the tests of calls share: upstreams a, b and c, which are paths of one raw server, and one call with
 * all that it told. */
#ifndef SLUICE_TESTS_UNIT_CALL_FIXTURE_H
#define SLUICE_TESTS_UNIT_CALL_FIXTURE_H

#include "tests/unit/answering_server.h"
#include "tests/unit/stream_recorder.h"
#include "upstream/call.h"

#define WHOLE_STREAM HEAD_CHUNKED CHUNK_A LAST_CHUNK
#define REFUSAL(status) "HTTP/1.1 " #status " X\r\nContent-Length: 0\r\n\r\n"

enum { UPSTREAM_A, UPSTREAM_B, UPSTREAM_C, UPSTREAMS };

#define HOUR_MS (60 * 60 * INT64_C(1000))
#define TICK_MS 5 /* no turn of the loop takes longer, however much comes in its beginning */

struct call_fixture {
    struct fixture fixture;
    struct inbox inbox;
    uv_timer_t tick;
    struct upstream_settings settings[UPSTREAMS];
    char names[UPSTREAMS][2];
    char urls[UPSTREAMS][96];
    struct upstreams upstreams;
    struct upstream_worker upstream_worker;
};

struct call_recorder {
    struct call_fixture *fixture;
    struct upstream_preparer preparer;
    struct upstream_call *call;
    char told[4096]; /* "sent|", "data|" for each event, "again:a|", "next:b|", "resume:a|", "canned|", "end|"
                      */
    struct upstream_retry retry; /* the last; without its texts */
    bool has_ended;
    struct upstream_result result; /* its message is the copy below */
    char message[1024];
    bool has_session;
    bool session_exists;
    bool refuses_retry;
    const char *not_built; /* name of an upstream for which nothing can be built */
    void (*in_prepare)(struct call_recorder *recorder); /* called in the callbacks, if not NULL */
    void (*in_sent)(struct call_recorder *recorder);
    void (*in_retry)(struct call_recorder *recorder);
    bool (*in_event)(struct call_recorder *recorder);
    void (*in_end)(struct call_recorder *recorder);
};

/* ---- the upstreams ---------------------------------------------------------------------------------- */

static inline void call_fixture_on_tick(uv_timer_t *timer) {
    (void)timer;
}

/** Upstreams that have no guard and know of no other, and are not tried again. */
static inline void call_fixture_begin(struct call_fixture *fixture,
                                      void (*serve)(struct raw_server *server, int fd, size_t connection)) {
    *fixture = (struct call_fixture){0};
    fixture_begin(&fixture->fixture, serve);
    assert_int_equal(inbox_init(&fixture->inbox, &fixture->fixture.loop), 0);
    uv_timer_init(&fixture->fixture.loop, &fixture->tick);
    uv_timer_start(&fixture->tick, call_fixture_on_tick, TICK_MS, TICK_MS);
    for (size_t i = 0; i < UPSTREAMS; i++) {
        fixture->names[i][0] = (char)('a' + i);
        snprintf(fixture->urls[i], sizeof fixture->urls[i], "%s/%s", fixture->fixture.base_url,
                 fixture->names[i]);
        struct upstream_settings *settings = &fixture->settings[i];
        *settings = fixture->fixture.settings;
        settings->name = fixture->names[i];
        settings->base_url = fixture->urls[i];
        settings->adapter = &adapter_sse;
        settings->retry = (struct retry_settings){.attempts_max = 1, .max_ms = 1000, .total_ms = 10000};
    }
}

/** Upstream a opens for an hour when half of the last hour's calls have failed. */
static inline void guard_by_breaker(struct call_fixture *fixture, uint64_t calls_min) {
    fixture->settings[UPSTREAM_A].breaker = (struct breaker_settings){.failure_percent = 50,
                                                                      .calls_min = calls_min,
                                                                      .window_ms = HOUR_MS,
                                                                      .recovery_ms = HOUR_MS,
                                                                      .recovery_max_ms = HOUR_MS,
                                                                      .probes_max = 1};
}

/** Upstream a takes ten calls an hour. */
static inline void guard_by_limiter(struct call_fixture *fixture, uint64_t slots, uint64_t waiting_max) {
    fixture->settings[UPSTREAM_A].limiter = (struct limiter_settings){
        .rate_calls = 10, .rate_per_ms = HOUR_MS, .concurrency_max = slots, .waiting_max = waiting_max};
}

/** The settings are as the test wants them: makes the guards. */
static inline void call_fixture_open(struct call_fixture *fixture) {
    const struct upstreams_settings settings = {.count = UPSTREAMS, .items = fixture->settings};
    assert_true(upstreams_init(&fixture->upstreams, &settings));
    fixture->upstream_worker = (struct upstream_worker){.client = fixture->fixture.client,
                                                        .inbox = &fixture->inbox,
                                                        .loop = &fixture->fixture.loop,
                                                        .upstreams = &fixture->upstreams,
                                                        .settings = settings};
}

static inline uint64_t calls_in_phase(struct call_fixture *fixture, size_t index, enum upstream_phase phase) {
    return atomic_load(&fixture->upstreams.items[index].in_phase[phase]);
}

/** In all phases of all upstreams. */
static inline uint64_t calls_in_phases(struct call_fixture *fixture) {
    uint64_t calls = 0;
    for (size_t i = 0; i < UPSTREAMS; i++) {
        for (enum upstream_phase phase = 0; phase < UPSTREAM_PHASE_COUNT; phase++)
            calls += calls_in_phase(fixture, i, phase);
    }
    return calls;
}

static inline void await_phase(struct call_fixture *fixture, size_t index, enum upstream_phase phase) {
    while (calls_in_phase(fixture, index, phase) == 0)
        fixture_turn(&fixture->fixture);
}

static inline struct limiter_info limiter_now(struct call_fixture *fixture, size_t index) {
    struct limiter_info info = {0};
    if (fixture->upstreams.items[index].limiter != NULL)
        limiter_get_info(fixture->upstreams.items[index].limiter, &info);
    return info;
}

static inline struct breaker_info breaker_now(struct call_fixture *fixture, size_t index) {
    struct breaker_info info = {0};
    breaker_get_info(fixture->upstreams.items[index].breaker, &info);
    return info;
}

/** All calls have ended: nothing of them is left. */
static inline void assert_given_back(struct call_fixture *fixture) {
    while (fixture->upstream_worker.calls > 0)
        fixture_turn(&fixture->fixture);
    assert_int_equal(calls_in_phases(fixture), 0);
    assert_int_equal(upstream_client_active(fixture->fixture.client), 0);
    for (size_t i = 0; i < UPSTREAMS; i++) {
        assert_int_equal(limiter_now(fixture, i).slots_used, 0);
        assert_int_equal(limiter_now(fixture, i).waiting, 0);
    }
}

static inline void call_fixture_end(struct call_fixture *fixture) {
    assert_given_back(fixture);
    uv_close((uv_handle_t *)&fixture->tick, NULL);
    inbox_close(&fixture->inbox);
    fixture_end(&fixture->fixture);
    inbox_finish(&fixture->inbox);
    upstreams_finish(&fixture->upstreams);
}

/** Which upstreams were asked for a run, in order: "aab". */
static inline const char *asked(struct call_fixture *fixture) {
    static char names[64];
    struct raw_server *server = &fixture->fixture.server;
    size_t count = 0;
    pthread_mutex_lock(&server->mutex);
    for (const char *at = server->log; (at = strstr(at, "POST /")) != NULL && count + 1 < sizeof names;
         at++) {
        if (strncmp(at + strlen("POST /?"), "/run ", strlen("/run ")) == 0)
            names[count++] = at[strlen("POST /")];
    }
    pthread_mutex_unlock(&server->mutex);
    names[count] = '\0';
    return names;
}

static inline void serve_event_and_hold(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    if (raw_server_read(server, fd))
        raw_server_write(fd, HEAD_CHUNKED CHUNK_A);
    raw_server_hold(fd);
}

/* ---- one call --------------------------------------------------------------------------------------- */

static inline void call_note(struct call_recorder *recorder, const char *text, size_t length) {
    size_t used = strlen(recorder->told);
    assert_non_null(recorder->call); /* never before start() has returned */
    assert_false(recorder->has_ended);
    assert_true(used + length + 2 < sizeof recorder->told);
    memcpy(recorder->told + used, text, length);
    memcpy(recorder->told + used + length, "|", 2);
}

static inline char *call_url(const struct upstream_settings *settings, const char *path) {
    struct buffer url;
    buffer_init(&url, 1024);
    assert_true(buffer_printf(&url, "%s%s", settings->base_url, path));
    return buffer_detach(&url);
}

static inline bool call_prepare(struct upstream_preparer *preparer, size_t upstream,
                                struct upstream_post *ret_post, const char **ret_message) {
    struct call_recorder *recorder = CONTAINER_OF(preparer, struct call_recorder, preparer);
    const struct upstream_settings *settings = &recorder->fixture->upstream_worker.settings.items[upstream];
    assert_non_null(recorder->call);
    assert_false(recorder->has_ended);
    if (recorder->not_built != NULL && strcmp(recorder->not_built, settings->name) == 0) {
        *ret_message = "It cannot be built.";
        return false;
    }
    *ret_post = (struct upstream_post){
        .request = upstream_request_create(settings->adapter, call_url(settings, "/run"),
                                           recorder->has_session ? call_url(settings, "/session") : NULL,
                                           strdup("{}"), 2),
        .session_exists = recorder->session_exists};
    if (recorder->in_prepare != NULL)
        recorder->in_prepare(recorder);
    return true;
}

static inline void call_on_sent(void *context) {
    struct call_recorder *recorder = context;
    call_note(recorder, "sent", 4);
    if (recorder->in_sent != NULL)
        recorder->in_sent(recorder);
}

static inline bool call_on_retry(void *context, const struct upstream_retry *retry) {
    struct call_recorder *recorder = context;
    char text[64];
    assert_int_equal(retry->attempt, recorder->retry.attempt == 0 ? 2 : recorder->retry.attempt + 1);
    assert_true(retry->failure.end != UPSTREAM_COMPLETED && retry->failure.message[0] != '\0');
    assert_false(retry->is_fallback && retry->is_resumption);
    const char *how = retry->is_resumption ? "resume" : retry->is_fallback ? "next" : "again";
    if (retry->upstream != NULL)
        snprintf(text, sizeof text, "%s:%s", how, retry->upstream);
    else
        snprintf(text, sizeof text, "canned");
    call_note(recorder, text, strlen(text));
    recorder->retry = *retry;
    recorder->retry.upstream = recorder->retry.failure.message = NULL;
    if (recorder->in_retry != NULL)
        recorder->in_retry(recorder);
    return !recorder->refuses_retry;
}

static inline bool call_on_event(void *context, const struct sse_event *event) {
    struct call_recorder *recorder = context;
    call_note(recorder, event->data, event->data_length);
    return recorder->in_event == NULL || recorder->in_event(recorder);
}

static inline void call_on_end(void *context, const struct upstream_result *result) {
    struct call_recorder *recorder = context;
    call_note(recorder, "end", 3);
    recorder->has_ended = true;
    recorder->result = *result;
    snprintf(recorder->message, sizeof recorder->message, "%s", result->message);
    recorder->result.message = recorder->message;
    if (recorder->in_end != NULL)
        recorder->in_end(recorder);
}

/** Starts a call at upstream a. What the recorder does in callbacks is left as it is. */
static inline void call_start(struct call_recorder *recorder, struct call_fixture *fixture) {
    static const struct upstream_call_callbacks callbacks = {
        .on_sent = call_on_sent, .on_retry = call_on_retry, .on_event = call_on_event, .on_end = call_on_end};
    recorder->fixture = fixture;
    recorder->preparer.prepare = call_prepare;
    recorder->call =
        upstream_call_start(&fixture->upstream_worker, UPSTREAM_A, &recorder->preparer, &callbacks, recorder);
    assert_non_null(recorder->call);
    assert_int_equal(upstream_call_upstream(recorder->call), UPSTREAM_A);
    assert_string_equal(recorder->told, "");
}

static inline void call_await_end(struct call_recorder *recorder) {
    while (!recorder->has_ended)
        fixture_turn(&recorder->fixture->fixture);
}

/** Makes one call to its end, and checks that nothing of it is left. */
static inline void call_do(struct call_recorder *recorder, struct call_fixture *fixture) {
    call_start(recorder, fixture);
    call_await_end(recorder);
    assert_given_back(fixture);
}

/** The same, and what it told. */
static inline void check_call(struct call_fixture *fixture, const char *told, enum upstream_end end) {
    struct call_recorder recorder = {0};
    call_do(&recorder, fixture);
    assert_string_equal(recorder.told, told);
    assert_int_equal(recorder.result.end, end);
    assert_true((end == UPSTREAM_COMPLETED) == (recorder.message[0] == '\0'));
}

#endif
