/* One immutable, reference-counted event. The event line and the data lines are written when the frame is made;
 * the id and the chunk line when it is stamped, into slack that was left for them (frame.h has a picture).
 */
#include "broadcaster/frame.h"

#include "base/memory_budget.h"
#include "base/refcount.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* In front: "FFFFFFFF\r\n". */
#define TEXT_START 10
/* At the end: "id: " + the longest id + "\n" + "\n" + "\r\n". */
#define END_MAX (4 + (EVENT_ID_SIZE - 1) + 1 + 1 + 2)
static const char default_type[] = "message";

/* The data of an event, read line by line. Each byte is looked at a fixed number of times, whatever it is. */
struct lines {
    const char *next;
    const char *end;
    bool has_cr;
    bool done; /* the last line was read; data that ends with a line end has an empty one behind it */
};

static struct lines lines_of(const char *data, size_t length) {
    return (struct lines){
        .next = data,
        /* cppcheck-suppress pointerOutOfBoundsCond ; no data is as long as the bound that is asked for */
        .end = data + length,
        .has_cr = length > 0 && memchr(data, '\r', length) != NULL};
}

static const char *find_data_line_end(const struct lines *lines) {
    const char *at = lines->next;
    if (!lines->has_cr)
        return at < lines->end ? memchr(at, '\n', (size_t)(lines->end - at)) : NULL;
    while (at < lines->end && *at != '\n' && *at != '\r')
        at++;
    return at < lines->end ? at : NULL;
}

static struct frame_span read_line(struct lines *lines) {
    const char *start = lines->next;
    const char *line_end = find_data_line_end(lines);
    if (line_end == NULL) {
        lines->done = true;
        return (struct frame_span){start, (size_t)(lines->end - start)};
    }
    bool is_crlf = *line_end == '\r' && line_end + 1 < lines->end && line_end[1] == '\n';
    lines->next = line_end + (is_crlf ? 2 : 1);
    return (struct frame_span){start, (size_t)(line_end - start)};
}

static size_t count_lines(const char *data, size_t length) {
    size_t count = 0;
    for (struct lines lines = lines_of(data, length); !lines.done; count++)
        read_line(&lines);
    return count;
}

static char *put_bytes(char *out, const void *bytes, size_t length) {
    if (length > 0)
        memcpy(out, bytes, length);
    return out + length;
}

static char *put_data_lines(char *out, const char *data, size_t length) {
    for (struct lines lines = lines_of(data, length); !lines.done;) {
        struct frame_span line = read_line(&lines);
        out = put_bytes(out, "data: ", 6);
        out = put_bytes(out, line.bytes, line.length);
        *out++ = '\n';
    }
    return out;
}

/* What is allocated for a frame with so much room. */
static size_t frame_size_of(size_t room) {
    return offsetof(struct frame, bytes) + room;
}

/* A frame with its event line written, and room for `lines` data lines of together `data_max` bytes. Its
 * positions are 32 bits wide. */
static struct frame *create_room(uint64_t task_serial, const struct frame_name *name, size_t lines,
                                 size_t data_max) {
    size_t prefix_length = strlen(name->prefix), type_length = prefix_length + name->type_length;
    size_t room = TEXT_START + 8 + type_length + 7 * lines + data_max + END_MAX;
    struct frame *frame = room <= UINT32_MAX ? malloc(frame_size_of(room)) : NULL;
    if (frame == NULL)
        return NULL;
    *frame = (struct frame){.task_serial = task_serial,
                            .type_length = (uint32_t)type_length,
                            .chunk_start = TEXT_START,
                            .lines_end = TEXT_START,
                            .room = (uint32_t)room,
                            .prefix_length = (uint32_t)prefix_length};
    memory_charge(MEMORY_EVENTS, frame_size_of(room));
    atomic_init(&frame->references, 1);
    if (type_length > 0) {
        char *out = put_bytes(frame->bytes + TEXT_START, "event: ", 7);
        out = put_bytes(out, name->prefix, prefix_length);
        out = put_bytes(out, name->type, name->type_length);
        *out++ = '\n';
        frame->lines_end = (uint32_t)(out - frame->bytes);
    }
    return frame;
}

struct frame *frame_reserve(uint64_t task_serial, const char *type, size_t data_max) {
    const struct frame_name name = {.prefix = "", .type = type, .type_length = strlen(type)};
    return create_room(task_serial, &name, 1, data_max);
}

void frame_fill(struct frame *frame, const char *data, size_t length) {
    const char *end = put_data_lines(frame->bytes + frame->lines_end, data, length);
    frame->data_length = (uint32_t)length;
    frame->lines_end = (uint32_t)(end - frame->bytes);
}

struct frame *frame_create(uint64_t task_serial, const struct frame_name *name, const char *data,
                           size_t data_length) {
    struct frame_name given = *name;
    if (given.type == NULL || (given.type_length == strlen(default_type) &&
                               memcmp(given.type, default_type, given.type_length) == 0))
        given.type_length = 0;
    if (given.type_length > UINT32_MAX || data_length > UINT32_MAX)
        return NULL;
    if (data_length == 0)
        data = "";
    struct frame *frame = create_room(task_serial, &given, count_lines(data, data_length), data_length);
    if (frame != NULL)
        frame_fill(frame, data, data_length);
    return frame;
}

/* Where the data lines begin. */
static const char *lines_begin(const struct frame *frame) {
    return frame->bytes + TEXT_START + (frame->type_length > 0 ? frame->type_length + 8 : 0);
}

struct frame *frame_create_as_sent(const struct frame *frame) {
    assert(frame_is_renamed(frame));
    const char *type = frame->bytes + TEXT_START + 7 + frame->prefix_length;
    const struct frame_name sent = {
        .prefix = "", .type = type, .type_length = frame->type_length - frame->prefix_length};
    const char *lines = lines_begin(frame);
    size_t length = (size_t)(frame->bytes + frame->lines_end - lines);
    struct frame *copy = create_room(frame->task_serial, &sent, 0, length);
    if (copy == NULL)
        return NULL;
    put_bytes(copy->bytes + copy->lines_end, lines, length);
    copy->lines_end += (uint32_t)length;
    copy->data_length = frame->data_length;
    copy->is_of_agent = frame->is_of_agent;
    frame_stamp(copy, frame->id);
    return copy;
}

static size_t put_hex_backwards(char *end, size_t number) {
    size_t count = 0;
    do {
        *(end - ++count) = "0123456789ABCDEF"[number % 16];
        number /= 16;
    } while (number > 0);
    return count;
}

static void stamp_id(struct frame *frame, struct event_id id) {
    assert(frame->text_end == 0);
    char text[EVENT_ID_SIZE];
    char *text_end = text + sizeof(text);
    const char *start = event_id_put_before(id, text_end);
    char *out = put_bytes(frame->bytes + frame->lines_end, "id: ", 4);
    out = put_bytes(out, start, (size_t)(text_end - start));
    put_bytes(out, "\n\n\r\n", 4);
    frame->id = id;
    frame->text_end = (uint32_t)(out + 2 - frame->bytes);
    put_bytes(frame->bytes + TEXT_START - 2, "\r\n", 2);
    frame->chunk_start =
        (uint32_t)(TEXT_START - 2 -
                   put_hex_backwards(frame->bytes + TEXT_START - 2, frame->text_end - TEXT_START));
}

void frame_stamp(struct frame *frame, struct event_id id) {
    stamp_id(frame, id);
    if (frame->for_agents != NULL)
        stamp_id(frame->for_agents, id);
}

struct frame *frame_ref(struct frame *frame) {
    refcount_add(&frame->references);
    return frame;
}

static void destroy(struct frame *frame) {
    memory_release(MEMORY_EVENTS, frame_size_of(frame->room));
    free(frame);
}

void frame_unref(struct frame *frame) {
    if (frame == NULL || !refcount_drop(&frame->references))
        return;
    struct frame *other = frame->for_agents;
    destroy(frame);
    if (other != NULL && refcount_drop(&other->references))
        destroy(other);
}

void frame_unref_list(struct frame *first) {
    while (first != NULL) {
        struct frame *next = first->next;
        frame_unref(first);
        first = next;
    }
}

struct frame_span frame_chunked(const struct frame *frame) {
    return (struct frame_span){frame->bytes + frame->chunk_start, frame->text_end + 2 - frame->chunk_start};
}

struct frame_span frame_plain(const struct frame *frame) {
    return (struct frame_span){frame->bytes + TEXT_START, frame->text_end - TEXT_START};
}

struct frame_span frame_type(const struct frame *frame) {
    if (frame->type_length == 0)
        return (struct frame_span){default_type, strlen(default_type)};
    return (struct frame_span){frame->bytes + TEXT_START + 7, frame->type_length};
}

bool frame_append_data(const struct frame *frame, struct buffer *buffer) {
    const char *line = lines_begin(frame);
    const char *end = frame->bytes + frame->lines_end;
    for (bool first = true; line < end; first = false) {
        line += strlen("data: ");
        const char *lf = memchr(line, '\n', (size_t)(end - line));
        assert(lf != NULL);
        if (!first && !buffer_append(buffer, "\n", 1))
            return false;
        if (!buffer_append(buffer, line, (size_t)(lf - line)))
            return false;
        line = lf + 1;
    }
    return true;
}

size_t frame_memory(const struct frame *frame) {
    const struct frame *other = frame->for_agents;
    return memory_block(frame_size_of(frame->room)) +
           (other != NULL ? memory_block(frame_size_of(other->room)) : 0);
}
