/* broadcaster/scheduler: runs for later, and what becomes of runs that wait. */
#include "base/metrics.h"
#include "broadcaster/subscriber.h"
#include "tests/support/unit_scheduling.h"

/* A run for later of that app and user. */
static struct task *delay_of(size_t place, const char *app_and_user, enum on_conflict on_conflict,
                             enum register_result expected) {
    struct task *task =
        make_in(place, app_and_user, (struct task_options){.delay_ms = 500, .on_conflict = on_conflict});
    assert_int_equal(unit_register(task), expected);
    return task;
}

static struct task *delay_in(size_t place, enum on_conflict on_conflict) {
    return delay_of(place, "a/u", on_conflict, REGISTER_OK);
}

static int idle_notes;

static void note_idle(struct inbox_item *item) {
    (void)item;
    idle_notes++;
}

static void assert_waiting(uint64_t queued, uint64_t delayed) {
    assert_int_equal(stats_now().runs_queued, queued);
    assert_int_equal(stats_now().runs_delayed, delayed);
}

static void a_delayed_run_touches_nothing_until_it_is_due_and_then_replaces(void **state) {
    (void)state;
    struct task *tasks[] = {run_in(0, "a/u", 5), delay_in(0, ON_CONFLICT_REPLACE)};
    assert_int_equal(unit_status(tasks[0]), TASK_RUNNING);
    assert_waiting(0, 1);
    clock_fake_advance(500);
    task_become_due(tasks[1]);
    task_become_due(tasks[1]); /* once is enough */
    assert_int_equal(unit_status(tasks[0]), TASK_REPLACED);
    assert_int_equal(unit_status(tasks[1]), TASK_RUNNING);
    assert_waiting(0, 0);
    release(tasks, 2);
}

static void a_delayed_run_that_finds_another_and_does_not_want_that_ends_as_cancelled(void **state) {
    (void)state;
    struct task *tasks[] = {run_in(0, "a/u", 5), delay_in(0, ON_CONFLICT_REJECT)};
    task_become_due(tasks[1]);
    struct task_info info;
    task_get_info(tasks[1], &info);
    assert_int_equal(info.status, TASK_CANCELLED);
    assert_int_equal(info.reason, REASON_CONFLICT);
    assert_int_equal(unit_status(tasks[0]), TASK_RUNNING);
    release(tasks, 2);
}

static void a_delayed_run_can_wait_its_turn_and_for_a_slot(void **state) {
    (void)state;
    struct task *tasks[] = {run_in(0, "a/u", 5), delay_in(0, ON_CONFLICT_ENQUEUE),
                            delay_in(1, ON_CONFLICT_REPLACE)};
    task_become_due(tasks[1]);
    task_become_due(tasks[2]);
    assert_waiting(0, 2);
    assert_order(tasks, 3, (int[]){0, 2, 1}, 3);
    release(tasks, 3);
}

static void a_delayed_run_can_be_cancelled_and_keeps_its_session(void **state) {
    (void)state;
    struct task *tasks[] = {delay_in(0, ON_CONFLICT_REPLACE), delay_in(0, ON_CONFLICT_REPLACE)};
    clock_fake_advance(3600000);
    assert_int_equal(broadcaster_clean_up(broadcaster), 1); /* the one of the set-up */
    assert_true(task_cancel(tasks[0], REASON_REQUESTED));
    task_become_due(tasks[0]);
    assert_int_equal(unit_status(tasks[0]), TASK_CANCELLED);
    assert_waiting(0, 1);
    release(tasks, 2);
}

/* ---- their places -------------------------------------------------------------------------------- */

/* They had places in the queue, so that 1 000 small ones blocked it for a day. */
static void delayed_runs_take_no_place_in_a_queue(void **state) {
    (void)state;
    enum { DELAYED = 40 };
    struct task *tasks[DELAYED + 3];
    atomic_store(&broadcaster_limits(broadcaster)->runs_queued_max, 1);
    atomic_store(&broadcaster_limits(broadcaster)->runs_queued_per_session_max, 1);
    for (int i = 0; i < DELAYED; i++) /* in one session, and in others */
        tasks[i] = delay_in(i % 2 == 0 ? 0 : (size_t)i, ON_CONFLICT_REPLACE);
    tasks[DELAYED] = run_in(0, "a/u", 5);
    tasks[DELAYED + 1] = make_in(0, "a/u", (struct task_options){.on_conflict = ON_CONFLICT_ENQUEUE});
    assert_int_equal(unit_register(tasks[DELAYED + 1]), REGISTER_OK);
    tasks[DELAYED + 2] = make_in(0, "a/u", (struct task_options){.on_conflict = ON_CONFLICT_ENQUEUE});
    assert_int_equal(unit_register(tasks[DELAYED + 2]), REGISTER_QUEUE_FULL);
    assert_waiting(1, DELAYED);
    release(tasks, DELAYED + 3);
    assert_waiting(0, 0);
}

static void delayed_runs_have_a_bound_of_their_own(void **state) {
    (void)state;
    uint64_t refused = metrics_get(METRIC_RUNS_DELAYED_REFUSED);
    atomic_store(&broadcaster_limits(broadcaster)->runs_delayed_max, 2);
    struct task *tasks[] = {delay_of(0, "a/u", ON_CONFLICT_REPLACE, REGISTER_OK),
                            delay_of(1, "b/v", ON_CONFLICT_REPLACE, REGISTER_OK),
                            delay_of(2, "c/w", ON_CONFLICT_REPLACE, REGISTER_DELAYED_FULL),
                            run_in(3, "a/u", 5),
                            run_in(4, "a/u", 5),
                            NULL};
    assert_int_equal(metrics_get(METRIC_RUNS_DELAYED_REFUSED) - refused, 1);
    task_cancel(tasks[0], REASON_REQUESTED);
    tasks[5] = delay_of(5, "c/w", ON_CONFLICT_REPLACE, REGISTER_OK);
    assert_waiting(1, 2);
    release(tasks, 6);
}

static void delayed_runs_are_bounded_for_each_user(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(broadcaster)->runs_delayed_per_user_max, 2);
    struct task *tasks[] = {delay_of(0, "a/u", ON_CONFLICT_REPLACE, REGISTER_OK),
                            delay_of(1, "a/u", ON_CONFLICT_REPLACE, REGISTER_OK),
                            delay_of(2, "a/u", ON_CONFLICT_REPLACE, REGISTER_DELAYED_FULL),
                            delay_of(3, "a/v", ON_CONFLICT_REPLACE, REGISTER_OK),
                            delay_of(4, "b/u", ON_CONFLICT_REPLACE, REGISTER_OK),
                            NULL,
                            NULL};
    task_become_due(tasks[0]); /* it runs: it is not delayed any more */
    assert_int_equal(unit_status(tasks[0]), TASK_RUNNING);
    tasks[5] = delay_of(5, "a/u", ON_CONFLICT_REPLACE, REGISTER_OK);
    atomic_store(&broadcaster_limits(broadcaster)->runs_delayed_per_user_max, 0); /* disables it */
    tasks[6] = delay_of(6, "a/u", ON_CONFLICT_REPLACE, REGISTER_OK);
    assert_waiting(0, 5);
    release(tasks, 7);
}

/* Else 1 000 of them that become due at once would block the queue after all, and a due one could be refused.
 */
static void a_delayed_run_keeps_its_place_until_it_starts(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(broadcaster)->runs_queued_max, 1);
    atomic_store(&broadcaster_limits(broadcaster)->runs_delayed_max, 2);
    struct task *tasks[] = {run_in(0, "a/u", 5), delay_in(1, ON_CONFLICT_REPLACE),
                            delay_in(0, ON_CONFLICT_ENQUEUE), run_in(2, "a/u", 5), NULL};
    assert_waiting(1, 2); /* the queue is full */
    task_become_due(tasks[1]);
    task_become_due(tasks[2]);
    assert_int_equal(unit_status(tasks[1]), TASK_PENDING); /* for a slot, and for its turn */
    assert_int_equal(unit_status(tasks[2]), TASK_PENDING);
    assert_waiting(1, 2);
    tasks[4] = delay_of(5, "a/u", ON_CONFLICT_REPLACE, REGISTER_DELAYED_FULL);
    assert_order(tasks, 4, (int[]){0, 3, 1, 2}, 4);
    assert_waiting(0, 0);
    release(tasks, 5);
}

/* What replaces a run that waits in a place of those has that place, and not one in the queue more than there
 * are. */
static void a_run_that_replaces_a_delayed_one_takes_over_its_place(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(broadcaster)->runs_queued_max, 1);
    atomic_store(&broadcaster_limits(broadcaster)->runs_delayed_max, 2);
    atomic_store(&broadcaster_limits(broadcaster)->runs_delayed_per_user_max, 2);
    struct task *tasks[8] = {run_in(0, "a/u", 5), run_in(1, "a/u", 5)};
    size_t count = 2;
    for (int round = 0; round < 2; round++) { /* each replaces the one before, which has become due */
        tasks[count] = delay_in(2, ON_CONFLICT_REPLACE);
        task_become_due(tasks[count++]);
        assert_waiting(1, 1);
        tasks[count++] = run_in(2, "a/u", 5);
        assert_int_equal(unit_status(tasks[count - 2]), TASK_REPLACED);
        assert_waiting(1, 1);
    }
    tasks[count++] = delay_of(3, "a/u", ON_CONFLICT_REPLACE, REGISTER_OK);
    tasks[count++] = delay_of(4, "a/u", ON_CONFLICT_REPLACE, REGISTER_DELAYED_FULL);
    assert_waiting(1, 2);
    unit_complete(tasks[0]);
    unit_complete(tasks[1]);
    assert_int_equal(unit_status(tasks[5]), TASK_RUNNING);
    assert_waiting(0, 1);
    release(tasks, count);
    assert_waiting(0, 0);
}

static void a_due_run_that_replaces_one_in_the_queue_takes_over_that_place(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(broadcaster)->runs_delayed_per_user_max, 1);
    struct task *tasks[] = {run_in(0, "a/u", 5), run_in(1, "a/u", 5), delay_in(1, ON_CONFLICT_REPLACE), NULL};
    assert_waiting(1, 1);
    task_become_due(tasks[2]);
    assert_int_equal(unit_status(tasks[1]), TASK_REPLACED);
    assert_waiting(1, 0);
    tasks[3] = delay_in(3, ON_CONFLICT_REPLACE);
    assert_waiting(1, 1);
    release(tasks, 4);
}

static void the_program_waits_for_delayed_runs_like_for_others(void **state) {
    (void)state;
    uv_loop_t loop;
    struct inbox inbox;
    struct idle_waiter waiter = {.inbox = &inbox, .item = {.handle = note_idle}};
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(inbox_init(&inbox, &loop), 0);
    struct task *tasks[] = {delay_in(0, ON_CONFLICT_REPLACE)};
    scheduler_wait_idle(broadcaster_scheduler(broadcaster), &waiter);
    inbox_drain(&inbox);
    assert_int_equal(idle_notes, 0);
    task_cancel(tasks[0], REASON_REQUESTED);
    inbox_drain(&inbox);
    assert_int_equal(idle_notes, 1);
    inbox_close(&inbox);
    uv_run(&loop, UV_RUN_DEFAULT);
    inbox_finish(&inbox);
    assert_int_equal(uv_loop_close(&loop), 0);
    release(tasks, 1);
}

/* ---- what becomes of them ------------------------------------------------------------------------ */

static void runs_that_wait_keep_their_session(void **state) {
    (void)state;
    struct task *tasks[] = {delay_in(1, ON_CONFLICT_REPLACE), run_in(0, "a/u", 5), run_in(2, "a/u", 5)};
    clock_fake_advance(1799999);
    task_become_due(tasks[0]); /* to wait for a slot */
    clock_fake_advance(1);
    unit_publish(tasks[1], "in use");
    broadcaster_clean_up(broadcaster);
    assert_int_equal(unit_status(tasks[0]), TASK_PENDING);
    assert_int_equal(unit_status(tasks[2]), TASK_PENDING);
    release(tasks, 3);
}

static void the_key_of_a_run_for_later_holds_from_its_time_on(void **state) {
    (void)state;
    struct task *tasks[3];
    struct registration answer;
    const enum register_result expected[] = {REGISTER_OK, REGISTER_REPLAYED, REGISTER_OK};
    for (size_t i = 0; i < 3; i++) {
        tasks[i] = make_in(0, "a/u", (struct task_options){.delay_ms = 3600000});
        assert_int_equal(
            broadcaster_register_task(broadcaster, tasks[i], idempotency_entry_create("key", 1), &answer),
            expected[i]);
        task_unref(answer.task);
        clock_fake_advance(i == 0 ? 3600000 : 600000);
    }
    release(tasks, 3);
}

static void a_run_that_waits_ends_with_its_last_subscriber_if_it_wants(void **state) {
    (void)state;
    struct task *tasks[] = {
        make_in(0, "a/u", (struct task_options){.delay_ms = 500, .on_disconnect = ON_DISCONNECT_CANCEL}),
        delay_in(0, ON_CONFLICT_REPLACE)};
    assert_int_equal(unit_register(tasks[0]), REGISTER_OK);
    struct subscriber_spec spec = {.run = tasks[0]};
    struct subscriber *subscriber;
    assert_int_equal(subscriber_prepare(sessions[0], &spec, &subscriber), SUBSCRIBER_OK);
    subscriber_destroy(subscriber);
    assert_int_equal(unit_status(tasks[0]), TASK_CANCELLED);
    assert_int_equal(unit_status(tasks[1]), TASK_PENDING);
    release(tasks, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_delayed_run_touches_nothing_until_it_is_due_and_then_replaces),
        TEST(a_delayed_run_that_finds_another_and_does_not_want_that_ends_as_cancelled),
        TEST(a_delayed_run_can_wait_its_turn_and_for_a_slot),
        TEST(a_delayed_run_can_be_cancelled_and_keeps_its_session),
        TEST(delayed_runs_take_no_place_in_a_queue),
        TEST(delayed_runs_have_a_bound_of_their_own),
        TEST(delayed_runs_are_bounded_for_each_user),
        TEST(a_delayed_run_keeps_its_place_until_it_starts),
        TEST(a_run_that_replaces_a_delayed_one_takes_over_its_place),
        TEST(a_due_run_that_replaces_one_in_the_queue_takes_over_that_place),
        TEST(the_program_waits_for_delayed_runs_like_for_others),
        TEST(runs_that_wait_keep_their_session),
        TEST(the_key_of_a_run_for_later_holds_from_its_time_on),
        TEST(a_run_that_waits_ends_with_its_last_subscriber_if_it_wants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
