/* What the tests of the parser share: its output as text, and every way to cut its input. */
#ifndef SLUICE_TESTS_UNIT_PARSER_OUTPUT_H
#define SLUICE_TESTS_UNIT_PARSER_OUTPUT_H

#include "base/buffer.h"
#include "upstream/sse_parser.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define EVENT_BYTES_MAX (1 << 20)
#define TYPE_BYTES_MAX 1024
#define TEXT_BYTES_MAX (64 << 20)

/* cJSON's strings end at a NUL, so in what is compared a NUL is written as this private character. */
#define NUL_STAND_IN "\xEE\x80\x80"

/** What came out of a parser: each event as "type|data|id\n", and how many there were. */
struct output {
    struct buffer text;
    size_t count;
    size_t stop_after; /* the callback stops the feed at this event; 0: never */
};

static inline void append_visible(struct buffer *out, const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        bool done = text[i] != '\0' ? buffer_append(out, text + i, 1) : buffer_append_text(out, NUL_STAND_IN);
        assert_true(done);
    }
}

static inline int on_event(void *context, const struct sse_event *event) {
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

static inline struct sse_parser *parser_begin(struct output *output, size_t event_bytes_max) {
    *output = (struct output){0};
    buffer_init(&output->text, TEXT_BYTES_MAX);
    struct sse_parser *parser = sse_parser_create(event_bytes_max, TYPE_BYTES_MAX, on_event, output);
    assert_non_null(parser);
    return parser;
}

static inline void parser_end(struct sse_parser *parser, struct output *output) {
    sse_parser_destroy(parser);
    buffer_finish(&output->text);
}

/** Feeds a copy that has exactly this size, so that a sanitizer sees a byte read too far. */
static inline int feed(struct sse_parser *parser, const char *bytes, size_t length) {
    char *copy = malloc(length > 0 ? length : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, length);
    int result = sse_parser_feed(parser, copy, length);
    free(copy);
    return result;
}

static inline void assert_output(const struct output *output, const char *expected) {
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
static inline void check_cut(const struct expectation *expected, size_t first, size_t piece) {
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
static inline void check_all_cuts(const struct expectation *expected) {
    check_cut(expected, 0, 1);
    for (size_t first = 0; first <= expected->length; first++)
        check_cut(expected, first, expected->length);
}

static inline void check_text(const char *bytes, const char *events) {
    struct expectation expected = {"", bytes, strlen(bytes), events, -1};
    check_all_cuts(&expected);
}

#endif
