/* upstream/sse_parser against a reference written from the standard, event by event, however it is cut.
 *
 * input: [cuts: 2] [limit: 1] [stop: 1] stream
 */
#include "tests/fuzz/sse_reference.h"
#include "upstream/sse_parser.h"

#include <errno.h>

#define STOPPED 4711

/* What the parser has told so far, held against the reference. */
struct comparison {
    const struct sse_reference *expected;
    size_t seen;
    size_t stop_at; /* the event at which the parser is told to stop; 0: none */
    size_t limit, type_limit;
};

static bool same(const char *bytes, size_t length, const struct sse_text *expected) {
    return length == expected->length && (length == 0 || memcmp(bytes, expected->bytes, length) == 0);
}

static int on_event(void *context, const struct sse_event *event) {
    struct comparison *comparison = context;
    REQUIRE(comparison->seen < comparison->expected->count);
    const struct sse_reference_event *expected = &comparison->expected->events[comparison->seen++];
    REQUIRE(event->type != NULL && event->data != NULL && event->last_event_id != NULL);
    REQUIRE(same(event->type, event->type_length, &expected->type));
    REQUIRE(same(event->data, event->data_length, &expected->data));
    REQUIRE(same(event->last_event_id, event->last_event_id_length, &expected->last_event_id));
    REQUIRE(event->data_length <= comparison->limit);
    REQUIRE(event->type_length <= comparison->type_limit || event->type_length == strlen("message"));
    return comparison->seen == comparison->stop_at ? STOPPED : 0;
}

static int feed_all(struct sse_parser *parser, struct fuzz_cuts cuts, const char *bytes, size_t length) {
    int result = 0;
    for (size_t at = 0; at < length && result == 0;) {
        size_t count = fuzz_next_cut(&cuts, length - at);
        char *piece = fuzz_copy(bytes + at, count);
        result = sse_parser_feed(parser, piece, count);
        free(piece);
        at += count;
    }
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_input input = {data, size};
    struct fuzz_cuts cuts = fuzz_take_cuts(&input);
    uint8_t limit = fuzz_take_byte(&input);
    uint8_t stop_at = fuzz_take_byte(&input);
    const char *stream = (const char *)input.bytes;
    struct sse_reference expected;
    sse_reference_init(&expected, stream, input.length);
    struct comparison comparison = {.expected = &expected,
                                    .stop_at = stop_at,
                                    .limit = limit == 0 ? 1 << 20 : limit,
                                    .type_limit = limit == 0 ? 1 << 20 : limit / 2};
    struct sse_parser *parser =
        sse_parser_create(comparison.limit, comparison.type_limit, on_event, &comparison);
    REQUIRE(parser != NULL);
    int result = feed_all(parser, cuts, stream, input.length);

    if (result == STOPPED)
        REQUIRE(comparison.seen == stop_at);
    else if (result == -EMSGSIZE)
        REQUIRE(expected.longest > comparison.limit);
    else if (result == -ENAMETOOLONG)
        REQUIRE(expected.longest_type > comparison.type_limit);
    else if (result == -E2BIG)
        REQUIRE(expected.lines_too_many > 0);
    else
        REQUIRE(result == 0 && comparison.seen == expected.count && expected.lines_too_many == 0 &&
                expected.longest_type <= comparison.type_limit &&
                sse_parser_retry_ms(parser) == expected.retry_ms);
    sse_parser_destroy(parser);
    sse_reference_finish(&expected);
    return 0;
}
