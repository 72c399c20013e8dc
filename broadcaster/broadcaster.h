/* The broadcaster: the table of sessions, registering runs (the swap), ending sessions, clean-up.
 *
 * All functions may be called on any thread with no lock held, unless they say otherwise.
 */
#ifndef SLUICE_BROADCASTER_BROADCASTER_H
#define SLUICE_BROADCASTER_BROADCASTER_H

#include "broadcaster/limits.h"
#include "broadcaster/session.h"
#include "broadcaster/task_table.h"

#include <stdatomic.h>

struct broadcaster;

/** NULL: out of memory. `limits` are copied. */
struct broadcaster *broadcaster_create(const struct broadcaster_limits *limits) MUST_CHECK;

/** Ends all sessions and frees everything. Nobody else may use it any more. */
void broadcaster_destroy(struct broadcaster *broadcaster);

/** The limits in force, to be read or set one by one. */
struct broadcaster_limits *broadcaster_limits(struct broadcaster *broadcaster);

struct scheduler *broadcaster_scheduler(struct broadcaster *broadcaster);
struct task_table *broadcaster_tasks(struct broadcaster *broadcaster);

/** The open session of that key, referenced, or NULL. */
struct session *broadcaster_find_session(struct broadcaster *broadcaster, const char *key);

/** The session of that key, opened if need be, referenced. If the limit of sessions has been reached, the
 * empty one that was not used for the longest time ends. 0; -ENOSPC: none is empty; -ESHUTDOWN: the program
 * is about to stop; -ENOBUFS: it would be opened, and memory is full; -ENOMEM.
 */
int broadcaster_open_session(struct broadcaster *broadcaster, const char *key,
                             struct session **ret_session) MUST_CHECK;

enum register_result {
    REGISTER_OK,
    REGISTER_REPLAYED,     /* the Idempotency-Key was used before, with the same body */
    REGISTER_KEY_MISMATCH, /* ... with another body */
    REGISTER_CONFLICT,     /* on_conflict reject, and another run is current */
    REGISTER_QUEUE_FULL,   /* it would have to wait in its session, and the queue is full: there, or in all */
    REGISTER_DELAYED_FULL, /* the limit of runs with a delay has been reached, in all or of its user */
    REGISTER_RUNS_FULL, /* the run limit has been reached, in all or of its app or user, and the queue is full
                         */
    REGISTER_CLOSED,    /* the session was closed meanwhile: open it again and make another task */
    REGISTER_DRAINING,  /* the program is about to stop */
    REGISTER_NO_MEMORY,
};

/** What came of registering a run. */
struct registration {
    struct task *task; /* a reference: the run itself (REGISTER_OK), the one of the key, the current one.
                          NULL: none, or the run of the key is no longer remembered */
    struct run_receipt earlier; /* of the run of the key; else all zeros */
};

/** Registers a run with its session, which is open: the swap. Never waits for the run that it replaces.
 * `entry`, if not NULL, is the run's idempotency key and is taken over. *ret_registration is set in any case.
 * The caller keeps its own reference to `task`; a task that was not registered never runs. */
enum register_result broadcaster_register_task(struct broadcaster *broadcaster, struct task *task,
                                               struct idempotency_entry *entry,
                                               struct registration *ret_registration);

/** Whether the Idempotency-Key was used before: REGISTER_REPLAYED or REGISTER_KEY_MISMATCH, or REGISTER_OK.
 * *ret_registration is set in any case. */
enum register_result broadcaster_find_replay(struct session *session, const char *key, uint64_t body_hash,
                                             struct registration *ret_registration);

/** The session's current run, or else its newest, referenced, or NULL. `ret_current` tells which. */
struct task *broadcaster_session_task(struct session *session, bool *ret_current);

/** The run of the session that has the event of this id, or had it: the newest one, or one whose event is
 * retained. Only if it was started with a body of this hash, and there is something left of it to read or it
 * has been read to its end. A reference; NULL: there is none. */
struct task *broadcaster_find_run_of_event(struct session *session, struct event_id id, uint64_t body_hash);

/** Ends a session: its runs are cancelled with that reason, subscribers get session.end and are closed, its
 * log is freed. False: it was closed already. */
bool broadcaster_close_session(struct session *session, enum task_reason reason);

/** Ends the sessions that nobody has used for session_ttl_ms, or session_empty_ttl_ms. Returns how many. */
size_t broadcaster_clean_up(struct broadcaster *broadcaster);

/** Memory is short: trims the logs of idle sessions, those that were not used for longest first, then what
 * everybody has been sent of the logs of sessions that have subscribers but no run. Frees about `bytes`, or
 * less: the work of one call is bounded. Returns how much; 0: there is nothing to trim just now. */
uint64_t broadcaster_trim(struct broadcaster *broadcaster, uint64_t bytes);

/** Sessions that have a current run. */
uint64_t broadcaster_count_running(struct broadcaster *broadcaster);

/** From now on no log takes more than `bytes`; UINT64_MAX: what log_bytes_max allows. Trims some of the logs
 * of sessions with a run to that, other ones in the next call. Returns the bytes that were freed. */
uint64_t broadcaster_cap_logs(struct broadcaster *broadcaster, uint64_t bytes);

/** What was used, or has ended, this lately is not forgotten. */
#define BROADCASTER_FORGET_MS 10000

/** Memory is full, and not of logs: ends idle sessions that retain nothing, the longest unused first, and
 * forgets ended runs, the oldest first; some hundreds in all. Returns how many; 0: there are none. */
size_t broadcaster_forget(struct broadcaster *broadcaster);

/** From now on no run is accepted. Runs that wait are cancelled, every subscriber gets server.drain and
 * when to come back. Once. */
void broadcaster_drain(struct broadcaster *broadcaster);
bool broadcaster_is_draining(const struct broadcaster *broadcaster);

/** Cancels every run that has not ended, those that wait included. Returns how many. */
size_t broadcaster_cancel_all(struct broadcaster *broadcaster, enum task_reason reason);

/** Starts what may start after limits were raised. */
void broadcaster_poll_queue(struct broadcaster *broadcaster);

/** Calls `visit` with each open session, no lock held, until it returns false. */
void broadcaster_for_each_session(struct broadcaster *broadcaster,
                                  bool (*visit)(void *context, struct session *session), void *context);

/** Events of a session's log that follow each other, by their sequence. */
struct log_span {
    uint64_t next, end;
};

/** The newest retained events, at most `count`. A use of the session. */
struct log_span broadcaster_newest_events(struct session *session, uint64_t count);

/** What the log has, or had, from a run's start to its end; the run has ended. Others' events may stand
 * between. A use of the session. */
struct log_span broadcaster_task_events(struct task *task);

/** The next event of a span, a reference; the span is moved behind it. NULL: there is none left. What is no
 * longer retained is passed over, and *lost set then. */
struct frame *broadcaster_next_event(struct session *session, struct log_span *span, bool *lost) MUST_CHECK;

/** What there is at this moment. */
struct broadcaster_stats {
    uint64_t sessions;
    uint64_t sessions_awaited; /* not open, but with subscribers that wait for them */
    uint64_t subscribers;
    uint64_t subscribers_waiting; /* of them, those of such sessions */
    uint64_t runs;                /* that have a slot */
    uint64_t runs_queued;         /* that have a place in the queue */
    uint64_t runs_delayed;        /* with a delay, that have not started */
    uint64_t tasks;               /* tracked, ended ones included */
    uint64_t log_events;
    uint64_t log_bytes;
};
void broadcaster_get_stats(struct broadcaster *broadcaster, struct broadcaster_stats *ret_stats);

/** Runs that ended with this status since the start. */
uint64_t broadcaster_ended_count(struct broadcaster *broadcaster, enum task_status status,
                                 enum task_reason reason);

/* ---- for the rest of this room ------------------------------------------------------------------- */

struct session_table;
struct session_table *broadcaster_sessions(struct broadcaster *broadcaster);

/** Where sessions stand that are not in use. */
struct idle_sessions *broadcaster_idle_sessions(struct broadcaster *broadcaster);

struct waiting_places *broadcaster_waiting_places(struct broadcaster *broadcaster);

/** The session of that key, referenced, open or to be waited for. Without a subscriber it must be forgotten.
 * 0; -EAGAIN: others are faster all the time; -ESHUTDOWN; -ENOMEM. */
int broadcaster_await_session(struct broadcaster *broadcaster, const char *key,
                              struct session **ret_session) MUST_CHECK;

/** Takes a session out of the table that was not opened and that nobody waits for. Else nothing happens. */
void broadcaster_forget_session(struct session *session);

/** Ends the empty session (one without a run so far, and without subscribers) that was not used for the
 * longest time. False: there is none. */
bool broadcaster_make_room(struct broadcaster *broadcaster) MUST_CHECK;

/** Ends an idle session whose log retains nothing, and that was not used for BROADCASTER_FORGET_MS: one that
 * never had a run, or else one whose log was trimmed. False: there is none. */
bool broadcaster_end_unneeded(struct broadcaster *broadcaster) MUST_CHECK;

/** From now on no session is opened and no run is accepted. */
void broadcaster_shut(struct broadcaster *broadcaster);

/** Counts kept without a lock. */
struct broadcaster_counts {
    _Atomic uint64_t subscribers;
    _Atomic uint64_t log_events;
    _Atomic uint64_t log_bytes;
    _Atomic uint64_t log_bytes_cap; /* see broadcaster_cap_logs() */
    _Atomic uint64_t ended[TASK_STATUS_COUNT][REASON_COUNT];
};
struct broadcaster_counts *broadcaster_counts(struct broadcaster *broadcaster);

#endif
