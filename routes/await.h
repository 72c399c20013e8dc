/* Answering when a run has ended, or when the time is up: for a client that waits, and for one that
 * cancels. */
#ifndef SLUICE_ROUTES_AWAIT_H
#define SLUICE_ROUTES_AWAIT_H

#include "routes/request.h"

/** Calls `answer`, which must decide the reply, when the run has ended or `wait_ms` are over. An ended run is
 * answered at once; otherwise the request is deferred. The caller keeps its reference to the task. Without
 * memory this function decides the reply. */
void await_end(struct request *request, struct task *task, int64_t wait_ms,
               void (*answer)(struct request *request, struct task *task));

/** Asks the run to end, and answers when the run has ended, or after 5 s with a 202. False: the run had ended
 * before, and no reply is decided. */
bool cancel_and_reply(struct request *request, struct task *task) MUST_CHECK;

#endif
