/* upstream/adapter_*: the tokens that events tell of, and the events that we make ourselves. */
#include "base/json_parse.h"
#include "upstream/adapter.h"
#include "upstream/error_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#ifndef TESTS_DIR
#define TESTS_DIR "tests"
#endif

/* ---- tokens ------------------------------------------------------------------------------------------ */

static uint64_t count_all(const struct adapter *adapter, const char *const *events) {
    uint64_t tokens = 0;
    for (; *events != NULL; events++)
        (void)adapter->count_tokens(*events, strlen(*events), &tokens);
    return tokens;
}

struct counting {
    const struct adapter *adapter;
    uint64_t tokens;
    size_t telling; /* events that say something of it */
};

static int count_event(void *context, const struct sse_event *event) {
    struct counting *counting = context;
    if (counting->adapter->count_tokens(event->data, event->data_length, &counting->tokens))
        counting->telling++;
    return 0;
}

/** What the recorded stream, without its HTTP head if it has one, tells of. */
static struct counting count_recorded(const struct adapter *adapter, const char *name) {
    struct counting counting = {.adapter = adapter};
    struct sse_parser *parser = sse_parser_create(1 << 20, 1 << 20, count_event, &counting);
    const char *directory = getenv("SLUICE_TESTS_DIR");
    char path[1024], piece[4096];
    snprintf(path, sizeof path, "%s/data/%s", directory != NULL ? directory : TESTS_DIR, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        fail_msg("%s cannot be opened", path);
    assert_non_null(parser);
    for (size_t count; (count = fread(piece, 1, sizeof piece, file)) > 0;)
        assert_int_equal(sse_parser_feed(parser, piece, count), 0);
    fclose(file);
    sse_parser_destroy(parser);
    return counting;
}

static void openai_tells_at_the_end_what_was_used(void **state) {
    (void)state;
    static const struct {
        const char *name;
        uint64_t tokens;
    } streams[] = {{"provider-streams/openai-chat-cassette.txt", 68},
                   {"provider-streams/openai-chat-cassette-1.txt", 87},
                   {"provider-streams/openai-chat-tools.txt", 100},
                   {"provider-streams/openai-chat-1.txt", 44},
                   {"provider-streams/openai-chat-181-frames.txt", 196}};
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        struct counting counting = count_recorded(&adapter_openai, streams[i].name);
        assert_int_equal(counting.tokens, streams[i].tokens);
        assert_int_equal(counting.telling, 1);
    }
}

static void openai_takes_the_largest_of_several_totals(void **state) {
    (void)state;
    static const char *const events[] = {"{\"usage\":{\"total_tokens\":5}}",
                                         "{\"usage\":{\"total_tokens\":9}}",
                                         "{\"usage\":{\"total_tokens\":9}}",
                                         "{\"usage\":null,\"x\":\"\\\"total_tokens\\\"\"}",
                                         "[DONE]",
                                         NULL};
    assert_int_equal(count_all(&adapter_openai, events), 9);
}

#define PIECE(total)                                                                                         \
    "{\"partial\":true,\"usageMetadata\":{\"promptTokenCount\":10,\"totalTokenCount\":" #total "}}"
#define WHOLE(total) "{\"partial\":false,\"usageMetadata\":{\"totalTokenCount\":" #total "}}"

static void adk_adds_up_the_calls_of_the_model(void **state) {
    (void)state;
    static const char *const events[] = {
        PIECE(10),
        PIECE(13),
        PIECE(21),
        WHOLE(21), /* one call, streamed */
        "{\"content\":{\"parts\":[{\"functionResponse\":{}}]}}",
        "{\"usageMetadata\":{\"totalTokenCount\":30}}", /* another, not streamed */
        NULL};
    assert_int_equal(count_all(&adapter_adk, events), 51);
}

static void adk_counts_nothing_that_is_no_count(void **state) {
    (void)state;
    static const char *const events[] = {"{\"usageMetadata\":{\"totalTokenCount\":-5}}",
                                         "{\"usageMetadata\":{\"totalTokenCount\":1e300}}",
                                         "{\"usageMetadata\":{\"totalTokenCount\":\"7\"}}",
                                         "{\"usageMetadata\":{\"promptTokenCount\":7}}",
                                         "{\"usageMetadata\":7}",
                                         "{\"usageMetadata\":",
                                         "{\"text\":\"\\\"usageMetadata\\\":{\\\"totalTokenCount\\\":7}\"}",
                                         "{\"error\":\"x\"}",
                                         "",
                                         NULL};
    assert_int_equal(count_all(&adapter_adk, events), 0);
}

static void adk_server_without_a_model_tells_nothing(void **state) {
    (void)state;
    assert_int_equal(count_recorded(&adapter_adk, "adk-streams/tool-state-unicode.http").telling, 0);
    assert_null(adapter_sse.count_tokens);
}

/* ---- events of our own ------------------------------------------------------------------------------- */

static void adapters_say_what_they_read(void **state) {
    (void)state;
    static const char text[] = "Sorry: \"later\", \xE2\x82\xAC 5\nplease.";
    const struct adapter *const adapters[] = {&adapter_adk, &adapter_openai, &adapter_sse};
    for (size_t i = 0; i < sizeof adapters / sizeof *adapters; i++) {
        struct adapter_text read;
        struct buffer out;
        buffer_init(&out, 1000);
        char *data = adapters[i]->say(text);
        assert_non_null(data);
        assert_true(adapters[i]->read_text(data, strlen(data), &out, &read));
        if (adapters[i] == &adapter_sse)
            out.bytes[--out.length] = '\0'; /* it ends each event's text by a line end */
        assert_string_equal(out.bytes, text);
        const struct sse_event event = {
            .type = "message", .type_length = strlen("message"), .data = data, .data_length = strlen(data)};
        static const struct adapter_rules rules = {0};
        struct adapter_reading reading = {.rules = &rules};
        assert_int_equal(adapters[i]->judge(&reading, &event), ADAPTER_CONTINUE);
        buffer_finish(&out);
        free(data);
    }
}

static void sse_says_its_lines_as_the_parser_gives_them(void **state) {
    (void)state;
    char *data = adapter_sse.say("a\r\nb\rc\n\r\r\nd\r");
    assert_string_equal(data, "a\nb\nc\n\n\nd\n");
    free(data);
}

/* An event's text with a list of so many zeros behind it; free() it. */
static char *event_of(const char *head, size_t zeros) {
    char *text = malloc(strlen(head) + 2 * zeros + 16);
    size_t length = (size_t)sprintf(text, "%s,\"x\":[0", head);
    for (size_t i = 1; i < zeros; i++)
        length += (size_t)sprintf(text + length, ",0");
    sprintf(text + length, "]}");
    return text;
}

/* What an agent sends must not keep the loop busy: such an event is passed on, and nothing is read of it. */
static void adapters_do_not_look_into_an_event_of_too_many_values(void **state) {
    (void)state;
    static const struct {
        const struct adapter *adapter;
        const char *head;
    } events[] = {
        {&adapter_adk,
         "{\"content\":{\"parts\":[{\"text\":\"hi\"}]},\"usageMetadata\":{\"totalTokenCount\":7}"},
        {&adapter_openai, "{\"choices\":[{\"delta\":{\"content\":\"hi\"}}],\"usage\":{\"total_tokens\":7}"}};
    for (size_t i = 0; i < 4; i++) {
        bool is_read = i % 2 == 0;
        const struct adapter *adapter = events[i / 2].adapter;
        char *data = event_of(events[i / 2].head, is_read ? 100 : JSON_UPSTREAM_VALUES_MAX);
        struct adapter_text read;
        struct buffer out;
        buffer_init(&out, 1000);
        uint64_t tokens = 0;
        assert_true(adapter->read_text(data, strlen(data), &out, &read));
        assert_int_equal(out.length, is_read ? 2 : 0);
        assert_int_equal(adapter->count_tokens(data, strlen(data), &tokens), is_read);
        assert_int_equal(tokens, is_read ? 7 : 0);
        const struct sse_event event = {
            .type = "message", .type_length = strlen("message"), .data = data, .data_length = strlen(data)};
        struct adapter_reading reading = {0};
        assert_int_equal(adapter->judge(&reading, &event), ADAPTER_CONTINUE);
        buffer_finish(&out);
        free(data);
    }
}

static void error_text_of_an_answer_of_too_many_values_is_empty(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        char *body = event_of("{\"error\":\"boom\"", i == 0 ? 100 : JSON_UPSTREAM_VALUES_MAX);
        struct buffer out;
        buffer_init(&out, 1000);
        assert_true(error_text_append(&out, body, strlen(body)));
        assert_int_equal(out.length, i == 0 ? 4 : 0);
        buffer_finish(&out);
        free(body);
    }
}

/* Servers that name the kind of an error in "error" have their words next to it. */
static void error_text_has_the_words_next_to_a_name(void **state) {
    (void)state;
    static const struct {
        const char *body, *text;
    } cases[] = {
        {"{\"error\":\"ValueError\",\"message\":\"out of luck\"}", "ValueError: out of luck"},
        {"{\"status\":500,\"message\":\"no disk\\nat x\",\"error\":\"Internal Server Error\"}",
         "Internal Server Error: no disk"},
        {"{\"error\":\"invalid_grant\",\"error_description\":\"too old\"}", "invalid_grant: too old"},
        {"{\"error\":\"Forbidden\",\"detail\":\"not yours\"}", "Forbidden: not yours"},
        {"{\"error\":{\"error\":\"quota\",\"message\":\"used up\"}}", "quota: used up"},
        {"{\"error\":\"same\",\"message\":\"same\"}", "same"},
        {"{\"error\":\"alone\",\"message\":\"\"}", "alone"},
        {"{\"error\":\"alone\",\"message\":null,\"detail\":[{\"msg\":\"x\"}]}", "alone"},
        {"{\"error\":\"\",\"message\":\"words\"}", "words"},
        {"{\"error\":{\"message\":\"deep\"},\"message\":\"flat\"}", "deep"},
        {"{\"message\":\"words\",\"detail\":\"more\"}", "more"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buffer out;
        buffer_init(&out, 1000);
        assert_true(error_text_append(&out, cases[i].body, strlen(cases[i].body)));
        assert_string_equal(out.bytes, cases[i].text);
        buffer_finish(&out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(openai_tells_at_the_end_what_was_used),
        cmocka_unit_test(openai_takes_the_largest_of_several_totals),
        cmocka_unit_test(adk_adds_up_the_calls_of_the_model),
        cmocka_unit_test(adk_counts_nothing_that_is_no_count),
        cmocka_unit_test(adk_server_without_a_model_tells_nothing),
        cmocka_unit_test(adapters_say_what_they_read),
        cmocka_unit_test(sse_says_its_lines_as_the_parser_gives_them),
        cmocka_unit_test(adapters_do_not_look_into_an_event_of_too_many_values),
        cmocka_unit_test(error_text_has_the_words_next_to_a_name),
        cmocka_unit_test(error_text_of_an_answer_of_too_many_values_is_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
