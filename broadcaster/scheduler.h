/* Admission: which runs may run now, and which of those that wait comes next.
 *
 * A run holds a slot while it runs. Slots are limited in all, for each app, and for each user of an app. A
 * run that finds none waits; of those that wait, and whose app and user have room, the one with the lowest
 * rank is next:
 *
 *     rank = when it began to wait - priority * aging
 *
 * so that 10 comes before 1, the older before the younger, and waiting raises everybody: nobody starves. A
 * session has one run here at a time (the others wait in the session), so sessions take turns.
 *
 *     NONE -> RESERVED (waits in its session, or for its time) -> WAITING (for a slot) -> GRANTED -> NONE
 *
 * A run that is reserved or waits has a place. There are two kinds, so that runs for later cannot block the
 * queue, and need not be refused when they are due:
 *
 *     in the queue          runs_queued_max of them
 *     of a run with a delay runs_delayed_max of them, runs_delayed_per_user_max for each user of an app;
 *                           kept until the run starts, also when it is due and waits like others
 *
 * A run that replaces another one takes over its place, of whichever kind that is.
 *
 * The lock of the scheduler is taken after a session's, is held for a few list operations, and nothing is
 * called or taken while it is held.
 */
#ifndef SLUICE_BROADCASTER_SCHEDULER_H
#define SLUICE_BROADCASTER_SCHEDULER_H

#include "base/attributes.h"
#include "base/inbox.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct broadcaster_limits;
struct scheduler;
struct scheduler_group;
struct task;

#define PRIORITY_MIN 1
#define PRIORITY_MAX 10

enum admission_state { ADMISSION_NONE, ADMISSION_RESERVED, ADMISSION_WAITING, ADMISSION_GRANTED };

/** What a run has of the scheduler. Embedded in the task; scheduler's lock. */
struct admission {
    enum admission_state state;
    int64_t since_mono_ms;              /* when the state began */
    struct scheduler_group *app, *user; /* NULL: not limited */
    struct scheduler_group *delayer;    /* the user for whom its place counts as that of a run with a delay;
                                           NULL: its    place is in the queue */
    TAILQ_ENTRY(task) link;             /* while it waits for a slot */
};

/** A run that is no task: one that is passed on and answered as a whole. Scheduler's lock. */
struct scheduler_guest {
    struct scheduler_group *app, *user; /* NULL: not limited */
};

/** Somebody who wants to know when nothing runs and nothing waits. */
struct idle_waiter {
    struct inbox *inbox;
    struct inbox_item item;
    LIST_ENTRY(idle_waiter) entry; /* scheduler's lock */
};

/** `limits` outlive it. NULL: out of memory. */
struct scheduler *scheduler_create(const struct broadcaster_limits *limits) MUST_CHECK;
void scheduler_destroy(struct scheduler *scheduler); /* takes NULL; no run is left */

/** Makes what a run needs to be counted for its app and user. Its options are set. False: out of memory.
 * After success, leave() is due, or forget() if it was not registered. No lock held. */
bool scheduler_prepare(struct scheduler *scheduler, struct task *task) MUST_CHECK;

/** Undoes that. */
void scheduler_forget(struct scheduler *scheduler, struct task *task);

/** A place for a run that does not ask for a slot yet, in the queue or, if it has a delay, of the other kind;
 * one that has it keeps it. False: the limit of those that wait has been reached. */
bool scheduler_reserve(struct scheduler *scheduler, struct task *task) MUST_CHECK;

/** Asks for a slot. `in_place_of`, if not NULL, is a run of the same session that is about to end, and whose
 * slot or place in the queue goes over to this one; a slot that was held for as long as that run may take
 * goes to others, if they wait. ADMISSION_GRANTED; ADMISSION_WAITING; ADMISSION_NONE: it would have to wait,
 * and the queue is full: nothing has changed. A run with a reservation or in place of one is never refused.
 */
enum admission_state scheduler_ask(struct scheduler *scheduler, struct task *task,
                                   struct task *in_place_of) MUST_CHECK;

/** The run has ended: gives back all that it has. Returns the run that got its slot, with a
 *  reference, or NULL. */
struct task *scheduler_leave(struct scheduler *scheduler, struct task *task) MUST_CHECK;

/** A slot for a guest, within the limits of runs in all, of the app and of the user. False: there is none
 * now, or no memory; nothing is to be dismissed then. No lock held. */
bool scheduler_admit_guest(struct scheduler *scheduler, const char *app, const char *user,
                           struct scheduler_guest *ret_guest) MUST_CHECK;

/** Gives it back. broadcaster_poll_queue() is due: a run may wait for it. No lock held. */
void scheduler_dismiss_guest(struct scheduler *scheduler, struct scheduler_guest *guest);

/** The next run that may start, with a reference, or NULL: after the limits were raised. */
struct task *scheduler_poll(struct scheduler *scheduler) MUST_CHECK;

/** The waiter is posted once nothing runs or waits, at once if that is so. */
void scheduler_wait_idle(struct scheduler *scheduler, struct idle_waiter *waiter);

/** Posts those who wait for that, if it is so now. No lock held. */
void scheduler_tell_idle(struct scheduler *scheduler);

struct scheduler_info {
    uint64_t running;       /* tasks */
    uint64_t guests;        /* have a slot as well */
    uint64_t queued;        /* that have a place in the queue */
    uint64_t delayed;       /* that have a place of the runs with a delay */
    uint64_t waiting;       /* of both, for a slot alone */
    int64_t oldest_wait_ms; /* of those */
    int64_t held_mean_ms;   /* how long a run holds its slot, of the last ones; 0: none has ended yet */
    int64_t retry_after_ms; /* until a slot is free, by that mean and by how many run */
};
void scheduler_get_info(struct scheduler *scheduler, struct scheduler_info *ret_info);

#endif
