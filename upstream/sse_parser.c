/* A parser of event streams: see sse_parser.h.
 *
 * A line that lies whole in the fed bytes is read where it is; only a line cut by the end of a feed is kept
 * until its rest arrives: the value of a data line in `data`, where it belongs, any other in `line`:
 *
 *     feed 1:  data: one\n data: tw          feed 2:  o\n \n
 *              read in place  into `data`             appended to `data`, event dispatched
 */
#include "upstream/sse_parser.h"

#include "base/buffer.h"
#include "base/utf8.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Room in a line for the field's name, its colon and space, so that the data alone may reach the limit. */
#define FIELD_NAME_ROOM 32
/* Memory kept from one event to the next; what a larger one took is given back. */
#define KEPT_BYTES_MAX (64 * 1024)

#define BOM "\xEF\xBB\xBF"
#define BOM_LENGTH 3

struct sse_parser {
    int (*on_event)(void *context, const struct sse_event *event);
    void *context;
    struct buffer line;          /* the line whose end has not been seen yet */
    struct buffer data;          /* the data buffer: each line with an LF behind it */
    size_t data_lines;           /* in it */
    struct buffer type;          /* the event type buffer */
    struct buffer last_event_id; /* the last event ID buffer */
    struct buffer bare_id;       /* the last one that came in a block without data */
    struct buffer stray;         /* the beginning of the lines that were ignored */
    int64_t retry_ms;
    unsigned bom_seen; /* bytes of the BOM seen so far */
    bool bom_over;     /* past the place where a BOM may be */
    bool after_cr;     /* an LF now belongs to the line end before it */
    bool in_comment;   /* inside a comment line: skipped, not kept */
    bool id_is_new;    /* the last event ID buffer has changed since the last blank line */
    bool id_is_bare;   /* the last id came in a block without data */
    bool in_block;     /* a field of the next event has come that is no data */
    bool stray_looks_wrong;
    unsigned strays; /* lines that were ignored */
    bool in_data; /* inside a data line: its value so far, not decoded, is in `data` from `value_start` on */
    size_t value_start;
};

/** The bytes of one feed. `lf` and `cr` are the next ones, found once each: every byte is searched once. */
struct feed {
    const char *at;
    const char *end;
    const char *lf; /* `end`: no more; before `at`: passed, to be searched again */
    const char *cr;
};

struct sse_parser *sse_parser_create(size_t event_bytes_max, size_t type_bytes_max,
                                     int (*on_event)(void *context, const struct sse_event *event),
                                     void *context) {
    struct sse_parser *parser = malloc(sizeof *parser);
    if (parser == NULL)
        return NULL;
    *parser = (struct sse_parser){.on_event = on_event, .context = context, .retry_ms = -1};
    memory_charge(MEMORY_STREAMS, sizeof *parser);
    buffer_init_counted(&parser->line, event_bytes_max + FIELD_NAME_ROOM, MEMORY_STREAMS);
    /* With the LF that dispatching takes away. */
    buffer_init_counted(&parser->data, event_bytes_max + 1, MEMORY_STREAMS);
    buffer_init_counted(&parser->type, type_bytes_max, MEMORY_STREAMS);
    buffer_init_counted(&parser->last_event_id, event_bytes_max, MEMORY_STREAMS);
    buffer_init_counted(&parser->bare_id, event_bytes_max, MEMORY_STREAMS);
    buffer_init_counted(&parser->stray, SSE_STRAY_BYTES_MAX, MEMORY_STREAMS);
    return parser;
}

void sse_parser_destroy(struct sse_parser *parser) {
    if (parser == NULL)
        return;
    buffer_finish(&parser->line);
    buffer_finish(&parser->data);
    buffer_finish(&parser->type);
    buffer_finish(&parser->last_event_id);
    buffer_finish(&parser->bare_id);
    buffer_finish(&parser->stray);
    memory_release(MEMORY_STREAMS, sizeof *parser);
    free(parser);
}

const char *sse_parser_bare_id(const struct sse_parser *parser) {
    if (!parser->id_is_bare)
        return NULL;
    return parser->bare_id.length > 0 ? parser->bare_id.bytes : "";
}

int64_t sse_parser_retry_ms(const struct sse_parser *parser) {
    return parser->retry_ms;
}

/** Why an append of `length` bytes failed. */
static int append_error(const struct buffer *buffer, size_t length) {
    return length > buffer->bytes_max - buffer->length ? -EMSGSIZE : -ENOMEM;
}

/** Appends a field's value, decoded. */
static int append_field_value(struct buffer *buffer, const char *value, size_t length) {
    if (utf8_is_valid(value, length))
        return buffer_append(buffer, value, length) ? 0 : append_error(buffer, length);
    struct buffer clean;
    buffer_init(&clean, 3 * length); /* each bad byte becomes at most the three of U+FFFD */
    int result = -ENOMEM;
    if (utf8_append_replaced(&clean, value, length))
        result = buffer_append(buffer, clean.bytes, clean.length) ? 0 : append_error(buffer, clean.length);
    buffer_finish(&clean);
    return result;
}

static void clear_and_shrink(struct buffer *buffer) {
    if (buffer->capacity > KEPT_BYTES_MAX)
        buffer_finish(buffer);
    else
        buffer_clear(buffer);
}

/** The event that the block is so far; it has data. */
static struct sse_event event_of(const struct sse_parser *parser) {
    bool named = parser->type.length > 0;
    bool has_id = parser->last_event_id.length > 0;
    return (struct sse_event){
        .type = named ? parser->type.bytes : "message",
        .type_length = named ? parser->type.length : strlen("message"),
        .data = parser->data.bytes,
        .data_length = parser->data.length - 1, /* without the last LF */
        .last_event_id = has_id ? parser->last_event_id.bytes : "",
        .last_event_id_length = parser->last_event_id.length,
    };
}

/** Keeps the id that a block without data has brought; any other is in its event. Without memory for it there
 * is none. */
static void settle_id(struct sse_parser *parser) {
    parser->id_is_new = false;
    parser->id_is_bare = parser->data.length == 0;
    if (!parser->id_is_bare)
        return;
    buffer_clear(&parser->bare_id);
    if (parser->last_event_id.length > 0 &&
        !buffer_append(&parser->bare_id, parser->last_event_id.bytes, parser->last_event_id.length))
        buffer_clear(&parser->bare_id);
}

/** A blank line: "dispatch the event". */
static int dispatch_event(struct sse_parser *parser) {
    int result = 0;
    bool has_own_id = parser->id_is_new;
    if (has_own_id)
        settle_id(parser);
    if (parser->data.length > 0) {
        struct sse_event event = event_of(parser);
        event.has_own_id = has_own_id;
        result = sse_lines_are_in_proportion(parser->data_lines, event.data_length)
                     ? parser->on_event(parser->context, &event)
                     : -E2BIG;
    }
    parser->data_lines = 0;
    parser->in_block = false;
    clear_and_shrink(&parser->data);
    clear_and_shrink(&parser->type);
    return result;
}

static int replace_value(struct buffer *buffer, const char *value, size_t length) {
    buffer_clear(buffer);
    return append_field_value(buffer, value, length);
}

/** Ends a line of the data. */
static int end_data_line(struct sse_parser *parser) {
    parser->data_lines++;
    return buffer_append(&parser->data, "\n", 1) ? 0 : append_error(&parser->data, 1);
}

static int append_data(struct sse_parser *parser, const char *value, size_t length) {
    int result = append_field_value(&parser->data, value, length);
    return result == 0 ? end_data_line(parser) : result;
}

static int set_type(struct sse_parser *parser, const char *value, size_t length) {
    int result = replace_value(&parser->type, value, length);
    return result == -EMSGSIZE ? -ENAMETOOLONG : result;
}

static void set_retry(struct sse_parser *parser, const char *value, size_t length) {
    int64_t retry_ms = 0;
    for (size_t i = 0; i < length; i++) {
        if (value[i] < '0' || value[i] > '9')
            return;
        if (__builtin_mul_overflow(retry_ms, 10, &retry_ms) ||
            __builtin_add_overflow(retry_ms, value[i] - '0', &retry_ms))
            retry_ms = INT64_MAX;
    }
    if (length > 0)
        parser->retry_ms = retry_ms;
}

static bool field_is(const char *name, size_t length, const char *expected) {
    return length == strlen(expected) && memcmp(name, expected, length) == 0;
}

/** Whether a line that is no field of ours can hardly be one of a future standard. A name of a field has no
 * blank within, is no markup and has no BOM before it: readers miss the field then. */
static bool looks_wrong(const char *line, size_t name_length) {
    if (name_length >= BOM_LENGTH && memcmp(line, BOM, BOM_LENGTH) == 0)
        return true;
    while (name_length > 0 && (*line == ' ' || *line == '\t')) {
        line++;
        name_length--;
    }
    return name_length > 0 && (strchr("{[<\"", *line) != NULL || memchr(line, ' ', name_length) != NULL ||
                               (name_length >= strlen("error") && strncasecmp(line, "error", 5) == 0));
}

/** Keeps the beginning of what is ignored. Without memory for it there is less to report. */
static __attribute__((noinline)) void note_stray(struct sse_parser *parser, const char *line, size_t length,
                                                 size_t name_length) {
    struct buffer *stray = &parser->stray;
    size_t room = stray->bytes_max - stray->length;
    parser->strays++;
    size_t kept = length < room ? length : room;
    bool done = buffer_append(stray, line, kept) && (kept == room || buffer_append(stray, "\n", 1));
    (void)done;
    parser->stray_looks_wrong = parser->stray_looks_wrong || looks_wrong(line, name_length);
}

/** "Process the field", which is all of `line` if it has no colon. */
static int process_field(struct sse_parser *parser, const char *line, size_t line_length, size_t name_length,
                         const char *value, size_t length) {
    const char *name = line;
    if (field_is(name, name_length, "data"))
        return append_data(parser, value, length);
    if (field_is(name, name_length, "event")) {
        parser->in_block = true;
        return set_type(parser, value, length);
    }
    if (field_is(name, name_length, "id")) {
        parser->in_block = parser->id_is_new = true;
        return memchr(value, '\0', length) == NULL ? replace_value(&parser->last_event_id, value, length) : 0;
    }
    if (field_is(name, name_length, "retry"))
        set_retry(parser, value, length);
    else
        note_stray(parser, line, line_length, name_length);
    return 0;
}

/** "Interpreting an event stream": one line without its end. */
static int process_line(struct sse_parser *parser, const char *line, size_t length) {
    if (length == 0)
        return dispatch_event(parser);
    if (length > parser->line.bytes_max)
        return -EMSGSIZE;
    const char *colon = memchr(line, ':', length);
    if (colon == NULL)
        return process_field(parser, line, length, length, line + length, 0);
    const char *value = colon + 1;
    const char *end = line + length;
    if (value < end && *value == ' ')
        value++;
    return process_field(parser, line, length, (size_t)(colon - line), value, (size_t)(end - value));
}

static int append_raw(struct buffer *buffer, const char *bytes, size_t length) {
    return buffer_append(buffer, bytes, length) ? 0 : append_error(buffer, length);
}

/** A data line that was cut is there as a whole: decodes its value where it stands. */
static int finish_data(struct sse_parser *parser) {
    struct buffer *data = &parser->data;
    size_t length = data->length - parser->value_start;
    parser->in_data = false;
    if (utf8_is_valid(data->bytes + parser->value_start, length))
        return end_data_line(parser);
    struct buffer raw;
    buffer_init(&raw, length);
    int result = append_raw(&raw, data->bytes + parser->value_start, length);
    data->length = parser->value_start;
    if (result == 0)
        result = append_data(parser, raw.bytes, length);
    buffer_finish(&raw);
    return result;
}

/** The rest of a line, its end known. */
static int finish_line(struct sse_parser *parser, const char *bytes, size_t length) {
    if (parser->in_comment) {
        parser->in_comment = false;
        return 0;
    }
    if (parser->in_data) {
        int result = append_raw(&parser->data, bytes, length);
        return result == 0 ? finish_data(parser) : result;
    }
    if (parser->line.length == 0)
        return length > 0 && bytes[0] == ':' ? 0 : process_line(parser, bytes, length);
    if (!buffer_append(&parser->line, bytes, length))
        return append_error(&parser->line, length);
    int result = process_line(parser, parser->line.bytes, parser->line.length);
    clear_and_shrink(&parser->line);
    return result;
}

/** A piece of a line whose end is not here yet. */
static int keep_line(struct sse_parser *parser, const char *bytes, size_t length) {
    if (length == 0 || parser->in_comment)
        return 0;
    if (parser->in_data)
        return append_raw(&parser->data, bytes, length);
    if (parser->line.length == 0 && bytes[0] == ':') {
        parser->in_comment = true;
        return 0;
    }
    size_t name_length = strlen("data:");
    if (parser->line.length == 0 && length > name_length && memcmp(bytes, "data:", name_length) == 0) {
        size_t skipped = name_length + (bytes[name_length] == ' ');
        parser->in_data = true;
        parser->value_start = parser->data.length;
        return append_raw(&parser->data, bytes + skipped, length - skipped);
    }
    return append_raw(&parser->line, bytes, length);
}

/** Steps over a BOM at the very start, however it is cut. What only began like one belongs to the first line.
 */
static int skip_bom(struct sse_parser *parser, struct feed *feed) {
    while (parser->bom_seen < BOM_LENGTH && feed->at < feed->end) {
        if (*feed->at != BOM[parser->bom_seen]) {
            parser->bom_over = true;
            return keep_line(parser, BOM, parser->bom_seen);
        }
        parser->bom_seen++;
        feed->at++;
    }
    parser->bom_over = parser->bom_seen == BOM_LENGTH;
    return 0;
}

static const char *find_byte(const char *from, const char *end, char byte) {
    const char *found = memchr(from, byte, (size_t)(end - from));
    return found != NULL ? found : end;
}

/** The end of the line at feed->at, or feed->end. */
static const char *find_line_end(struct feed *feed) {
    if (feed->lf < feed->at)
        feed->lf = find_byte(feed->at, feed->end, '\n');
    if (feed->cr < feed->at)
        feed->cr = find_byte(feed->at, feed->end, '\r');
    return feed->lf < feed->cr ? feed->lf : feed->cr;
}

int sse_parser_feed(struct sse_parser *parser, const char *bytes, size_t length) {
    if (length == 0)
        return 0;
    struct feed feed = {.at = bytes, .end = bytes + length};
    int result = parser->bom_over ? 0 : skip_bom(parser, &feed);
    feed.lf = find_byte(feed.at, feed.end, '\n');
    feed.cr = find_byte(feed.at, feed.end, '\r');
    while (result == 0 && feed.at < feed.end) {
        bool is_rest_of_crlf = parser->after_cr && *feed.at == '\n';
        parser->after_cr = false;
        if (is_rest_of_crlf) {
            feed.at++;
            continue;
        }
        const char *line = feed.at;
        const char *end = find_line_end(&feed);
        if (end == feed.end)
            return keep_line(parser, line, (size_t)(end - line));
        parser->after_cr = *end == '\r';
        feed.at = end + 1;
        result = finish_line(parser, line, (size_t)(end - line));
    }
    return result;
}

/** Whether a line without its end may be the beginning of a field. */
static bool begins_a_field(const struct buffer *line) {
    static const char *const names[] = {"data", "event", "id", "retry"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (line->length <= strlen(names[i]) && memcmp(line->bytes, names[i], line->length) == 0)
            return true;
    }
    return false;
}

bool sse_parser_finish(struct sse_parser *parser, struct sse_event *ret_event) {
    static const struct sse_event nothing = {.type = "", .data = "", .last_event_id = ""};
    bool is_field = parser->line.length > 0 && begins_a_field(&parser->line);
    bool is_line = !is_field && (parser->in_data || parser->line.length > 0);
    unsigned strays = parser->strays;
    int result = is_line ? sse_parser_feed(parser, "\n", 1) : 0;
    *ret_event = result == 0 && parser->data.length > 0 ? event_of(parser) : nothing;
    return is_field || parser->in_block || parser->data.length > 0 || parser->strays != strays || result != 0;
}

struct sse_stray sse_parser_stray(const struct sse_parser *parser) {
    return (struct sse_stray){.text = parser->stray.length > 0 ? parser->stray.bytes : "",
                              .length = parser->stray.length,
                              .looks_wrong = parser->stray_looks_wrong};
}
