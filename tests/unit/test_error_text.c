/* upstream/error_text: the first bytes of any answer as one line that can be printed. */
#include "upstream/error_text.h"

#include "tests/support/unit.h"

static void check(const char *text, size_t length, const char *expected) {
    struct buffer out;
    buffer_init(&out, 4096);
    assert_true(buffer_append_text(&out, ">"));
    assert_true(error_text_append_bytes(&out, text, length));
    assert_string_equal(out.bytes + 1, expected);
    buffer_finish(&out);
}

static void first_bytes_are_one_line_of_printable_text(void **state) {
    (void)state;
    check(TEXT_AND_LENGTH("<html>\r\n\t<p>a  b</p>\n"), "<html> <p>a b</p>");
    check(TEXT_AND_LENGTH("\n\n {\"a\":1}"), "{\"a\":1}");
    check(TEXT_AND_LENGTH(""), "");
    check(TEXT_AND_LENGTH("\x1f\x8b\x08 100%"), "%1F%8B%08 100%25");
    check(TEXT_AND_LENGTH("\x1b[31m\x7f"), "%1B[31m%7F");
    check(TEXT_AND_LENGTH("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80"),
          "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80");
    check(TEXT_AND_LENGTH("\xc2\x9b\xff\xe2\x82"), "%C2%9B%FF%E2%82");
}

static void first_bytes_are_bounded(void **state) {
    (void)state;
    char text[2000], expected[2000];
    for (size_t length = 150; length < 200; length++) {
        memset(text, 'x', length);
        memset(expected, 'x', length);
        size_t kept = length < 160 ? length : 160;
        strcpy(expected + kept, length > 160 ? "..." : "");
        check(text, length, expected);
    }
    memset(text, 1, sizeof(text));
    for (size_t i = 0; i < 160; i++)
        memcpy(expected + 3 * i, "%01", 3);
    strcpy(expected + 480, "...");
    check(text, sizeof(text), expected);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_bytes_are_one_line_of_printable_text),
        cmocka_unit_test(first_bytes_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
