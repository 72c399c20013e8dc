/* broadcaster/scheduler: runs for later, and what becomes of runs that wait. */
#include "broadcaster/subscriber.h"
#include "tests/support/unit_scheduling.h"

static struct task *delay_in(size_t place, enum on_conflict on_conflict) {
    struct task *task =
        make_in(place, "a/u", (struct task_options){.delay_ms = 500, .on_conflict = on_conflict});
    assert_int_equal(unit_register(task), REGISTER_OK);
    return task;
}

static void a_delayed_run_touches_nothing_until_it_is_due_and_then_replaces(void **state) {
    (void)state;
    struct task *tasks[] = {run_in(0, "a/u", 5), delay_in(0, ON_CONFLICT_REPLACE)};
    assert_int_equal(unit_status(tasks[0]), TASK_RUNNING);
    assert_int_equal(stats_now().runs_queued, 1);
    clock_fake_advance(500);
    task_become_due(tasks[1]);
    task_become_due(tasks[1]); /* once is enough */
    assert_int_equal(unit_status(tasks[0]), TASK_REPLACED);
    assert_int_equal(unit_status(tasks[1]), TASK_RUNNING);
    assert_int_equal(stats_now().runs_queued, 0);
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
    assert_int_equal(stats_now().runs_queued, 2);
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
    assert_int_equal(stats_now().runs_queued, 1);
    release(tasks, 2);
}

static void delayed_runs_count_among_those_that_wait(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(broadcaster)->runs_queued_max, 1);
    struct task *tasks[] = {delay_in(0, ON_CONFLICT_REPLACE),
                            make_in(1, "a/u", (struct task_options){.delay_ms = 500})};
    assert_int_equal(unit_register(tasks[1]), REGISTER_QUEUE_FULL);
    release(tasks, 2);
}

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
        TEST(delayed_runs_count_among_those_that_wait),
        TEST(runs_that_wait_keep_their_session),
        TEST(the_key_of_a_run_for_later_holds_from_its_time_on),
        TEST(a_run_that_waits_ends_with_its_last_subscriber_if_it_wants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
