/* What the end of an attempt means: see outcome.h. */
#include "upstream/outcome.h"

#include "upstream/retry.h"

enum breaker_outcome call_breaker_outcome(const struct upstream_result *result) {
    if (result->is_unsettled)
        return BREAKER_NEITHER;
    switch (result->end) {
    case UPSTREAM_COMPLETED:
        return BREAKER_SUCCESS;
    case UPSTREAM_STATUS:
        if (result->http_status == 429)
            return BREAKER_NEITHER;
        return result->http_status >= 500 ? BREAKER_FAILURE : BREAKER_SUCCESS;
    case UPSTREAM_CONNECT:
    case UPSTREAM_ERROR:
    case UPSTREAM_TRUNCATED:
    case UPSTREAM_PROTOCOL:
    case UPSTREAM_IDLE:
        return BREAKER_FAILURE;
    case UPSTREAM_LIMIT:
    case UPSTREAM_REFUSED:
    case UPSTREAM_CROWDED:
    case UPSTREAM_NO_DESCRIPTOR:
    case UPSTREAM_INTERNAL:
        break;
    }
    return BREAKER_NEITHER;
}

bool call_is_overloaded(const struct upstream_result *result) {
    return result->end == UPSTREAM_STATUS && (result->http_status == 429 || result->http_status == 503);
}

bool call_may_fall_back(const struct upstream_result *result) {
    switch (result->end) {
    case UPSTREAM_CONNECT:
    case UPSTREAM_ERROR:
    case UPSTREAM_TRUNCATED:
    case UPSTREAM_PROTOCOL:
    case UPSTREAM_IDLE:
    case UPSTREAM_REFUSED:
    case UPSTREAM_CROWDED:
    case UPSTREAM_NO_DESCRIPTOR: /* another may have a connection that is kept */
        return true;
    case UPSTREAM_STATUS:
        return result->http_status == 429 || result->http_status >= 500;
    case UPSTREAM_COMPLETED:
    case UPSTREAM_LIMIT:
    case UPSTREAM_INTERNAL:
        break;
    }
    return false;
}

bool call_may_resume(const struct upstream_result *result) {
    bool broke = result->end == UPSTREAM_TRUNCATED || result->end == UPSTREAM_IDLE;
    bool refused = result->end == UPSTREAM_REFUSED || result->end == UPSTREAM_CROWDED;
    return broke || refused || retry_may_pass(result);
}
