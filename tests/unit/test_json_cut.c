/* routes/json_cut: a member goes, and every other byte stays. */
#include "routes/json_body.h"

#include "tests/support/unit.h"

#include <string.h>

static void check(const char *text, size_t index, const char *expected) {
    char out[256];
    size_t length = json_cut_member(text, strlen(text), index, out);
    assert_int_equal(length, strlen(expected));
    assert_memory_equal(out, expected, length);
}

static void json_cut_takes_the_first_the_last_and_the_only_member(void **state) {
    (void)state;
    check("{\"a\":1,\"b\":2,\"c\":3}", 0, "{\"b\":2,\"c\":3}");
    check("{\"a\":1,\"b\":2,\"c\":3}", 1, "{\"a\":1,\"c\":3}");
    check("{\"a\":1,\"b\":2,\"c\":3}", 2, "{\"a\":1,\"b\":2}");
    check("{\"a\":1}", 0, "{}");
    check(" { \"a\" : 1 , \"b\" : 1.0 } \n", 0, " { \"b\" : 1.0 } \n");
    check(" { \"a\" : 1 , \"b\" : 1.0 } \n", 1, " { \"a\" : 1 } \n");
}

static void json_cut_is_not_deceived_by_what_is_within_values(void **state) {
    (void)state;
    check("{\"a\":{\"x\":[1,{\"y\":2}],\"z\":3},\"b\":4}", 0, "{\"b\":4}");
    check("{\"a\":[1,2,[3,4]],\"b\":{},\"c\":[]}", 1, "{\"a\":[1,2,[3,4]],\"c\":[]}");
    check("{\"a,}\":\"},{\\\"\",\"b\\\\\":\"\\\\\",\"c\":\"]\"}", 1, "{\"a,}\":\"},{\\\"\",\"c\":\"]\"}");
    check("{\"a\":12345678901234567890,\"g\":{\"l\":\"\\\\\\\"}\"},\"b\":1e2}", 1,
          "{\"a\":12345678901234567890,\"b\":1e2}");
}

static void json_cut_writes_nothing_beyond_a_text_that_ends_early(void **state) {
    (void)state;
    check("{\"a\":1", 0, "{");
    check("{\"a\":1", 3, "{");
    check("{\"a", 0, "{");
    check("", 0, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_cut_takes_the_first_the_last_and_the_only_member),
        cmocka_unit_test(json_cut_is_not_deceived_by_what_is_within_values),
        cmocka_unit_test(json_cut_writes_nothing_beyond_a_text_that_ends_early),
    };
    return cmocka_run_group_tests_name("json_cut", tests, NULL, NULL);
}
