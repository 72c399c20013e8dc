/* Cancelling a run, and answering when it has ended. */
#ifndef SLUICE_ROUTES_CANCEL_H
#define SLUICE_ROUTES_CANCEL_H

#include "routes/request.h"

/** Asks the run to end and answers when it has, or after 5 s with a 202. False: it had ended before; no reply
 * is decided. */
bool cancel_and_reply(struct request *request, struct task *task) MUST_CHECK;

#endif
