/* upstream/sse_parser: the web platform's own cases, providers' streams, limits, and every way to cut. */
#include "upstream/sse_parser.h"

#include "base/buffer.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#ifndef TESTS_DIR
#define TESTS_DIR "tests"
#endif

#define EVENT_BYTES_MAX (1 << 20)
#define TEXT_BYTES_MAX (64 << 20)

/* cJSON's strings end at a NUL, so in what is compared a NUL is written as this private character. */
#define NUL_STAND_IN "\xEE\x80\x80"

/** What came out of a parser: each event as "type|data|id\n", and how many there were. */
struct output {
    struct buffer text;
    size_t count;
    size_t stop_after; /* the callback stops the feed at this event; 0: never */
};

static void append_visible(struct buffer *out, const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        bool done = text[i] != '\0' ? buffer_append(out, text + i, 1) : buffer_append_text(out, NUL_STAND_IN);
        assert_true(done);
    }
}

static int on_event(void *context, const struct sse_event *event) {
    struct output *output = context;
    append_visible(&output->text, event->type, event->type_length);
    append_visible(&output->text, "|", 1);
    append_visible(&output->text, event->data, event->data_length);
    append_visible(&output->text, "|", 1);
    append_visible(&output->text, event->last_event_id, event->last_event_id_length);
    append_visible(&output->text, "\n", 1);
    output->count++;
    return output->count == output->stop_after ? 7 : 0;
}

static struct sse_parser *parser_begin(struct output *output, size_t event_bytes_max) {
    *output = (struct output){0};
    buffer_init(&output->text, TEXT_BYTES_MAX);
    struct sse_parser *parser = sse_parser_create(event_bytes_max, on_event, output);
    assert_non_null(parser);
    return parser;
}

static void parser_end(struct sse_parser *parser, struct output *output) {
    sse_parser_destroy(parser);
    buffer_finish(&output->text);
}

/** Feeds a copy that has exactly this size, so that a sanitizer sees a byte read too far. */
static int feed(struct sse_parser *parser, const char *bytes, size_t length) {
    char *copy = malloc(length > 0 ? length : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, length);
    int result = sse_parser_feed(parser, copy, length);
    free(copy);
    return result;
}

static void assert_output(const struct output *output, const char *expected) {
    assert_string_equal(output->text.length > 0 ? output->text.bytes : "", expected);
}

#define ANY_RETRY (-2)

/** What a stream must give, and a first piece that is not cut, to begin from another state. */
struct expectation {
    const char *prelude;
    const char *bytes;
    size_t length;
    const char *events;
    int64_t retry_ms;
};

/** Feeds the bytes in pieces of `piece` each but for the first, of `first`. */
static void check_cut(const struct expectation *expected, size_t first, size_t piece) {
    struct output output;
    struct sse_parser *parser = parser_begin(&output, EVENT_BYTES_MAX);
    assert_int_equal(feed(parser, expected->prelude, strlen(expected->prelude)), 0);
    assert_int_equal(feed(parser, expected->bytes, first), 0);
    for (size_t at = first; at < expected->length; at += piece) {
        size_t rest = expected->length - at;
        assert_int_equal(feed(parser, expected->bytes + at, rest < piece ? rest : piece), 0);
    }
    assert_output(&output, expected->events);
    if (expected->retry_ms != ANY_RETRY)
        assert_int_equal(sse_parser_retry_ms(parser), expected->retry_ms);
    parser_end(parser, &output);
}

/** Whole, byte by byte, and split at every position. */
static void check_all_cuts(const struct expectation *expected) {
    check_cut(expected, 0, 1);
    for (size_t first = 0; first <= expected->length; first++)
        check_cut(expected, first, expected->length);
}

static void check_text(const char *bytes, const char *events) {
    struct expectation expected = {"", bytes, strlen(bytes), events, -1};
    check_all_cuts(&expected);
}

/* ---- recorded cases --------------------------------------------------------------------------------- */

static char *read_data(const char *name, size_t *ret_length) {
    const char *directory = getenv("SLUICE_TESTS_DIR");
    char path[1024];
    snprintf(path, sizeof path, "%s/data/%s", directory != NULL ? directory : TESTS_DIR, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        fail_msg("%s cannot be opened", path);
    struct buffer text;
    buffer_init(&text, TEXT_BYTES_MAX);
    char piece[4096];
    for (size_t count; (count = fread(piece, 1, sizeof piece, file)) > 0;)
        assert_true(buffer_append(&text, piece, count));
    fclose(file);
    *ret_length = text.length;
    return buffer_detach(&text);
}

static cJSON *read_json(const char *name) {
    size_t length;
    char *text = read_data(name, &length);
    for (char *escape; (escape = strstr(text, "\\u0000")) != NULL;)
        memcpy(escape, "\\uE000", strlen("\\uE000"));
    cJSON *json = cJSON_Parse(text);
    assert_non_null(json);
    free(text);
    return json;
}

static const char *get_text(const cJSON *object, const char *name) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    return text != NULL ? text : "";
}

static char *bytes_of_hex(const char *hex, size_t *ret_length) {
    size_t length = strlen(hex) / 2;
    char *bytes = malloc(length + 1);
    assert_non_null(bytes);
    for (size_t i = 0; i < length; i++) {
        unsigned byte;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
        bytes[i] = (char)byte;
    }
    *ret_length = length;
    return bytes;
}

static void check_case(const cJSON *test) {
    struct buffer events, prelude;
    buffer_init(&events, TEXT_BYTES_MAX);
    buffer_init(&prelude, 1024);
    const cJSON *event;
    cJSON_ArrayForEach(event, cJSON_GetObjectItemCaseSensitive(test, "expected"))
        assert_true(buffer_printf(&events, "%s|%s|%s\n", get_text(event, "type"), get_text(event, "data"),
                                  get_text(event, "lastEventId")));
    const char *first_id = get_text(test, "initialLastEventId");
    assert_true(buffer_append_text(&prelude, "") && buffer_append_text(&events, ""));
    if (*first_id != '\0')
        assert_true(buffer_printf(&prelude, "id:%s\n\n", first_id));
    struct expectation expected = {.prelude = prelude.bytes, .events = events.bytes, .retry_ms = ANY_RETRY};
    char *bytes = bytes_of_hex(get_text(test, "bytes_hex"), &expected.length);
    expected.bytes = bytes;
    const cJSON *retry = cJSON_GetObjectItemCaseSensitive(test, "retry_ms");
    if (retry != NULL)
        expected.retry_ms = (int64_t)retry->valuedouble;
    print_message("    %s\n", get_text(test, "name"));
    check_all_cuts(&expected);
    free(bytes);
    buffer_finish(&events);
    buffer_finish(&prelude);
}

static void sse_parser_passes_the_web_platforms_cases_however_they_are_cut(void **state) {
    (void)state;
    cJSON *file = read_json("wpt-eventsource.json");
    const cJSON *cases = cJSON_GetObjectItemCaseSensitive(file, "cases");
    assert_int_equal(cJSON_GetArraySize(cases), 28);
    const cJSON *test;
    cJSON_ArrayForEach(test, cases) check_case(test);
    cJSON_Delete(file);
}

/** Counts the events by type in the way in which the index has it: {"type": count}. */
static int count_type(void *context, const struct sse_event *event) {
    cJSON *types = context;
    char type[128];
    snprintf(type, sizeof type, "%.*s", (int)event->type_length, event->type);
    cJSON *count = cJSON_GetObjectItemCaseSensitive(types, type);
    if (count == NULL)
        assert_non_null(cJSON_AddNumberToObject(types, type, 1));
    else
        cJSON_SetNumberValue(count, count->valuedouble + 1);
    return 0;
}

static void check_stream(const cJSON *entry, size_t piece) {
    char name[256];
    size_t length;
    snprintf(name, sizeof name, "provider-streams/%s", entry->string);
    char *bytes = read_data(name, &length);
    cJSON *types = cJSON_CreateObject();
    struct sse_parser *parser = sse_parser_create(EVENT_BYTES_MAX, count_type, types);
    assert_non_null(parser);
    for (size_t at = 0; at < length; at += piece)
        assert_int_equal(feed(parser, bytes + at, length - at < piece ? length - at : piece), 0);
    sse_parser_destroy(parser);
    if (!cJSON_Compare(types, cJSON_GetObjectItemCaseSensitive(entry, "types"), true))
        fail_msg("%s: other events than in the index", name);
    cJSON_Delete(types);
    free(bytes);
}

static void sse_parser_counts_the_events_of_providers_streams(void **state) {
    (void)state;
    static const size_t pieces[] = {1, 2, 7, 1000, SIZE_MAX / 2};
    cJSON *index = read_json("provider-streams/index.json");
    assert_int_equal(cJSON_GetArraySize(index), 20);
    const cJSON *entry;
    cJSON_ArrayForEach(entry, index) {
        for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
            check_stream(entry, pieces[i]);
    }
    cJSON_Delete(index);
}

/* ---- single behaviours ------------------------------------------------------------------------------ */

static void sse_parser_dispatches_at_a_cr_without_waiting_for_what_follows(void **state) {
    (void)state;
    struct output output;
    struct sse_parser *parser = parser_begin(&output, EVENT_BYTES_MAX);
    assert_int_equal(feed(parser, "data:a\r\n\r", 9), 0);
    assert_output(&output, "message|a|\n");
    assert_int_equal(feed(parser, "\ndata:b\n\n", 9), 0);
    assert_output(&output, "message|a|\nmessage|b|\n");
    parser_end(parser, &output);
}

static void sse_parser_swallows_one_lf_after_a_cr_and_only_there(void **state) {
    (void)state;
    check_text("data:a\r\ndata:b\r\r", "message|a\nb|\n");
    check_text("data:a\r\n\ndata:b\n\n", "message|a|\nmessage|b|\n");
    check_text("data:a\rdata:b\n\n", "message|a\nb|\n");
    check_text("data:a\r\ndata:b\n\r\n", "message|a\nb|\n");
}

static void sse_parser_replaces_invalid_utf8(void **state) {
    (void)state;
    check_text("event:t\xFF\nid:\xC3\ndata:\xF0\x9F\x98\ndata:\xE2\x82\xAC\n\n",
               "t\xEF\xBF\xBD|\xEF\xBF\xBD\n\xE2\x82\xAC|\xEF\xBF\xBD\n");
    check_text("d\xC3\xA4ta:x\ndata:y\xEF\n\n", "message|y\xEF\xBF\xBD|\n");
}

static void sse_parser_takes_what_only_begins_like_a_bom_for_a_line(void **state) {
    (void)state;
    check_text("\xEF\xBB\ndata:x\n\n", "message|x|\n");
    check_text("\xEF\n\ndata:x\n\n", "message|x|\n");
    check_text("\xEF\xBB"
               "data:x\n\ndata:y\n\n",
               "message|y|\n");
    check_text("\xEF\xBB\xBF:comment\ndata:x\n\n", "message|x|\n");
    check_text("\xEF\xBB\xBF\r\ndata:x\n\n", "message|x|\n");
}

static void sse_parser_does_not_dispatch_a_last_block_without_its_blank_line(void **state) {
    (void)state;
    check_text("data:a\n\ndata:b\n", "message|a|\n");
    check_text("data:a\n\ndata:b", "message|a|\n");
}

static void sse_parser_keeps_a_type_without_data_to_itself(void **state) {
    (void)state;
    check_text("event:a\n\ndata:b\n\n", "message|b|\n");
    check_text("event:a\nevent\ndata:b\n\n", "message|b|\n");
    check_text("id:1\n\ndata:b\n\n", "message|b|1\n");
}

static void sse_parser_takes_only_digits_for_retry(void **state) {
    (void)state;
    struct expectation expected = {.prelude = "", .events = "", .retry_ms = 250};
    expected.bytes = "retry:250\nretry:\nretry:-1\nretry:1 \nretry:0x1\n";
    expected.length = strlen(expected.bytes);
    check_all_cuts(&expected);
    expected.bytes = "retry: 99999999999999999999\n";
    expected.length = strlen(expected.bytes);
    expected.retry_ms = INT64_MAX;
    check_all_cuts(&expected);
}

static void sse_parser_stops_where_the_callback_says_so(void **state) {
    (void)state;
    struct output output;
    struct sse_parser *parser = parser_begin(&output, EVENT_BYTES_MAX);
    output.stop_after = 2;
    assert_int_equal(feed(parser, "data:a\n\ndata:b\n\ndata:c\n\n", 24), 7);
    assert_output(&output, "message|a|\nmessage|b|\n");
    parser_end(parser, &output);
}

/* ---- limits ----------------------------------------------------------------------------------------- */

/** Feeds `head`, `count` times 'x', and `tail`, in pieces, until something else than 0 comes back. */
static int feed_long(struct sse_parser *parser, const char *head, size_t count, const char *tail,
                     size_t piece) {
    struct buffer text;
    buffer_init(&text, TEXT_BYTES_MAX);
    assert_true(buffer_append_text(&text, head) && buffer_reserve(&text, count));
    memset(text.bytes + text.length, 'x', count);
    text.length += count;
    assert_true(buffer_append_text(&text, tail));
    int result = 0;
    for (size_t at = 0; at < text.length && result == 0; at += piece)
        result = feed(parser, text.bytes + at, text.length - at < piece ? text.length - at : piece);
    buffer_finish(&text);
    return result;
}

static void check_limit(size_t bytes_max, const char *head, size_t count, const char *tail, int expected) {
    for (size_t piece = 1000; piece <= 100000; piece *= 10) {
        struct output output;
        struct sse_parser *parser = parser_begin(&output, bytes_max);
        assert_int_equal(feed_long(parser, head, count, tail, piece), expected);
        assert_int_equal(output.count, expected == 0 ? 1 : 0);
        parser_end(parser, &output);
    }
}

static void sse_parser_takes_data_up_to_the_limit_and_not_a_byte_more(void **state) {
    (void)state;
    check_limit(5000, "data: ", 5000, "\n\n", 0);
    check_limit(5000, "data: ", 5001, "\n\n", -EMSGSIZE);
    check_limit(5000, "data:y\ndata:", 4998, "\n\n", 0);
    check_limit(5000, "data:y\ndata:", 4999, "\n\n", -EMSGSIZE);
}

static void sse_parser_counts_replaced_bytes(void **state) {
    (void)state;
    struct output output;
    struct sse_parser *parser = parser_begin(&output, 8);
    assert_int_equal(feed(parser, "data:\xFF\xFF\n\n", 9), 0);
    assert_int_equal(feed(parser, "data:\xFF\xFF\xFF\n\n", 10), -EMSGSIZE);
    parser_end(parser, &output);
}

static void sse_parser_refuses_a_line_that_does_not_end(void **state) {
    (void)state;
    check_limit(5000, "unknown: ", 6000, "", -EMSGSIZE);
    check_limit(5000, "", 6000, "\ndata:y\n\n", -EMSGSIZE);
    check_limit(5000, "id:", 5001, "\ndata:y\n\n", -EMSGSIZE);
    check_limit(5000, "event:", 5001, "\ndata:y\n\n", -EMSGSIZE);
}

static void sse_parser_refuses_an_event_of_endless_lines(void **state) {
    (void)state;
    struct output output;
    struct sse_parser *parser = parser_begin(&output, 1000);
    int result = 0;
    size_t fed = 0;
    for (; fed < 1001 && result == 0; fed++)
        result = feed(parser, "data\n", 5);
    assert_int_equal(result, 0); /* 1000 line feeds between 1001 empty lines */
    assert_int_equal(feed(parser, "data\n", 5), -EMSGSIZE);
    parser_end(parser, &output);
}

static void sse_parser_skips_a_comment_far_over_the_limit(void **state) {
    (void)state;
    check_limit(5000, ":", 1000000, "\ndata:y\n\n", 0);
    check_limit(5000, "data:y\n: ", 1000000, "\r\n\r\n", 0);
}

static void sse_parser_reads_lines_of_many_megabytes(void **state) {
    (void)state;
    size_t count = 16 << 20;
    struct output output;
    struct sse_parser *parser = parser_begin(&output, count);
    assert_int_equal(feed_long(parser, "data:", count, "\r\n\r\n", 16384), 0);
    assert_int_equal(output.count, 1);
    assert_int_equal(output.text.length, strlen("message||\n") + count);
    parser_end(parser, &output);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sse_parser_passes_the_web_platforms_cases_however_they_are_cut),
        cmocka_unit_test(sse_parser_counts_the_events_of_providers_streams),
        cmocka_unit_test(sse_parser_dispatches_at_a_cr_without_waiting_for_what_follows),
        cmocka_unit_test(sse_parser_swallows_one_lf_after_a_cr_and_only_there),
        cmocka_unit_test(sse_parser_replaces_invalid_utf8),
        cmocka_unit_test(sse_parser_takes_what_only_begins_like_a_bom_for_a_line),
        cmocka_unit_test(sse_parser_does_not_dispatch_a_last_block_without_its_blank_line),
        cmocka_unit_test(sse_parser_keeps_a_type_without_data_to_itself),
        cmocka_unit_test(sse_parser_takes_only_digits_for_retry),
        cmocka_unit_test(sse_parser_stops_where_the_callback_says_so),
        cmocka_unit_test(sse_parser_takes_data_up_to_the_limit_and_not_a_byte_more),
        cmocka_unit_test(sse_parser_counts_replaced_bytes),
        cmocka_unit_test(sse_parser_refuses_a_line_that_does_not_end),
        cmocka_unit_test(sse_parser_refuses_an_event_of_endless_lines),
        cmocka_unit_test(sse_parser_skips_a_comment_far_over_the_limit),
        cmocka_unit_test(sse_parser_reads_lines_of_many_megabytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
