/* Starting a run: registers it with its session, or answers why not. */
#ifndef SLUICE_ROUTES_RUN_START_H
#define SLUICE_ROUTES_RUN_START_H

#include "routes/run_request.h"

struct run_started {
    struct task *task; /* a reference; NULL: the run of an earlier request, which is no longer remembered */
    char task_id[TASK_ID_SIZE];
    int64_t created_unix_ms;
    bool replayed;                   /* the run of an earlier request: of its Idempotency-Key, or the one that
                                      * Last-Event-ID goes on with */
    enum task_status earlier_status; /* without a task: how that run ended */
    struct subscriber *subscriber;   /* prepared for the run's own stream, if that is the answer; else NULL */
};

/** Starts the run, or finds the one that was started before. What can refuse the request is looked at before
 * the run is registered, so that a refusal changes nothing. The Location header is added. False: the reply is
 * decided, and there is nothing left to free. */
bool run_start(struct request *request, const struct run_request *run,
               struct run_started *ret_started) MUST_CHECK;

#endif
