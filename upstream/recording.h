/* A recording: the events of one stream, in order, with the time each came at; live while it is still
 * written, by one thread, and ended then. Readers of any thread follow it, each at its own pace.
 *
 *     entry - entry - entry - entry - ...      one writer appends
 *        ^               ^
 *     reader           reader
 *
 * What all readers have passed is forgotten once the whole is too large.
 *
 * As long as a recording is whole, nothing of it is forgotten: whoever comes late gets it from its beginning.
 * One that grows above bytes_max, or grows while memory is full, is no longer that: it cannot be kept or
 * joined, and forgets what all its readers have had. When even the rest is above bytes_max, the writer must
 * wait until there is room: recording_may_append().
 *
 * An entry does not change, and stays where it is for as long as a reader holds the batch that it came in.
 */
#ifndef SLUICE_UPSTREAM_RECORDING_H
#define SLUICE_UPSTREAM_RECORDING_H

#include "base/lock.h"
#include "upstream/call.h"

#include <sys/queue.h>

enum recording_kind {
    RECORDING_EVENT,
    RECORDING_SENT,  /* the request went out */
    RECORDING_RETRY, /* another attempt will be made */
};

struct recording_entry {
    STAILQ_ENTRY(recording_entry) link;
    size_t bytes;  /* of memory */
    int64_t at_ms; /* since the request went out */
    enum recording_kind kind;
    union {
        struct sse_event event;             /* its last event ID is empty */
        const struct upstream_retry *retry; /* in the entry, which few are */
    };
};

struct recording;

/** A live recording without an entry; its reference is the caller's. NULL: out of memory. */
struct recording *recording_create(size_t bytes_max) MUST_CHECK;
struct recording *recording_ref(struct recording *recording);
void recording_unref(struct recording *recording); /* takes NULL */

/* ---- the writer ---------------------------------------------------------------------------------- */

/** Milliseconds since the request went out; until then, since the recording was made. */
int64_t recording_now_ms(const struct recording *recording);

/** Append a copy. False: out of memory. Not after the end. */
bool recording_append_event(struct recording *recording, const struct sse_event *event,
                            int64_t at_ms) MUST_CHECK;
bool recording_append_sent(struct recording *recording) MUST_CHECK;
bool recording_append_retry(struct recording *recording, const struct upstream_retry *retry) MUST_CHECK;

/** Moves all entries of `from`, which nobody else has, behind those of `to`: they come as a replay. */
void recording_append_replay(struct recording *to, struct recording *from);

/** Whether there is room for more. False: a reader's batch will say has_room once there is. */
bool recording_may_append(struct recording *recording) MUST_CHECK;

/** Ends it. Once. */
void recording_end(struct recording *recording, const struct upstream_result *result);

/* ---- what it is ---------------------------------------------------------------------------------- */

/** Whether all of it is there still. It is for ever, once it has ended so. */
bool recording_is_whole(struct recording *recording);

/** Bytes of its entries, which bytes_max is held against. */
size_t recording_bytes(struct recording *recording);

/** What is charged for all of it. */
size_t recording_memory(struct recording *recording);

/** How it ended; it has. Valid as long as the recording. */
const struct upstream_result *recording_result(const struct recording *recording);

/* ---- readers ------------------------------------------------------------------------------------- */

#define RECORDING_BATCH 32

/** Entries that a reader may look at until it asks for the next ones. */
struct recording_batch {
    size_t count;
    const struct recording_entry *entries[RECORDING_BATCH];
    bool is_replay; /* they were recorded before this recording began */
    bool is_end;    /* there is nothing more, and nothing will come: it has ended */
    bool has_room;  /* the writer waits, and may go on */
};

/** Embedded in who reads; on_more is set by its owner. */
struct recording_reader {
    /** There may be more to read. Called with the recording's lock held, on the writer's thread or the
     * reader's: it posts to an inbox, and does nothing else. Not again before recording_heard(). */
    void (*on_more)(struct recording_reader *reader);
    struct recording *recording; /* a reference, from join to leave */

    /* the recording's lock */
    TAILQ_ENTRY(recording_reader) link;
    struct recording_entry *next; /* NULL: it has not come yet */
    uint64_t position;            /* number of the next one */
    uint64_t kept;                /* number of the first one that the batch in hand holds */
    bool is_told;                 /* on_more() was called, and not heard yet */
};

/** Reads from the beginning. Tells of nothing: see recording_nudge(). False: the recording is not whole any
 * more. */
bool recording_join(struct recording *recording, struct recording_reader *reader) MUST_CHECK;

/** The reader has got what on_more() posted. First thing in its handler. */
void recording_heard(struct recording_reader *reader);

/** Has on_more() called, unless it was and is not heard yet. */
void recording_nudge(struct recording_reader *reader);

/** The next entries; none: on_more() will tell, unless it is the end. Those of the batch before are given
 * back. */
void recording_read(struct recording_reader *reader, struct recording_batch *ret_batch);

/** Reads no more. True: what on_more() posted is still on its way. *ret_has_room: as in a batch. */
bool recording_leave(struct recording_reader *reader, bool *ret_has_room) MUST_CHECK;

#endif
