/* A task is one run: a request to the agent and the stream it answers. It ends exactly once. */
#ifndef SLUICE_BROADCASTER_TASK_H
#define SLUICE_BROADCASTER_TASK_H

#include "base/error_form.h"
#include "base/inbox.h"
#include "base/table.h"
#include "broadcaster/event_id.h"
#include "broadcaster/frame.h"
#include "broadcaster/scheduler.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct session;
struct broadcaster;
struct idempotency_entry;
struct task;

enum task_status {
    TASK_PENDING,
    TASK_RUNNING,
    TASK_COMPLETED,
    TASK_FAILED,
    TASK_CANCELLED,
    TASK_REPLACED,
    TASK_TIMEOUT,
    TASK_STATUS_COUNT
};

/** Why a run ended as it did. */
enum task_reason {
    REASON_NONE,
    REASON_UPSTREAM_CONNECT, /* the reasons of `failed` */
    REASON_UPSTREAM_STATUS,
    REASON_UPSTREAM_ERROR,
    REASON_UPSTREAM_TRUNCATED,
    REASON_UPSTREAM_PROTOCOL,
    REASON_UPSTREAM_IDLE,
    REASON_LIMIT,
    REASON_INTERNAL,
    REASON_CIRCUIT_OPEN,
    REASON_UPSTREAM_LIMITED,
    REASON_REQUESTED, /* the reasons of `cancelled` */
    REASON_CONFLICT,
    REASON_DISCONNECTED,
    REASON_SUBSCRIBERS_IDLE,
    REASON_SESSION_DELETED,
    REASON_SESSION_EXPIRED,
    REASON_SHUTDOWN,
    REASON_RUN_TIME, /* the reasons of `timeout` */
    REASON_QUEUE_TIME,
    REASON_COUNT
};

/** The contract's word for it; NULL for REASON_NONE. */
const char *task_status_name(enum task_status status);
const char *task_reason_name(enum task_reason reason);

/** What viewers see of it where the upstream's words are kept from them: a sentence that says no more
 * than the word does. NULL: there is nothing to say. */
const char *task_reason_sentence(enum task_reason reason);

/** The message of a run that has ended, as its viewers may see it; "": there is none. Session lock held. */
const char *task_viewer_message_locked(const struct task *task);

/** By the contract's word; TASK_STATUS_COUNT: there is none such. */
enum task_status task_status_find(const char *name);

static inline bool task_status_is_end(enum task_status status) {
    return status >= TASK_COMPLETED;
}

enum on_conflict { ON_CONFLICT_REPLACE, ON_CONFLICT_REJECT, ON_CONFLICT_ENQUEUE };
enum on_disconnect { ON_DISCONNECT_CONTINUE, ON_DISCONNECT_CANCEL };

#define TASK_ID_SIZE 33
#define TASK_LABEL_SIZE 129
#define TASK_MESSAGE_SIZE 512

#define TASK_WORD_SIZE 64

/** What a run's stream said of its own end. */
struct task_outcome {
    char finish_reason[TASK_WORD_SIZE]; /* "": none */
    char warning[TASK_WORD_SIZE];       /* why a completed run may be less than it seems; "": it is not */
    bool is_told;                       /* a failed run: one of the agent's own events says so */
    bool has_usage;
    uint64_t input_tokens, output_tokens, total_tokens;
};

/** What went wrong in a run, beside its reason. */
struct task_fault {
    int http_status;     /* of the upstream, if it answered; else 0 */
    const char *cause;   /* a static word that needs no escapes in JSON; NULL: none */
    const char *message; /* a sentence for people; NULL: none */
};

/** The user's message of a run, as run.start and /tasks show it. */
struct task_input {
    const char *text; /* UTF-8, need not be NUL-terminated; NULL: it is not shown */
    size_t length;
    bool is_cut; /* it was longer */
};

struct task_options {
    enum on_conflict on_conflict;
    enum on_disconnect on_disconnect;
    int64_t disconnect_grace_ms;  /* on_disconnect waits so long for a client that comes back; 0: no wait */
    int64_t cancel_after_idle_ms; /* 0: never */
    int64_t timeout_ms;           /* of the run, from when it was started */
    int64_t delay_ms;             /* it is not due before; 0: at once */
    int priority;                 /* PRIORITY_MIN..PRIORITY_MAX */
    char id[TASK_ID_SIZE];        /* of task_make_id(); "": it makes one itself */
    uint64_t body_hash;           /* of the request that starts it */
    bool cached, canned;          /* what it will be answered is known already: told in run.start */
    const struct error_form *error_form; /* of the kind of agent; NULL: as ADK does it */
    char label[TASK_LABEL_SIZE];         /* valid UTF-8 */
    struct task_input input;             /* a task has a copy of its own */
    bool hides_words; /* viewers get the reason of a failure, and neither its cause nor its message */
};

/** Who does the work of a run: a worker. Called on any thread without a lock held; what they need later they
 * keep with a reference of their own. Two threads may bring start() and ended() in either order. */
struct task_driver {
    /** The run may start now: it is current and has its slot. Unless ended() came first. At most once a task.
     */
    void (*start)(struct task_driver *driver, struct task *task);
    /** The run has ended, whoever ended it: stop the work and free the payload. Once for each task that was
     *  registered. */
    void (*ended)(struct task_driver *driver, struct task *task);
};

/** Somebody who wants to know of a run's end. Embedded in what waits. */
struct task_waiter {
    struct inbox *inbox;
    struct inbox_item item; /* posted to `inbox` when the run has ended */
    bool linked;            /* session lock */
    LIST_ENTRY(task_waiter) entry;
};

#define TASK_TRACE_ID_SIZE 33

/** What is known of a run longer than the run itself, for its Idempotency-Key. */
struct run_receipt {
    char task_id[TASK_ID_SIZE];
    enum task_status status; /* once it has ended, that of its end */
    int64_t created_unix_ms;
};

struct task {
    atomic_uint references;
    uint64_t serial; /* grows with each task made */
    char id[TASK_ID_SIZE];
    struct session *session; /* a reference */
    struct task_options options;
    char *input; /* what options.input points at; NULL: none */
    int64_t created_unix_ms;
    int64_t due_mono_ms; /* when it was created, or its delay_ms after */

    struct task_driver *driver;
    void *payload; /* the driver's */
    struct inbox_item start_item;
    struct inbox_item ended_item;
    atomic_bool registered;       /* from then on it runs or waits, is tracked, and will end */
    _Atomic int64_t sent_mono_ms; /* when the request went out to the upstream; 0: not yet */
    /* Notes of the driver, for whoever asks about the run: */
    _Atomic uint32_t upstream; /* which one serves it, or did last */
    _Atomic uint32_t retries;
    _Atomic uint64_t tokens; /* 0: none were counted */
    atomic_bool cached, canned;
    char trace_id[TASK_TRACE_ID_SIZE]; /* "" if there is none; set before it is registered */

    /* session lock */
    enum task_status status;
    enum task_reason reason;
    char message[TASK_MESSAGE_SIZE]; /* for people: what went wrong; JSON text of it is shorter than that, too
                                      */
    const char *cause;               /* for programs: what went wrong; a static word, or NULL */
    int http_status;                 /* of the upstream, if it answered; else 0 */
    struct task_outcome outcome;     /* its texts need no escapes in JSON */
    int64_t started_unix_ms, started_mono_ms;
    int64_t first_event_mono_ms;
    int64_t ended_unix_ms, ended_mono_ms;
    uint64_t events, bytes;
    uint64_t start_sequence, end_sequence; /* of run.start and run.end in the log; 0: not there */
    struct event_id start_id, end_id;
    struct frame *start_frame, *end_frame; /* kept ready, so that neither can fail; NULL once appended */
    LIST_HEAD(, task_waiter) waiters;
    struct task_waiter *waiters_to_tell; /* unlinked at the end, told once the lock is released */
    TAILQ_ENTRY(task) queue_entry;       /* in the session's queue, or among those that are not due */
    bool is_delayed;                     /* it is among those */
    bool is_deserted;                    /* all clients of its session left it once */
    struct idempotency_entry
        *idempotency; /* the entry of its key, while it has not ended; NULL: there is none */

    struct task *next_ended, *next_granted; /* in lists of effects */
    struct admission admission;             /* scheduler's lock */

    /* task table's lock */
    UT_hash_handle hh;
    TAILQ_ENTRY(task) all_entry;
    TAILQ_ENTRY(task) mark_entry; /* if it is one of the few at which a search begins */
    bool is_mark;
    TAILQ_ENTRY(task) state_entry; /* among those under way, or those that have ended */
    bool ended_listed;
};

/** What a task is and was, copied at one moment. */
struct task_info {
    enum task_status status;
    enum task_reason reason;
    const char *cause; /* static; NULL: none */
    char message[TASK_MESSAGE_SIZE];
    int http_status;
    struct task_outcome outcome;
    int64_t started_unix_ms, ended_unix_ms; /* 0: not yet */
    int64_t duration_ms;                    /* since it was started, until it ended */
    int64_t queue_wait_ms;                  /* due -> started, so far; 0: not due yet */
    int64_t execution_delay_ms;             /* due -> request sent; -1: not sent yet */
    int64_t first_event_delay_ms;           /* due -> first event; -1: none yet */
    uint64_t events, bytes;
    struct event_id start_id, end_id; /* 0-0: not there */
    uint64_t start_sequence, end_sequence;
};

/** A new random id. False: the system has no random bytes. Any thread. */
bool task_make_id(char out[TASK_ID_SIZE]) MUST_CHECK;

/** A pending task of `session`, not registered yet, with one reference for the caller. The session is
 *  referenced, the input is copied. `driver` must outlive it. NULL: out of memory. Any thread. The payload
 * stays the caller's until the task is registered; from then on it is the driver's. */
struct task *task_create(struct session *session, const struct task_options *options,
                         struct task_driver *driver, void *payload) MUST_CHECK;

struct task *task_ref(struct task *task);
void task_unref(struct task *task); /* takes NULL */

/** Appends an event of the agent to the session's log, if the task is current (the fence). Takes over the
 * frame. False: the run has ended or was replaced; nothing was appended. Any thread, no lock held. */
bool task_publish(struct task *task, struct frame *frame);

/** Appends a lifecycle event of the run, which is not one of the agent's and is not counted as such; else as
 *  task_publish(). */
bool task_announce(struct task *task, struct frame *frame);

/** Whether a worker has still to write more than half of what the log may hold, so that the run had better
 * wait a moment before it publishes more. It is about workers: slow subscribers do not count. Any thread, no
 * lock held. */
bool task_is_ahead(const struct task *task);

/** Notes what the run's stream said of its end, right before task_end(). Nothing happens if the run has
 * ended. Any thread, no lock held. */
void task_note_outcome(struct task *task, const struct task_outcome *outcome);

/** The one end of a run. `message` may be NULL. False: it had ended already; nothing happened. Whoever wins,
 *  run.end is in the log when this returns. Any thread, no lock held. */
bool task_end(struct task *task, enum task_status status, enum task_reason reason, int http_status,
              const char *message);

/** The same, with all that is known of what went wrong. */
bool task_end_for(struct task *task, enum task_status status, enum task_reason reason,
                  const struct task_fault *fault);

/** Notes that the run has waited for its turn for too long, right before it is ended for that. Session lock
 * held. */
void task_note_queue_timeout_locked(struct task *task, int64_t limit_ms);

/** Asks a run to end as cancelled, whatever it is doing; its end is told to its waiters. False: it had ended
 *  already. Any thread, no lock held. */
bool task_cancel(struct task *task, enum task_reason reason);

/** Registers for the end; the waiter must live until it was posted or task_unwait() has returned true.
 *  False: the run has ended already; the waiter was not registered. Any thread. */
bool task_wait(struct task *task, struct task_waiter *waiter) MUST_CHECK;

/** Takes a waiter back. False: it was posted already, and its item will still be handled. */
bool task_unwait(struct task *task, struct task_waiter *waiter) MUST_CHECK;

/** Ends the run if nobody has listened to its session for as long as its cancel_after_idle_ms says, or for
 * its disconnect_grace_ms since a client left. Returns in how many ms to ask again, 0: never again. Any
 * thread, no lock held. */
int64_t task_check_idle(struct task *task);

/** In how many ms task_check_idle() is to be asked; 0: never. Any thread, no lock held. */
int64_t task_idle_check_due_ms(struct task *task);

/** The time of a run that was delayed has come: it takes its place in the session, as it would have when it
 * was registered. Nothing happens if it has ended, or is not delayed any more. Any thread, no lock held. */
void task_become_due(struct task *task);

/** Ends the run if it is due and has waited for longer than the limit of now says. Returns in how many ms to
 * ask again, since a reload may change that limit; 0: it waits no more. Any thread, no lock held. */
int64_t task_check_queue(struct task *task);

/** Since it was started, until it ended. Session lock held. */
int64_t task_duration_locked(const struct task *task);

/** Fills its run.end, which says what its viewers may see. Session lock held, the end decided. */
void task_fill_end_locked(struct task *task);

/** Room for the data of any event that reports a bad end or a loss in an agent's form. */
#define TASK_ERROR_DATA_MAX 768

/** Whether a stream of the agent's events alone has to be told how the run ended: badly, and no event of the
 * agent says so. Session lock held, the end decided. */
bool task_ends_unheard_locked(const struct task *task);

/** Writes the data of what it is told; returns its length. Session lock held, the end decided. */
size_t task_format_error_locked(const struct task *task, char out[TASK_ERROR_DATA_MAX]);

/** How errors are reported in the stream of a run; NULL: of none. */
const struct error_form *task_error_form(const struct task *task);

/** Copies the state. Any thread, no lock held. */
void task_get_info(struct task *task, struct task_info *ret_info);

/** The same, as viewers of the run may see it: see struct task_options, hides_words. */
void task_get_viewer_info(struct task *task, struct task_info *ret_info);

#endif
