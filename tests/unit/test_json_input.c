/* routes/json_input: bodies are read as strictly as everybody behind the gateway may read them. */
#include "routes/json_body.h"

#include "tests/support/unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define VALUES_MAX 1000

static int read_bytes(const char *text, size_t length) {
    cJSON *object = NULL;
    const char *error = NULL;
    char *copy = malloc(length + 1); /* exactly as long, so that a sanitizer sees a step too far */
    assert_non_null(copy);
    memcpy(copy, text, length);
    copy[length] = '\0';
    int result = json_input_read(copy, length, VALUES_MAX, &object, &error);
    assert_true((result == 0) == (object != NULL));
    assert_true((result == -EINVAL) == (error != NULL));
    cJSON_Delete(object);
    free(copy);
    return result;
}

static int read_text(const char *text) {
    return read_bytes(text, strlen(text));
}

static void json_input_takes_one_object(void **state) {
    (void)state;
    assert_int_equal(read_text("{}"), 0);
    assert_int_equal(read_text(" \t\r\n{\"a\":[1,-0.5e+3,true,null,\"\\u00e9\\\\ \\\" \xC3\xA9\"]} \n"), 0);
    assert_int_equal(read_text("{\"a\":\"\\\\u0000\"}"), 0); /* a backslash and a text */
}

static void json_input_refuses_what_is_no_object_or_has_more_behind_it(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",          "  ",       "[]",       "1",           "\"a\"",   "null",
        "{",         "{}x",      "{}{}",     "{},",         "{]",      "{\"a\"}",
        "{a:1}",     "{\"a\":}", "{\"a\":1", "{\"a\":\"b}", "{'a':1}", "\xEF\xBB\xBF{}",
        "{\"a\":1,}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(read_text(bad[i]), -EINVAL);
}

static void json_input_refuses_what_only_lenient_readers_take(void **state) {
    (void)state;
    static const char *const bad[] = {"{\"a\":01}",     "{\"a\":1.}",  "{\"a\":-}",      "{\"a\":1e}",
                                      "{\"a\":-.5}",    "{\"a\":+1}",  "{\"a\":\"\n\"}", "{\"a\":\"\t\"}",
                                      "{\"a\":\x01 1}", "{\"a\":NaN}", "{\"a\":\v1}",    "{\"a\":0x1}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(read_text(bad[i]), -EINVAL);
}

static void json_input_refuses_nul_and_bad_utf8(void **state) {
    (void)state;
    assert_int_equal(read_text("{\"a\":\"b\\u0000c\"}"), -EINVAL);
    assert_int_equal(read_text("{\"a\\u0000\":1}"), -EINVAL);
    assert_int_equal(read_bytes(TEXT_AND_LENGTH("{\"a\":\"\0\"}")), -EINVAL);
    assert_int_equal(read_bytes(TEXT_AND_LENGTH("{}\0")), -EINVAL);
    assert_int_equal(read_text("{\"a\":\"\xFF\"}"), -EINVAL);
    assert_int_equal(read_text("{\"a\":\"\\ud800\"}"), -EINVAL);
}

/* Found by fuzz_run_request: cJSON reads digits that are none as U+0000, which ended the text there. */
static void json_input_refuses_an_escape_without_four_hexadecimal_digits(void **state) {
    (void)state;
    static const char *const bad[] = {"\\u'0e9", "\\u00g9", "\\u00e", "\\u", "\\u-001", "\\u 041", "\\u000x"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[64];
        snprintf(text, sizeof(text), "{\"a\":\"b%s\"}", bad[i]);
        assert_int_equal(read_text(text), -EINVAL);
    }
    assert_int_equal(read_text("{\"a\":\"\\u00E9\\uD83d\\uDe00\"}"), 0);
}

static void json_input_refuses_names_that_repeat(void **state) {
    (void)state;
    assert_int_equal(read_text("{\"a\":1,\"b\":2,\"a\":3}"), -EINVAL);
    assert_int_equal(read_text("{\"a\":1,\"\\u0061\":3}"), -EINVAL);
    assert_int_equal(read_text("{\"a\":1,\"A\":3}"), 0);
}

static void json_input_is_nested_at_most_64_deep(void **state) {
    (void)state;
    char text[512];
    for (int depth = JSON_INPUT_DEPTH_MAX; depth <= JSON_INPUT_DEPTH_MAX + 1; depth++) {
        strcpy(text, "{\"a\":");
        for (int i = 1; i < depth; i++)
            strcat(text, "[");
        for (int i = 1; i < depth; i++)
            strcat(text, "]");
        strcat(text, "}");
        assert_int_equal(read_text(text), depth <= JSON_INPUT_DEPTH_MAX ? 0 : -EINVAL);
    }
    assert_int_equal(
        read_text("{\"a\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"}"), 0);
}

static void json_input_has_a_bound_of_values(void **state) {
    (void)state;
    char text[4 * VALUES_MAX];
    for (size_t values = VALUES_MAX - 1; values <= VALUES_MAX + 1; values++) {
        size_t length = (size_t)sprintf(text, "{\"a\":["); /* two of them */
        for (size_t i = 2; i < values; i++)
            length += (size_t)sprintf(text + length, "%s0", i > 2 ? "," : "");
        sprintf(text + length, "]}");
        assert_int_equal(read_text(text), values <= VALUES_MAX ? 0 : -E2BIG);
        text[length] = ' '; /* whether it is JSON otherwise is not looked at */
        assert_int_equal(read_text(text), values <= VALUES_MAX ? -EINVAL : -E2BIG);
    }
    memset(text, ',', sizeof(text));
    memcpy(text, "{\"a\":\"", 6);
    memcpy(text + sizeof(text) - 3, "\"}", 3);
    assert_int_equal(read_text(text), 0);
}

static bool is_inexact(const char *text) {
    return json_input_has_inexact_number(text, strlen(text));
}

static void json_input_tells_numbers_that_printing_would_change(void **state) {
    (void)state;
    assert_false(is_inexact("{\"a\":9007199254740991,\"b\":-9007199254740991,\"c\":1e300,\"d\":0.1}"));
    assert_false(is_inexact("{\"a\":\"12345678901234567890\"}"));
    assert_true(is_inexact("{\"a\":9007199254740993}"));
    assert_true(is_inexact("{\"a\":[{\"b\":-12345678901234567890}]}"));
    assert_true(is_inexact("{\"a\":1e999}"));
}

static void json_input_reads_whole_numbers_within_bounds(void **state) {
    (void)state;
    cJSON *list = cJSON_Parse("[1,10,0,11,1.5,\"5\",null,1e400]");
    int64_t number = -1;
    for (int i = 0; i < cJSON_GetArraySize(list); i++)
        assert_int_equal(json_input_integer(cJSON_GetArrayItem(list, i), 1, 10, &number), i < 2);
    assert_int_equal(number, 10);
    assert_false(json_input_integer(NULL, 1, 10, &number));
    cJSON_Delete(list);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_input_takes_one_object),
        cmocka_unit_test(json_input_refuses_what_is_no_object_or_has_more_behind_it),
        cmocka_unit_test(json_input_refuses_what_only_lenient_readers_take),
        cmocka_unit_test(json_input_refuses_nul_and_bad_utf8),
        cmocka_unit_test(json_input_refuses_an_escape_without_four_hexadecimal_digits),
        cmocka_unit_test(json_input_refuses_names_that_repeat),
        cmocka_unit_test(json_input_is_nested_at_most_64_deep),
        cmocka_unit_test(json_input_has_a_bound_of_values),
        cmocka_unit_test(json_input_tells_numbers_that_printing_would_change),
        cmocka_unit_test(json_input_reads_whole_numbers_within_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
