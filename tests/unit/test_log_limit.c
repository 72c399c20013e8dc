/* base/log_limit: lines that somebody outside can cause. */
#include "base/log_limit.h"

#include "base/clock.h"
#include "tests/support/unit.h"

static int tear_down(void **state) {
    (void)state;
    clock_real();
    return 0;
}

static void limit_lets_so_many_lines_a_second_through_and_counts_the_others(void **state) {
    (void)state;
    struct log_limit limit = {0};
    uint64_t unwritten = 1;
    clock_fake(1000, 0);
    for (int i = 0; i < LOG_LIMIT_LINES_PER_SECOND; i++) {
        assert_true(log_limit_take(&limit, &unwritten));
        assert_int_equal(unwritten, 0);
    }
    for (int i = 0; i < 5; i++)
        assert_false(log_limit_take(&limit, &unwritten));
    clock_fake(1000 + 1000 / LOG_LIMIT_LINES_PER_SECOND - 1, 0);
    assert_false(log_limit_take(&limit, &unwritten));
    clock_fake(1000 + 1000 / LOG_LIMIT_LINES_PER_SECOND, 0);
    assert_true(log_limit_take(&limit, &unwritten));
    assert_int_equal(unwritten, 6);
    assert_false(log_limit_take(&limit, &unwritten));
    clock_fake(9000, 0);
    for (int i = 0; i < LOG_LIMIT_LINES_PER_SECOND; i++)
        assert_true(log_limit_take(&limit, &unwritten));
    assert_false(log_limit_take(&limit, &unwritten));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(limit_lets_so_many_lines_a_second_through_and_counts_the_others, tear_down),
    };
    return cmocka_run_group_tests_name("log_limit", tests, NULL, NULL);
}
