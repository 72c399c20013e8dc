/* The runner of one worker: it does the work of a run, joining a task to its call to the upstream. */
#ifndef SLUICE_ROUTES_RUNNER_H
#define SLUICE_ROUTES_RUNNER_H

#include "routes/context.h"
#include "routes/run_plan.h"

struct runner;

/** `context` outlives it. NULL: out of memory. */
struct runner *runner_create(struct routes_context *context) MUST_CHECK;

/** All its runs have ended and were let go. */
void runner_destroy(struct runner *runner);

/** Runs that it has not let go of yet. Any thread. */
size_t runner_active(const struct runner *runner);

/** Makes a task of this session whose work is to do as `plan` says, which is taken over in any case. NULL:
 * out of memory. Any thread; it must be watched or discarded there. */
struct task *runner_create_task(struct runner *runner, struct session *session,
                                const struct task_options *options, struct run_plan *plan) MUST_CHECK;

/** The task was registered: from now on its runner watches its times. At once after that, on the thread that
 * made it; `here` is the runner of that thread. */
void runner_watch_task(const struct runner *here, struct task *task);

/** Lets go of a task that was not registered; its reference is given back. */
void runner_discard_task(struct task *task);

#endif
