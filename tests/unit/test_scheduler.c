/* broadcaster/scheduler: slots, the order of those that wait, limits of apps and users. */
#include "tests/support/unit_scheduling.h"

/* ---- slots --------------------------------------------------------------------------------------- */

static void a_run_without_a_slot_waits_as_its_sessions_current_run(void **state) {
    (void)state;
    struct task *tasks[] = {run_in(0, "a/u", 5), run_in(1, "a/u", 5)};
    bool is_current;
    struct task *current = broadcaster_session_task(sessions[1], &is_current);
    assert_ptr_equal(current, tasks[1]);
    assert_true(is_current);
    task_unref(current);
    assert_int_equal(unit_status(tasks[1]), TASK_PENDING);
    assert_int_equal(stats_now().runs, 1);
    assert_int_equal(stats_now().runs_queued, 1);
    ASSERT_LOG_SAYS(sessions[1], "");
    assert_false(unit_publish(tasks[0], "1") == false);
    unit_complete(tasks[0]);
    assert_int_equal(unit_status(tasks[1]), TASK_RUNNING);
    assert_int_equal(stats_now().runs, 1);
    assert_int_equal(stats_now().runs_queued, 0);
    ASSERT_LOG_SAYS(sessions[1], "run.start");
    release(tasks, 2);
}

static void a_run_that_waits_can_be_cancelled_and_takes_no_slot(void **state) {
    (void)state;
    struct task *tasks[] = {run_in(0, "a/u", 5), run_in(1, "a/u", 5), run_in(2, "a/u", 5)};
    assert_true(task_cancel(tasks[1], REASON_REQUESTED));
    ASSERT_LOG_SAYS(sessions[1], "end:cancelled");
    assert_order(tasks, 3, (int[]){0, 2}, 2);
    assert_int_equal(driver.started, 2);
    release(tasks, 3);
}

static void a_run_that_waits_is_replaced_by_the_next_of_its_session(void **state) {
    (void)state;
    struct task *tasks[] = {run_in(0, "a/u", 5), run_in(1, "a/u", 5), run_in(1, "a/u", 5)};
    assert_int_equal(unit_status(tasks[1]), TASK_REPLACED);
    assert_int_equal(stats_now().runs_queued, 1);
    assert_order(tasks, 3, (int[]){0, 2}, 2);
    ASSERT_LOG_SAYS(sessions[1], "end:replaced run.start end:completed");
    release(tasks, 3);
}

static void replacing_keeps_the_slot_though_others_wait(void **state) {
    (void)state;
    struct task *tasks[] = {run_in(0, "a/u", 5), run_in(1, "a/u", 10), run_in(0, "a/u", 1)};
    assert_order(tasks, 3, (int[]){2, 1}, 2);
    ASSERT_LOG_SAYS(sessions[0], "run.start end:replaced run.start end:completed");
    release(tasks, 3);
}

static struct task *timed_in(size_t place, int priority) {
    struct task *task =
        make_in(place, "a/u", (struct task_options){.priority = priority, .timeout_ms = 60000});
    assert_int_equal(unit_register(task), REGISTER_OK);
    return task;
}

static void replacing_keeps_the_slot_no_longer_than_a_run_may_take(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(broadcaster)->runs_queued_max, 1);
    struct task *tasks[4] = {timed_in(0, 5), run_in(1, "a/u", 5)};
    clock_fake_advance(59999);
    tasks[2] = timed_in(0, 5);
    assert_int_equal(running_of(tasks, 3), 2);
    clock_fake_advance(1); /* since the session got the slot */
    tasks[3] = timed_in(0, 5);
    assert_int_equal(unit_status(tasks[2]), TASK_REPLACED);
    assert_int_equal(unit_status(tasks[3]), TASK_PENDING);
    assert_int_equal(stats_now().runs_queued, 1);
    assert_order(tasks, 4, (int[]){1, 3}, 2);
    ASSERT_LOG_SAYS(sessions[0], "run.start end:replaced run.start end:replaced run.start end:completed");
    release(tasks, 4);
}

static void replacing_keeps_the_slot_for_any_time_if_nobody_waits(void **state) {
    (void)state;
    struct task *tasks[5] = {timed_in(0, 5)};
    clock_fake_advance(60000);
    tasks[1] = timed_in(0, 5);
    clock_fake_advance(60000);
    tasks[2] = timed_in(0, 5);
    assert_int_equal(running_of(tasks, 3), 2);
    tasks[3] = run_in(1, "a/u", 5); /* from now on */
    tasks[4] = timed_in(0, 5);
    assert_int_equal(unit_status(tasks[4]), TASK_PENDING);
    assert_int_equal(running_of(tasks, 5), 3);
    release(tasks, 5);
}

static void nobody_starves_though_the_runs_of_a_session_replace_each_other(void **state) {
    (void)state;
    struct task *tasks[32] = {timed_in(0, 10), run_in(1, "a/u", 1)};
    size_t count = 2;
    for (; unit_status(tasks[1]) == TASK_PENDING && count < 32; count++) {
        clock_fake_advance(10000);
        tasks[count] = timed_in(0, 10);
    }
    assert_true(count <=
                2 + 9 + 6); /* what the priorities are apart, and the time of a run, in steps of 10 s */
    assert_int_equal(unit_status(tasks[count - 1]), TASK_PENDING);
    release(tasks, count);
}

/* Others wait, but may not run: then the slot is the new run's, by way of the queue. */
static void replacing_gets_the_slot_again_if_nobody_else_may_have_it(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(broadcaster)->runs_max, 2);
    atomic_store(&broadcaster_limits(broadcaster)->runs_per_user_max, 1);
    struct task *tasks[4] = {timed_in(0, 5), run_in(1, "b/u", 5), run_in(2, "b/u", 5)};
    assert_int_equal(unit_status(tasks[2]), TASK_PENDING);
    clock_fake_advance(60000);
    tasks[3] = timed_in(0, 5);
    assert_int_equal(unit_status(tasks[0]), TASK_REPLACED);
    assert_int_equal(unit_status(tasks[3]), TASK_RUNNING);
    assert_int_equal(unit_status(tasks[2]), TASK_PENDING);
    ASSERT_LOG_SAYS(sessions[0], "run.start end:replaced run.start");
    release(tasks, 4);
}

static void replacing_takes_over_the_place_even_if_the_queue_is_full(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(broadcaster)->runs_queued_max, 1);
    struct task *tasks[] = {run_in(0, "a/u", 5), run_in(1, "a/u", 5),
                            make_in(2, "a/u", (struct task_options){0}), run_in(1, "a/u", 5)};
    assert_int_equal(unit_register(tasks[2]), REGISTER_RUNS_FULL);
    assert_int_equal(stats_now().runs_queued, 1);
    assert_int_equal(unit_status(tasks[3]), TASK_PENDING);
    release(tasks, 4);
}

static void replacing_keeps_the_place_in_the_line(void **state) {
    (void)state;
    struct task *tasks[4] = {run_in(0, "a/u", 5), run_in(1, "a/u", 5)};
    clock_fake_advance(1000);
    tasks[2] = run_in(2, "a/u", 5);
    clock_fake_advance(1000);
    tasks[3] = run_in(1, "a/u", 4);
    clock_fake_advance(9500); /* one step of priority less, and two seconds more of waiting */
    assert_order(tasks, 4, (int[]){0, 2, 3}, 3);
    release(tasks, 4);
    tasks[0] = run_in(0, "a/u", 5);
    tasks[1] = run_in(1, "a/u", 5);
    clock_fake_advance(1000);
    tasks[2] = run_in(2, "a/u", 5);
    tasks[3] = run_in(1, "a/u", 5);
    assert_order(tasks, 4, (int[]){0, 3, 2}, 3);
    release(tasks, 4);
}

static void a_session_gives_its_slot_away_between_its_own_runs(void **state) {
    (void)state;
    struct task *first = run_in(0, "a/u", 5);
    struct task *second = make_in(0, "a/u", (struct task_options){.on_conflict = ON_CONFLICT_ENQUEUE});
    assert_int_equal(unit_register(second), REGISTER_OK);
    struct task *tasks[] = {first, second, run_in(1, "a/u", 5)};
    assert_order(tasks, 3, (int[]){0, 2, 1}, 3);
    release(tasks, 3);
}

static void raised_limits_let_those_that_wait_start(void **state) {
    (void)state;
    struct task *tasks[] = {run_in(0, "a/u", 5), run_in(1, "a/u", 5), run_in(2, "a/u", 5),
                            run_in(3, "a/u", 5)};
    atomic_store(&broadcaster_limits(broadcaster)->runs_max, 3);
    broadcaster_poll_queue(broadcaster);
    assert_int_equal(stats_now().runs, 3);
    assert_int_equal(unit_status(tasks[3]), TASK_PENDING);
    release(tasks, 4);
}

static void nothing_that_waits_starts_when_all_is_cancelled(void **state) {
    (void)state;
    struct task *tasks[20];
    for (size_t i = 0; i < 20; i++)
        tasks[i] = run_in(i, "a/u", 5);
    assert_int_equal(broadcaster_cancel_all(broadcaster, REASON_REQUESTED), 20);
    assert_int_equal(driver.started, 1);
    release(tasks, 20);
}

static void a_closed_session_gives_its_slot_on(void **state) {
    (void)state;
    struct task *tasks[] = {run_in(0, "a/u", 5), run_in(1, "a/u", 5)};
    broadcaster_close_session(sessions[0], REASON_SESSION_DELETED);
    assert_int_equal(unit_status(tasks[1]), TASK_RUNNING);
    release(tasks, 2);
}

/* ---- order --------------------------------------------------------------------------------------- */

static void higher_priority_comes_first_and_the_older_among_equals(void **state) {
    (void)state;
    struct task *tasks[] = {run_in(0, "a/u", 5), run_in(1, "a/u", 1), run_in(2, "a/u", 10),
                            run_in(3, "a/u", 5), run_in(4, "a/u", 5), run_in(5, "a/u", 10)};
    assert_order(tasks, 6, (int[]){0, 2, 5, 3, 4, 1}, 6);
    release(tasks, 6);
}

static void waiting_raises_a_run_over_younger_ones_of_higher_priority(void **state) {
    (void)state;
    struct task *running = run_in(0, "a/u", 5), *old = run_in(1, "a/u", 4);
    clock_fake_advance(20001); /* two steps and a bit */
    struct task *tasks[] = {running, old, run_in(2, "a/u", 6), run_in(3, "a/u", 7)};
    assert_order(tasks, 4, (int[]){0, 3, 1, 2}, 4);
    release(tasks, 4);
}

static void nobody_starves_however_many_of_higher_priority_come(void **state) {
    (void)state;
    struct task *tasks[SESSIONS];
    size_t count = 0;
    tasks[count++] = run_in(0, "a/u", 10);
    tasks[count++] = run_in(1, "a/u", 1);
    while (unit_status(tasks[1]) == TASK_PENDING) {
        assert_true(count < 25); /* nine steps of priority are ninety seconds, five each */
        tasks[count] = run_in(count, "a/u", 10);
        clock_fake_advance(5000);
        int running = running_of(tasks, count + 1);
        unit_complete(tasks[running]);
        count++;
    }
    assert_true(count > 15);
    release(tasks, count);
}

/* ---- apps and users ------------------------------------------------------------------------------ */

static void apps_and_users_have_limits_of_their_own(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(broadcaster)->runs_max, 10);
    atomic_store(&broadcaster_limits(broadcaster)->runs_per_app_max, 3);
    atomic_store(&broadcaster_limits(broadcaster)->runs_per_user_max, 2);
    struct task *tasks[] = {run_in(0, "a/u", 5), run_in(1, "a/u", 5), run_in(2, "a/u", 5),
                            run_in(3, "a/v", 5), run_in(4, "a/w", 5), run_in(5, "b/u", 5)};
    const enum task_status expected[] = {TASK_RUNNING, TASK_RUNNING, TASK_PENDING,
                                         TASK_RUNNING, TASK_PENDING, TASK_RUNNING};
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(unit_status(tasks[i]), expected[i]);
    unit_complete(tasks[3]); /* room in the app, but for the first user */
    assert_int_equal(unit_status(tasks[2]), TASK_PENDING);
    assert_int_equal(unit_status(tasks[4]), TASK_RUNNING);
    unit_complete(tasks[0]);
    assert_int_equal(unit_status(tasks[2]), TASK_RUNNING);
    release(tasks, 6);
}

static void one_users_crowd_keeps_nobody_else_waiting(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(broadcaster)->runs_max, 2);
    atomic_store(&broadcaster_limits(broadcaster)->runs_per_user_max, 1);
    struct task *tasks[12];
    for (size_t i = 0; i < 10; i++)
        tasks[i] = run_in(i, "a/crowd", 10);
    tasks[10] = run_in(10, "a/v", 1);
    tasks[11] = run_in(11, "a/w", 1);
    assert_int_equal(unit_status(tasks[10]), TASK_RUNNING);
    unit_complete(tasks[10]);
    assert_int_equal(unit_status(tasks[11]), TASK_RUNNING);
    assert_int_equal(unit_status(tasks[1]), TASK_PENDING);
    release(tasks, 12);
}

/* ---- limits and times ---------------------------------------------------------------------------- */

static void a_run_that_waits_too_long_ends_as_timeout(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(broadcaster)->queue_timeout_ms, 1000);
    struct task *tasks[] = {run_in(0, "a/u", 5), run_in(1, "a/u", 5)};
    assert_int_equal(task_check_queue(tasks[1]), 1000);
    clock_fake_advance(400);
    assert_int_equal(task_check_queue(tasks[1]), 600);
    assert_int_equal(task_check_queue(tasks[0]), 0); /* it runs */
    clock_fake_advance(600);
    assert_int_equal(task_check_queue(tasks[1]), 0);
    struct task_info info;
    task_get_info(tasks[1], &info);
    assert_int_equal(info.status, TASK_TIMEOUT);
    assert_int_equal(info.reason, REASON_QUEUE_TIME);
    assert_int_equal(info.queue_wait_ms, 1000);
    assert_int_equal(stats_now().runs_queued, 0);
    release(tasks, 2);
}

static void retry_after_follows_how_long_slots_are_held(void **state) {
    (void)state;
    struct scheduler_info info;
    atomic_store(&broadcaster_limits(broadcaster)->runs_max, 4);
    struct task *tasks[5];
    for (size_t i = 0; i < 5; i++)
        tasks[i] = run_in(i, "a/u", 5);
    scheduler_get_info(broadcaster_scheduler(broadcaster), &info);
    assert_int_equal(info.held_mean_ms, 0);
    assert_int_equal(info.waiting, 1);
    clock_fake_advance(8000);
    scheduler_get_info(broadcaster_scheduler(broadcaster), &info);
    assert_int_equal(info.oldest_wait_ms, 8000);
    unit_complete(tasks[0]);
    scheduler_get_info(broadcaster_scheduler(broadcaster), &info);
    assert_int_equal(info.held_mean_ms, 8000);
    assert_int_equal(info.running, 4);
    assert_int_equal(info.retry_after_ms, 2000); /* one of four ends every two seconds */
    release(tasks, 5);
}

/* ---- waiting for all ----------------------------------------------------------------------------- */

static int idle_told;

static void on_idle(struct inbox_item *item) {
    (void)item;
    idle_told++;
}

static void whoever_waits_for_all_is_told_when_the_last_run_has_ended(void **state) {
    (void)state;
    uv_loop_t loop;
    struct inbox inbox;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(inbox_init(&inbox, &loop), 0);
    struct task *tasks[] = {run_in(0, "a/u", 5), run_in(1, "a/u", 5)};
    struct idle_waiter waiter = {.inbox = &inbox, .item = {.handle = on_idle}};
    idle_told = 0;
    scheduler_wait_idle(broadcaster_scheduler(broadcaster), &waiter);
    unit_complete(tasks[0]);
    inbox_drain(&inbox);
    assert_int_equal(idle_told, 0);
    unit_complete(tasks[1]);
    inbox_drain(&inbox);
    assert_int_equal(idle_told, 1);
    scheduler_wait_idle(broadcaster_scheduler(broadcaster), &waiter); /* nothing runs: at once */
    inbox_drain(&inbox);
    assert_int_equal(idle_told, 2);
    release(tasks, 2);
    inbox_close(&inbox);
    uv_run(&loop, UV_RUN_DEFAULT);
    inbox_finish(&inbox);
    uv_loop_close(&loop);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_run_without_a_slot_waits_as_its_sessions_current_run),
        TEST(a_run_that_waits_can_be_cancelled_and_takes_no_slot),
        TEST(a_run_that_waits_is_replaced_by_the_next_of_its_session),
        TEST(replacing_keeps_the_slot_though_others_wait),
        TEST(replacing_keeps_the_slot_no_longer_than_a_run_may_take),
        TEST(replacing_keeps_the_slot_for_any_time_if_nobody_waits),
        TEST(nobody_starves_though_the_runs_of_a_session_replace_each_other),
        TEST(replacing_gets_the_slot_again_if_nobody_else_may_have_it),
        TEST(replacing_takes_over_the_place_even_if_the_queue_is_full),
        TEST(replacing_keeps_the_place_in_the_line),
        TEST(a_session_gives_its_slot_away_between_its_own_runs),
        TEST(raised_limits_let_those_that_wait_start),
        TEST(nothing_that_waits_starts_when_all_is_cancelled),
        TEST(a_closed_session_gives_its_slot_on),
        TEST(higher_priority_comes_first_and_the_older_among_equals),
        TEST(waiting_raises_a_run_over_younger_ones_of_higher_priority),
        TEST(nobody_starves_however_many_of_higher_priority_come),
        TEST(apps_and_users_have_limits_of_their_own),
        TEST(one_users_crowd_keeps_nobody_else_waiting),
        TEST(a_run_that_waits_too_long_ends_as_timeout),
        TEST(retry_after_follows_how_long_slots_are_held),
        TEST(whoever_waits_for_all_is_told_when_the_last_run_has_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
