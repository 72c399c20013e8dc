/* broadcaster/scheduler_guest: runs that are no tasks have a slot within the same limits, or none. */
#include "tests/support/unit_scheduling.h"

static bool admit(const char *app, const char *user, struct scheduler_guest *guest) {
    return scheduler_admit_guest(broadcaster_scheduler(broadcaster), app, user, guest);
}

static void dismiss(struct scheduler_guest *guest) {
    scheduler_dismiss_guest(broadcaster_scheduler(broadcaster), guest);
    broadcaster_poll_queue(broadcaster);
}

static void a_guest_has_no_slot_while_a_run_has_it(void **state) {
    (void)state;
    struct scheduler_guest guest;
    struct task *tasks[] = {run_in(0, "a/u", 5)};
    assert_false(admit("a", "other", &guest));
    unit_complete(tasks[0]);
    assert_true(admit("a", "other", &guest));
    dismiss(&guest);
    release(tasks, 1);
}

static void a_run_waits_for_the_slot_of_a_guest(void **state) {
    (void)state;
    struct scheduler_guest guest, other;
    assert_true(admit("a", "u", &guest));
    struct task *tasks[] = {run_in(0, "a/u", 5), run_in(1, "b/v", 5)};
    assert_int_equal(unit_status(tasks[0]), TASK_PENDING);
    assert_false(admit("b", "v", &other));
    dismiss(&guest);
    assert_order(tasks, 2, (int[]){0, 1}, 2);
    release(tasks, 2);
}

static void guests_count_for_their_app_and_user(void **state) {
    (void)state;
    struct broadcaster_limits *limits = broadcaster_limits(broadcaster);
    struct scheduler_guest guests[3];
    atomic_store(&limits->runs_max, 10);
    atomic_store(&limits->runs_per_app_max, 2);
    atomic_store(&limits->runs_per_user_max, 1);
    assert_true(admit("a", "u", &guests[0]));
    assert_false(admit("a", "u", &guests[1]));
    struct task *tasks[] = {run_in(0, "a/u", 5), run_in(1, "a/v", 5)};
    assert_int_equal(unit_status(tasks[0]), TASK_PENDING);
    assert_int_equal(unit_status(tasks[1]), TASK_RUNNING);
    assert_false(admit("a", "w", &guests[1]));
    assert_true(admit("b", "u", &guests[2]));
    dismiss(&guests[2]);
    dismiss(&guests[0]);
    assert_int_equal(unit_status(tasks[0]), TASK_RUNNING);
    release(tasks, 2);
}

static void the_program_does_not_wait_for_guests(void **state) {
    (void)state;
    struct scheduler_guest guest;
    struct scheduler_info info;
    assert_true(admit("a", "u", &guest));
    scheduler_get_info(broadcaster_scheduler(broadcaster), &info);
    assert_int_equal(info.running, 0); /* what is told of runs is about tasks */
    assert_int_equal(info.guests, 1);
    dismiss(&guest);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_guest_has_no_slot_while_a_run_has_it),
        TEST(a_run_waits_for_the_slot_of_a_guest),
        TEST(guests_count_for_their_app_and_user),
        TEST(the_program_does_not_wait_for_guests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
