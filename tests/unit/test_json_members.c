/* base/json_members: the members of outermost objects, held against cJSON where the text is valid. */
#include "base/json_members.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

/** The names that are met, as written, each with its value's offset: "a@5 b@11 ". */
static const char *met(const char *text, size_t length, enum json_quotes quotes) {
    static char out[8192];
    char *copy = malloc(length > 0 ? length : 1); /* nothing after its last byte */
    assert_non_null(copy);
    memcpy(copy, text, length);
    struct json_members members = json_members_begin(copy, length, quotes);
    size_t used = 0;
    out[0] = '\0';
    for (struct json_member member; json_members_next(&members, &member);) {
        assert_true(member.value <= length);
        used += (size_t)snprintf(out + used, sizeof(out) - used, "%.*s@%zu ", (int)member.name_length,
                                 member.name, member.value);
        assert_true(used < sizeof(out));
    }
    free(copy);
    return out;
}

static void check(const char *text, const char *strict, const char *lenient) {
    assert_string_equal(met(text, strlen(text), JSON_QUOTES_STRICT), strict);
    assert_string_equal(met(text, strlen(text), JSON_QUOTES_LENIENT), lenient);
}

static void check_both(const char *text, const char *expected) {
    check(text, expected, expected);
}

static void outermost_members_are_met(void **state) {
    (void)state;
    check_both("", "");
    check_both("\"", "");
    check_both("{}", "");
    check_both("7", "");
    check_both("{\"a\":1,\"b\" \t:\n\"x\"}", "a@5 b@14 ");
    check_both("{\"a\":{\"b\":1,\"c\":[{\"d\":2}]},\"e\":3,\"a\":4}", "a@5 e@31 a@37 ");
    check_both("[{\"a\":1},[{\"b\":2}],{\"c\":{\"d\":3}},\"e\"]", "a@6 c@24 ");
    check_both("{\"\\u0065rror\":1,\"a\\\"b\":2}", "\\u0065rror@14 a\\\"b@23 ");
    check_both("{\"a\":\"}\",\"b\":\"{\",\"c\":\"\\\"}\",\"d\":1}", "a@5 b@13 c@21 d@31 ");
    check_both("\xEF\xBB\xBF {\"a\":1}", "a@9 ");
    check_both("{\"a\":1}\n{\"b\":1}", "a@5 b@13 ");
}

static void text_that_is_cut_or_broken_has_members_all_the_same(void **state) {
    (void)state;
    check_both("{\"x\":1,\"error\":\"secret\"", "x@5 error@15 ");
    check_both("{\"x\":1,\"error\":", "x@5 error@15 ");
    check_both("{\"x\":1,\"error\"", "x@5 ");
    check_both("{\"x\":1,\"err", "x@5 ");
    check_both("{\"x\":{\"error\":1", "x@5 ");
    check_both("{\"x\":nonsense,\"error\":1}", "x@5 error@22 ");
    check_both("{\"x\":1 \"error\":1}", "x@5 error@15 ");
    check_both("}]{\"a\":1}", "a@7 ");
    check_both("{\"a\":\"\\", "a@5 ");
    check_both("{\"x\":\"it said \"no\"\",\"b\":1}", "x@5 b@24 ");
    check("{\"x\":\"it said \"no\",\"b\":1}", "x@5 ", "x@5 b@23 ");
    check("{\"x\":\"a\"b,\"c\":1}", "x@5 c@14 ", "x@5 a\"b,\"c@14 ");
}

static unsigned random_of(unsigned *seed, unsigned count) {
    *seed = *seed * 1103515245u + 12345u;
    return (*seed >> 16) % count;
}

/** A value at random; the outermost is an object, or a list of such. */
static cJSON *make_value(unsigned *seed, int depth) {
    static const char *const texts[] = {"",    "a",          "\"", "\\", "{",       "}",
                                        "],[", "\"error\":", ":",  ", ", "\xC3\xA4"};
    unsigned form = random_of(seed, depth > 3 ? 3 : 5);
    if (form == 0)
        return cJSON_CreateString(texts[random_of(seed, sizeof(texts) / sizeof(*texts))]);
    if (form == 1)
        return cJSON_CreateNull();
    if (form == 2)
        return cJSON_CreateNumber(random_of(seed, 100));
    cJSON *group = form == 3 ? cJSON_CreateObject() : cJSON_CreateArray();
    for (unsigned left = random_of(seed, 4); left > 0; left--) {
        cJSON *value = make_value(seed, depth + 1);
        if (form == 3)
            cJSON_AddItemToObject(group, texts[random_of(seed, sizeof(texts) / sizeof(*texts))], value);
        else
            cJSON_AddItemToArray(group, value);
    }
    return group;
}

static size_t count_members(const cJSON *value) {
    size_t count = 0;
    const cJSON *item;
    if (cJSON_IsObject(value))
        return (size_t)cJSON_GetArraySize(value);
    cJSON_ArrayForEach(item, value) count += cJSON_IsObject(item) ? (size_t)cJSON_GetArraySize(item) : 0;
    return count;
}

static void valid_text_is_read_as_cjson_reads_it(void **state) {
    (void)state;
    unsigned seed = 1;
    for (int round = 0; round < 20000; round++) {
        cJSON *value = make_value(&seed, 0);
        char *text = round % 2 == 0 ? cJSON_PrintUnformatted(value) : cJSON_Print(value);
        assert_non_null(text);
        for (int quotes = 0; quotes < 2; quotes++) {
            struct json_members members = json_members_begin(text, strlen(text), (enum json_quotes)quotes);
            size_t count = 0;
            for (struct json_member member; json_members_next(&members, &member); count++) {
                cJSON *read = cJSON_Parse(text + member.value);
                assert_non_null(read);
                cJSON_Delete(read);
            }
            if (count != count_members(value))
                fail_msg("%zu members instead of %zu in %s", count, count_members(value), text);
        }
        cJSON_Delete(value);
        free(text);
    }
}

static void a_string_is_compared_by_what_it_means(void **state) {
    (void)state;
    static const char *const same[] = {"error", "\\u0065rror", "erro\\u0072",
                                       "\\u0065\\u0072\\u0072\\u006f\\u0072", "err\\u006Fr"};
    static const char *const others[] = {
        "",        "erro",       "errors",      "\\u0045rror", "\\error",     "e\\rror",
        "error\\", "erro\\u007", "erro\\u00g2", "erro\\u0172", "erro\xC3\xA4"};
    for (size_t i = 0; i < sizeof(same) / sizeof(*same); i++)
        assert_true(json_string_is(same[i], strlen(same[i]), "error"));
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
        assert_false(json_string_is(others[i], strlen(others[i]), "error"));
    assert_true(json_string_is("", 0, ""));
    assert_true(json_string_is("\\n\\/", 4, "\n/"));
}

static void a_string_is_found_where_it_begins(void **state) {
    (void)state;
    static const char text[] = "\"a\"b\\\"\"";
    const char *written;
    size_t length;
    assert_true(json_string_at(text, strlen(text), 0, JSON_QUOTES_STRICT, &written, &length));
    assert_int_equal(length, 1);
    assert_true(json_string_at(text, strlen(text), 0, JSON_QUOTES_LENIENT, &written, &length));
    assert_int_equal(length, 5);
    assert_true(json_string_at(text, 2, 0, JSON_QUOTES_STRICT, &written, &length));
    assert_int_equal(length, 1);
    assert_false(json_string_at(text, strlen(text), 1, JSON_QUOTES_STRICT, &written, &length));
    assert_false(json_string_at(text, strlen(text), strlen(text), JSON_QUOTES_STRICT, &written, &length));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outermost_members_are_met),
        cmocka_unit_test(text_that_is_cut_or_broken_has_members_all_the_same),
        cmocka_unit_test(valid_text_is_read_as_cjson_reads_it),
        cmocka_unit_test(a_string_is_compared_by_what_it_means),
        cmocka_unit_test(a_string_is_found_where_it_begins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
