/* server/worker: it stays for as long as another thread may still post to its inbox. */
#include "tests/support/unit_broadcaster.h"
#include "tests/support/unit_worker.h"

#define STOP_TIME_MS 1000 /* the worker's own */

static int set_up(void **state) {
    (void)state;
    return worker_set_up((const char *const[]){NULL});
}

/* An item that goes to the worker's inbox and comes back to ours. */
struct probe {
    struct inbox_item there, back;
    bool is_back;
};

static void on_back(struct inbox_item *item) {
    CONTAINER_OF(item, struct probe, back)->is_back = true;
}

static void on_there(struct inbox_item *item) {
    inbox_post(&main_inbox, &CONTAINER_OF(item, struct probe, there)->back);
}

/* Whether the worker hears of the probe: its inbox is open. */
static bool is_open(void) {
    static struct probe probe;
    int64_t until_ms = clock_mono_ms() + WAIT_MS / 6;
    probe = (struct probe){.there.handle = on_there, .back.handle = on_back};
    inbox_post(shared.contexts[0]->relay.inbox, &probe.there);
    while (!probe.is_back && stopped == 0 && clock_mono_ms() < until_ms) {
        uv_run(&main_loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
    return probe.is_back;
}

static bool has_waiter(struct task *task) {
    lock_acquire(&task->session->lock);
    bool has_one = !LIST_EMPTY(&task->waiters);
    lock_release(&task->session->lock);
    return has_one;
}

/* A thread ended a run, had not yet told the worker whose client waited for that, and was held up: the worker
 * closed its inbox meanwhile, once the time for its clients' last bytes was over. */
static void worker_stays_until_it_heard_of_a_run_that_was_waited_for(void **state) {
    (void)state;
    struct fake_driver driver = FAKE_DRIVER;
    struct session_effects effects = {0};
    struct session *session = unit_session(broadcaster, "app/user/session");
    struct task *task = unit_run(&driver, session);
    char request[128];
    snprintf(request, sizeof(request), "GET /tasks/%s?wait_ms=60000 HTTP/1.1\r\nHost: localhost\r\n\r\n",
             task->id);
    int fd = client_request(request);
    while (!has_waiter(task))
        usleep(1000);
    lock_acquire(&session->lock);
    assert_true(session_end_task_locked(session, task, TASK_COMPLETED, REASON_NONE, &effects));
    lock_release(&session->lock);
    client_reset(fd);
    stop_workers();
    int64_t until_ms = clock_mono_ms() + STOP_TIME_MS + 500;
    while (clock_mono_ms() < until_ms)
        assert_true(is_open());
    session_apply(&effects);
    while (stopped < worker_count)
        uv_run(&main_loop, UV_RUN_ONCE);
    session_unref(session);
    unit_task_release(task);
    worker_dispose();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(worker_stays_until_it_heard_of_a_run_that_was_waited_for, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
