/* routes/request and reply: queries are decoded as forms are, headers hold nothing that could split them. */
#include "tests/support/unit_routes.h"

#include <errno.h>

static char *value_of(const char *query, const char *name, int result) {
    const struct request request = {.query = query};
    char *value = NULL;
    assert_int_equal(request_query(&request, name, &value), result);
    return value;
}

static void check_value(const char *query, const char *name, const char *expected) {
    char *value = value_of(query, name, 0);
    assert_non_null(value);
    assert_string_equal(value, expected);
    free(value);
}

static void query_values_are_decoded_once(void **state) {
    (void)state;
    check_value("a=1&bb=x%20y+z&A=2", "a", "1");
    check_value("a=1&bb=x%20y+z&a=2", "bb", "x y z");
    check_value("a=%2541", "a", "%41");
    check_value("&&a=", "a", "");
    check_value("a=b=c", "a", "b=c");
    assert_null(value_of("", "a", 0));
    assert_null(value_of("aa=1&b=a=2&a+=3&=a", "a", 0));
}

/* As every server reads them that decodes names: one of them may have looked at the query before us. */
static void query_names_are_decoded_and_need_no_value(void **state) {
    (void)state;
    check_value("x&a", "a", "");
    check_value("a", "a", "");
    check_value("%61=1", "a", "1");
    check_value("b%62=1", "bb", "1");
    assert_null(value_of("%2561=1", "a", 0));
}

static void query_name_that_is_there_twice_has_no_value(void **state) {
    (void)state;
    assert_null(value_of("a=1&b=2&a=1", "a", -EINVAL));
    assert_null(value_of("a=1&%61=2", "a", -EINVAL));
    assert_null(value_of("a=1&a", "a", -EINVAL));
    check_value("a=1&b=2&a=1", "b", "2");
}

static void query_has_only_the_names_that_it_may_have(void **state) {
    (void)state;
    static const char *const names[] = {"a", "bb", NULL};
    static const char *const good[] = {"", "&&", "a", "a=1&bb=2", "%61=1", "a=%26c=1"};
    static const char *const bad[] = {"c=1", "a=1&c", "=1", "aa=1", "A=1", "%2561=1", "a;c=1"};
    struct request request = {.query = ""};
    const char *name;
    size_t length;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        request.query = good[i];
        assert_false(request_query_find_other(&request, names, &name, &length));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        request.query = bad[i];
        assert_true(request_query_find_other(&request, names, &name, &length));
        assert_int_equal(length, strcspn(name, "=&"));
        assert_ptr_equal(name, bad[i] + (strncmp(bad[i], "a=1&", 4) == 0 ? 4 : 0));
    }
}

static void query_values_that_are_no_text_are_refused(void **state) {
    (void)state;
    assert_null(value_of("a=%", "a", -EINVAL));
    assert_null(value_of("a=%zz", "a", -EINVAL));
    assert_null(value_of("a=%00", "a", -EINVAL));
    assert_null(value_of("a=%ff", "a", -EINVAL));
}

static void query_numbers_are_whole_and_within_bounds(void **state) {
    (void)state;
    static const char *const bad[] = {"n=",  "n=-1", "n=+1",  "n=1.0",  "n=11",
                                      "n=0", "n=1x", "n=0x1", "n=%201", "n=99999999999999999999999"};
    int64_t number = 7;
    struct request request = {.query = ""};
    assert_int_equal(request_query_number(&request, "n", 1, 10, &number), 0);
    assert_int_equal(number, 7);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        request.query = bad[i];
        assert_int_equal(request_query_number(&request, "n", 1, 10, &number), -EINVAL);
        assert_int_equal(number, 7);
    }
    request.query = "n=10";
    assert_int_equal(request_query_number(&request, "n", 1, 10, &number), 0);
    assert_int_equal(number, 10);
}

static void request_headers_of_one_name_are_joined(void **state) {
    (void)state;
    const struct asked asked = {
        .request = {.operations = &asked_operations},
        .headers = {{"A", "1"}, {"b", "2"}, {"a", ""}, {"a", "x, y"}},
    };
    static const char *const expected[][2] = {{"a", "1, , x, y"}, {"B", "2"}, {"c", ""}};
    for (size_t i = 0; i < 3; i++) {
        char *joined = request_header_joined(&asked.request, expected[i][0]);
        assert_string_equal(joined, expected[i][1]);
        free(joined);
    }
}

static void reply_headers_cannot_be_split_and_are_bounded(void **state) {
    (void)state;
    struct request request = {.path = "/"};
    assert_false(reply_header(&request, "X", "a\r\nY: b"));
    assert_false(reply_header(&request, "X", "a\x7f"));
    for (int i = 0; i < REPLY_HEADERS_MAX; i++)
        assert_true(reply_header(&request, "X", "a"));
    assert_false(reply_header(&request, "X", "a"));
    reply_finish(&request.reply);
}

static void reply_error_is_the_contract_s_object(void **state) {
    (void)state;
    struct asked asked = {.request = {.operations = &asked_operations, .path = "/"}};
    reply_error_about(&asked.request, 429, "some_code", "task_id", "x", "It is \"%s\"\n.", "full");
    assert_int_equal(asked.request.reply.status, 429);
    assert_non_null(answer_header(&asked, "Retry-After"));
    assert_string_equal(answer_header(&asked, "Cache-Control"), "no-store");
    assert_string_equal(asked.request.reply.body,
                        "{\"error\":{\"code\":\"some_code\",\"message\":\"It is \\\"full\\\"\\n.\","
                        "\"task_id\":\"x\"}}");
    let_go(&asked);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(query_values_are_decoded_once),
        cmocka_unit_test(query_names_are_decoded_and_need_no_value),
        cmocka_unit_test(query_name_that_is_there_twice_has_no_value),
        cmocka_unit_test(query_has_only_the_names_that_it_may_have),
        cmocka_unit_test(query_values_that_are_no_text_are_refused),
        cmocka_unit_test(query_numbers_are_whole_and_within_bounds),
        cmocka_unit_test(request_headers_of_one_name_are_joined),
        cmocka_unit_test(reply_headers_cannot_be_split_and_are_bounded),
        cmocka_unit_test(reply_error_is_the_contract_s_object),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
