/* upstream/adapter_*, adapter_parse: what a person reads of an event, in every form in which upstreams send
 * it. */
#include "base/json_parse.h"
#include "upstream/adapter_body.h"
#include "upstream/error_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HALF_ONE "\xED\xA0\xBD" /* U+D83D */
#define HALF_TWO "\xED\xB8\x80" /* U+DE00 */

struct form {
    const char *data;
    const char *text;
    bool is_partial;
};

static struct adapter_text check_text_of(const struct adapter *adapter, const char *data,
                                         const char *expected, size_t length) {
    struct adapter_text read;
    struct buffer out;
    buffer_init(&out, 1000);
    size_t data_length = strlen(data);
    char *copy = malloc(data_length); /* not NUL-terminated, as the parser gives it */
    assert_non_null(copy);
    memcpy(copy, data, data_length);
    assert_true(adapter->read_text(copy, data_length, &out, &read));
    if (out.length != length || (length > 0 && memcmp(out.bytes, expected, length) != 0))
        fail_msg("%s: read \"%s\", expected \"%s\"", data, out.length > 0 ? out.bytes : "", expected);
    buffer_finish(&out);
    free(copy);
    return read;
}

static void check_forms(const struct adapter *adapter, const struct form *forms) {
    for (; forms->data != NULL; forms++) {
        struct adapter_text read = check_text_of(adapter, forms->data, forms->text, strlen(forms->text));
        if (read.is_partial != forms->is_partial || read.is_unread)
            fail_msg("%s: partial %d, unread %d", forms->data, read.is_partial, read.is_unread);
    }
}

#define CHOICE(members) "{\"choices\":[{\"index\":0," members "}]}"
#define CONTENT(content) CHOICE("\"delta\":{\"content\":" content "}")

static void openai_text_may_be_blocks(void **state) {
    (void)state;
    static const struct form forms[] = {
        {CONTENT("[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]"), "ab", true},
        {CONTENT("[\"a\",{\"text\":\"b\"},{\"type\":\"output_text\",\"text\":\"c\"},\"d\"]"), "abcd", true},
        {CONTENT("{\"type\":\"text\",\"text\":\"a\"}"), "a", true},
        {CONTENT("[{\"type\":\"thinking\",\"thinking\":[{\"type\":\"text\",\"text\":\"hm\"}]}]"), "", false},
        {CONTENT("[{\"type\":\"reasoning\",\"text\":\"hm\"},{\"type\":\"image_url\",\"image_url\":{}},7,null,"
                 "[\"x\"]]"),
         "", false},
        {CONTENT("[]"), "", false},
        {CONTENT("7"), "", false},
        {CONTENT("null"), "", false},
        {0}};
    check_forms(&adapter_openai, forms);
}

static void openai_text_may_be_a_whole_message_or_a_legacy_completion(void **state) {
    (void)state;
    static const struct form forms[] = {
        {CHOICE("\"message\":{\"role\":\"assistant\",\"content\":\"hello\"}"), "hello", false},
        {CHOICE("\"message\":{\"content\":[{\"type\":\"text\",\"text\":\"hello\"}]}"), "hello", false},
        {CHOICE("\"delta\":{},\"message\":{\"content\":\"hello\"}"), "hello", false},
        {CHOICE("\"delta\":{\"content\":\"lo\"},\"message\":{\"content\":\"hello\"}"), "lo", true},
        {CHOICE("\"text\":\"hel\""), "hel", true},
        {CHOICE("\"text\":\"\",\"message\":{\"content\":\"hello\"}"), "hello", false},
        {CHOICE("\"delta\":{\"reasoning_content\":\"hm\",\"reasoning\":\"hm\"}"), "", false},
        {CHOICE("\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{}\"}}]}"), "", false},
        {"{\"choices\":[],\"usage\":{}}", "", false},
        {"[DONE]", "", false},
        {0}};
    check_forms(&adapter_openai, forms);
}

static void openai_text_is_that_of_choice_0(void **state) {
    (void)state;
    static const struct form forms[] = {
        {"{\"choices\":[{\"index\":1,\"delta\":{\"content\":\"x\"}}]}", "", false},
        {"{\"choices\":[{\"index\":1,\"delta\":{\"content\":\"x\"}},{\"index\":0,\"delta\":{\"content\":"
         "\"a\"}}]}",
         "a", true},
        {"{\"choices\":[{\"delta\":{\"content\":\"a\"}},{\"delta\":{\"content\":\"x\"}}]}", "a", true},
        {"{\"choices\":[{\"index\":0,\"text\":\"a\"},{\"index\":1,\"message\":{\"content\":\"x\"}}]}", "a",
         true},
        {0}};
    check_forms(&adapter_openai, forms);
}

#define PARTS(parts) "{\"content\":{\"role\":\"model\",\"parts\":[" parts "]}}"

static void adk_text_is_that_of_all_parts_but_thoughts(void **state) {
    (void)state;
    static const struct form forms[] = {
        {PARTS("{\"text\":\"a\"},{\"text\":\"hm\",\"thought\":true},{\"text\":\"b\",\"thought\":false}"),
         "ab", false},
        {PARTS("{\"functionCall\":{\"name\":\"f\",\"args\":{\"text\":\"x\"}}},{\"text\":\"a\"}"), "a", false},
        {PARTS("{\"executableCode\":{\"code\":\"x\"}},{\"codeExecutionResult\":{\"output\":\"x\"}}"), "",
         false},
        {"{\"partial\":true,\"content\":{\"parts\":[{\"text\":\"a\"}]},\"avgLogprobs\":NaN}", "a", true},
        {"{\"avgLogprobs\":-Infinity,\"x\":[Infinity,NaN,1e5],\"content\":{\"parts\":[{\"text\":\"NaN \\\" "
         "Infinity\"}]}}",
         "NaN \" Infinity", false},
        {0}};
    check_forms(&adapter_adk, forms);
}

/* ---- what cJSON does not take ------------------------------------------------------------------------- */

static void text_keeps_halves_of_surrogate_pairs(void **state) {
    (void)state;
    static const struct form forms[] = {
        {CONTENT("\"ab\\ud83d\""), "ab" HALF_ONE, true},
        {CONTENT("\"\\uDE00cd\""), HALF_TWO "cd", true},
        {CONTENT("\"\\ud83d\\ude00\""), "\xF0\x9F\x98\x80", true},
        {CONTENT("\"\\ud83d\\ud83d\\ude00\\ude00\""), HALF_ONE "\xF0\x9F\x98\x80" HALF_TWO, true},
        {CONTENT("\"\\ud83dx\\ude00\""), HALF_ONE "x" HALF_TWO, true},
        {CONTENT("\"\\ud83d\\\\ude00 \\\\ud83d\""), HALF_ONE "\\ude00 \\ud83d", true},
        {CONTENT("\"\\ud83d\\u00e9\\\"\\n\""), HALF_ONE "\xC3\xA9\"\n", true},
        {CONTENT("[{\"type\":\"text\",\"text\":\"\\ud83d\"},\"\\ude00\"]"), HALF_ONE HALF_TWO, true},
        {0}};
    check_forms(&adapter_openai, forms);
    check_text_of(
        &adapter_adk,
        "{\"avgLogprobs\":NaN,\"content\":{\"parts\":[{\"text\":\"\\ud83d\"},{\"functionCall\":{\"args\":"
        "{\"x\":\"\\udead\"}}}]}}",
        HALF_ONE, 3);
}

static void text_goes_on_after_a_nul(void **state) {
    (void)state;
    check_text_of(&adapter_openai, CONTENT("\"a\\u0000b\\\\u0000\\u0000\""), "a\0b\\u0000\0", 10);
    check_text_of(&adapter_adk, PARTS("{\"text\":\"\\u0000\"},{\"text\":\"\\ud83d\\u0000x\"}"),
                  "\0" HALF_ONE "\0x", 6);
}

/* Nothing in it is JSON, and nothing is read beyond its end. */
static void text_of_what_cannot_be_mended_is_unread(void **state) {
    (void)state;
    static const char *const broken[] = {"{\"choices\":[{\"delta\":{\"content\":\"\\ud83d\"}}",
                                         "{\"x\":\"\\ud83",
                                         "{\"x\":\"\\ud8ff}",
                                         "{\"x\":\"\\",
                                         "{\"x\":\"\\u",
                                         "{\"x\":\"\\u0000",
                                         "{\"x\":Infinit",
                                         "{\"x\":-Inf\\u}",
                                         " {NaN\\ud83d\\u"};
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        assert_true(check_text_of(&adapter_openai, broken[i], "", 0).is_unread);
        assert_true(check_text_of(&adapter_adk, broken[i], "", 0).is_unread);
    }
    static const char *const others[] = {
        "[DONE]", "ping", "7", "[]", "{}", "{\"error\":\"it said \"no\"\"}", " { \"error\" : \\u0000"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_false(check_text_of(&adapter_openai, others[i], "", 0).is_unread);
        assert_false(check_text_of(&adapter_adk, others[i], "", 0).is_unread);
    }
}

/* The run's end is read from the same event. */
static void half_a_pair_does_not_hide_how_a_run_ended(void **state) {
    (void)state;
    static const char last[] = CHOICE("\"delta\":{\"content\":\"\\ud83d\"},\"finish_reason\":\"stop\"");
    static const char error[] = "{\"id\":1,\"error\":{\"message\":\"bad \\ude00 luck\"}}";
    struct adapter_reading reading = {0};
    const char *warning = NULL;
    struct sse_event event = {.type = "message", .type_length = 7, .data = last, .data_length = strlen(last)};
    assert_int_equal(adapter_openai.judge(&reading, &event), ADAPTER_CONTINUE);
    assert_int_equal(adapter_openai.judge_end(&reading, &warning), ADAPTER_WHOLE);
    assert_string_equal(reading.finish_reason, "stop");
    event.data = error;
    event.data_length = strlen(error);
    assert_int_equal(adapter_openai.judge(&reading, &event), ADAPTER_FAILED);
    struct buffer out;
    buffer_init(&out, 1000);
    assert_true(error_text_append(&out, error, strlen(error)));
    assert_string_equal(out.bytes, "bad \xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD luck");
    buffer_finish(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(openai_text_may_be_blocks),
        cmocka_unit_test(openai_text_may_be_a_whole_message_or_a_legacy_completion),
        cmocka_unit_test(openai_text_is_that_of_choice_0),
        cmocka_unit_test(adk_text_is_that_of_all_parts_but_thoughts),
        cmocka_unit_test(text_keeps_halves_of_surrogate_pairs),
        cmocka_unit_test(text_goes_on_after_a_nul),
        cmocka_unit_test(text_of_what_cannot_be_mended_is_unread),
        cmocka_unit_test(half_a_pair_does_not_hide_how_a_run_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
