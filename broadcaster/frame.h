/* One immutable, reference-counted event, encoded once for everybody.
 *
 *   bytes:  [ slack ][ chunk line CRLF ][ event: ...\n ][ data: ...\n ]*[ id: ...\n ][ \n ][ CRLF ][ slack ]
 *                    ^chunk_start       ^text starts here              ^lines_end          ^text_end
 *                    |<------------------------- frame_chunked() -------------------------------->|
 *                                       |<------------------ frame_plain() ------------->|
 *
 * The event and data lines are encoded before any lock is taken. The id is only known under the session's
 * lock: when the frame is stamped, it is written into the slack after the lines, and the chunk line backwards
 * into the slack in front of them.
 *
 * The id is the last line. Some clients take an id when they read its line, before they have the whole event:
 * after a cut they would ask for what follows, and never get this event.
 */
#ifndef SLUICE_BROADCASTER_FRAME_H
#define SLUICE_BROADCASTER_FRAME_H

#include "base/attributes.h"
#include "base/buffer.h"
#include "broadcaster/event_id.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct frame {
    atomic_uint references;
    uint64_t task_serial; /* of the task that it belongs to; 0: of the session as a whole */
    struct event_id id;   /* once stamped */
    struct frame *next;   /* for whoever must hold a short list of frames */
    /** Of a run.end: what a stream of the agent's events alone has in its place, with the same id. A
     * reference. NULL: nothing. */
    struct frame *for_agents;
    uint32_t type_length;   /* with its prefix */
    uint32_t prefix_length; /* 0: it has none */
    uint32_t data_length;   /* as it came in, without "data: " */
    uint32_t chunk_start;
    uint32_t lines_end; /* after the event and data lines */
    uint32_t text_end;  /* after the empty line; 0: not stamped yet */
    uint32_t room;      /* of `bytes` */
    bool is_of_agent;   /* else it is one of the gateway's (lifecycle.h) */
    char bytes[];
};

struct frame_span {
    const char *bytes;
    size_t length;
};

/** An empty frame with room for `data_max` bytes of data, for an event that must not fail for want of memory
 * later. NULL: out of memory. Any thread. */
struct frame *frame_reserve(uint64_t task_serial, const char *type, size_t data_max) MUST_CHECK;

/** Encodes the data of a reserved frame: one line, at most `data_max` bytes. Once, before it is stamped. */
void frame_fill(struct frame *frame, const char *data, size_t length);

/** The type of an event. */
struct frame_name {
    const char *prefix; /* written before the type; "": none */
    const char *type;   /* must hold no line end; NULL or "message" is the default type */
    size_t type_length;
};

/** Encodes an event (WHATWG HTML, "Server-sent events": a line a field). Line ends in `data` (LF, CR, CRLF)
 * part its lines. `data` may be NULL if it is empty. The makers of lifecycle.h are what others call. The
 * caller owns the one reference. NULL: out of memory, or over 4 GiB. Any thread. */
struct frame *frame_create(uint64_t task_serial, const struct frame_name *name, const char *data,
                           size_t data_length) MUST_CHECK;

/** Whether the agent had given it a name of the gateway's, so that a prefix stands before it. Any thread. */
static inline bool frame_is_renamed(const struct frame *frame) {
    return frame->prefix_length > 0;
}

/** A copy of a stamped frame that was renamed, with the type that the agent had given it, and the same id:
 * for a stream that holds no event of the gateway. The caller owns the one reference. NULL: out of memory.
 * Any thread.
 */
struct frame *frame_create_as_sent(const struct frame *frame) MUST_CHECK;

/** Gives the frame its id, and the one for agents' streams that it has: once, before anybody else sees it. */
void frame_stamp(struct frame *frame, struct event_id id);

struct frame *frame_ref(struct frame *frame);
void frame_unref(struct frame *frame); /* takes NULL */

/** Gives back a list linked by `next`. */
void frame_unref_list(struct frame *first);

/** The stamped frame as one HTTP/1.1 chunk (RFC 9112, section 7.1), or as bare event stream text. */
struct frame_span frame_chunked(const struct frame *frame);
struct frame_span frame_plain(const struct frame *frame);

/** The event's type as it is delivered, "message" if it has none. Not NUL-terminated. */
struct frame_span frame_type(const struct frame *frame);

/** Appends the data, its lines joined by LF. False: the buffer is full. */
bool frame_append_data(const struct frame *frame, struct buffer *buffer) MUST_CHECK;

/** Bytes of memory that it takes, whatever of its room is used. */
size_t frame_memory(const struct frame *frame);

#endif
