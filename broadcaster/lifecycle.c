/* The gateway's own events. At the top stand their names, each once, then the test that keeps an agent's events
 * apart from them, then a maker for each event.
 *
 * Most events are encoded when they are made, before any lock is taken. A run.end alone is reserved when its
 * run begins and filled when it ends: that happens under the session's lock, and must not fail. So its text
 * is written to the stack, and the room is known to suffice.
 */
#include "broadcaster/lifecycle.h"

#include "base/json_writer.h"

#include <assert.h>
#include <string.h>

#define RUN_START "run.start"
#define RUN_RETRY "run.retry"
#define RUN_END "run.end"
#define GAP "gap"
#define SESSION_END "session.end"
#define SERVER_DRAIN "server.drain"
#define PING "ping"

/* Room for what a run.start says besides its input, and for all that a run.retry says. */
#define DATA_MAX 4096
/* Room for the data of any run.end. */
#define END_DATA_MAX 1472
/* A character of JSON takes six bytes at most. */
#define ESCAPE_MAX 6

/* ---- blanks -------------------------------------------------------------------------------------- */

/* White space of Unicode, and what else some language's trim() drops: U+180E, U+200B and the byte order mark.
 */
static bool is_wide_blank(unsigned code) {
    static const unsigned others[] = {0x1680, 0x180e, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000, 0xfeff};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (others[i] == code)
            return true;
    }
    return code >= 0x2000 && code <= 0x200b;
}

/* How many bytes the blank at `text` has; 0: there is none. */
static size_t blank_length(const char *text, size_t length) {
    const unsigned char *byte = (const unsigned char *)text;
    if (length > 0 && (byte[0] <= ' ' || byte[0] == 0x7f))
        return 1;
    if (length > 1 && byte[0] == 0xc2)
        return byte[1] == 0x85 || byte[1] == 0xa0 ? 2 : 0;
    if (length < 3 || (byte[0] & 0xf0) != 0xe0)
        return 0;
    unsigned code = (byte[0] & 0x0fu) << 12 | (byte[1] & 0x3fu) << 6 | (byte[2] & 0x3fu);
    return is_wide_blank(code) ? 3 : 0;
}

/* The length of the blank that ends at `end`. */
static size_t blank_length_before(const char *end, size_t length) {
    for (size_t size = 1; size <= 3 && size <= length; size++) {
        if (blank_length(end - size, size) == size)
            return size;
    }
    return 0;
}

/* ---- names --------------------------------------------------------------------------------------- */

static bool type_is(const char *type, size_t length, const char *word) {
    return strlen(word) == length && memcmp(type, word, length) == 0;
}

static bool type_begins_with(const char *type, size_t length, const char *prefix) {
    return strlen(prefix) <= length && memcmp(type, prefix, strlen(prefix)) == 0;
}

/* Asked for each named event of an agent: the first letter decides most of them. */
static bool owns_type(const char *type, size_t length) {
    if (length == 0)
        return false;
    switch (*type) {
    case 'r':
        return type_is(type, length, RUN_START) || type_is(type, length, RUN_END) ||
               type_is(type, length, RUN_RETRY);
    case 'g':
        return type_is(type, length, GAP);
    case 's':
        return type_begins_with(type, length, "session.") || type_begins_with(type, length, "server.");
    case 'a':
        return type_begins_with(type, length, "auth.");
    default:
        return false;
    }
}

/* Whether the first byte alone shows that the type is not ours: it is no blank and none of our first letters. */
static bool begins_otherwise(const char *type) {
    char first = *type;
    return first > ' ' && first < 0x7f && first != 'r' && first != 'g' && first != 's' && first != 'a';
}

bool lifecycle_owns_type(const char *type, size_t length) {
    size_t blank;
    if (length == 0 || begins_otherwise(type)) /* length 0: there is no text then */
        return false;
    while ((blank = blank_length(type, length)) > 0) {
        type += blank;
        length -= blank;
    }
    length = strnlen(type, length); /* as a client written in C reads it */
    while ((blank = blank_length_before(type + length, length)) > 0)
        length -= blank;
    return owns_type(type, length);
}

struct frame *lifecycle_make_agent_event(uint64_t task_serial, const char *type, size_t type_length,
                                         const char *data, size_t data_length) {
    bool is_ours = type != NULL && lifecycle_owns_type(type, type_length);
    const struct frame_name name = {
        .prefix = is_ours ? LIFECYCLE_AGENT_PREFIX : "", .type = type, .type_length = type_length};
    struct frame *frame = frame_create(task_serial, &name, data, data_length);
    if (frame != NULL)
        frame->is_of_agent = true;
    return frame;
}

/* ---- what is encoded at once ------------------------------------------------------------------------- */

static struct frame *make_event(uint64_t task_serial, const char *type, const char *data, size_t length) {
    const struct frame_name name = {.prefix = "", .type = type, .type_length = strlen(type)};
    return frame_create(task_serial, &name, data, length);
}

/* Takes the writer over. */
static struct frame *make_json_event(uint64_t task_serial, const char *type, struct json_writer *json) {
    struct frame *frame =
        json->failed ? NULL : make_event(task_serial, type, json->text.bytes, json->text.length);
    json_writer_finish(json);
    return frame;
}

/* Begins an event whose room is known to suffice. */
static void begin_fixed_json(struct json_writer *json, char *storage, size_t size) {
    json_writer_init_fixed(json, storage, size);
    json->is_plain = true;
    json_begin_object(json, NULL);
}

static void begin_json(struct json_writer *json, size_t data_max) {
    json_writer_init(json, data_max);
    json->is_plain = true;
    json_begin_object(json, NULL);
}

struct frame *lifecycle_make_run_start(uint64_t task_serial, const struct lifecycle_run_start *start) {
    struct json_writer json;
    begin_json(&json, DATA_MAX + ESCAPE_MAX * start->input.length);
    json_add_string(&json, "task_id", start->task_id);
    json_add_text(&json, "app_name", start->app.bytes, start->app.length);
    json_add_text(&json, "user_id", start->user.bytes, start->user.length);
    json_add_text(&json, "session_id", start->session.bytes, start->session.length);
    json_add_string(&json, "label", start->label[0] != '\0' ? start->label : NULL);
    if (start->input.bytes != NULL)
        json_add_text(&json, "input", start->input.bytes, start->input.length);
    if (start->input.bytes != NULL && start->input_is_cut)
        json_add_bool(&json, "input_truncated", true);
    if (start->cached)
        json_add_bool(&json, "cached", true);
    if (start->canned)
        json_add_bool(&json, "canned", true);
    json_end_object(&json);
    return make_json_event(task_serial, RUN_START, &json);
}

struct frame *lifecycle_make_run_retry(uint64_t task_serial, const struct lifecycle_run_retry *retry) {
    struct json_writer json;
    begin_json(&json, DATA_MAX);
    json_add_string(&json, "task_id", retry->task_id);
    json_add_number(&json, "attempt", retry->attempt);
    json_add_number(&json, "delay_ms", retry->delay_ms);
    json_add_string(&json, "reason", retry->reason);
    json_add_string(&json, "upstream", retry->upstream);
    json_add_bool(&json, "fallback", retry->is_fallback);
    json_add_bool(&json, "resumption", retry->is_resumption);
    json_add_bool(&json, "canned", retry->upstream == NULL);
    json_add_string(&json, "cause", retry->cause);
    json_add_string(&json, "message", retry->message);
    json_end_object(&json);
    return make_json_event(task_serial, RUN_RETRY, &json);
}

struct frame *lifecycle_make_gap(struct event_id from, struct event_id to) {
    char from_text[EVENT_ID_SIZE], to_text[EVENT_ID_SIZE], data[2 * EVENT_ID_SIZE + 64];
    bool is_fresh = from.ms == 0 && from.n == 0;
    bool is_trimmed = event_id_compare(from, to) < 0;
    struct json_writer json;
    event_id_format(from, from_text);
    event_id_format(to, to_text);
    begin_fixed_json(&json, data, sizeof(data));
    json_add_string(&json, "from", is_fresh ? NULL : from_text);
    json_add_string(&json, "to", to_text);
    json_add_string(&json, "reason", is_trimmed ? "trimmed" : "unknown_id");
    json_end_object(&json);
    struct frame *frame = make_event(0, GAP, data, json.text.length);
    if (frame != NULL)
        frame_stamp(frame, to);
    return frame;
}

struct frame *lifecycle_make_session_end(const char *reason) {
    char data[64];
    struct json_writer json;
    begin_fixed_json(&json, data, sizeof(data));
    json_add_string(&json, "reason", reason);
    json_end_object(&json);
    assert(!json.failed);
    return make_event(0, SESSION_END, data, json.text.length);
}

/* ---- run.end ----------------------------------------------------------------------------------------- */

struct frame *lifecycle_reserve_run_end(uint64_t task_serial) {
    return frame_reserve(task_serial, RUN_END, END_DATA_MAX);
}

/* Only what is known. */
static void add_outcome(struct json_writer *json, const struct lifecycle_run_end *end) {
    if (end->finish_reason[0] != '\0')
        json_add_string(json, "finish_reason", end->finish_reason);
    if (end->has_usage) {
        json_begin_object(json, "usage");
        json_add_count(json, "input_tokens", end->input_tokens);
        json_add_count(json, "output_tokens", end->output_tokens);
        json_add_count(json, "total_tokens", end->total_tokens);
        json_end_object(json);
    }
    if (end->warning[0] != '\0')
        json_add_string(json, "warning", end->warning);
}

/* Only what is there. */
static void add_marks(struct json_writer *json, const struct lifecycle_run_end *end) {
    if (end->upstream_status != 0)
        json_add_number(json, "upstream_status", end->upstream_status);
    if (end->cached)
        json_add_bool(json, "cached", true);
    if (end->canned)
        json_add_bool(json, "canned", true);
    if (end->cause != NULL)
        json_add_string(json, "cause", end->cause);
    if (end->message[0] != '\0')
        json_add_string(json, "message", end->message);
}

void lifecycle_fill_run_end(struct frame *frame, const struct lifecycle_run_end *end) {
    char text[END_DATA_MAX];
    struct json_writer json;
    begin_fixed_json(&json, text, sizeof(text));
    json_add_string(&json, "task_id", end->task_id);
    json_add_string(&json, "status", end->status);
    json_add_string(&json, "reason", end->reason);
    json_add_count(&json, "events", end->events);
    json_add_count(&json, "bytes", end->bytes);
    json_add_number(&json, "duration_ms", end->duration_ms);
    add_outcome(&json, end);
    add_marks(&json, end);
    json_end_object(&json);
    assert(!json.failed);
    frame_fill(frame, text, json.text.length);
}

/* ---- events of one connection ------------------------------------------------------------------------ */

#define DRAIN_TEXT "event: " SERVER_DRAIN "\ndata: {\"reason\":\"shutdown\"}\n\n"
#define PING_TEXT "event: " PING "\ndata: {}\n\n"
static const char drain_chunk[] = "31\r\n" DRAIN_TEXT "\r\n";
static const char ping_chunk[] = "16\r\n" PING_TEXT "\r\n";
_Static_assert(sizeof(DRAIN_TEXT) - 1 == 0x31 && sizeof(PING_TEXT) - 1 == 0x16,
               "the lengths of their chunks");

struct frame_span lifecycle_server_drain(bool chunked) {
    return chunked ? (struct frame_span){drain_chunk, sizeof(drain_chunk) - 1}
                   : (struct frame_span){DRAIN_TEXT, sizeof(DRAIN_TEXT) - 1};
}

struct frame_span lifecycle_ping(bool chunked) {
    return chunked ? (struct frame_span){ping_chunk, sizeof(ping_chunk) - 1}
                   : (struct frame_span){PING_TEXT, sizeof(PING_TEXT) - 1};
}
