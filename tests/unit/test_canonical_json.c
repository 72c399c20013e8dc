/* upstream/canonical_json: one form for all spellings of an object, and another one for everything else. */
#include "upstream/canonical_json.h"

#include "tests/support/unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* From memory of exactly that size. */
static int canonical(const char *text, size_t length, const struct canonical_json_ignored *ignored,
                     struct buffer *out) {
    char *copy = malloc(length > 0 ? length : 1);
    assert_non_null(copy);
    memcpy(copy, text, length);
    buffer_init(out, length);
    int result = canonical_json_append(out, copy, length, ignored);
    free(copy);
    return result;
}

static void check_ignoring(const char *text, const char *expected, const char *anywhere,
                           const char *const *outermost) {
    const struct canonical_json_ignored ignored = {.anywhere = anywhere, .outermost = outermost};
    struct buffer out;
    assert_int_equal(canonical(text, strlen(text), &ignored, &out), 0);
    assert_int_equal(out.length, strlen(expected));
    assert_memory_equal(out.bytes, expected, out.length);
    buffer_finish(&out);
}

static void check(const char *text, const char *expected) {
    check_ignoring(text, expected, NULL, NULL);
}

static void check_none(const char *text, size_t length) {
    const struct canonical_json_ignored ignored = {0};
    struct buffer out;
    assert_int_equal(canonical(text, length, &ignored, &out), -EINVAL);
    buffer_finish(&out);
}

static void members_are_put_in_order_at_every_depth(void **state) {
    (void)state;
    check("{\"b\":1,\"a\":2}", "{\"a\":2,\"b\":1}");
    check("{\"b\":{\"z\":[{\"y\":1,\"x\":2}],\"a\":0},\"\":3}",
          "{\"\":3,\"b\":{\"a\":0,\"z\":[{\"x\":2,\"y\":1}]}}");
    check("{\"ab\":1,\"a\":2,\"b\":3}", "{\"a\":2,\"ab\":1,\"b\":3}");
    check("[3,1,2]", "[3,1,2]");
    check("{}", "{}");
    check("[]", "[]");
}

static void white_space_does_not_count_but_in_strings(void **state) {
    (void)state;
    check(" {\r\n \"b\" :\t[ 1 , true ] , \"a\" : \" x \" } ", "{\"a\":\" x \",\"b\":[1,true]}");
}

static void strings_and_numbers_stay_as_they_are(void **state) {
    (void)state;
    check("[12345678901234567891,12345678901234567890,1.0,1,1e400,-0]",
          "[12345678901234567891,12345678901234567890,1.0,1,1e400,-0]");
    check("[\"a\\\"b\\\\\",\"\\u00e9\",\"\xc3\xa9\",null,false]",
          "[\"a\\\"b\\\\\",\"\\u00e9\",\"\xc3\xa9\",null,false]");
    check("\"}{\"", "\"}{\"");
}

static void members_of_one_name_stay_in_their_order(void **state) {
    (void)state;
    check("{\"a\":2,\"b\":0,\"a\":1}", "{\"a\":2,\"a\":1,\"b\":0}");
    check("{\"a\":1,\"b\":0,\"a\":2}", "{\"a\":1,\"a\":2,\"b\":0}");
}

static void ignored_members_are_left_out(void **state) {
    (void)state;
    const char *const outermost[] = {"sessionId", NULL};
    check_ignoring("{\"id\":1,\"a\":{\"id\":[{}],\"b\":[{\"id\":1}]},\"ids\":2}",
                   "{\"a\":{\"b\":[{}]},\"ids\":2}", "time, id", NULL);
    check_ignoring("{\"sessionId\":1,\"a\":{\"sessionId\":2}}", "{\"a\":{\"sessionId\":2}}", NULL, outermost);
    check_ignoring("[{\"sessionId\":1}]", "[{\"sessionId\":1}]", "", outermost);
    check_ignoring("{\"sessionId\":1,\"x\":2}", "{}", ",x,,", outermost);
}

static void what_is_no_json_is_refused(void **state) {
    (void)state;
    static const char *const texts[] = {
        "",    "{",     "}",     "[1",    "[1,", "[1,]", "{\"a\"}",  "{a:1}",  "{\"a\":}",   "{\"a\":1,}",
        "\"a", "\"a\\", "[1 2]", "{} {}", ",",   ":",    "[\"\n\"]", "\"\\\"", "{\"a\":1 1}"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        check_none(texts[i], strlen(texts[i]));
    check_none("[1]\0", 4);
    check_none("[\0]", 3);
}

static void every_part_of_a_text_is_read_safely(void **state) {
    (void)state;
    static const char text[] = "{\"b\":[1,{\"d\":\"\\\\\",\"c\":null}],\"a\":\"x\"}";
    for (size_t length = 0; length < sizeof(text) - 1; length++)
        check_none(text, length);
}

static void depth_is_bounded(void **state) {
    (void)state;
    char text[200];
    memset(text, '[', 100);
    memset(text + 100, ']', 100);
    check_none(text, 200);
    struct buffer out;
    const struct canonical_json_ignored ignored = {0};
    assert_int_equal(canonical(text + 40, 120, &ignored, &out), 0);
    assert_memory_equal(out.bytes, text + 40, 120);
    buffer_finish(&out);
}

static void many_members_are_put_in_order(void **state) {
    (void)state;
    struct buffer text, out;
    const struct canonical_json_ignored ignored = {0};
    buffer_init(&text, 1 << 20);
    assert_true(buffer_append_text(&text, "{"));
    for (int i = 999; i >= 0; i--)
        assert_true(buffer_printf(&text, "%s\"k%03d\":%d", i < 999 ? "," : "", i, i));
    assert_true(buffer_append_text(&text, "}"));
    assert_int_equal(canonical(text.bytes, text.length, &ignored, &out), 0);
    assert_int_equal(out.length, text.length);
    assert_memory_equal(out.bytes, "{\"k000\":0,\"k001\":1,", 19);
    buffer_finish(&text);
    buffer_finish(&out);
}

/* `depth` objects, each the first member of the one around it, and a text of `size` bytes in the innermost.
 */
static char *nest(size_t depth, size_t size, const char *begin, const char *end) {
    size_t length = depth * (strlen(begin) + strlen(end)) + size + 2;
    char *text = malloc(length + 1), *at = text;
    assert_non_null(text);
    for (size_t i = 0; i < depth; i++)
        at = stpcpy(at, begin);
    *at++ = '"';
    memset(at, 'x', size);
    at += size;
    *at++ = '"';
    for (size_t i = 0; i < depth; i++)
        at = stpcpy(at, end);
    return text;
}

static void what_is_moved_is_bounded(void **state) {
    (void)state;
    char *text = nest(60, 1 << 20, "{\"b\":", ",\"a\":0}");
    check_none(text, strlen(text));
    free(text);
    text = nest(60, 1 << 20, "{\"a\":", ",\"b\":0}"); /* nothing is moved */
    check(text, text);
    free(text);
    text = nest(60, 1 << 16, "{\"b\":", ",\"a\":0}");
    char *expected = nest(60, 1 << 16, "{\"a\":0,\"b\":", "}");
    check(text, expected);
    free(text);
    free(expected);
    text = nest(4, 1 << 23, "{\"b\":", ",\"a\":0}"); /* a bound that grows with the text */
    expected = nest(4, 1 << 23, "{\"a\":0,\"b\":", "}");
    check(text, expected);
    free(text);
    free(expected);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_are_put_in_order_at_every_depth),
        cmocka_unit_test(white_space_does_not_count_but_in_strings),
        cmocka_unit_test(strings_and_numbers_stay_as_they_are),
        cmocka_unit_test(members_of_one_name_stay_in_their_order),
        cmocka_unit_test(ignored_members_are_left_out),
        cmocka_unit_test(what_is_no_json_is_refused),
        cmocka_unit_test(every_part_of_a_text_is_read_safely),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(what_is_moved_is_bounded),
        cmocka_unit_test(many_members_are_put_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
