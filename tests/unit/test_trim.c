/* broadcaster/trim: whose events leave when memory is short, in which order, and what the viewers are told.
 */
#include "base/metrics.h"
#include "broadcaster/idle_sessions.h"
#include "tests/support/unit_memory.h"
#include "tests/support/unit_subscriber.h"

#include <errno.h>

/* Each event takes about a KiB. */
static void publish(struct task *task, int count) {
    static char text[900];
    memset(text, 'x', sizeof(text) - 1);
    for (int i = 0; i < count; i++)
        assert_true(unit_publish(task, text));
}

/* A session with a run that has ended, and its events. */
static struct session *filled(const char *key, int count) {
    struct session *other = unit_session(bench.broadcaster, key);
    struct task *task = unit_run(&bench.driver, other);
    publish(task, count);
    finish(task);
    return other;
}

static size_t retained(struct session *of) {
    lock_acquire(&of->lock);
    uint64_t count = of->log.next_sequence - of->log.first_sequence;
    lock_release(&of->lock);
    return (size_t)count;
}

static uint64_t bytes_of(struct session *of) {
    lock_acquire(&of->lock);
    uint64_t bytes = of->log.bytes;
    lock_release(&of->lock);
    return bytes;
}

static enum idleness idleness_of(struct session *of) {
    lock_acquire(&of->lock);
    enum idleness idleness = of->idleness;
    lock_release(&of->lock);
    return idleness;
}

static uint64_t trim(uint64_t bytes) {
    return broadcaster_trim(bench.broadcaster, bytes);
}

/* Until nothing is left to trim. */
static void trim_all(void) {
    int calls = 0;
    while (trim(UINT64_MAX) > 0)
        assert_true(++calls < 100);
}

static void close_session(struct session *of) {
    broadcaster_close_session(of, REASON_SESSION_DELETED);
    session_unref(of);
}

/* ---- idle sessions ------------------------------------------------------------------------------- */

static void trim_begins_with_the_session_that_was_not_used_for_longest(void **state) {
    (void)state;
    static const char *const keys[] = {"a/u/1", "a/u/2", "a/u/3", "a/u/4"};
    static const size_t order[] = {1, 3, 0, 2};
    struct session *all[4];
    for (size_t i = 0; i < 4; i++)
        all[i] = filled(keys[i], 20);
    struct frame *frame[1];
    assert_int_equal(unit_newest(all[0], frame, 1), 1); /* is looked at */
    frame_unref(frame[0]);
    struct fake_sink *sink = bench_subscribe(&bench, all[2], (struct subscriber_spec){0});
    bench_release(sink); /* was watched, and is not any more */
    bench_turn(&bench);
    for (size_t i = 0; i < 4; i++) {
        assert_true(trim(1) > 0);
        for (size_t k = 0; k < 4; k++)
            assert_int_equal(retained(all[order[k]]), k <= i ? 0 : 22);
    }
    assert_int_equal(trim(1), 0);
    for (size_t i = 0; i < 4; i++)
        close_session(all[i]);
}

static void trim_takes_about_what_is_wanted_and_the_oldest_events(void **state) {
    (void)state;
    struct session *other = filled("a/u/1", 900);
    uint64_t before = bytes_of(other);
    uint64_t freed = trim(100 << 10);
    assert_in_range(freed, 100 << 10, 400 << 10); /* a few hundred events under one lock */
    assert_int_equal(bytes_of(other), before - freed);
    assert_true(retained(other) > 400);
    struct frame *last[1];
    assert_int_equal(unit_newest(other, last, 1), 1);
    assert_true(unit_frame_is(last[0], "run.end"));
    frame_unref(last[0]);
    assert_true(trim(100 << 10) > 0); /* it is the next one still */
    close_session(other);
}

static void trim_gives_back_all_of_a_log_but_the_smallest_ring(void **state) {
    (void)state;
    struct session *other = unit_session(bench.broadcaster, "a/u/1");
    uint64_t sessions = memory_used(MEMORY_SESSIONS), events = memory_used(MEMORY_EVENTS);
    struct task *task = unit_run(&bench.driver, other);
    publish(task, 500);
    finish(task);
    assert_true(memory_used(MEMORY_SESSIONS) > sessions && memory_used(MEMORY_EVENTS) > events + (450 << 10));
    uint64_t trimmed = metrics_get(METRIC_EVENTS_TRIMMED),
             for_memory = metrics_get(METRIC_MEMORY_EVENTS_TRIMMED);
    trim_all();
    assert_int_equal(memory_used(MEMORY_SESSIONS), sessions);
    assert_int_equal(memory_used(MEMORY_EVENTS), events);
    assert_int_equal(metrics_get(METRIC_EVENTS_TRIMMED) - trimmed, 502);
    assert_int_equal(metrics_get(METRIC_MEMORY_EVENTS_TRIMMED) - for_memory, 502);
    struct broadcaster_stats stats;
    broadcaster_get_stats(bench.broadcaster, &stats);
    assert_int_equal(stats.log_events, 0);
    assert_int_equal(stats.log_bytes, 0);
    assert_int_equal(idleness_of(other), SESSION_TRIMMED);
    task = unit_run(&bench.driver, other); /* its log goes on */
    publish(task, 40);
    finish(task);
    assert_int_equal(retained(other), 42);
    assert_int_equal(idleness_of(other), SESSION_IDLE);
    close_session(other);
}

static void trim_s_work_in_one_call_is_bounded(void **state) {
    (void)state;
    static struct session *all[20];
    char key[32];
    for (int i = 0; i < 20; i++) {
        snprintf(key, sizeof(key), "a/u/%d", i);
        all[i] = filled(key, 900);
    }
    assert_true(trim(UINT64_MAX) < 5 << 20);
    assert_int_equal(retained(all[19]), 902);
    trim_all();
    for (int i = 0; i < 20; i++) {
        assert_int_equal(retained(all[i]), 0);
        close_session(all[i]);
    }
}

/* ---- what viewers are told ----------------------------------------------------------------------- */

static void viewer_who_comes_after_a_trim_is_told_of_a_gap(void **state) {
    (void)state;
    struct session *other = filled("a/u/1", 3);
    struct frame *frames[5];
    assert_int_equal(unit_newest(other, frames, 5), 5);
    struct event_id seen = frames[1]->id, last = frames[4]->id;
    for (size_t i = 0; i < 5; i++)
        frame_unref(frames[i]);
    trim_all();
    struct fake_sink *resumed = bench_subscribe(
        &bench, other, (struct subscriber_spec){.resume = true, .last_id = seen, .until_run = true});
    struct fake_sink *fresh = bench_subscribe(
        &bench, other, (struct subscriber_spec){.from = SUBSCRIBE_FROM_START, .until_run = true});
    char from[EVENT_ID_SIZE], to[EVENT_ID_SIZE], expected[256];
    event_id_format(seen, from);
    event_id_format(last, to);
    snprintf(expected, sizeof(expected), "{\"from\":\"%s\",\"to\":\"%s\",\"reason\":\"trimmed\"}", from, to);
    assert_non_null(strstr(fake_sink_text(resumed), expected));
    snprintf(expected, sizeof(expected), "{\"from\":null,\"to\":\"%s\",\"reason\":\"trimmed\"}", to);
    assert_non_null(strstr(fake_sink_text(fresh), expected));
    assert_ended(resumed); /* its run has ended: nothing more will come */
    assert_ended(fresh);
    bench_release(resumed);
    bench_release(fresh);
    close_session(other);
}

static void viewer_who_has_read_all_misses_nothing_of_a_trim(void **state) {
    (void)state;
    struct task *task = run();
    struct fake_sink *sink = subscribe((struct subscriber_spec){0});
    unit_publish(task, "1");
    finish(task);
    bench_turn(&bench);
    assert_int_equal(retained(session), 3);
    trim_all();
    assert_int_equal(retained(session), 0);
    task = run();
    unit_publish(task, "2");
    bench_turn(&bench);
    ASSERT_SINK_SAYS(sink, "run.start 1 end:completed run.start 2");
    finish(task);
    bench_release(sink);
}

/* ---- sessions in use ----------------------------------------------------------------------------- */

static void trim_leaves_what_a_worker_has_not_written(void **state) {
    (void)state;
    struct task *task = run();
    struct fake_sink *sink = subscribe((struct subscriber_spec){0});
    unit_publish(task, "1");
    bench_turn(&bench);
    unit_publish(task, "2");
    finish(task);
    assert_int_equal(retained(session), 4);
    trim_all();
    assert_int_equal(retained(session), 2);
    bench_turn(&bench);
    ASSERT_SINK_SAYS(sink, "run.start 1 2 end:completed");
    trim_all();
    assert_int_equal(retained(session), 0);
    bench_release(sink);
}

static void trim_takes_watched_sessions_last_and_running_ones_never(void **state) {
    (void)state;
    struct session *watched = filled("a/u/watched", 3),
                   *running = unit_session(bench.broadcaster, "a/u/running");
    struct fake_sink *sink = bench_subscribe(&bench, watched, (struct subscriber_spec){0});
    bench_turn(&bench);
    struct task *task = unit_run(&bench.driver, running);
    publish(task, 3);
    struct session *idle = filled("a/u/idle", 3);
    assert_true(trim(1) > 0);
    assert_int_equal(retained(idle), 0);
    assert_int_equal(retained(watched), 5);
    assert_int_equal(idleness_of(watched), SESSION_WATCHED);
    assert_int_equal(idleness_of(running), SESSION_RUNNING);
    assert_true(trim(1) > 0);
    assert_int_equal(retained(watched), 0);
    assert_int_equal(idleness_of(watched), SESSION_IN_USE); /* there is nothing to trim */
    assert_int_equal(trim(1), 0);
    assert_int_equal(retained(running), 4);
    finish(task);
    assert_true(trim(1) > 0);
    assert_int_equal(retained(running), 0);
    bench_release(sink);
    close_session(watched);
    close_session(running);
    close_session(idle);
}

static void trim_takes_the_log_of_a_session_whose_run_is_for_later(void **state) {
    (void)state;
    struct session *other = filled("a/u/1", 3);
    struct task *later = unit_task(&bench.driver, other, (struct task_options){.delay_ms = 60000});
    assert_int_equal(unit_register(later), REGISTER_OK);
    trim_all();
    assert_int_equal(retained(other), 0);
    task_cancel(later, REASON_REQUESTED);
    unit_task_release(later);
    close_session(other);
}

/* ---- a cap on the logs of running sessions ------------------------------------------------------- */

/* Every running session has been trimmed. */
static void cap(uint64_t bytes) {
    while (broadcaster_cap_logs(bench.broadcaster, bytes) > 0)
        ;
}

static void cap_holds_for_what_there_is_and_for_what_comes(void **state) {
    (void)state;
    struct session *one = unit_session(bench.broadcaster, "a/u/1"),
                   *two = unit_session(bench.broadcaster, "a/u/2");
    struct task *runs[] = {unit_run(&bench.driver, one), unit_run(&bench.driver, two)};
    publish(runs[0], 600);
    publish(runs[1], 10);
    assert_int_equal(broadcaster_count_running(bench.broadcaster), 2);
    cap(64 << 10);
    assert_in_range(bytes_of(one), 60 << 10, 64 << 10);
    assert_int_equal(retained(two), 11);
    publish(runs[0], 100);
    publish(runs[1], 100);
    assert_in_range(bytes_of(one), 60 << 10, 64 << 10);
    assert_in_range(bytes_of(two), 60 << 10, 64 << 10);
    cap(UINT64_MAX);
    publish(runs[0], 100);
    assert_in_range(retained(one), 160, 170);
    finish(runs[0]);
    finish(runs[1]);
    assert_int_equal(broadcaster_count_running(bench.broadcaster), 0);
    close_session(one);
    close_session(two);
}

static void cap_does_not_take_events_from_those_who_keep_up(void **state) {
    (void)state;
    struct task *task = run();
    struct fake_sink *sink = subscribe((struct subscriber_spec){0});
    cap(16 << 10);
    for (int i = 0; i < 30; i++) {
        publish(task, 10);
        bench_turn(&bench);
    }
    assert_null(strstr(fake_sink_text(sink), "event: gap"));
    assert_in_range(bytes_of(session), 1, 16 << 10);
    publish(task, 12);
    assert_true(task_is_ahead(task)); /* by the cap, not by the limit: so the run waits for the worker */
    bench_turn(&bench);
    assert_false(task_is_ahead(task));
    finish(task);
    bench_turn(&bench);
    bench_release(sink);
}

static void cap_keeps_the_newest_event_however_small_it_is(void **state) {
    (void)state;
    struct task *task = run();
    cap(0);
    publish(task, 3);
    assert_int_equal(retained(session), 1);
    finish(task);
    cap(UINT64_MAX);
}

/* ---- when it is not of logs ---------------------------------------------------------------------- */

static bool is_open(const char *key) {
    struct session *found = broadcaster_find_session(bench.broadcaster, key);
    session_unref(found);
    return found != NULL;
}

static void forgetting_takes_what_retains_nothing_and_no_more(void **state) {
    (void)state;
    struct session *watched = filled("a/u/watched", 1),
                   *running = unit_session(bench.broadcaster, "a/u/running");
    struct fake_sink *sink = bench_subscribe(&bench, watched, (struct subscriber_spec){0});
    struct task *task = unit_run(&bench.driver, running);
    bench_turn(&bench);
    struct session *trimmed = filled("a/u/trimmed", 1);
    trim_all();
    struct session *retains = filled("a/u/retains", 1);
    session_unref(unit_session(bench.broadcaster, "a/u/empty"));
    clock_fake_advance(BROADCASTER_FORGET_MS - 1);
    assert_int_equal(broadcaster_forget(bench.broadcaster), 0);
    clock_fake_advance(1);
    struct session *new = filled("a/u/new", 1);
    /* Three sessions, the one of all tests among them, and three ended runs. */
    assert_int_equal(broadcaster_forget(bench.broadcaster), 3 + 3);
    assert_false(is_open("a/u/empty") || is_open("a/u/trimmed") || is_open("app/user/session"));
    assert_true(is_open("a/u/watched") && is_open("a/u/running") && is_open("a/u/retains") &&
                is_open("a/u/new"));
    trim_all();
    assert_int_equal(broadcaster_forget(bench.broadcaster), 1);
    assert_false(is_open("a/u/retains"));
    assert_true(is_open("a/u/new"));
    struct task *found = task_table_find(broadcaster_tasks(bench.broadcaster), task->id);
    assert_ptr_equal(found, task);
    task_unref(found);
    finish(task);
    bench_release(sink);
    session_unref(retains);
    session_unref(trimmed);
    close_session(watched);
    close_session(running);
    close_session(new);
}

static void forgetting_gives_all_back_and_is_bounded(void **state) {
    (void)state;
    char key[32];
    atomic_store(&broadcaster_limits(bench.broadcaster)->sessions_max, 1000);
    uint64_t before = memory_total();
    for (int i = 0; i < 500; i++) {
        snprintf(key, sizeof(key), "a/u/%d", i);
        session_unref(filled(key, 1));
    }
    trim_all();
    clock_fake_advance(BROADCASTER_FORGET_MS);
    assert_true(memory_total() > before + 500 * 1000);
    uint64_t forgotten = metrics_get(METRIC_MEMORY_FORGOTTEN);
    assert_int_equal(broadcaster_forget(bench.broadcaster), 128 + 256);
    assert_true(is_open("a/u/499") && !is_open("a/u/0"));
    while (broadcaster_forget(bench.broadcaster) > 0)
        ;
    assert_int_equal(metrics_get(METRIC_MEMORY_FORGOTTEN) - forgotten,
                     501 + 500); /* that of all tests, too */
    assert_true(memory_total() < before);
}

/* ---- when it is not enough ----------------------------------------------------------------------- */

static void log_takes_no_more_while_nothing_may_grow(void **state) {
    (void)state;
    struct task *task = run();
    publish(task, 20);
    uint64_t bytes = bytes_of(session);
    assert_int_equal(unit_memory_at(17), MEMORY_FULL);
    publish(task, 1);
    assert_true(bytes_of(session) > bytes);
    bytes = bytes_of(session);
    assert_int_equal(unit_memory_at(18), MEMORY_OVER);
    publish(task, 100);
    assert_in_range(bytes_of(session), bytes / 2, bytes);
    unit_memory_at(0);
    publish(task, 1);
    assert_true(bytes_of(session) > bytes / 2);
    finish(task);
}

static void session_is_not_opened_while_memory_is_full(void **state) {
    (void)state;
    struct session *other = NULL;
    assert_int_equal(unit_memory_at(16), MEMORY_FULL);
    assert_int_equal(broadcaster_open_session(bench.broadcaster, "a/u/new", &other), -ENOBUFS);
    assert_null(other);
    assert_int_equal(broadcaster_open_session(bench.broadcaster, session->key, &other),
                     0); /* it is open already */
    session_unref(other);
    unit_memory_at(14);
    assert_int_equal(broadcaster_open_session(bench.broadcaster, "a/u/new", &other), 0);
    close_session(other);
    unit_memory_at(0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(forgetting_takes_what_retains_nothing_and_no_more),
        TEST(forgetting_gives_all_back_and_is_bounded),
        TEST(log_takes_no_more_while_nothing_may_grow),
        TEST(session_is_not_opened_while_memory_is_full),
        TEST(trim_begins_with_the_session_that_was_not_used_for_longest),
        TEST(trim_takes_about_what_is_wanted_and_the_oldest_events),
        TEST(trim_gives_back_all_of_a_log_but_the_smallest_ring),
        TEST(trim_s_work_in_one_call_is_bounded),
        TEST(viewer_who_comes_after_a_trim_is_told_of_a_gap),
        TEST(viewer_who_has_read_all_misses_nothing_of_a_trim),
        TEST(trim_leaves_what_a_worker_has_not_written),
        TEST(trim_takes_watched_sessions_last_and_running_ones_never),
        TEST(trim_takes_the_log_of_a_session_whose_run_is_for_later),
        TEST(cap_holds_for_what_there_is_and_for_what_comes),
        TEST(cap_does_not_take_events_from_those_who_keep_up),
        TEST(cap_keeps_the_newest_event_however_small_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
