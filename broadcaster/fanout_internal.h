/* What fanout.c and the files that write to subscribers share. Private to this room; worker's thread only. */
#ifndef SLUICE_BROADCASTER_FANOUT_INTERNAL_H
#define SLUICE_BROADCASTER_FANOUT_INTERNAL_H

#include "broadcaster/watch.h"

#define WHEEL_SLOTS 64
#define VOLLEY_BYTES_MAX (64 * 1024)

struct fanout {
    struct inbox *inbox;
    struct fanout_settings *settings;
    STAILQ_HEAD(, watch) dirty;
    struct subscriber_list wheel[WHEEL_SLOTS]; /* each subscriber where its next heartbeat may be due */
    size_t slot;                               /* the one that fanout_tick() looks at next */
    int64_t next_tick_ms;
    char *volley;                   /* room for what many subscribers are written at once, VOLLEY_BYTES_MAX */
    struct subscriber_list blocked; /* the one that took no byte for the longest time first */
    size_t subscribers;
    size_t watches;
    atomic_size_t expected; /* subscribers that are on their way here */
    atomic_bool shut;
    uint64_t lag_events; /* the lock of fanout_lag.c, as the entry */
    LIST_ENTRY(fanout) lag_entry;
};

/** A subscriber comes, goes. */
void fanout_add(struct fanout *fanout, struct subscriber *subscriber);
void fanout_remove(struct fanout *fanout, struct subscriber *subscriber);

/** Its sink takes no more: it is told to say when it does. */
void fanout_note_blocked(struct fanout *fanout, struct subscriber *subscriber);

/** A blocked one has taken something. */
void fanout_note_progress(struct fanout *fanout, struct subscriber *subscriber);

/** It is no longer blocked. */
void fanout_note_unblocked(struct fanout *fanout, struct subscriber *subscriber);

/* ---- fanout_lag.c -------------------------------------------------------------------------------- */

/** From now on it counts for fanout_lag_events(), until it leaves. */
void fanout_lag_join(struct fanout *fanout);
void fanout_lag_leave(struct fanout *fanout);

/** Looks how far those are behind that take no more. */
void fanout_lag_measure(struct fanout *fanout);

/* ---- fanout_pins.c ------------------------------------------------------------------------------- */

/** While logs are capped for want of memory: closes blocked subscribers that have kept an event that is in no
 * log for too long. */
void fanout_end_pins(struct fanout *fanout, int64_t now_ms);

#endif
