/* base/json_keys: members of JSON text found by name, held against a plain search. */
#include "base/json_keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct json_keys keys = {
    .names = {JSON_KEY("error"), JSON_KEY("finish_reason"), JSON_KEY("usage"), JSON_KEY("partial")},
    .initials = {JSON_INITIAL('e'), JSON_INITIAL('f'), JSON_INITIAL('u'), JSON_INITIAL('p'),
                 JSON_INITIAL('p')}};

/** What is found, as "error@7 usage@20 ", in a copy that has nothing after its last byte. */
static const char *found(const char *text, size_t length) {
    static char out[4096];
    char *copy = malloc(length > 0 ? length : 1);
    assert_non_null(copy);
    memcpy(copy, text, length);
    out[0] = '\0';
    size_t at = 0;
    for (size_t key; (key = json_keys_next(&keys, copy, length, &at)) != JSON_KEYS_NONE;) {
        assert_true(at <= length);
        snprintf(out + strlen(out), sizeof(out) - strlen(out), "%s@%zu ", keys.names[key].text, at);
    }
    free(copy);
    return out;
}

static void check(const char *text, const char *expected) {
    assert_string_equal(found(text, strlen(text)), expected);
}

static void a_member_is_found_with_its_value(void **state) {
    (void)state;
    check("{\"error\":1}", "error@9 ");
    check("{\"error\" \t: \n{}}", "error@13 ");
    check("{\"a\":{\"usage\":{\"error\":2}},\"partial\":true}", "usage@14 error@23 partial@37 ");
    check("{\"finish_reason\":null,\"finish_reason\":\"stop\"}", "finish_reason@17 finish_reason@38 ");
    check("{\"error\":", "error@9 ");
}

static void what_is_no_member_is_not_found(void **state) {
    (void)state;
    check("", "");
    check("\"", "");
    check("{\"errors\":1,\"err\":2,\"error", "");
    check("{\"a\":\"error\",\"b\":[\"usage\"]}", "");
    check("{\"text\":\"he said \\\"error\\\": no\"}", "");
    check("{\"\xc3\xa9rror\":1}", "");
}

/* The same by comparing at each byte. */
static const char *expected_of(const char *text, size_t length) {
    static char out[4096];
    out[0] = '\0';
    for (size_t at = 0; at < length; at++) {
        for (size_t key = 0; key < 4; key++) {
            size_t size = keys.names[key].length, end = at + size + 2;
            if (text[at] != '"' || end > length || memcmp(text + at + 1, keys.names[key].text, size) != 0 ||
                text[end - 1] != '"')
                continue;
            while (end < length && strchr(" \t\r\n", text[end]) != NULL && text[end] != '\0')
                end++;
            if (end == length || text[end] != ':')
                continue;
            for (end++; end < length && strchr(" \t\r\n", text[end]) != NULL && text[end] != '\0';)
                end++;
            snprintf(out + strlen(out), sizeof(out) - strlen(out), "%s@%zu ", keys.names[key].text, end);
        }
    }
    return out;
}

static void any_text_is_read_as_a_plain_search_reads_it(void **state) {
    (void)state;
    static const char *const pieces[] = {
        "\"error\"",         "\"usage\"", ":",  " ", "\"partial\":true",
        "\"finish_reason\"", "\"e",       "\"", "x", "{\"content\":\"some text\"}"};
    unsigned seed = 1;
    for (int round = 0; round < 20000; round++) {
        char text[256] = "";
        size_t count = (seed = seed * 1103515245u + 12345u) >> 16 & 15;
        for (size_t i = 0; i < count; i++)
            strcat(text, pieces[((seed = seed * 1103515245u + 12345u) >> 16) % 10]);
        assert_string_equal(found(text, strlen(text)), expected_of(text, strlen(text)));
    }
}

static void a_value_is_compared_as_a_whole(void **state) {
    (void)state;
    static const char text[] = "{\"a\":null,\"b\":nullx,\"c\":0}";
    assert_true(json_keys_value_is(text, strlen(text), 5, "null"));
    assert_false(json_keys_value_is(text, strlen(text), 14, "null"));
    assert_true(json_keys_value_is(text, strlen(text), 24, "0"));
    assert_true(json_keys_value_is("null", 4, 0, "null"));
    assert_false(json_keys_value_is("nul", 3, 0, "null"));
    assert_false(json_keys_value_is("null", 4, 5, "null"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_member_is_found_with_its_value),
        cmocka_unit_test(what_is_no_member_is_not_found),
        cmocka_unit_test(any_text_is_read_as_a_plain_search_reads_it),
        cmocka_unit_test(a_value_is_compared_as_a_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
