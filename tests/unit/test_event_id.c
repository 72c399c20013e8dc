/* broadcaster/event_id: its text, its order, and that it always grows. */
#include "broadcaster/event_id.h"
#include "tests/support/unit.h"

static void assert_text(struct event_id id, const char *expected) {
    char text[EVENT_ID_SIZE];
    assert_int_equal(event_id_format(id, text), strlen(expected));
    assert_string_equal(text, expected);
    struct event_id back;
    assert_true(event_id_parse(text, &back));
    assert_int_equal(event_id_compare(id, back), 0);
}

static void event_id_comes_back_from_its_text(void **state) {
    (void)state;
    assert_text((struct event_id){0, 0}, "0-0");
    assert_text((struct event_id){1700000000123, 7}, "1700000000123-7");
    assert_text((struct event_id){UINT64_MAX, UINT64_MAX}, "18446744073709551615-18446744073709551615");
}

static void event_id_takes_no_garbage(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      "-1",
                                      "1",
                                      "1-",
                                      "-",
                                      "1-2-3",
                                      " 1-2",
                                      "1-2 ",
                                      "a-1",
                                      "1-a",
                                      "01-2",
                                      "1-02",
                                      "+1-2",
                                      "1--2",
                                      "1.0-2",
                                      "0x1-2",
                                      "18446744073709551616-0",
                                      "0-18446744073709551616"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct event_id id = {3, 4};
        assert_false(event_id_parse(bad[i], &id));
        assert_int_equal(id.ms, 3);
        assert_int_equal(id.n, 4);
    }
}

static void event_id_orders_by_time_then_number(void **state) {
    (void)state;
    assert_true(event_id_compare((struct event_id){1, 9}, (struct event_id){2, 0}) < 0);
    assert_true(event_id_compare((struct event_id){2, 10}, (struct event_id){2, 9}) > 0);
    assert_int_equal(event_id_compare((struct event_id){2, 2}, (struct event_id){2, 2}), 0);
}

static void event_id_grows_whatever_the_clock_does(void **state) {
    (void)state;
    static const int64_t clock_ms[] = {100, 100, 101, 100, 50, 0, -5, 102, 102};
    struct event_id last = {0, 0};
    for (size_t i = 0; i < sizeof(clock_ms) / sizeof(clock_ms[0]); i++) {
        struct event_id next = event_id_next(last, clock_ms[i]);
        assert_true(event_id_compare(next, last) > 0);
        last = next;
    }
    assert_text(last, "102-1");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(event_id_comes_back_from_its_text),
        cmocka_unit_test(event_id_takes_no_garbage),
        cmocka_unit_test(event_id_orders_by_time_then_number),
        cmocka_unit_test(event_id_grows_whatever_the_clock_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
