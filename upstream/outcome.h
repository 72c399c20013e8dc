/* What the end of an attempt means: for the breaker, for the limiter, and for what is tried next. */
#ifndef SLUICE_UPSTREAM_OUTCOME_H
#define SLUICE_UPSTREAM_OUTCOME_H

#include "upstream/breaker.h"
#include "upstream/client.h"

#include <stdbool.h>

/** A failure is what the upstream could not do: no connection, no answer or none that is whole, 500 and
 * above, and a run that it says has failed. An answer of 4xx is a success: it works, and the request was
 * wrong. 429 is neither, for the limiter sees to it; nor is what failed on our side. */
enum breaker_outcome call_breaker_outcome(const struct upstream_result *result);

/** 429 and 503. */
bool call_is_overloaded(const struct upstream_result *result);

/** Whether another upstream may do better: see call.h. */
bool call_may_fall_back(const struct upstream_result *result);

/** Whether a stream that had begun broke off, or a resumption of it failed, in a way that may pass. */
bool call_may_resume(const struct upstream_result *result);

#endif
