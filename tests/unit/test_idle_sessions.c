/* broadcaster/idle_sessions: which sessions are idle, in which order, and how empty ones make room and end.
 */
#include "base/metrics.h"
#include "broadcaster/subscriber.h"
#include "tests/support/unit_registering.h"

#include <errno.h>

/* The key of the session that would be the next to go; "" if there is none. */
static const char *oldest(enum idleness idleness) {
    static char key[64];
    struct session *found = idle_sessions_oldest(broadcaster_idle_sessions(broadcaster), idleness);
    snprintf(key, sizeof(key), "%s", found != NULL ? found->key : "");
    session_unref(found);
    return key;
}

static void open_and_leave(const char *key) {
    session_unref(unit_session(broadcaster, key));
}

static bool is_open(const char *key) {
    struct session *found = broadcaster_find_session(broadcaster, key);
    session_unref(found);
    return found != NULL;
}

static void close_all(void) {
    static const char *const keys[] = {"a/u/1", "a/u/2", "a/u/3", "a/u/4", "a/u/5"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        struct session *found = broadcaster_find_session(broadcaster, keys[i]);
        if (found != NULL)
            broadcaster_close_session(found, REASON_SESSION_DELETED);
        session_unref(found);
    }
}

static struct subscriber *subscribe(void) {
    struct subscriber *subscriber;
    assert_int_equal(subscriber_prepare(session, &(struct subscriber_spec){0}, &subscriber), SUBSCRIBER_OK);
    return subscriber;
}

/* ---- which are idle ------------------------------------------------------------------------------ */

static void a_session_is_empty_until_its_first_run(void **state) {
    (void)state;
    assert_string_equal(oldest(SESSION_EMPTY), KEY);
    struct task *task = unit_run(&driver, session);
    assert_string_equal(oldest(SESSION_EMPTY), "");
    assert_string_equal(oldest(SESSION_IDLE), "");
    unit_complete(task);
    assert_string_equal(oldest(SESSION_EMPTY), "");
    assert_string_equal(oldest(SESSION_IDLE), KEY);
    unit_task_release(task);
}

static void a_session_with_a_subscriber_is_in_use(void **state) {
    (void)state;
    struct subscriber *one = subscribe(), *two = subscribe();
    assert_string_equal(oldest(SESSION_EMPTY), "");
    subscriber_destroy(one);
    assert_string_equal(oldest(SESSION_EMPTY), "");
    struct task *task = unit_run(&driver, session);
    unit_complete(task);
    assert_string_equal(oldest(SESSION_IDLE), "");
    subscriber_destroy(two);
    assert_string_equal(oldest(SESSION_IDLE), KEY);
    unit_task_release(task);
}

static void a_session_whose_runs_wait_is_in_use(void **state) {
    (void)state;
    struct task *later = unit_task(&driver, session, (struct task_options){.delay_ms = 1000});
    assert_int_equal(unit_register(later), REGISTER_OK);
    assert_string_equal(oldest(SESSION_EMPTY), "");
    assert_true(task_cancel(later, REASON_REQUESTED));
    assert_string_equal(oldest(SESSION_IDLE), KEY); /* a run was accepted, and its end is in the log */
    struct task *one = unit_run(&driver, session), *two = add(ON_CONFLICT_ENQUEUE, REGISTER_OK);
    unit_complete(one);
    assert_string_equal(oldest(SESSION_IDLE), "");
    assert_true(task_cancel(two, REASON_REQUESTED));
    assert_string_equal(oldest(SESSION_IDLE), KEY);
    unit_task_release(later);
    unit_task_release(one);
    unit_task_release(two);
}

/* Whatever ends the last run of a session, the session is idle then. */
static void a_session_is_idle_after_its_last_run_however_that_ended(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(broadcaster)->runs_max, 1);
    atomic_store(&broadcaster_limits(broadcaster)->queue_timeout_ms, 100);
    struct session *other = unit_session(broadcaster, "a/u/1");
    struct task *running = unit_run(&driver, other), *tasks[4];
    for (int i = 0; i < 4; i++) {
        tasks[i] = unit_run(&driver, session);
        assert_int_equal(unit_status(tasks[i]), TASK_PENDING);
        assert_string_equal(oldest(SESSION_IDLE), "");
        clock_fake_advance(100);
        if (i == 0)
            task_check_queue(tasks[i]);
        else if (i == 1)
            task_cancel(tasks[i], REASON_REQUESTED);
        else if (i == 2)
            task_end(tasks[i], TASK_FAILED, REASON_INTERNAL, 0, NULL);
        if (i < 3)
            assert_string_equal(oldest(SESSION_IDLE), KEY);
    }
    broadcaster_drain(broadcaster); /* ends the one that waits */
    assert_string_equal(oldest(SESSION_IDLE), KEY);
    broadcaster_close_session(session, REASON_SESSION_DELETED);
    assert_string_equal(oldest(SESSION_IDLE), "");
    broadcaster_cancel_all(broadcaster, REASON_SHUTDOWN);
    assert_string_equal(oldest(SESSION_IDLE), "a/u/1");
    close_all();
    for (int i = 0; i < 4; i++)
        unit_task_release(tasks[i]);
    unit_task_release(running);
    session_unref(other);
}

static void a_run_that_is_refused_leaves_its_session_empty(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(broadcaster)->runs_max, 0);
    atomic_store(&broadcaster_limits(broadcaster)->runs_queued_max, 0);
    struct task *refused = add(ON_CONFLICT_REPLACE, REGISTER_RUNS_FULL);
    assert_string_equal(oldest(SESSION_EMPTY), KEY);
    unit_task_release(refused);
}

static void a_session_whose_log_was_emptied_stands_in_a_list_of_its_own(void **state) {
    (void)state;
    struct task *task = unit_run(&driver, session);
    unit_complete(task);
    struct session_effects effects = {0};
    lock_acquire(&session->lock);
    session_free_log_locked(session, &effects);
    assert_true(event_log_init(&session->log, clock_unix_ms()));
    session_settle_locked(session);
    lock_release(&session->lock);
    session_apply(&effects);
    assert_string_equal(oldest(SESSION_IDLE), "");
    assert_string_equal(oldest(SESSION_TRIMMED), KEY);
    unit_task_release(task);
}

/* ---- their order --------------------------------------------------------------------------------- */

static void the_one_that_was_used_last_goes_last(void **state) {
    (void)state;
    open_and_leave("a/u/1");
    open_and_leave("a/u/2");
    assert_string_equal(oldest(SESSION_EMPTY), KEY);
    broadcaster_newest_events(session, 0);
    assert_string_equal(oldest(SESSION_EMPTY), "a/u/1");
    open_and_leave("a/u/1");
    assert_string_equal(oldest(SESSION_EMPTY), "a/u/2");
    subscriber_destroy(subscribe());
    assert_string_equal(oldest(SESSION_EMPTY), "a/u/2");
    close_all();
}

static void runs_that_end_leave_their_sessions_in_the_order_of_the_ends(void **state) {
    (void)state;
    struct session *one = unit_session(broadcaster, "a/u/1"), *two = unit_session(broadcaster, "a/u/2");
    struct task *tasks[] = {unit_run(&driver, one), unit_run(&driver, two)};
    unit_complete(tasks[1]);
    unit_complete(tasks[0]);
    assert_string_equal(oldest(SESSION_IDLE), "a/u/2");
    broadcaster_newest_events(two, 0);
    assert_string_equal(oldest(SESSION_IDLE), "a/u/1");
    close_all();
    assert_string_equal(oldest(SESSION_IDLE), "");
    unit_task_release(tasks[0]);
    unit_task_release(tasks[1]);
    session_unref(one);
    session_unref(two);
}

/* ---- making room --------------------------------------------------------------------------------- */

static void when_the_table_is_full_the_longest_empty_session_makes_room(void **state) {
    (void)state;
    uint64_t evicted = metrics_get(METRIC_SESSIONS_EVICTED);
    atomic_store(&broadcaster_limits(broadcaster)->sessions_max, 3);
    open_and_leave("a/u/1");
    open_and_leave("a/u/2");
    open_and_leave("a/u/3");
    assert_false(is_open(KEY));
    assert_true(is_open("a/u/1") && is_open("a/u/2") && is_open("a/u/3"));
    open_and_leave("a/u/4");
    assert_false(is_open("a/u/1"));
    assert_int_equal(stats_now().sessions, 3);
    assert_int_equal(metrics_get(METRIC_SESSIONS_EVICTED) - evicted, 2);
    close_all();
}

static void no_session_in_use_and_none_that_had_a_run_makes_room(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(broadcaster)->sessions_max, 3);
    struct subscriber *subscriber = subscribe();
    struct session *running = unit_session(broadcaster, "a/u/1"), *used = unit_session(broadcaster, "a/u/2");
    struct task *tasks[] = {unit_run(&driver, running), unit_run(&driver, used)};
    unit_complete(tasks[1]);
    struct session *refused = NULL;
    assert_int_equal(broadcaster_open_session(broadcaster, "a/u/3", &refused), -ENOSPC);
    assert_null(refused);
    subscriber_destroy(subscriber);
    open_and_leave("a/u/3"); /* in the place of the one that nobody watches any more */
    assert_false(is_open(KEY));
    assert_true(is_open("a/u/1") && is_open("a/u/2"));
    close_all();
    unit_task_release(tasks[0]);
    unit_task_release(tasks[1]);
    session_unref(running);
    session_unref(used);
}

static void a_limit_that_was_lowered_is_reached_again_by_and_by(void **state) {
    (void)state;
    char key[64];
    for (int i = 0; i < 90; i++) {
        snprintf(key, sizeof(key), "b/u/%d", i);
        open_and_leave(key);
    }
    atomic_store(&broadcaster_limits(broadcaster)->sessions_max, 1);
    struct session *opened = NULL;
    int refusals = 0; /* one request does not end any number of sessions */
    while (broadcaster_open_session(broadcaster, "a/u/1", &opened) != 0)
        assert_in_range(++refusals, 1, 10);
    assert_int_equal(stats_now().sessions, 1);
    session_unref(opened);
    close_all();
}

/* ---- their time ---------------------------------------------------------------------------------- */

static void an_empty_session_ends_before_one_that_had_a_run(void **state) {
    (void)state;
    open_and_leave("a/u/1");
    struct task *task = unit_run(&driver, session);
    unit_complete(task);
    clock_fake_advance(59999);
    assert_int_equal(broadcaster_clean_up(broadcaster), 0);
    clock_fake_advance(1);
    assert_int_equal(broadcaster_clean_up(broadcaster), 1);
    assert_false(is_open("a/u/1"));
    assert_true(is_open(KEY));
    clock_fake_advance(1800000 - 60000);
    assert_int_equal(broadcaster_clean_up(broadcaster), 1);
    assert_false(is_open(KEY));
    unit_task_release(task);
}

static void an_empty_session_that_is_watched_stays_until_its_time_after_that(void **state) {
    (void)state;
    struct subscriber *subscriber = subscribe();
    clock_fake_advance(3600000);
    assert_int_equal(broadcaster_clean_up(broadcaster), 0);
    subscriber_destroy(subscriber);
    clock_fake_advance(59999);
    assert_int_equal(broadcaster_clean_up(broadcaster), 0);
    clock_fake_advance(1);
    assert_int_equal(broadcaster_clean_up(broadcaster), 1);
}

static void a_time_for_all_that_is_shorter_holds_for_empty_sessions_too(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(broadcaster)->session_ttl_ms, 100);
    clock_fake_advance(100);
    assert_int_equal(broadcaster_clean_up(broadcaster), 1);
}

int main(void) {
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_session_is_empty_until_its_first_run),
        TEST(a_session_with_a_subscriber_is_in_use),
        TEST(a_session_whose_runs_wait_is_in_use),
        TEST(a_session_is_idle_after_its_last_run_however_that_ended),
        TEST(a_run_that_is_refused_leaves_its_session_empty),
        TEST(a_session_whose_log_was_emptied_stands_in_a_list_of_its_own),
        TEST(the_one_that_was_used_last_goes_last),
        TEST(runs_that_end_leave_their_sessions_in_the_order_of_the_ends),
        TEST(when_the_table_is_full_the_longest_empty_session_makes_room),
        TEST(no_session_in_use_and_none_that_had_a_run_makes_room),
        TEST(a_limit_that_was_lowered_is_reached_again_by_and_by),
        TEST(an_empty_session_ends_before_one_that_had_a_run),
        TEST(an_empty_session_that_is_watched_stays_until_its_time_after_that),
        TEST(a_time_for_all_that_is_shorter_holds_for_empty_sessions_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
