/* base/http_token: which bytes a token has. */
#include "base/http_token.h"

#include "tests/support/unit.h"

/* RFC 9110 says it by the delimiters: a token has all visible ASCII characters but these. */
static void http_token_ends_at_delimiters_blanks_and_bytes_that_are_no_ascii(void **state) {
    (void)state;
    for (int byte = 1; byte < 256; byte++) {
        const char text[] = {'a', (char)byte, 'b', '\0'};
        bool is_visible = byte > 0x20 && byte < 0x7f;
        bool is_delimiter = strchr("\"(),/:;<=>?@[\\]{}", byte) != NULL;
        assert_int_equal(http_token_length(text), is_visible && !is_delimiter ? 3 : 1);
    }
    assert_int_equal(http_token_length(""), 0);
    assert_int_equal(http_token_length(": x"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(http_token_ends_at_delimiters_blanks_and_bytes_that_are_no_ascii),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
