/* A broadcaster for unit tests, and a driver that does no work but counts what it is asked. */
#ifndef SLUICE_TESTS_UNIT_BROADCASTER_H
#define SLUICE_TESTS_UNIT_BROADCASTER_H

#include "base/clock.h"
#include "broadcaster/broadcaster.h"
#include "broadcaster/lifecycle.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>

/* What a run was asked: the payload of a task. */
struct fake_run {
    atomic_int started, ended;
    int published; /* for whoever publishes */
};

struct fake_driver {
    struct task_driver driver;
    atomic_int started, ended;
    void (*on_start)(struct fake_driver *driver, struct task *task); /* NULL: nothing more */
    void (*on_end)(struct fake_driver *driver, struct task *task);
};

static inline void fake_driver_start(struct task_driver *base, struct task *task) {
    struct fake_driver *driver = CONTAINER_OF(base, struct fake_driver, driver);
    struct fake_run *run = task->payload;
    atomic_fetch_add(&driver->started, 1);
    atomic_fetch_add(&run->started, 1);
    if (driver->on_start != NULL)
        driver->on_start(driver, task);
}

static inline void fake_driver_ended(struct task_driver *base, struct task *task) {
    struct fake_driver *driver = CONTAINER_OF(base, struct fake_driver, driver);
    struct fake_run *run = task->payload;
    atomic_fetch_add(&driver->ended, 1);
    atomic_fetch_add(&run->ended, 1);
    if (driver->on_end != NULL)
        driver->on_end(driver, task);
}

#define FAKE_DRIVER ((struct fake_driver){.driver = {.start = fake_driver_start, .ended = fake_driver_ended}})

/* Small enough to be reached by a test. */
#define UNIT_LIMITS                                                                                          \
    ((struct broadcaster_limits){.runs_max = 100,                                                            \
                                 .runs_queued_max = 50,                                                      \
                                 .runs_queued_per_session_max = 16,                                          \
                                 .runs_delayed_max = 50,                                                     \
                                 .subscribers_max = 1000,                                                    \
                                 .subscribers_per_session_max = 500,                                         \
                                 .subscribers_waiting_max = 100,                                             \
                                 .sessions_max = 100,                                                        \
                                 .log_events_max = 1000,                                                     \
                                 .log_bytes_max = 4 << 20,                                                   \
                                 .tasks_kept = 1000,                                                         \
                                 .idempotency_keys_per_session_max = 10,                                     \
                                 .idempotency_ttl_ms = 600000,                                               \
                                 .session_ttl_ms = 1800000,                                                  \
                                 .session_empty_ttl_ms = 60000})

static inline struct broadcaster *unit_broadcaster(void) {
    const struct broadcaster_limits limits = UNIT_LIMITS;
    struct broadcaster *broadcaster = broadcaster_create(&limits);
    assert_non_null(broadcaster);
    return broadcaster;
}

/* An open session: a reference. */
static inline struct session *unit_session(struct broadcaster *broadcaster, const char *key) {
    struct session *session = NULL;
    assert_int_equal(broadcaster_open_session(broadcaster, key, &session), 0);
    return session;
}

/* A task that is not registered: a reference; its payload is freed by unit_task_release(). */
static inline struct task *unit_task(struct fake_driver *driver, struct session *session,
                                     struct task_options options) {
    struct fake_run *run = calloc(1, sizeof(*run));
    assert_non_null(run);
    if (options.priority == 0)
        options.priority = 5;
    struct task *task = task_create(session, &options, &driver->driver, run);
    assert_non_null(task);
    return task;
}

/* Gives a task back and asserts that it was treated as it must be: started at most once, ended once or, if it
 * was never registered, not at all. */
static inline void unit_task_release(struct task *task) {
    struct fake_run *run = task->payload;
    bool registered = atomic_load(&task->registered);
    assert_true(atomic_load(&run->started) <= (registered ? 1 : 0));
    assert_int_equal(atomic_load(&run->ended), registered ? 1 : 0);
    task->payload = NULL;
    free(run);
    task_unref(task);
}

static inline enum register_result unit_register(struct task *task) {
    struct registration registration;
    enum register_result result =
        broadcaster_register_task(task->session->broadcaster, task, NULL, &registration);
    task_unref(registration.task);
    return result;
}

/* A registered task. */
static inline struct task *unit_run(struct fake_driver *driver, struct session *session) {
    struct task *task = unit_task(driver, session, (struct task_options){0});
    assert_int_equal(unit_register(task), REGISTER_OK);
    return task;
}

static inline bool unit_publish(struct task *task, const char *text) {
    struct frame *frame = lifecycle_make_agent_event(task->serial, NULL, 0, text, strlen(text));
    assert_non_null(frame);
    return task_publish(task, frame);
}

static inline bool unit_complete(struct task *task) {
    return task_end(task, TASK_COMPLETED, REASON_NONE, 0, NULL);
}

static inline enum task_status unit_status(struct task *task) {
    struct task_info info;
    task_get_info(task, &info);
    return info.status;
}

/* The newest events of a session, oldest of them first: fills `frames` with references. */
static inline size_t unit_newest(struct session *session, struct frame **frames, size_t count_max) {
    struct log_span span = broadcaster_newest_events(session, count_max);
    bool lost = false;
    size_t count = 0;
    for (struct frame *frame; (frame = broadcaster_next_event(session, &span, &lost)) != NULL;)
        frames[count++] = frame;
    assert_false(lost);
    return count;
}

static inline bool unit_frame_is(const struct frame *frame, const char *type) {
    const struct frame_span span = frame_type(frame);
    return span.length == strlen(type) && memcmp(span.bytes, type, span.length) == 0;
}

/* What the session's log says, as stream_assert_says() has it. */
static inline void unit_log_text(struct session *session, char *out, size_t size) {
    static struct frame *frames[5000];
    size_t count = unit_newest(session, frames, 5000), length = 0;
    out[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        struct buffer data;
        buffer_init(&data, 1 << 20);
        assert_true(frame_append_data(frames[i], &data));
        struct frame_span type = frame_type(frames[i]);
        const char *status = strstr(data.bytes, "\"status\":\"");
        length += (size_t)snprintf(out + length, size - length, "%s", i > 0 ? " " : "");
        if (frames[i]->is_of_agent)
            length += (size_t)snprintf(out + length, size - length, "%s", data.bytes);
        else if (unit_frame_is(frames[i], "run.end"))
            length += (size_t)snprintf(out + length, size - length, "end:%.*s",
                                       (int)strcspn(status + 10, "\""), status + 10);
        else
            length += (size_t)snprintf(out + length, size - length, "%.*s", (int)type.length, type.bytes);
        assert_true(length < size);
        buffer_finish(&data);
        frame_unref(frames[i]);
    }
}

#define ASSERT_LOG_SAYS(session, expected)                                                                   \
    do {                                                                                                     \
        char said_[8192];                                                                                    \
        unit_log_text(session, said_, sizeof(said_));                                                        \
        assert_string_equal(said_, expected);                                                                \
    } while (0)

/* Nothing is left but what the table of tasks remembers. */
static inline void unit_assert_empty(struct broadcaster *broadcaster) {
    struct broadcaster_stats stats;
    broadcaster_get_stats(broadcaster, &stats);
    assert_int_equal(stats.sessions, 0);
    assert_int_equal(stats.sessions_awaited, 0);
    assert_int_equal(stats.subscribers, 0);
    assert_int_equal(stats.subscribers_waiting, 0);
    assert_int_equal(stats.runs, 0);
    assert_int_equal(stats.runs_queued, 0);
    assert_int_equal(stats.runs_delayed, 0);
    assert_int_equal(stats.log_events, 0);
    assert_int_equal(stats.log_bytes, 0);
}

#endif
