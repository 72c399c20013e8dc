/* broadcaster/scheduler: slots, the order of those that wait, limits of apps and users, runs for later. */
#include "broadcaster/subscriber.h"
#include "tests/support/unit_registering.h"

#define SESSIONS 64

static struct session *sessions[SESSIONS];

static int set_up_sessions(void **state) {
    set_up(state);
    memset(sessions, 0, sizeof(sessions));
    atomic_store(&broadcaster_limits(broadcaster)->runs_max, 1);
    atomic_store(&broadcaster_limits(broadcaster)->queue_aging_ms, 10000);
    return 0;
}

static int tear_down_sessions(void **state) {
    for (size_t i = 0; i < SESSIONS; i++) {
        if (sessions[i] != NULL)
            broadcaster_close_session(sessions[i], REASON_SESSION_DELETED);
        session_unref(sessions[i]);
    }
    return tear_down(state);
}

/* A run of its own session, of app "a" and user "u" if nothing else is said. */
static struct task *make_in(size_t place, const char *app_and_user, struct task_options options) {
    char key[64];
    snprintf(key, sizeof(key), "%s/s%zu", app_and_user, place);
    if (sessions[place] == NULL)
        sessions[place] = unit_session(broadcaster, key);
    return unit_task(&driver, sessions[place], options);
}

static struct task *run_in(size_t place, const char *app_and_user, int priority) {
    struct task *task = make_in(place, app_and_user, (struct task_options){.priority = priority});
    assert_int_equal(unit_register(task), REGISTER_OK);
    return task;
}

static void release(struct task **tasks, size_t count) {
    broadcaster_cancel_all(broadcaster, REASON_REQUESTED);
    for (size_t i = 0; i < count; i++)
        unit_task_release(tasks[i]);
}

/* Which of them runs; -1: none. No more than one may. */
static int running_of(struct task **tasks, size_t count) {
    int running = -1;
    for (size_t i = 0; i < count; i++) {
        if (unit_status(tasks[i]) != TASK_RUNNING)
            continue;
        assert_int_equal(running, -1);
        running = (int)i;
    }
    return running;
}

/* Asserts the order in which they run, by completing one after the other. */
static void assert_order(struct task **tasks, size_t count, const int *order, size_t order_count) {
    for (size_t i = 0; i < order_count; i++) {
        assert_int_equal(running_of(tasks, count), order[i]);
        unit_complete(tasks[order[i]]);
    }
    assert_int_equal(running_of(tasks, count), -1);
}

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

/* ---- runs for later ------------------------------------------------------------------------------ */

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
    struct task *tasks[3], *answer;
    const enum register_result expected[] = {REGISTER_OK, REGISTER_REPLAYED, REGISTER_OK};
    for (size_t i = 0; i < 3; i++) {
        tasks[i] = make_in(0, "a/u", (struct task_options){.delay_ms = 3600000});
        assert_int_equal(
            broadcaster_register_task(broadcaster, tasks[i], idempotency_entry_create("key", 1), &answer),
            expected[i]);
        task_unref(answer);
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
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up_sessions, tear_down_sessions)
    const struct CMUnitTest tests[] = {
        TEST(a_run_without_a_slot_waits_as_its_sessions_current_run),
        TEST(a_run_that_waits_can_be_cancelled_and_takes_no_slot),
        TEST(a_run_that_waits_is_replaced_by_the_next_of_its_session),
        TEST(replacing_keeps_the_slot_though_others_wait),
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
        TEST(a_delayed_run_touches_nothing_until_it_is_due_and_then_replaces),
        TEST(a_delayed_run_that_finds_another_and_does_not_want_that_ends_as_cancelled),
        TEST(a_delayed_run_can_wait_its_turn_and_for_a_slot),
        TEST(a_delayed_run_can_be_cancelled_and_keeps_its_session),
        TEST(delayed_runs_count_among_those_that_wait),
        TEST(runs_that_wait_keep_their_session),
        TEST(the_key_of_a_run_for_later_holds_from_its_time_on),
        TEST(a_run_that_waits_ends_with_its_last_subscriber_if_it_wants),
        TEST(whoever_waits_for_all_is_told_when_the_last_run_has_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
