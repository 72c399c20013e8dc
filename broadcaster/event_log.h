/* The event log: a bounded ring of frames, each with an id. Protected by its session's lock.
 *
 *   sequence:   first_sequence            next_sequence
 *                     v                         v
 *   [ trimmed ... ][ frame | frame | ... | frame ][ not there yet ]
 *               ^
 *            floor_id: the id right before the oldest retained event
 *
 * A position in the log is a sequence number: 1 for the first event ever, one more for each. A cursor is the
 * sequence of the next event that somebody wants.
 */
#ifndef SLUICE_BROADCASTER_EVENT_LOG_H
#define SLUICE_BROADCASTER_EVENT_LOG_H

#include "broadcaster/frame.h"

struct event_log_limits {
    uint32_t events_max; /* at least 1 */
    uint64_t bytes_max;  /* of frame memory; the newest event stays even if it alone is over it */
    /** What stands from here on has not been written by every worker yet: it may stay over the limits, for
     * twice the bytes and EVENT_LOG_BURST_MAX more events. 0: everything is written. */
    uint64_t unwritten_from;
};

/** More events than one read from an upstream can bring. */
#define EVENT_LOG_BURST_MAX 4096

struct event_log {
    struct frame **ring; /* capacity is a power of two */
    uint32_t capacity;
    uint64_t first_sequence;
    uint64_t next_sequence;
    uint64_t bytes;
    uint64_t bytes_ever; /* of all that was ever appended */
    struct event_id floor_id;
    struct event_id last_id;
};

/** Where a reader stands who names an id. */
struct event_log_position {
    uint64_t sequence;       /* go on from here */
    bool known;              /* the id is in the log, or right before it: nothing is missing */
    struct event_id lost_to; /* if not known: the id that a gap is told up to */
};

/** An empty log whose ids begin after `now_ms`-0. False: out of memory. */
bool event_log_init(struct event_log *log, int64_t now_ms) MUST_CHECK;

/** Makes the ids of an empty log begin after `id` too, if that is later. */
void event_log_begin_after(struct event_log *log, struct event_id id);

/** Gives back all frames. */
void event_log_finish(struct event_log *log);

/** Stamps the frame with the next id and appends it; takes over the caller's reference. What no
 *  longer fits leaves at the other end: *ret_evicted is a list linked by `next`, for the caller to give back
 *  once the lock is released. It cannot fail: without memory for a longer ring, the oldest leaves early. */
void event_log_append(struct event_log *log, const struct event_log_limits *limits, struct frame *frame,
                      int64_t now_ms, struct frame **ret_evicted);

/** Trims to the limits, after what was over them was written. Returns what left: a list linked by `next`. */
struct frame *event_log_trim(struct event_log *log, const struct event_log_limits *limits);

/** Takes the oldest frames out while the log takes more than `bytes_kept`: at most `events_max` of them, and
 * none from `until` on. An empty log keeps no more memory than it had at first. Returns what left: a list
 * linked by `next`. */
struct frame *event_log_shed(struct event_log *log, uint64_t bytes_kept, uint64_t until, uint32_t events_max);

/** Takes all frames out as if they had been trimmed: a list linked by `next`. Nothing is appended any more.
 */
struct frame *event_log_clear(struct event_log *log);

/** The frame at a retained sequence; no new reference. */
struct frame *event_log_at(const struct event_log *log, uint64_t sequence);

/** Where to go on behind `id`. */
struct event_log_position event_log_find(const struct event_log *log, struct event_id id);

#endif
