/* base/log_once: one line a minute about each subject. */
#include "base/log_once.h"

#include "base/clock.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <string.h>

static int tear_down(void **state) {
    (void)state;
    clock_real();
    return 0;
}

static bool take(struct log_once *once, const char *subject, uint64_t *ret_unwritten) {
    return log_once_take(once, subject, strlen(subject), ret_unwritten);
}

static void log_once_lets_a_subject_through_once_a_minute(void **state) {
    (void)state;
    struct log_once once = {0};
    uint64_t unwritten = 1;
    clock_fake(0, 0);
    assert_true(take(&once, "a", &unwritten));
    assert_int_equal(unwritten, 0);
    assert_true(take(&once, "b", &unwritten));
    clock_fake(59999, 0);
    assert_false(take(&once, "a", &unwritten));
    assert_false(take(&once, "b", &unwritten));
    clock_fake(60000, 0);
    assert_true(take(&once, "a", &unwritten));
    assert_int_equal(unwritten, 0);
    assert_false(take(&once, "a", &unwritten));
}

static void log_once_of_many_subjects_is_bounded_and_counts_the_rest(void **state) {
    (void)state;
    struct log_once once = {0};
    uint64_t unwritten = 0;
    size_t taken = 0;
    clock_fake(0, 0);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < LOG_ONCE_SUBJECTS_MAX + 10; i++) {
            char subject[16];
            snprintf(subject, sizeof(subject), "s%d", i);
            taken += take(&once, subject, &unwritten);
        }
    }
    assert_int_equal(taken, LOG_ONCE_SUBJECTS_MAX);
    clock_fake(60000, 0);
    assert_true(take(&once, "s0", &unwritten));
    assert_int_equal(unwritten, 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(log_once_lets_a_subject_through_once_a_minute, tear_down),
        cmocka_unit_test_teardown(log_once_of_many_subjects_is_bounded_and_counts_the_rest, tear_down),
    };
    return cmocka_run_group_tests_name("log_once", tests, NULL, NULL);
}
