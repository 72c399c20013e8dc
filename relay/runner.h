/* The runner of one worker: it does the work of a run, joining a task to its call to the upstream. */
#ifndef SLUICE_RELAY_RUNNER_H
#define SLUICE_RELAY_RUNNER_H

#include "broadcaster/broadcaster.h"
#include "broadcaster/fanout.h"
#include "relay/plan.h"

#include <uv.h>

/** Settings of this room; a reload hands in another one. */
struct relay_settings {
    int64_t run_timeout_ms;  /* of a run that asks for no other, and the most that one may ask for */
    uint64_t run_events_max; /* budgets of a run, 0: none; it ends as failed/limit */
    uint64_t run_bytes_max;
    uint64_t run_tokens_max;
};

/** What the runs of one worker work with. */
struct relay_context {
    struct upstream_worker *upstream_worker; /* the upstreams, and the client that speaks to them */
    struct cache_worker *cache_worker;       /* its part of the cache; NULL: no upstream caches */
    struct fanout *fanout;
    struct inbox *inbox;
    uv_loop_t *loop;
    const struct relay_settings *settings;
};

struct runner;

/** `context` outlives it. NULL: out of memory. */
struct runner *runner_create(struct relay_context *context) MUST_CHECK;

/** All its runs have ended and were let go. */
void runner_destroy(struct runner *runner);

/** Runs that it has not let go of yet. Any thread. */
size_t runner_active(const struct runner *runner);

/** Makes a task of this session whose work is to do as `plan` says, which is taken over in any case. NULL:
 * out of memory. Any thread; it must be watched or discarded there. */
struct task *runner_create_task(struct runner *runner, struct session *session,
                                const struct task_options *options, struct plan *plan) MUST_CHECK;

/** The task was registered: from now on its runner watches its times. At once after that, on the thread that
 * made it; `here` is the runner of that thread. */
void runner_watch_task(const struct runner *here, struct task *task);

/** Lets go of a task that was not registered; its reference is given back. */
void runner_discard_task(struct task *task);

#endif
