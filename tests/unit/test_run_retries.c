/* A run that has ended on another thread, of which its own worker has not heard yet, is not tried again. */
#include "base/log.h"
#include "relay/runner.h"
#include "tests/unit/call_fixture.h"

#include <semaphore.h>

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

static void tell(void (*what)(struct task_driver *driver, struct task *task), struct task **task,
                 struct call_fixture *fixture) {
    assert_non_null(*task);
    what(behind, *task);
    task_unref(*task);
    *task = NULL;
    inbox_drain(&fixture->inbox);
}

static sem_t may_answer;

/* Each answer waits until the test wants it. */
static void serve_in_time(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    for (const char *const *next = answers; *next != NULL && raw_server_read(server, fd); next++) {
        sem_wait(&may_answer);
        raw_server_write(fd, *next);
    }
    raw_server_hold(fd);
}

static struct task *make_run(struct broadcaster *broadcaster, struct relay_context *context,
                             struct runner *runner) {
    struct session *session;
    static const struct trace no_trace;
    const struct task_options options = {.on_conflict = ON_CONFLICT_REPLACE, .timeout_ms = HOUR_MS};
    assert_int_equal(broadcaster_open_session(broadcaster, "a/u/s", &session), 0);
    struct plan *plan = plan_create(context->upstream_worker, session, &no_trace, 1);
    assert_non_null(plan);
    const struct upstream_settings *settings = &context->upstream_worker->settings.items[UPSTREAM_A];
    plan->count = 1;
    plan->steps[0] =
        (struct plan_step){.upstream = UPSTREAM_A,
                           .request = upstream_request_create(settings->adapter, call_url(settings, "/run"),
                                                              NULL, strdup("{}"), 2)};
    struct task *task = runner_create_task(runner, session, &options, plan);
    assert_non_null(task);
    session_unref(session);
    return task;
}

static struct task *register_run(struct broadcaster *broadcaster, struct relay_context *context,
                                 struct runner *runner) {
    struct registration registered;
    struct task *task = make_run(broadcaster, context, runner);
    behind = task->driver;
    task->driver = &between;
    assert_int_equal(broadcaster_register_task(broadcaster, task, NULL, &registered), REGISTER_OK);
    task_unref(registered.task);
    runner_watch_task(runner, task);
    return task;
}

/* The run ends as another thread would end it; then its upstream answers. */
static void check_retries(const char *first, bool ends, const char *posted, unsigned retries) {
    static const struct broadcaster_limits limits = {.runs_max = 10,
                                                     .sessions_max = 10,
                                                     .log_events_max = 10,
                                                     .log_bytes_max = 1 << 20,
                                                     .tasks_kept = 10,
                                                     .session_ttl_ms = HOUR_MS};
    static const struct relay_settings settings = {.run_timeout_ms = HOUR_MS};
    const char *const texts[] = {first, WHOLE_STREAM, NULL};
    struct call_fixture fixture;
    answers = texts;
    assert_int_equal(sem_init(&may_answer, 0, 0), 0);
    call_fixture_begin(&fixture, serve_in_time);
    fixture.settings[UPSTREAM_A].retry.attempts_max = 2;
    call_fixture_open(&fixture);
    struct broadcaster *broadcaster = broadcaster_create(&limits);
    struct relay_context context = {.inbox = &fixture.inbox,
                                    .loop = &fixture.fixture.loop,
                                    .upstream_worker = &fixture.upstream_worker,
                                    .settings = &settings};
    struct runner *runner = runner_create(&context);
    assert_non_null(runner);

    struct task *task = register_run(broadcaster, &context, runner);
    tell(behind->start, &to_start, &fixture);
    while (raw_server_requests(&fixture.fixture.server) == 0)
        fixture_turn(&fixture.fixture);
    if (ends)
        assert_true(task_cancel(task, REASON_REQUESTED));
    sem_post(&may_answer);
    sem_post(&may_answer);
    while (fixture.upstream_worker.calls > 0)
        fixture_turn(&fixture.fixture);
    assert_string_equal(asked(&fixture), posted);
    assert_int_equal(atomic_load(&task->retries), retries);

    tell(behind->ended, &to_end, &fixture);
    while (runner_active(runner) > 0)
        fixture_turn(&fixture.fixture);
    task_unref(task);
    runner_destroy(runner);
    call_fixture_end(&fixture);
    broadcaster_destroy(broadcaster);
    sem_destroy(&may_answer);
}

static void run_is_posted_again_after_a_failure_that_may_pass(void **state) {
    (void)state;
    check_retries(REFUSAL(503), false, "aa", 1);
}

static void run_that_has_ended_is_not_posted_again(void **state) {
    (void)state;
    check_retries(REFUSAL(503), true, "a", 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_is_posted_again_after_a_failure_that_may_pass),
        cmocka_unit_test(run_that_has_ended_is_not_posted_again),
    };
    log_init(LOG_LEVEL_ERROR, LOG_FORMAT_JSON);
    return cmocka_run_group_tests_name("run_retries", tests, NULL, NULL);
}
