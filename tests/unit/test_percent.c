/* base/percent: decoded once, encoded so that it comes back. */
#include "base/percent.h"
#include "tests/support/unit.h"

#include <errno.h>

static void assert_decoded(const char *text, const char *expected) {
    char out[64];
    assert_int_equal(percent_decode(text, strlen(text), out, sizeof(out)), strlen(expected));
    assert_string_equal(out, expected);
}

static void percent_decodes_once(void **state) {
    (void)state;
    assert_decoded("", "");
    assert_decoded("plain+text", "plain+text");
    assert_decoded("%41%62%7e", "Ab~");
    assert_decoded("%2f%2F", "//");
    assert_decoded("%2541", "%41");
    assert_decoded("%c3%A9", "\xc3\xa9");
}

static void percent_refuses_what_is_no_encoding(void **state) {
    (void)state;
    static const char *const bad[] = {"%", "%4", "%4g", "%g4", "a%", "%%41", "%00", "% 1", "%+1"};
    char out[64];
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(percent_decode(bad[i], strlen(bad[i]), out, sizeof(out)), -EINVAL);
    /* It looks no further than the length that it was given. */
    assert_int_equal(percent_decode("%41", 2, out, sizeof(out)), -EINVAL);
}

static void percent_refuses_what_does_not_fit(void **state) {
    (void)state;
    char out[4];
    assert_int_equal(percent_decode("a%62c", 5, out, 4), 3);
    assert_string_equal(out, "abc");
    assert_int_equal(percent_decode("abcd", 4, out, 4), -ENOBUFS);
    assert_int_equal(percent_decode("", 0, out, 0), -ENOBUFS);
}

static void percent_encodes_all_but_the_unreserved(void **state) {
    (void)state;
    char all[255], back[256];
    for (int i = 1; i < 256; i++)
        all[i - 1] = (char)i;
    struct buffer out;
    buffer_init(&out, 1024);
    assert_true(percent_append_encoded(&out, all, sizeof(all)));
    assert_null(strpbrk(out.bytes, "/?#[]@!$&'()*+,;= \"<>"));
    assert_non_null(strstr(out.bytes, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"));
    assert_non_null(strstr(out.bytes, "%7F%80"));
    assert_int_equal(percent_decode(out.bytes, out.length, back, sizeof(back)), sizeof(all));
    assert_memory_equal(back, all, sizeof(all));
    buffer_finish(&out);
    buffer_init(&out, 2);
    assert_false(percent_append_encoded(&out, "/", 1));
    buffer_finish(&out);
}

static void percent_keeps_an_address_in_a_part_of_a_path(void **state) {
    (void)state;
    struct buffer out;
    buffer_init(&out, 64);
    assert_true(percent_append_part(&out, "/users/", "me@example.org:a;b/c?d%"));
    assert_string_equal(out.bytes, "/users/me@example.org%3Aa%3Bb%2Fc%3Fd%25");
    buffer_finish(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(percent_keeps_an_address_in_a_part_of_a_path),
        cmocka_unit_test(percent_decodes_once),
        cmocka_unit_test(percent_refuses_what_is_no_encoding),
        cmocka_unit_test(percent_refuses_what_does_not_fit),
        cmocka_unit_test(percent_encodes_all_but_the_unreserved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
