/* A parser of event streams: WHATWG HTML, "Parsing an event stream" and "Interpreting an event stream".
 *
 * Resumable at every byte: feed it what arrives, however it is cut.
 *
 *     struct sse_parser *parser = sse_parser_create(1 << 20, on_event, context);
 *     while (...) {
 *         int result = sse_parser_feed(parser, bytes, length);
 *         ...
 *     }
 *     sse_parser_finish(parser, &last); // a last block without its blank line is not dispatched
 *     sse_parser_destroy(parser);
 */
#ifndef SLUICE_UPSTREAM_SSE_PARSER_H
#define SLUICE_UPSTREAM_SSE_PARSER_H

#include "base/attributes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** One dispatched event. The pointers are valid during the callback only; none is NULL, none is
 *  NUL-terminated. Invalid UTF-8 was replaced by U+FFFD. */
struct sse_event {
    const char *type; /* "message" if the stream named none */
    size_t type_length;
    const char *data; /* the data lines joined by LF */
    size_t data_length;
    const char *last_event_id; /* the last event ID buffer: it stays from event to event */
    size_t last_event_id_length;
    bool has_own_id; /* the block had the field; else the id stays from an earlier one */
};

/** Whoever writes an event repeats "data: " for each line of its data: six bytes more than what parts two
 * lines. A million empty lines, 1 MB of data, would be written as 7 MB. So the lines of an event may cost
 * three times its data, and what is written is at most four times the data and these bytes. */
#define SSE_LINES_BYTES_FREE 4096

static inline bool sse_lines_are_in_proportion(size_t lines, size_t data_length) {
    return 6 * lines <= SSE_LINES_BYTES_FREE + 3 * data_length;
}

struct sse_parser;

/** `on_event` returns 0 to go on; anything else stops the feed, which returns it. `event_bytes_max` bounds
 *  the data of one event and the length of one line, `type_bytes_max` an event's type. NULL: out of memory.
 */
struct sse_parser *sse_parser_create(size_t event_bytes_max, size_t type_bytes_max,
                                     int (*on_event)(void *context, const struct sse_event *event),
                                     void *context) MUST_CHECK;

void sse_parser_destroy(struct sse_parser *parser);

/** Parses the next bytes and calls on_event() for each event that they complete. 0; -EMSGSIZE: an event or a
 *  line over the limit; -ENAMETOOLONG: a type over its limit; -E2BIG: an event with too many lines for its
 *  data; -ENOMEM; or what on_event() returned. After anything but 0 the parser may only be
 *  destroyed. One thread at a time. */
int sse_parser_feed(struct sse_parser *parser, const char *bytes, size_t length) MUST_CHECK;

/** The stream has come to its end. True: it ended within a line that is no comment, or within a block without
 * its blank line, which the standard says not to dispatch. *ret_event is that block if it has data, else
 * empty, valid until the parser is destroyed. */
bool sse_parser_finish(struct sse_parser *parser, struct sse_event *ret_event) MUST_CHECK;

/** Lines that are no field of an event stream and no comment, which the standard says to ignore. An upstream
 * that fails may write its error as it is into the stream. */
struct sse_stray {
    const char
        *text; /* the first of them, with an LF between them, at most SSE_STRAY_BYTES_MAX; not NUL-ended */
    size_t length;
    bool looks_wrong; /* one of them cannot be a field of a future standard: markup, JSON, a sentence,
                         `error:` */
};

#define SSE_STRAY_BYTES_MAX 1024

/** What has been met of those so far, and what a line without its end holds if sse_parser_finish() was
 * called. Valid until the next feed. */
struct sse_stray sse_parser_stray(const struct sse_parser *parser);

/** The id that the stream has left, if a block without data brought it, "" if that took the id back. NULL: an
 * event brought it, or there is none. Valid until the next feed. */
const char *sse_parser_bare_id(const struct sse_parser *parser);

/** The stream's last `retry:` in milliseconds, or -1. */
int64_t sse_parser_retry_ms(const struct sse_parser *parser);

#endif
