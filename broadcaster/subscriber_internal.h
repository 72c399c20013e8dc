/* What the files about subscribers share. Private to this room; worker's thread only.
 *
 *   subscriber.c          where it begins, its life, the live ones
 *   subscriber_pump.c     what it wants next, and writing that
 *   subscriber_notice.c   what is said to it alone
 */
#ifndef SLUICE_BROADCASTER_SUBSCRIBER_INTERNAL_H
#define SLUICE_BROADCASTER_SUBSCRIBER_INTERNAL_H

#include "broadcaster/watch.h"

/** Frames that leave in one call of the sink, and such calls for one subscriber in one turn of the loop. */
#define SEND_FRAMES_MAX 64
#define SEND_ROUNDS_MAX 16

/** What is said to a subscriber that is no event of the log, as bits: at most one of each kind is due at a
 * time. */
enum subscriber_notice {
    NOTICE_HEARTBEAT = 1 << 0, /* a comment or a ping, where it was silent */
    NOTICE_RETRY = 1 << 1,     /* when to come again, at a drain */
    NOTICE_DRAIN = 1 << 2,     /* server.drain, after it */
};

/** What must be written before anything else: the rest of a frame, or a text of the gateway's own. The pump
 *  alone sets it, when it has written the one before. */
struct subscriber_rest {
    const char *bytes;
    size_t length;
    struct frame *frame;     /* a reference to what holds the bytes, or NULL */
    int64_t pinned_since_ms; /* see fanout_end_pins(); 0: not noted */
};

struct subscriber {
    TAILQ_ENTRY(subscriber) entry; /* in watch->live or watch->others */
    struct sink *sink;
    struct watch *watch; /* NULL while prepared */
    int64_t last_write_ms;
    struct session *session; /* a reference */
    TAILQ_ENTRY(subscriber) wheel_entry;
    TAILQ_ENTRY(subscriber) blocked_entry;
    struct task *run;            /* a reference: only this run; NULL: the session */
    struct waiting_place *place; /* session's lock; of no meaning once the session was opened */
    uint64_t until_after;        /* serial of a run that had ended before and does not count for until_run */

    uint64_t cursor;          /* next sequence; of no meaning while live: then it is the watch's */
    struct event_id position; /* of the last event passed; 0-0: none. Likewise the watch's while live */
    struct event_id gap_to;   /* with gap_due */
    struct subscriber_rest rest;
    int64_t blocked_since_ms;
    uint16_t jitter; /* per mille */
    uint8_t wheel_slot;
    uint8_t notices; /* of enum subscriber_notice: due once `rest` is through */
    bool chunked, until_run, agent_framing, pings;
    bool gathered; /* see subscriber_is_gathered() */
    bool live;     /* else in others */
    bool blocked;  /* the sink takes no more; `rest` is what it did not take */
    bool gap_due;  /* a gap must be told before the next event */
    bool drain_told;
    bool finishing; /* nothing comes behind `rest` any more */
    char text[40];  /* the notice that `rest` points to */
};

/* ---- subscriber.c -------------------------------------------------------------------------------- */

/** Where a run's events begin in the log; if it has none yet, where the next event will stand. */
uint64_t subscriber_run_begin_locked(const struct session *session, const struct task *run);

/** A plain one that has caught up is served together with the other live ones from now on, if it stands where
 *  they stand. */
void subscriber_join_live(struct subscriber *subscriber);

/** Takes it out of the live ones. */
void subscriber_demote(struct subscriber *subscriber);

/** Closes its sink and frees it. `abort`: not at the end of its stream. */
void subscriber_end(struct subscriber *subscriber, bool abort);

/** What the subscriber is delivered of a frame of the log: the frame, what it has for streams of the agent's
 * events alone, or NULL. No new reference. */
struct frame *subscriber_choose(const struct task *run, bool agent_framing, struct frame *frame);

/* ---- subscriber_pump.c --------------------------------------------------------------------------- */

/** Writes what there is for a subscriber that is not live, until it is blocked, has caught up (a plain one is
 *  live then), has had its share of this turn, or has ended (it is freed then). */
void subscriber_pump(struct subscriber *subscriber);

/** Says it as soon as what was begun is through: at once, or when the sink has room again; never inside an
 *  event or after the last chunk. The same notice is not due twice. The subscriber may be freed when this
 *  returns. */
void subscriber_say(struct subscriber *subscriber, enum subscriber_notice notice);

/** Notes that `written` bytes of these frames went out and the rest did not. Returns how many frames were
 * begun: the cursor must be moved behind these. */
size_t subscriber_keep_rest(struct subscriber *subscriber, struct frame *const *frames, size_t count,
                            size_t written);

/* ---- subscriber_notice.c ------------------------------------------------------------------------- */

/** The gap up to `gap_to`, with that id; in the agent's framing, an error of `form`. NULL: out of memory. */
struct frame *subscriber_make_gap(const struct subscriber *subscriber,
                                  const struct error_form *form) MUST_CHECK;

/** Takes one of the notices that are due: bytes in `text`, or static ones. */
struct frame_span subscriber_take_notice(struct subscriber *subscriber);
#endif
