/* broadcaster/frame: what is encoded is read back as the same events by upstream/sse_parser, as bare text and
 * as HTTP/1.1 chunks.
 *
 * input: frames, each [cuts: 2] [id: 4] [type's length: 1] [data's length: 2] type data
 */
#include "broadcaster/frame.h"
#include "broadcaster/lifecycle.h"
#include "tests/fuzz/sse_reference.h"
#include "upstream/sse_parser.h"

#define FRAMES_MAX 8
#define FRAME_FIELDS_MAX 128 /* the chunk's line, the id, and the names of the other fields */

/* One event to be encoded; the type without line ends, and all of it valid UTF-8: so it comes from a parser.
 */
struct original {
    struct utf8_reference type, data;
    struct event_id id;
    char delivered[3 * 255 + 16]; /* the type that viewers see */
    size_t delivered_length;
};

struct reading {
    const struct original *originals;
    size_t count, seen;
};

static struct utf8_reference take_valid(struct fuzz_input *input, size_t length) {
    length = length < input->length ? length : input->length;
    struct utf8_reference text = utf8_reference_decode((const char *)input->bytes, length);
    input->bytes += length;
    input->length -= length;
    return text;
}

/* What some language's trim() drops, written down a second time: control bytes, DEL, and these. */
static size_t blank_before(const char *text, size_t length) {
    static const char *const blanks[] = {"\xc2\x85", "\u00a0", "\u1680", "\u180e", "\u2000", "\u2001",
                                         "\u2002",   "\u2003", "\u2004", "\u2005", "\u2006", "\u2007",
                                         "\u2008",   "\u2009", "\u200a", "\u200b", "\u2028", "\u2029",
                                         "\u202f",   "\u205f", "\u3000", "\ufeff"};
    if (length > 0 && ((unsigned char)text[length - 1] <= ' ' || text[length - 1] == 0x7f))
        return 1;
    for (size_t i = 0; i < sizeof(blanks) / sizeof(blanks[0]); i++) {
        size_t size = strlen(blanks[i]);
        if (size <= length && memcmp(text + length - size, blanks[i], size) == 0)
            return size;
    }
    return 0;
}

/* The text may be blanks and nothing else. */
static bool is_blank(const char *text, size_t length) {
    for (size_t size; length > 0 && (size = blank_before(text, length)) > 0;)
        length -= size;
    return length == 0;
}

/* The names of the gateway's own events, written down a second time. */
static bool is_reserved_at(const char *text, size_t length) {
    static const char *const names[] = {"run.start", "run.end",  "run.retry", "gap",
                                        "session.*", "server.*", "auth.*"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        size_t size = strcspn(names[i], "*");
        if (length < size || memcmp(text, names[i], size) != 0)
            continue;
        /* a client written in C reads a name up to its NUL */
        if (names[i][size] == '*' || is_blank(text + size, strnlen(text + size, length - size)))
            return true;
    }
    return false;
}

static bool is_reserved(const struct utf8_reference *type) {
    for (size_t start = 0; start < type->length; start++) {
        if (is_reserved_at(type->bytes + start, type->length - start) && is_blank(type->bytes, start))
            return true;
    }
    return false;
}

static void set_delivered(struct original *original) {
    static const char prefix[] = "upstream.";
    if (is_reserved(&original->type)) {
        memcpy(original->delivered, prefix, strlen(prefix));
        original->delivered_length = strlen(prefix);
    }
    memcpy(original->delivered + original->delivered_length, original->type.bytes, original->type.length);
    original->delivered_length += original->type.length;
    if (original->delivered_length == 0) {
        memcpy(original->delivered, "message", 7);
        original->delivered_length = 7;
    }
}

static void replace_line_ends(struct utf8_reference *text) {
    for (size_t i = 0; i < text->length; i++) {
        if (text->bytes[i] == '\n' || text->bytes[i] == '\r')
            text->bytes[i] = '.';
    }
}

static size_t count_line_ends(const struct utf8_reference *text) {
    size_t count = 0;
    for (size_t i = 0; i < text->length; i++)
        count += text->bytes[i] == '\n' || text->bytes[i] == '\r';
    return count;
}

/* The parser refuses an event of too many lines, so none is made of one. */
static struct original take_original(struct fuzz_input *input) {
    struct original original = {0};
    uint64_t ms = fuzz_take_pair(input), n = fuzz_take_pair(input);
    original.id = (struct event_id){.ms = ms * ms * ms * ms, .n = n * n * n * n};
    size_t type_length = fuzz_take_byte(input), data_length = fuzz_take_pair(input);
    original.type = take_valid(input, type_length);
    original.data = take_valid(input, data_length);
    replace_line_ends(&original.type);
    if (!sse_lines_are_in_proportion(count_line_ends(&original.data) + 1, original.data.length / 2))
        replace_line_ends(&original.data);
    set_delivered(&original);
    return original;
}

/* CRLF and CR become LF, as a stream's reader sees them. */
static struct sse_text with_lf(const struct utf8_reference *data) {
    struct sse_text text = {.bytes = fuzz_copy(data->bytes, data->length)};
    for (size_t i = 0; i < data->length; i++) {
        bool is_crlf = data->bytes[i] == '\r' && i + 1 < data->length && data->bytes[i + 1] == '\n';
        if (!is_crlf)
            text.bytes[text.length++] = data->bytes[i] == '\r' ? '\n' : data->bytes[i];
    }
    return text;
}

static bool is_text(const char *bytes, size_t length, const char *expected, size_t expected_length) {
    return length == expected_length && (length == 0 || memcmp(bytes, expected, length) == 0);
}

static int on_event(void *context, const struct sse_event *event) {
    struct reading *reading = context;
    REQUIRE(reading->seen < reading->count);
    const struct original *original = &reading->originals[reading->seen++];
    struct sse_text data = with_lf(&original->data);
    char id[EVENT_ID_SIZE];
    size_t id_length = event_id_format(original->id, id);
    REQUIRE(is_text(event->type, event->type_length, original->delivered, original->delivered_length));
    REQUIRE(is_text(event->data, event->data_length, data.bytes, data.length));
    REQUIRE(is_text(event->last_event_id, event->last_event_id_length, id, id_length));
    free(data.bytes);
    return 0;
}

/* RFC 9112, section 7.1: one chunk whose data is the bare text. */
static void check_chunk(const struct frame *frame) {
    struct frame_span chunk = frame_chunked(frame), plain = frame_plain(frame);
    char head[32];
    int length = snprintf(head, sizeof(head), "%zX\r\n", plain.length);
    REQUIRE(chunk.length == (size_t)length + plain.length + 2);
    REQUIRE(memcmp(chunk.bytes, head, (size_t)length) == 0);
    REQUIRE(memcmp(chunk.bytes + length, plain.bytes, plain.length) == 0);
    REQUIRE(memcmp(chunk.bytes + length + plain.length, "\r\n", 2) == 0);
    REQUIRE(frame_memory(frame) >= chunk.length);
    size_t lines_max = SSE_LINES_BYTES_FREE + 4 * (size_t)frame->data_length;
    REQUIRE(chunk.length <= lines_max + frame->type_length + FRAME_FIELDS_MAX);
}

static void check_accessors(const struct frame *frame, const struct original *original) {
    struct sse_text data = with_lf(&original->data);
    struct frame_span type = frame_type(frame);
    struct buffer out;
    buffer_init(&out, data.length);
    REQUIRE(frame_append_data(frame, &out));
    REQUIRE(is_text(out.bytes, out.length, data.bytes, data.length));
    REQUIRE(is_text(type.bytes, type.length, original->delivered, original->delivered_length));
    REQUIRE(frame_is_renamed(frame) == is_reserved(&original->type));
    REQUIRE(frame->data_length == original->data.length);
    REQUIRE(event_id_compare(frame->id, original->id) == 0);
    buffer_finish(&out);
    free(data.bytes);
}

/* A frame that was reserved and then filled is the frame that would have been made at once. */
static void check_reserved(const struct frame *frame, const struct original *original) {
    const struct utf8_reference *type = &original->type, *data = &original->data;
    bool one_line =
        memchr(data->bytes, '\n', data->length) == NULL && memchr(data->bytes, '\r', data->length) == NULL;
    if (!one_line || memchr(type->bytes, '\0', type->length) != NULL || frame->type_length == 0 ||
        frame_is_renamed(frame))
        return;
    char name[3 * 255 + 1];
    memcpy(name, type->bytes, type->length);
    name[type->length] = '\0';
    struct frame *reserved = frame_reserve(1, name, data->length);
    REQUIRE(reserved != NULL);
    frame_fill(reserved, data->bytes, data->length);
    frame_stamp(reserved, original->id);
    struct frame_span one = frame_chunked(frame), other = frame_chunked(reserved);
    REQUIRE(is_text(one.bytes, one.length, other.bytes, other.length));
    frame_unref(reserved);
}

/* A frame that was renamed holds all that the agent had sent. */
static void check_as_sent(const struct frame *frame, const struct original *original) {
    if (!frame_is_renamed(frame))
        return;
    struct frame *sent = frame_create_as_sent(frame);
    REQUIRE(sent != NULL && sent->data_length == frame->data_length &&
            sent->task_serial == frame->task_serial);
    check_chunk(sent);
    struct frame_span type = frame_type(sent), one = frame_plain(sent), other = frame_plain(frame);
    REQUIRE(is_text(type.bytes, type.length, original->type.bytes, original->type.length));
    size_t lines = (size_t)(frame_type(frame).bytes + frame->type_length - other.bytes);
    size_t sent_lines = (size_t)(type.bytes + type.length - one.bytes);
    REQUIRE(
        is_text(one.bytes + sent_lines, one.length - sent_lines, other.bytes + lines, other.length - lines));
    frame_unref(sent);
}

static void feed(struct sse_parser *parser, struct fuzz_cuts cuts, struct frame_span text) {
    for (size_t at = 0; at < text.length;) {
        size_t count = fuzz_next_cut(&cuts, text.length - at);
        REQUIRE(sse_parser_feed(parser, text.bytes + at, count) == 0);
        at += count;
    }
}

static void check_frame(const struct original *original, struct sse_parser *parser, struct fuzz_cuts cuts) {
    char *type = fuzz_copy(original->type.bytes, original->type.length);
    char *data = fuzz_copy(original->data.bytes, original->data.length);
    struct frame *frame =
        lifecycle_make_agent_event(1, type, original->type.length, data, original->data.length);
    REQUIRE(frame != NULL);
    free(type);
    free(data);
    frame_stamp(frame, original->id);
    check_chunk(frame);
    check_accessors(frame, original);
    check_reserved(frame, original);
    check_as_sent(frame, original);
    feed(parser, cuts, frame_plain(frame));
    frame_unref(frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_input input = {data, size};
    struct original originals[FRAMES_MAX];
    struct reading reading = {.originals = originals};
    struct sse_parser *parser = sse_parser_create(1 << 20, 1 << 20, on_event, &reading);
    REQUIRE(parser != NULL);
    while (input.length > 0 && reading.count < FRAMES_MAX) {
        struct fuzz_cuts cuts = fuzz_take_cuts(&input);
        originals[reading.count++] = take_original(&input);
        check_frame(&originals[reading.count - 1], parser, cuts);
        REQUIRE(reading.seen == reading.count);
    }
    for (size_t i = 0; i < reading.count; i++) {
        free(originals[i].type.bytes);
        free(originals[i].data.bytes);
    }
    sse_parser_destroy(parser);
    return 0;
}
