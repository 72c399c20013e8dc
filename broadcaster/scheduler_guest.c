/* Slots for runs that are no tasks: they have one at once, or are refused. See scheduler.h. */
#include "broadcaster/scheduler_internal.h"

#include <stdio.h>
#include <string.h>

static void guest_leave_locked(struct scheduler *scheduler, struct scheduler_guest *guest) {
    lock_assert_held(&scheduler->lock);
    scheduler_leave_group_locked(scheduler, &guest->app);
    scheduler_leave_group_locked(scheduler, &guest->user);
}

/* False: out of memory. */
static bool join_locked(struct scheduler *scheduler, const char *app, const char *user,
                        struct scheduler_guest *guest) {
    lock_assert_held(&scheduler->lock);
    char app_and_user[SESSION_KEY_SIZE];
    bool of_app = atomic_load(&scheduler->limits->runs_per_app_max) > 0;
    bool of_user = atomic_load(&scheduler->limits->runs_per_user_max) > 0;
    snprintf(app_and_user, sizeof(app_and_user), "%s/%s", app, user);
    if (of_app)
        guest->app = scheduler_join_group_locked(scheduler, app, strlen(app));
    if (of_user)
        guest->user = scheduler_join_group_locked(scheduler, app_and_user, strlen(app_and_user));
    return (!of_app || guest->app != NULL) && (!of_user || guest->user != NULL);
}

static void guest_count_locked(struct scheduler *scheduler, const struct scheduler_guest *guest,
                               uint64_t change) {
    lock_assert_held(&scheduler->lock);
    scheduler->guests += change;
    if (guest->app != NULL)
        guest->app->running += change;
    if (guest->user != NULL)
        guest->user->running += change;
}

static bool guest_has_room_locked(struct scheduler *scheduler, const struct scheduler_guest *guest) {
    lock_assert_held(&scheduler->lock);
    const struct broadcaster_limits *limits = scheduler->limits;
    return !scheduler_is_full_locked(scheduler) &&
           scheduler_group_has_room(guest->app, atomic_load(&limits->runs_per_app_max)) &&
           scheduler_group_has_room(guest->user, atomic_load(&limits->runs_per_user_max));
}

bool scheduler_admit_guest(struct scheduler *scheduler, const char *app, const char *user,
                           struct scheduler_guest *ret_guest) {
    *ret_guest = (struct scheduler_guest){0};
    lock_acquire(&scheduler->lock);
    bool is_admitted =
        join_locked(scheduler, app, user, ret_guest) && guest_has_room_locked(scheduler, ret_guest);
    if (is_admitted)
        guest_count_locked(scheduler, ret_guest, 1);
    else
        guest_leave_locked(scheduler, ret_guest);
    lock_release(&scheduler->lock);
    return is_admitted;
}

void scheduler_dismiss_guest(struct scheduler *scheduler, struct scheduler_guest *guest) {
    lock_acquire(&scheduler->lock);
    guest_count_locked(scheduler, guest, -(uint64_t)1);
    guest_leave_locked(scheduler, guest);
    lock_release(&scheduler->lock);
}
