/* Admission: see scheduler.h. */
#include "broadcaster/scheduler_internal.h"

#include "base/clock.h"
#include "base/lock.h"
#include "base/memory_budget.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define HELD_WEIGHT 8       /* the mean of how long slots are held follows the last few runs */
#define RETRY_AFTER_MS 1000 /* while nothing is known */
#define RETRY_AFTER_MAX_MS 300000

struct scheduler *scheduler_create(const struct broadcaster_limits *limits) {
    struct scheduler *scheduler = calloc(1, sizeof(*scheduler));
    if (scheduler == NULL)
        return NULL;
    scheduler->limits = limits;
    lock_init(&scheduler->lock);
    for (int priority = 0; priority <= PRIORITY_MAX; priority++)
        TAILQ_INIT(&scheduler->waiting[priority]);
    LIST_INIT(&scheduler->idle_waiters);
    return scheduler;
}

void scheduler_destroy(struct scheduler *scheduler) {
    if (scheduler == NULL)
        return;
    assert(scheduler->running + scheduler->guests == 0 && scheduler->queued + scheduler->delayed == 0 &&
           scheduler->groups == NULL);
    lock_finish(&scheduler->lock);
    free(scheduler);
}

/* ---- groups -------------------------------------------------------------------------------------- */

static struct scheduler_group *group_create(const char *name, size_t length) {
    struct scheduler_group *group = calloc(1, sizeof(*group) + length + 1);
    if (group == NULL)
        return NULL;
    memory_charge(MEMORY_TASKS, sizeof(*group) + length + 1);
    memcpy(group->name, name, length);
    return group;
}

static void group_destroy(struct scheduler_group *group) {
    memory_release(MEMORY_TASKS, sizeof(*group) + strlen(group->name) + 1);
    free(group);
}

struct scheduler_group *scheduler_join_group_locked(struct scheduler *scheduler, const char *name,
                                                    size_t length) {
    lock_assert_held(&scheduler->lock);
    struct scheduler_group *group;
    HASH_FIND(hh, scheduler->groups, name, length, group);
    if (group == NULL) {
        group = group_create(name, length);
        if (group == NULL)
            return NULL;
        bool out_of_memory = false;
        HASH_ADD_KEYPTR(hh, scheduler->groups, group->name, length, group);
        if (out_of_memory) {
            group_destroy(group);
            return NULL;
        }
    }
    group->members++;
    return group;
}

void scheduler_leave_group_locked(struct scheduler *scheduler, struct scheduler_group **group) {
    lock_assert_held(&scheduler->lock);
    if (*group != NULL && --(*group)->members == 0) {
        HASH_DELETE(hh, scheduler->groups, *group);
        group_destroy(*group);
    }
    *group = NULL;
}

bool scheduler_group_has_room(const struct scheduler_group *group, uint64_t running_max) {
    return group == NULL || running_max == 0 || group->running < running_max;
}

static void leave_groups_locked(struct scheduler *scheduler, struct task *task) {
    lock_assert_held(&scheduler->lock);
    scheduler_leave_group_locked(scheduler, &task->admission.app);
    scheduler_leave_group_locked(scheduler, &task->admission.user);
    scheduler_leave_group_locked(scheduler, &task->admission.delayer);
}

void scheduler_forget(struct scheduler *scheduler, struct task *task) {
    assert(task->admission.state == ADMISSION_NONE);
    if (task->admission.app == NULL && task->admission.user == NULL && task->admission.delayer == NULL)
        return;
    lock_acquire(&scheduler->lock);
    leave_groups_locked(scheduler, task);
    lock_release(&scheduler->lock);
}

bool scheduler_prepare(struct scheduler *scheduler, struct task *task) {
    const struct session_parts parts = session_parts(task->session);
    size_t app_length = (size_t)parts.app_length;
    size_t user_length = app_length + 1 + (size_t)parts.user_length;
    struct admission *admission = &task->admission;
    bool of_app = atomic_load(&scheduler->limits->runs_per_app_max) > 0;
    bool of_user = atomic_load(&scheduler->limits->runs_per_user_max) > 0;
    bool delays = task->options.delay_ms > 0;
    if (!of_app && !of_user && !delays)
        return true;
    lock_acquire(&scheduler->lock);
    if (of_app)
        admission->app = scheduler_join_group_locked(scheduler, parts.app, app_length);
    if (of_user)
        admission->user = scheduler_join_group_locked(scheduler, parts.app, user_length);
    if (delays)
        admission->delayer = scheduler_join_group_locked(scheduler, parts.app, user_length);
    bool joined = (!of_app || admission->app != NULL) && (!of_user || admission->user != NULL) &&
                  (!delays || admission->delayer != NULL);
    if (!joined)
        leave_groups_locked(scheduler, task);
    lock_release(&scheduler->lock);
    return joined;
}

/* ---- states -------------------------------------------------------------------------------------- */

bool scheduler_is_full_locked(struct scheduler *scheduler) {
    lock_assert_held(&scheduler->lock);
    return scheduler->running + scheduler->guests >= atomic_load(&scheduler->limits->runs_max);
}

static bool may_run_locked(struct scheduler *scheduler, const struct task *task) {
    lock_assert_held(&scheduler->lock);
    return scheduler_group_has_room(task->admission.app, atomic_load(&scheduler->limits->runs_per_app_max)) &&
           scheduler_group_has_room(task->admission.user, atomic_load(&scheduler->limits->runs_per_user_max));
}

static void count_running_locked(struct scheduler *scheduler, const struct task *task, uint64_t change) {
    lock_assert_held(&scheduler->lock);
    scheduler->running += change;
    if (task->admission.app != NULL)
        task->admission.app->running += change;
    if (task->admission.user != NULL)
        task->admission.user->running += change;
}

static struct waiting_list *list_of(struct scheduler *scheduler, const struct task *task) {
    return &scheduler->waiting[task->options.priority];
}

/* How long a run holds its slot, over the last few runs. */
static void note_held_locked(struct scheduler *scheduler, int64_t held_ms) {
    lock_assert_held(&scheduler->lock);
    int64_t *mean_ms = &scheduler->held_mean_ms;
    *mean_ms = *mean_ms == 0 ? held_ms : *mean_ms + (held_ms - *mean_ms) / HELD_WEIGHT;
}

/* Into its list, behind those that began to wait before it. */
static void link_waiting_locked(struct scheduler *scheduler, struct task *task) {
    lock_assert_held(&scheduler->lock);
    struct waiting_list *list = list_of(scheduler, task);
    struct task *before = TAILQ_LAST(list, waiting_list);
    while (before != NULL && before->admission.since_mono_ms > task->admission.since_mono_ms)
        before = TAILQ_PREV(before, waiting_list, admission.link);
    if (before != NULL)
        TAILQ_INSERT_AFTER(list, before, task, admission.link);
    else
        TAILQ_INSERT_HEAD(list, task, admission.link);
    scheduler->waiting_count++;
}

/* A place that is taken or released, of the kind that the run has. */
static void count_place_locked(struct scheduler *scheduler, const struct task *task, uint64_t change) {
    lock_assert_held(&scheduler->lock);
    struct scheduler_group *delayer = task->admission.delayer;
    if (delayer == NULL) {
        scheduler->queued += change;
    } else {
        scheduler->delayed += change;
        delayer->delayed += change;
    }
}

static bool has_place(const struct task *task) {
    return task->admission.state == ADMISSION_RESERVED || task->admission.state == ADMISSION_WAITING;
}

/* The one way from state to state: keeps all counts. */
static void change_state_locked(struct scheduler *scheduler, struct task *task, enum admission_state state,
                                int64_t since_mono_ms) {
    lock_assert_held(&scheduler->lock);
    struct admission *admission = &task->admission;
    if (admission->state == ADMISSION_WAITING) {
        TAILQ_REMOVE(list_of(scheduler, task), task, admission.link);
        scheduler->waiting_count--;
    }
    if (has_place(task))
        count_place_locked(scheduler, task, -(uint64_t)1);
    else if (admission->state == ADMISSION_GRANTED)
        count_running_locked(scheduler, task, -(uint64_t)1);
    admission->state = state;
    admission->since_mono_ms = since_mono_ms;
    if (state == ADMISSION_WAITING)
        link_waiting_locked(scheduler, task);
    if (has_place(task))
        count_place_locked(scheduler, task, 1);
    else if (state == ADMISSION_GRANTED)
        count_running_locked(scheduler, task, 1);
}

/* The first of a list whose app and user have room. */
static struct task *first_that_may_run_locked(struct scheduler *scheduler, const struct waiting_list *list) {
    lock_assert_held(&scheduler->lock);
    struct task *task;
    TAILQ_FOREACH(task, list, admission.link) {
        if (may_run_locked(scheduler, task))
            return task;
    }
    return NULL;
}

/* Gives a free slot to whoever is next. Looks at no more than one run a list, but for those whose app or user
 * has no room. */
static struct task *grant_next_locked(struct scheduler *scheduler) {
    lock_assert_held(&scheduler->lock);
    if (scheduler->waiting_count == 0 || scheduler_is_full_locked(scheduler))
        return NULL;
    int64_t aging_ms = atomic_load(&scheduler->limits->queue_aging_ms), best_rank = INT64_MAX;
    struct task *best = NULL;
    for (int priority = PRIORITY_MAX; priority >= PRIORITY_MIN; priority--) {
        struct task *task = first_that_may_run_locked(scheduler, &scheduler->waiting[priority]);
        int64_t rank = task != NULL ? task->admission.since_mono_ms - priority * aging_ms : INT64_MAX;
        if (rank < best_rank) {
            best = task;
            best_rank = rank;
        }
    }
    if (best == NULL)
        return NULL;
    change_state_locked(scheduler, best, ADMISSION_GRANTED, clock_mono_ms());
    return task_ref(best);
}

/* Whether there is a place of the kind that the run needs. */
static bool has_place_locked(struct scheduler *scheduler, const struct task *task) {
    lock_assert_held(&scheduler->lock);
    const struct broadcaster_limits *limits = scheduler->limits;
    const struct scheduler_group *delayer = task->admission.delayer;
    if (delayer == NULL)
        return scheduler->queued < atomic_load(&limits->runs_queued_max);
    uint64_t per_user_max = atomic_load(&limits->runs_delayed_per_user_max);
    return scheduler->delayed < atomic_load(&limits->runs_delayed_max) &&
           (per_user_max == 0 || delayer->delayed < per_user_max);
}

bool scheduler_reserve(struct scheduler *scheduler, struct task *task) {
    lock_acquire(&scheduler->lock);
    bool reserved = task->admission.state == ADMISSION_RESERVED || has_place_locked(scheduler, task);
    if (reserved && task->admission.state == ADMISSION_NONE)
        change_state_locked(scheduler, task, ADMISSION_RESERVED, clock_mono_ms());
    lock_release(&scheduler->lock);
    return reserved;
}

/* What the other one had is this one's now, and since then, the kind of its place included; both are of the
 * same app and user. */
static enum admission_state take_over_locked(struct scheduler *scheduler, struct task *task,
                                             struct task *from) {
    lock_assert_held(&scheduler->lock);
    const struct admission had = from->admission;
    change_state_locked(scheduler, from, ADMISSION_NONE, 0);
    change_state_locked(scheduler, task, ADMISSION_NONE, 0); /* a place of its own, if it was for later */
    from->admission.delayer =
        task->admission.delayer; /* neither has a place now; each leaves one group at its end */
    task->admission.delayer = had.delayer;
    change_state_locked(scheduler, task, had.state, had.since_mono_ms);
    return had.state;
}

/* A slot goes from one run of a session to the next, but for no longer than a run may take if others wait:
 * else they would wait for as long as somebody replaces. */
static bool gives_over_locked(struct scheduler *scheduler, const struct task *from) {
    lock_assert_held(&scheduler->lock);
    int64_t held_ms = clock_mono_ms() - from->admission.since_mono_ms;
    bool is_over = from->options.timeout_ms > 0 && held_ms >= from->options.timeout_ms;
    return from->admission.state != ADMISSION_GRANTED || scheduler->waiting_count == 0 || !is_over;
}

enum admission_state scheduler_ask(struct scheduler *scheduler, struct task *task, struct task *in_place_of) {
    lock_acquire(&scheduler->lock);
    enum admission_state state = ADMISSION_NONE;
    if (in_place_of != NULL && gives_over_locked(scheduler, in_place_of))
        state = take_over_locked(scheduler, task, in_place_of);
    else if (!scheduler_is_full_locked(scheduler) && may_run_locked(scheduler, task))
        state = ADMISSION_GRANTED;
    else if (in_place_of != NULL || task->admission.state == ADMISSION_RESERVED ||
             has_place_locked(scheduler, task)) /* the slot of the other one makes room in the queue */
        state = ADMISSION_WAITING;
    if (state != task->admission.state)
        change_state_locked(scheduler, task, state, clock_mono_ms());
    lock_release(&scheduler->lock);
    return state;
}

struct task *scheduler_leave(struct scheduler *scheduler, struct task *task) {
    lock_acquire(&scheduler->lock);
    const struct admission had = task->admission;
    if (had.state == ADMISSION_GRANTED)
        note_held_locked(scheduler, clock_mono_ms() - had.since_mono_ms);
    if (had.state != ADMISSION_NONE)
        change_state_locked(scheduler, task, ADMISSION_NONE, 0);
    leave_groups_locked(scheduler, task);
    struct task *next = had.state == ADMISSION_GRANTED ? grant_next_locked(scheduler) : NULL;
    lock_release(&scheduler->lock);
    return next;
}

struct task *scheduler_poll(struct scheduler *scheduler) {
    lock_acquire(&scheduler->lock);
    struct task *next = grant_next_locked(scheduler);
    lock_release(&scheduler->lock);
    return next;
}

/* ---- looking, and waiting for all ---------------------------------------------------------------- */

void scheduler_tell_idle(struct scheduler *scheduler) {
    LIST_HEAD(, idle_waiter) told = LIST_HEAD_INITIALIZER(told);
    lock_acquire(&scheduler->lock);
    if (scheduler->running == 0 && scheduler->queued == 0 && scheduler->delayed == 0) {
        told.lh_first = scheduler->idle_waiters.lh_first;
        LIST_INIT(&scheduler->idle_waiters);
    }
    lock_release(&scheduler->lock);
    for (struct idle_waiter *waiter = LIST_FIRST(&told); waiter != NULL;) {
        struct idle_waiter *next = LIST_NEXT(waiter, entry); /* once posted it may be gone */
        inbox_post(waiter->inbox, &waiter->item);
        waiter = next;
    }
}

void scheduler_wait_idle(struct scheduler *scheduler, struct idle_waiter *waiter) {
    lock_acquire(&scheduler->lock);
    LIST_INSERT_HEAD(&scheduler->idle_waiters, waiter, entry);
    lock_release(&scheduler->lock);
    scheduler_tell_idle(scheduler);
}

static int64_t oldest_wait_locked(struct scheduler *scheduler) {
    lock_assert_held(&scheduler->lock);
    int64_t oldest_ms = 0, now_ms = clock_mono_ms();
    for (int priority = PRIORITY_MIN; priority <= PRIORITY_MAX; priority++) {
        const struct task *task = TAILQ_FIRST(&scheduler->waiting[priority]);
        if (task != NULL && now_ms - task->admission.since_mono_ms > oldest_ms)
            oldest_ms = now_ms - task->admission.since_mono_ms;
    }
    return oldest_ms;
}

void scheduler_get_info(struct scheduler *scheduler, struct scheduler_info *ret_info) {
    lock_acquire(&scheduler->lock);
    int64_t taken = (int64_t)(scheduler->running + scheduler->guests);
    int64_t per_slot_ms = scheduler->held_mean_ms / (taken > 0 ? taken : 1);
    *ret_info = (struct scheduler_info){
        .running = scheduler->running,
        .guests = scheduler->guests,
        .queued = scheduler->queued,
        .delayed = scheduler->delayed,
        .waiting = scheduler->waiting_count,
        .oldest_wait_ms = oldest_wait_locked(scheduler),
        .held_mean_ms = scheduler->held_mean_ms,
        .retry_after_ms = scheduler->held_mean_ms == 0       ? RETRY_AFTER_MS
                          : per_slot_ms > RETRY_AFTER_MAX_MS ? RETRY_AFTER_MAX_MS
                                                             : per_slot_ms,
    };
    lock_release(&scheduler->lock);
}
