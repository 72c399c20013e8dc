/* base/json_writer: what comes out is one JSON string, whatever went in. */
#include "base/json_writer.h"
#include "tests/support/unit.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

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

static void assert_plain(const char *text, const char *expected) {
    struct buffer out;
    buffer_init(&out, 4096);
    assert_true(json_text_append_plainly(&out, text, strlen(text)));
    assert_string_equal(out.bytes, expected);
    buffer_finish(&out);
}

/* Every code point below U+3000, between letters. */
static void json_text_escapes_for_readers_what_deceives_them(void **state) {
    (void)state;
    for (unsigned code = 1; code < 0x3000; code++) {
        bool deceives = code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x61c || code == 0x200e ||
                        code == 0x200f || (code >= 0x2028 && code <= 0x202e) ||
                        (code >= 0x2066 && code <= 0x2069);
        char text[8] = "a", escape[8];
        size_t length = 1;
        if (code >= 0x800)
            text[length++] = (char)(0xe0 | code >> 12);
        if (code >= 0x80)
            text[length++] = (char)(code >= 0x800 ? 0x80 | (code >> 6 & 0x3f) : 0xc0 | code >> 6);
        text[length++] = (char)(code >= 0x80 ? 0x80 | (code & 0x3f) : code);
        text[length] = 'b';
        struct buffer out;
        buffer_init(&out, 100);
        assert_true(json_text_append_plainly(&out, text, length + 1));
        snprintf(escape, sizeof(escape), "\\u%04x", code);
        bool is_escaped =
            strstr(out.bytes, escape) != NULL || (code < 0x20 && strchr("\n\r\t", (int)code) != NULL);
        bool is_left = strstr(out.bytes, text) != NULL;
        if (code != '"' && code != '\\' && (is_escaped != deceives || is_left == deceives))
            fail_msg("U+%04X becomes %s", code, out.bytes);
        buffer_finish(&out);
    }
}

static void json_text_escapes_for_readers_at_the_ends_and_in_rows(void **state) {
    (void)state;
    assert_plain("\xe2\x80\xae\xe2\x80\xa8\xc2\x85", "\"\\u202e\\u2028\\u0085\"");
    assert_plain("\xd8\x9c"
                 "a\xe2\x81\xa9",
                 "\"\\u061ca\\u2069\"");
    assert_plain("\x1b[31m\x7f", "\"\\u001b[31m\\u007f\"");
    assert_plain("\xe2\x80", "\"\xef\xbf\xbd\"");
    assert_plain("\xc2\xa0\xe2\x80\x93\xd8\xb4\xf0\x9f\x98\x80",
                 "\"\xc2\xa0\xe2\x80\x93\xd8\xb4\xf0\x9f\x98\x80\"");
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

static void json_writer_into_storage_stops_at_its_end_and_says_so(void **state) {
    (void)state;
    char storage[24];
    for (size_t size = 1; size < sizeof(storage); size++) {
        struct json_writer json;
        memset(storage, '#', sizeof(storage));
        json_writer_init_fixed(&json, storage, size);
        json_begin_object(&json, NULL);
        json_add_string(&json, "a", "xyz");
        json_add_count(&json, "b", 7);
        json_end_object(&json);
        assert_int_equal(storage[size], '#');
        assert_int_equal(json.failed, size < sizeof("{\"a\":\"xyz\",\"b\":7}"));
        assert_true(json.text.length < size);
    }
}

static void json_error_has_its_code_and_its_message(void **state) {
    (void)state;
    char out[64];
    size_t length = json_write_error(out, sizeof(out), "some_code", "It is \"so\".");
    assert_string_equal(out, "{\"error\":{\"code\":\"some_code\",\"message\":\"It is \\\"so\\\".\"}}");
    assert_int_equal(length, strlen(out));
}

/* What a string must be, one byte at a time. */
static size_t write_slowly(const char *text, size_t length, bool plainly, char *out) {
    static const char *const short_escapes[256] = {
        ['"'] = "\\\"", ['\\'] = "\\\\", ['\n'] = "\\n", ['\r'] = "\\r", ['\t'] = "\\t"};
    size_t used = (size_t)sprintf(out, "\"");
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (short_escapes[byte] != NULL)
            used += (size_t)sprintf(out + used, "%s", short_escapes[byte]);
        else if (byte < 0x20 || (plainly && byte == 0x7f))
            used += (size_t)sprintf(out + used, "\\u%04x", byte);
        else if (byte >= 0x80)
            used += (size_t)sprintf(out + used, "\xef\xbf\xbd");
        else
            used += (size_t)sprintf(out + used, "%c", byte);
    }
    return used + (size_t)sprintf(out + used, "\"");
}

static void json_text_finds_each_byte_wherever_it_stands(void **state) {
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        for (size_t at = 0; at < 20; at++) {
            char text[20], expected[64];
            memset(text, 'a', sizeof(text));
            text[at] = (char)byte;
            for (int plainly = 0; plainly < 2; plainly++) {
                struct buffer out;
                size_t length = write_slowly(text, sizeof(text), plainly != 0, expected);
                buffer_init(&out, 100);
                assert_true(plainly != 0 ? json_text_append_plainly(&out, text, sizeof(text))
                                         : json_text_append_string(&out, text, sizeof(text)));
                assert_int_equal(out.length, length);
                assert_memory_equal(out.bytes, expected, length + 1);
                buffer_finish(&out);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_text_escapes_what_json_forbids_and_nothing_else),
        cmocka_unit_test(json_text_escapes_for_readers_what_deceives_them),
        cmocka_unit_test(json_text_escapes_for_readers_at_the_ends_and_in_rows),
        cmocka_unit_test(json_text_writes_a_nul_byte),
        cmocka_unit_test(json_text_replaces_invalid_utf8),
        cmocka_unit_test(json_text_says_when_it_does_not_fit),
        cmocka_unit_test(json_text_finds_each_byte_wherever_it_stands),
        cmocka_unit_test(json_writer_into_storage_stops_at_its_end_and_says_so),
        cmocka_unit_test(json_error_has_its_code_and_its_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
