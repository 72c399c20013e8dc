/* The user's message of a run, as run.start and /tasks/{id} show it. */
#ifndef SLUICE_ROUTES_RUN_INPUT_H
#define SLUICE_ROUTES_RUN_INPUT_H

#include "routes/run_request.h"

/** Sets run->options.input as the settings of now say; what it points at lives as long as `run` and the
 * request. False: the reply is decided. */
bool run_input_read(struct request *request, struct run_request *run) MUST_CHECK;

#endif
