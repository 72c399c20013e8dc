/* What the files of the runner share: the runner, and the work of a run, which is the payload of its task. On
 * the thread of the worker.
 */
#ifndef SLUICE_RELAY_RUNNER_INTERNAL_H
#define SLUICE_RELAY_RUNNER_INTERNAL_H

#include "relay/runner.h"

struct runner {
    struct task_driver driver;
    struct relay_context *context;
    atomic_size_t active;
};

/* The payload of a task. Until its task was registered it is on the thread that made it. */
struct work {
    struct runner *runner;
    struct task *task;         /* a reference */
    struct plan *plan;         /* NULL: the feed has taken it over */
    struct upstream_feed feed; /* what its events come from */
    struct inbox_item watch_item;
    uv_timer_t timer;
    bool timer_open;
    bool awaits_watch; /* it will still be told that its times are to be watched */
    bool held;         /* may_read() said no: the timer lets it go on */
    bool start_came;   /* work_on_start() was called */
    bool awaits_start; /* it has ended, and work_on_start() will still be called */
    bool ended;
    bool logged_renaming;     /* of an event, the first of the run */
    int64_t deadline_mono_ms; /* 0: it has not started */
    uint64_t events, bytes, tokens;
    uint32_t first_upstream;
    int upstream_status;         /* that the upstream answered with in the end; 0: it did not */
    char peer[INET6_ADDRSTRLEN]; /* the client that has asked for it; "": not known */
};

/** Starts the work of a run that may start: work->feed. False: out of memory. */
bool work_start(struct work *work) MUST_CHECK;

/** Holds the events for a moment, because of may_read(). */
void runner_hold(struct work *work);

#endif
