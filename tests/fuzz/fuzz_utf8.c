/* base/utf8 and base/json_writer against the Encoding standard's decoder.
 *
 * input: [room: 2] text
 */
#include "base/json_writer.h"
#include "base/utf8.h"
#include "tests/fuzz/utf8_reference.h"

#include <cjson/cJSON.h>

/* With room enough: the reference's text. With less: a refusal, and never more than fits. */
static void check_replacing(const char *text, size_t length, const struct utf8_reference *expected,
                            size_t room) {
    struct buffer out;
    buffer_init(&out, room);
    bool fits = utf8_append_replaced(&out, text, length);
    REQUIRE(fits == (expected->length <= room));
    REQUIRE(out.length <= room);
    REQUIRE(!fits || out.length == expected->length);
    REQUIRE(out.length == 0 || memcmp(out.bytes, expected->bytes, out.length) == 0);
    buffer_finish(&out);
}

/* A JSON string, all of it printable, that another parser reads back. A C string ends at U+0000. */
static void check_json(const char *text, size_t length, const struct utf8_reference *expected) {
    struct buffer out;
    buffer_init(&out, 6 * expected->length + 2);
    REQUIRE(json_text_append_string(&out, text, length));
    for (size_t i = 0; i < out.length; i++)
        REQUIRE((unsigned char)out.bytes[i] >= 0x20);
    REQUIRE(utf8_is_valid(out.bytes, out.length));
    const char *end = NULL;
    cJSON *json = cJSON_ParseWithLengthOpts(out.bytes, out.length, &end, false);
    REQUIRE(json != NULL && end == out.bytes + out.length);
    const char *read = cJSON_GetStringValue(json);
    size_t until_nul = strnlen(expected->bytes, expected->length);
    REQUIRE(read != NULL && strlen(read) == until_nul && memcmp(read, expected->bytes, until_nul) == 0);
    cJSON_Delete(json);
    buffer_finish(&out);
}

/* Written in parts it is the same string, wherever it is cut. */
static void check_parts(const char *text, size_t length, size_t part_max) {
    struct buffer whole, parts;
    buffer_init(&whole, 6 * length + 16);
    buffer_init(&parts, 6 * length + 16);
    REQUIRE(json_text_append_part(&whole, text, length));
    for (size_t at = 0; at < length;) {
        size_t part = utf8_beginning(text + at, length - at, part_max);
        REQUIRE(part > 0 && part <= part_max && (part + 3 >= part_max || at + part == length));
        REQUIRE(json_text_append_part(&parts, text + at, part));
        at += part;
    }
    REQUIRE(whole.length == parts.length);
    REQUIRE(whole.length == 0 || memcmp(whole.bytes, parts.bytes, whole.length) == 0);
    buffer_finish(&whole);
    buffer_finish(&parts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_input input = {data, size};
    size_t room = fuzz_take_pair(&input);
    char *text = fuzz_copy(input.bytes, input.length);
    struct utf8_reference expected = utf8_reference_decode(text, input.length);
    REQUIRE(utf8_is_valid(text, input.length) == (expected.replaced == 0));
    REQUIRE(utf8_is_valid(expected.bytes, expected.length));
    check_replacing(text, input.length, &expected, expected.length);
    check_replacing(text, input.length, &expected, room);
    check_json(text, input.length, &expected);
    check_parts(text, input.length, 4 + room % 16);
    free(expected.bytes);
    free(text);
    return 0;
}
