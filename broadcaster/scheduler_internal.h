/* What the files of the scheduler share: scheduler.c, and scheduler_guest.c. */
#ifndef SLUICE_BROADCASTER_SCHEDULER_INTERNAL_H
#define SLUICE_BROADCASTER_SCHEDULER_INTERNAL_H

#include "base/lock.h"
#include "broadcaster/broadcaster.h"

TAILQ_HEAD(waiting_list, task);

/** The runs of one app, or of one user of an app. */
struct scheduler_group {
    UT_hash_handle hh;
    uint64_t members; /* runs and guests that point here */
    uint64_t running;
    uint64_t delayed; /* places of runs with a delay */
    char name[];      /* "app" or "app/user" */
};

struct scheduler {
    const struct broadcaster_limits *limits;
    struct lock lock;
    /* under the lock: */
    struct waiting_list waiting[PRIORITY_MAX + 1]; /* each in the order of arrival */
    uint64_t waiting_count;
    uint64_t queued, delayed; /* reserved and waiting, by the kind of their place */
    uint64_t running;
    uint64_t guests; /* have a slot as well */
    int64_t held_mean_ms;
    struct scheduler_group *groups;
    LIST_HEAD(, idle_waiter) idle_waiters;
};

/** The group of that name, one member more. NULL: out of memory. */
struct scheduler_group *scheduler_join_group_locked(struct scheduler *scheduler, const char *name,
                                                    size_t length) MUST_CHECK;

/** One member less; `*group`, which may be NULL, becomes NULL. */
void scheduler_leave_group_locked(struct scheduler *scheduler, struct scheduler_group **group);

/** Whether all slots are taken. */
bool scheduler_is_full_locked(struct scheduler *scheduler);

/** Whether one more may run; a `group` of NULL is not limited, nor is one with a maximum of 0. */
bool scheduler_group_has_room(const struct scheduler_group *group, uint64_t running_max);

#endif
