/* A session: its event log, its current run, the runs that wait, and who listens. One lock for all of it.
 *
 *                 first subscriber                       broadcaster_open_session()
 *     (unknown) -------------------> waited for by others ------------------------> open --> closed
 *                                      |                                                       ^
 *                                      `-------------------------------------------------------'
 *                                                    the last subscriber leaves
 *
 * A session that is only waited for has its subscribers and their places, and nothing else. It does not count
 * as one and is not found; when it is opened its subscribers are there already, and nothing is lost for them.
 *
 * Rule 1 of the house: under the lock decide and swap pointers; what follows from it (giving back frames,
 * waking workers, starting and stopping runs, telling waiters) is collected in `struct session_effects` and
 * done by session_apply() when the lock has been released.
 */
#ifndef SLUICE_BROADCASTER_SESSION_H
#define SLUICE_BROADCASTER_SESSION_H

#include "base/lock.h"
#include "broadcaster/event_log.h"
#include "broadcaster/idempotency.h"
#include "broadcaster/idle_sessions.h"
#include "broadcaster/task.h"
#include "broadcaster/waiting_places.h"

struct watch;

/** `app/user/session`, each part valid and decoded: any UTF-8 but slashes and control characters, so that no
 * two lists of parts have the same key. These are bytes. */
#define SESSION_PART_MAX 128 /* of an app or a session */
#define SESSION_USER_MAX 255
#define SESSION_KEY_SIZE (2 * SESSION_PART_MAX + SESSION_USER_MAX + 3)

TAILQ_HEAD(task_queue, task);
LIST_HEAD(watch_list, watch);

struct session {
    atomic_uint references;
    struct broadcaster *broadcaster;
    UT_hash_handle hh;  /* shard lock; but the hash itself stays as it is */
    uint64_t number;    /* shard lock: grows with each session of the table; 0: not in the table */
    atomic_bool opened; /* set under the lock, once; not after `closed` */
    atomic_bool closed; /* set under the lock, once */
    _Atomic uint32_t
        known_by; /* number + 1 of the upstream that was seen to know this session; 0: none yet */
    _Atomic int64_t cut_mono_ms; /* when a stream of the session was last closed before its end; 0: never */

    struct lock lock;
    /* under the lock: */
    struct event_log log;
    struct task *newest;       /* a reference: the last one that was current; NULL: none yet */
    struct task *current;      /* the newest while it has not ended, else NULL; pending until it has a slot */
    struct task_queue queue;   /* references: runs that wait their turn behind it */
    struct task_queue delayed; /* references: runs that are not due yet */
    uint32_t queue_length;     /* of both */
    uint32_t delayed_length;   /* of those that are not due */
    bool draining;             /* the program is about to stop: its subscribers get a notice */
    uint32_t subscribers;      /* connected, or about to be */
    struct watch_list watches; /* one for each worker that has subscribers of this session */
    struct waiting_place_list places; /* of the subscribers, as long as it was not opened */
    int64_t last_used_mono_ms;
    int64_t idle_since_mono_ms; /* when the last subscriber left, or the session was opened */
    struct idempotency idempotency;
    bool had_run; /* a run was registered */

    enum idleness idleness;          /* the lock of the idle sessions, as the next; written under both */
    TAILQ_ENTRY(session) idle_entry; /* in the list of that idleness */

    char key[]; /* "app/user/session" */
};

/** What its key gives; sessions are spread by it. Any thread. */
static inline uint32_t session_hash(const struct session *session) {
    return session->hh.hashv;
}

/** Whether it was opened, else it is only waited for; it stays so when it is closed. Any thread. */
static inline bool session_is_open(const struct session *session) {
    return atomic_load(&session->opened);
}

/** Whether the upstream of that number was the last one seen to know the session. Any thread, as the next. */
static inline bool session_is_known_by(const struct session *session, uint32_t upstream) {
    return atomic_load_explicit(&session->known_by, memory_order_relaxed) == upstream + 1;
}

/** When a stream of the session at its upstream was last closed before its end; 0: never. Any thread. */
static inline int64_t session_cut_mono_ms(const struct session *session) {
    return atomic_load_explicit(&session->cut_mono_ms, memory_order_relaxed);
}

/** A stream of the session is closed before its end. Any thread. */
static inline void session_note_cut(struct session *session, int64_t now_mono_ms) {
    atomic_store_explicit(&session->cut_mono_ms, now_mono_ms, memory_order_relaxed);
}

/** It was seen to know it. */
static inline void session_note_known_by(struct session *session, uint32_t upstream) {
    atomic_store_explicit(&session->known_by, upstream + 1, memory_order_relaxed);
}

/** What is to be done once the lock is released. Start with `= {0}`. */
struct session_effects {
    struct frame *evicted;
    struct watch *watches;
    struct task *started; /* a reference */
    struct task *ended;   /* linked by next_ended; references */
    struct task *granted; /* runs of any session that got a slot; linked by next_granted; references */
    struct task *dropped; /* a reference to give back */
};

/** Where the parts of the key begin; they are not NUL-terminated except for the last. */
struct session_parts {
    const char *app, *user, *session;
    int app_length, user_length, session_length;
};
struct session_parts session_parts(const struct session *session);

/** A session that is in no table yet, one reference. NULL: out of memory. */
struct session *session_create(struct broadcaster *broadcaster, const char *key) MUST_CHECK;
struct session *session_ref(struct session *session);
void session_unref(struct session *session); /* takes NULL */

/** Appends a frame (takes it over) and notes whom to wake. */
void session_append_locked(struct session *session, struct frame *frame, struct session_effects *effects);

/** Trims the log to its limits, if every worker has written what stands in it. */
void session_trim_locked(struct session *session, struct session_effects *effects);

/** Takes the oldest events out of the log while it takes more than `bytes_kept` and every worker has written
 * them; not more than a few hundred at a time. Returns the bytes that left it. */
uint64_t session_shed_locked(struct session *session, uint64_t bytes_kept, struct session_effects *effects);

/** Whether some worker has still to write more than half of what the log may hold. */
bool session_is_ahead_locked(const struct session *session);

/** The one way into being current. Takes over a reference to the task. Nothing is current. */
void session_claim_locked(struct session *session, struct task *task, struct session_effects *effects);

/** Starts the current run, which is pending and has its slot: appends run.start. */
void session_admit_locked(struct session *session, struct session_effects *effects);

/** The one end of a run: sets the status, appends run.end. False: it had ended already. */
bool session_end_task_locked(struct session *session, struct task *task, enum task_status status,
                             enum task_reason reason, struct session_effects *effects);

/** If nothing is current and a run waits in the session, that one is current now, and asks for a slot. */
void session_start_next_locked(struct session *session, struct session_effects *effects);

/** One subscriber less. `may_cancel`: its client has left, and so ends the runs that wanted to be ended with
 * the last of them, those that wait included. */
void session_remove_subscriber_locked(struct session *session, bool may_cancel,
                                      struct session_effects *effects);

/** Whether a run of the session waits: for its turn, its time, or a slot. */
bool session_has_waiting_locked(struct session *session);

/** Whether nothing will be appended any more: whoever has read all there is has reached the end. */
bool session_is_over_locked(struct session *session);

/** Takes all frames out of the log of a closed session that nobody reads any more. */
void session_free_log_locked(struct session *session, struct session_effects *effects);

/** Wakes everybody who listens, without an event. */
void session_wake_locked(struct session *session, struct session_effects *effects);

/** Does what was decided. No lock held. */
void session_apply(struct session_effects *effects);

/** Somebody used the session just now. */
void session_touch_locked(struct session *session);

/** Puts the session where it belongs among the idle ones, as the one that was used last. To be called before
 * the lock is released by everybody who uses it, or changes whether it has runs, subscribers or events. */
void session_settle_locked(struct session *session);

#endif
