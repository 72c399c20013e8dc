/* JSON text in one form: the form of a form is itself, it is no longer than the text, and JSON for cJSON
 * wherever the text was.
 *
 * input: [what is ignored: 1] text
 */
#include "tests/fuzz/fuzz.h"
#include "upstream/canonical_json.h"

#include <cjson/cJSON.h>
#include <errno.h>

static bool is_json(const char *text, size_t length) {
    cJSON *json = cJSON_ParseWithLengthOpts(text, length, NULL, false);
    cJSON_Delete(json);
    return json != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const outermost[] = {"sessionId", NULL};
    struct fuzz_input input = {data, size};
    uint8_t steer = fuzz_take_byte(&input);
    const struct canonical_json_ignored ignored = {.anywhere = steer & 1 ? "a, id" : NULL,
                                                   .outermost = steer & 2 ? outermost : NULL};
    struct buffer once, twice;
    char *text = fuzz_copy(input.bytes, input.length);
    buffer_init(&once, input.length);
    int result = canonical_json_append(&once, text, input.length, &ignored);
    REQUIRE(result == 0 || result == -EINVAL);
    if (result == 0) {
        buffer_init(&twice, once.length);
        REQUIRE(canonical_json_append(&twice, once.bytes, once.length, &ignored) == 0);
        REQUIRE(twice.length == once.length && memcmp(twice.bytes, once.bytes, once.length) == 0);
        REQUIRE(!is_json(text, input.length) || is_json(once.bytes, once.length));
        buffer_finish(&twice);
    }
    buffer_finish(&once);
    free(text);
    return 0;
}
