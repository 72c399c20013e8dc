/* base/lenient_name: what some reader may take for one name is one name, and nothing else. */
#include "base/lenient_name.h"

#include "tests/support/unit.h"

static void names_that_some_reader_takes_for_another_are_equal(void **state) {
    (void)state;
    static const char *const same[][2] = {{"user", "user"},
                                          {"user", "USER"},
                                          {"user", "u\u017fer"},
                                          {"task", "tas\u212a"},
                                          {"class", "cla\u00df"},
                                          {"class", "CLA\u1e9e"},
                                          {"user_id", "userId"},
                                          {"userId", "__user__id_"},
                                          {"id", "\u0130d"},
                                          {"id", "\u0131D"},
                                          {"id", "i\u0307d"},
                                          {"id", "I\u0307D"},
                                          {"office", "o\ufb03ce"},
                                          {"state", "\ufb05ate"},
                                          {"file", "\ufb01le"},
                                          {"gr\u00f6\u00dfe", "GR\u00d6SSE"},
                                          {"", "_"},
                                          {"a-b", "A-B"}};
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        assert_true(lenient_name_is(same[i][0], same[i][1]));
        assert_true(lenient_name_is(same[i][1], same[i][0]));
    }
}

static void other_names_differ(void **state) {
    (void)state;
    static const char *const different[][2] = {
        {"user", "users"},       {"user", "use"},        {"user", ""},
        {"user", "us\u00e9r"},   {"class", "clas"},      {"a-b", "ab"},
        {"office", "o\ufb01ce"}, {"user id", "user_id"}, {"stat", "\ufb05ate"},
        {"a", "\u0430"}};
    for (size_t i = 0; i < sizeof(different) / sizeof(different[0]); i++) {
        assert_false(lenient_name_is(different[i][0], different[i][1]));
        assert_false(lenient_name_is(different[i][1], different[i][0]));
    }
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_that_some_reader_takes_for_another_are_equal),
        cmocka_unit_test(other_names_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
