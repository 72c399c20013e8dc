/* A watch: what one worker's subscribers of one session have in common. Private to this room.
 *
 *   session->watches:  watch of worker 1 ----> live:   all stand at `cursor`, served together
 *                                        `---> others: each with a cursor of its own
 *                      watch of worker 2 ...
 *
 * It lives as long as it has subscribers, is posted, or is being flushed. The list of a session's watches and
 * `posted` and how far it has written belong to the session's lock, all else to the worker's thread.
 */
#ifndef SLUICE_BROADCASTER_WATCH_H
#define SLUICE_BROADCASTER_WATCH_H

#include "broadcaster/fanout.h"

TAILQ_HEAD(subscriber_list, subscriber);

struct watch {
    struct session *session; /* a reference */
    struct fanout *fanout;
    LIST_ENTRY(watch) session_entry;
    bool posted;               /* in the fan-out's list of dirty ones, or on its way there */
    uint64_t written_sequence; /* up to here this worker has written, or noted who is too slow for it */
    uint64_t written_bytes;    /* event_log.bytes_ever at that time */
    struct watch *next_posted;

    struct inbox_item dirty_item;
    STAILQ_ENTRY(watch) dirty_entry;
    bool flushing;
    bool cut_short;                /* the last flush left something for the next turn */
    uint64_t cursor;               /* where all that are `live` stand */
    struct event_id position;      /* of the last event that they have passed */
    struct subscriber_list live;   /* plain ones, caught up: served together */
    struct subscriber_list others; /* each with a cursor of its own */
};

/** Something came: to the worker, once until it has looked. `posted` was set by the caller. Any thread, no
 * lock held. */
void watch_post(struct watch *watch);

/** There is more to be written than should be in one turn of the loop: look again in the next one. On the
 * worker's thread. */
void watch_post_later(struct watch *watch);

/** This worker's watch of the session, made if need be. NULL: out of memory. */
struct watch *watch_get(struct fanout *fanout, struct session *session) MUST_CHECK;

/** Writes what there is to its subscribers. It was posted, and may be freed when this returns. */
void watch_flush(struct watch *watch);

/** Frees the watch if nobody needs it any more. */
void watch_consider_destroy(struct watch *watch);

#endif
