/* Answering when a run has ended, or when the time is up: for a client that waits, and for one that
 * cancels. */
#ifndef SLUICE_ROUTES_AWAIT_H
#define SLUICE_ROUTES_AWAIT_H

#include "routes/request.h"

/** Calls `answer`, which must decide the reply, when the run has ended or after `wait_ms`: at once if it has
 * ended already, else the request is deferred. The caller keeps its reference to the task. Out of memory: the
 * reply is decided here. */
void await_end(struct request *request, struct task *task, int64_t wait_ms,
               void (*answer)(struct request *request, struct task *task));

/** Asks the run to end and answers when it has, or after 5 s with a 202. False: it had ended before; no reply
 * is decided. */
bool cancel_and_reply(struct request *request, struct task *task) MUST_CHECK;

#endif
