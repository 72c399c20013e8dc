/* A run whose end overtakes its start, or what its times are watched by: several threads post these, in any
 * order. */
#include "base/log.h"
#include "relay/runner.h"
#include "tests/support/unit.h"

#include <pthread.h>
#include <stdlib.h>

/* Stands between the broadcaster and the runner, and holds back what it is told. */
static struct task_driver *behind;
static struct task *to_start, *to_end;

static void hold_start(struct task_driver *driver, struct task *task) {
    (void)driver;
    to_start = task_ref(task);
}

static void hold_end(struct task_driver *driver, struct task *task) {
    (void)driver;
    to_end = task_ref(task);
}

static struct task_driver between = {.start = hold_start, .ended = hold_end};

static uv_loop_t loop;
static struct inbox inbox;
static struct broadcaster *broadcaster;
static struct relay_context context;
static struct runner *runner;
static char upstream_name[] = "only";
static const struct upstream_settings upstream = {.name = upstream_name};
static struct upstream_worker upstream_worker = {.settings = {.count = 1, .items = &upstream}};

static int set_up(void **state) {
    (void)state;
    static const struct broadcaster_limits limits = {.runs_max = 10,
                                                     .runs_queued_max = 10,
                                                     .runs_queued_per_session_max = 10,
                                                     .sessions_max = 10,
                                                     .log_events_max = 10,
                                                     .log_bytes_max = 1 << 20,
                                                     .tasks_kept = 10,
                                                     .session_ttl_ms = 60000};
    log_init(LOG_LEVEL_ERROR, LOG_FORMAT_JSON);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(inbox_init(&inbox, &loop), 0);
    broadcaster = broadcaster_create(&limits);
    context = (struct relay_context){.inbox = &inbox, .loop = &loop, .upstream_worker = &upstream_worker};
    runner = runner_create(&context);
    assert_non_null(runner);
    to_start = to_end = NULL;
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    broadcaster_cancel_all(broadcaster, REASON_SHUTDOWN);
    inbox_drain(&inbox);
    inbox_close(&inbox);
    uv_run(&loop, UV_RUN_DEFAULT);
    runner_destroy(runner);
    inbox_finish(&inbox);
    broadcaster_destroy(broadcaster);
    uv_loop_close(&loop);
    return 0;
}

/* A registered run of which the runner has not been told anything yet. */
static struct task *register_run(enum on_conflict on_conflict) {
    struct session *session;
    struct registration registered;
    static const struct trace no_trace;
    const struct task_options options = {.on_conflict = on_conflict, .timeout_ms = 60000, .priority = 5};
    assert_int_equal(broadcaster_open_session(broadcaster, "a/u/s", &session), 0);
    struct plan *plan = plan_create(NULL, session, &no_trace, 1);
    assert_non_null(plan);
    plan->count = 1;
    struct task *task = runner_create_task(runner, session, &options, plan);
    assert_non_null(task);
    behind = task->driver;
    task->driver = &between;
    assert_int_equal(broadcaster_register_task(broadcaster, task, NULL, &registered), REGISTER_OK);
    task_unref(registered.task);
    session_unref(session);
    return task;
}

static void tell(void (*what)(struct task_driver *driver, struct task *task), struct task **task) {
    what(behind, *task);
    task_unref(*task);
    *task = NULL;
    inbox_drain(&inbox);
    uv_run(&loop, UV_RUN_NOWAIT); /* its timer may be closed */
}

static void runner_keeps_an_ended_run_until_its_start_came(void **state) {
    (void)state;
    struct task *task = register_run(ON_CONFLICT_REPLACE);
    runner_watch_task(runner, task);
    assert_true(task_cancel(task, REASON_REQUESTED));
    tell(behind->ended, &to_end);
    assert_int_equal(runner_active(runner), 1); /* or the inbox would be closed before it comes */
    tell(behind->start, &to_start);
    assert_int_equal(runner_active(runner), 0);
    task_unref(task);
}

static void runner_expects_no_start_of_a_run_that_only_waited(void **state) {
    (void)state;
    struct task *first = register_run(ON_CONFLICT_REPLACE);
    struct task *first_start = to_start;
    to_start = NULL;
    struct task *second = register_run(ON_CONFLICT_ENQUEUE);
    runner_watch_task(runner, first);
    runner_watch_task(runner, second);
    assert_true(task_cancel(second, REASON_REQUESTED));
    assert_null(to_start);
    tell(behind->ended, &to_end);
    assert_int_equal(runner_active(runner), 1);
    assert_true(task_cancel(first, REASON_REQUESTED));
    tell(behind->ended, &to_end);
    tell(behind->start, &first_start);
    assert_int_equal(runner_active(runner), 0);
    task_unref(first);
    task_unref(second);
}

/* ---- a run that was accepted on another worker ---------------------------------------------------- */

static void *watch_elsewhere(void *task) {
    runner_watch_task(NULL, task);
    return NULL;
}

/* Its worker is told, but has not looked yet. */
static void send_to_be_watched(struct task *task) {
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, watch_elsewhere, task), 0);
    pthread_join(thread, NULL);
}

static void end_of(struct task *task) {
    assert_true(task_cancel(task, REASON_REQUESTED));
    tell(behind->ended, &to_end);
}

static void runner_watches_the_times_of_a_run_of_another_thread(void **state) {
    (void)state;
    struct task *first = register_run(ON_CONFLICT_REPLACE);
    struct task *first_start = to_start;
    send_to_be_watched(first);
    atomic_store(&broadcaster_limits(broadcaster)->queue_timeout_ms, 1);
    struct task *second = register_run(ON_CONFLICT_ENQUEUE);
    send_to_be_watched(second);
    assert_int_equal(runner_active(runner), 2);
    /* It has waited for too long, and nothing but its timer says so. No turn waits: that timer may fire as
     * one begins. */
    while (to_end == NULL)
        uv_run(&loop, UV_RUN_NOWAIT);
    assert_ptr_equal(to_end, second);
    tell(behind->ended, &to_end);
    assert_int_equal(runner_active(runner), 1);
    end_of(first);
    tell(behind->start, &first_start);
    assert_int_equal(runner_active(runner), 0);
    task_unref(first);
    task_unref(second);
}

static void runner_keeps_an_ended_run_until_it_was_told_to_watch_it(void **state) {
    (void)state;
    struct task *first = register_run(ON_CONFLICT_REPLACE);
    struct task *first_start = to_start;
    struct task *second = register_run(ON_CONFLICT_ENQUEUE);
    end_of(second);
    assert_int_equal(runner_active(runner), 2); /* or its worker might have ended when it comes */
    send_to_be_watched(second);
    inbox_drain(&inbox);
    assert_int_equal(runner_active(runner), 1);
    send_to_be_watched(first);
    end_of(first);
    tell(behind->start, &first_start);
    assert_int_equal(runner_active(runner), 0);
    task_unref(first);
    task_unref(second);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(runner_keeps_an_ended_run_until_its_start_came, set_up, tear_down),
        cmocka_unit_test_setup_teardown(runner_expects_no_start_of_a_run_that_only_waited, set_up, tear_down),
        cmocka_unit_test_setup_teardown(runner_watches_the_times_of_a_run_of_another_thread, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(runner_keeps_an_ended_run_until_it_was_told_to_watch_it, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests_name("runner", tests, NULL, NULL);
}
