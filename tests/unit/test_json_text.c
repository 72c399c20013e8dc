/* base/json_text: what comes out is one JSON string, whatever went in. */
#include "base/json_text.h"
#include "tests/support/unit.h"

#include <cjson/cJSON.h>

static void assert_written(const char *text, size_t length, const char *expected) {
    struct buffer out;
    buffer_init(&out, 4096);
    assert_true(json_text_append_string(&out, text, length));
    assert_string_equal(out.bytes, expected);
    cJSON *parsed = cJSON_Parse(out.bytes);
    assert_true(cJSON_IsString(parsed));
    cJSON_Delete(parsed);
    buffer_finish(&out);
}

static void json_text_escapes_what_json_forbids_and_nothing_else(void **state) {
    (void)state;
    assert_written(TEXT_AND_LENGTH(""), "\"\"");
    assert_written(NULL, 0, "\"\"");
    assert_written(TEXT_AND_LENGTH("plain / 'text' \x7f"), "\"plain / 'text' \x7f\"");
    assert_written(TEXT_AND_LENGTH("\"\\\n\r\t"), "\"\\\"\\\\\\n\\r\\t\"");
    assert_written(TEXT_AND_LENGTH("a\x01\x1f"), "\"a\\u0001\\u001f\"");
    assert_written(TEXT_AND_LENGTH("\xe2\x80\xa8 \xf0\x9f\x98\x80"), "\"\xe2\x80\xa8 \xf0\x9f\x98\x80\"");
}

static void json_text_writes_a_nul_byte(void **state) {
    (void)state;
    struct buffer out;
    buffer_init(&out, 100);
    assert_true(json_text_append_string(&out, "a\0b", 3));
    assert_string_equal(out.bytes, "\"a\\u0000b\"");
    buffer_finish(&out);
}

static void json_text_replaces_invalid_utf8(void **state) {
    (void)state;
    assert_written(TEXT_AND_LENGTH("\xff\""), "\"\xef\xbf\xbd\\\"\"");
    assert_written(TEXT_AND_LENGTH("ok \xe2\x82"), "\"ok \xef\xbf\xbd\"");
}

static void json_text_says_when_it_does_not_fit(void **state) {
    (void)state;
    for (size_t bytes_max = 0; bytes_max < 13; bytes_max++) {
        struct buffer out;
        buffer_init(&out, bytes_max);
        assert_int_equal(json_text_append_string(&out, "ab\ncd\"", 6), bytes_max >= 10);
        buffer_finish(&out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_text_escapes_what_json_forbids_and_nothing_else),
        cmocka_unit_test(json_text_writes_a_nul_byte),
        cmocka_unit_test(json_text_replaces_invalid_utf8),
        cmocka_unit_test(json_text_says_when_it_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
