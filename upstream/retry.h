/* When a call that failed is made again: exponential backoff with full jitter, bounded in number and in time.
 */
#ifndef SLUICE_UPSTREAM_RETRY_H
#define SLUICE_UPSTREAM_RETRY_H

#include "upstream/settings.h"

/** A Retry-After of more than this is read as this. */
#define RETRY_AFTER_MAX_MS (365 * 24 * 60 * 60 * INT64_C(1000))

/** How long to wait before attempt number `attempt` + 1, where `attempt` (from 1) has just failed: a random
 * time up to base_ms * 2^(attempt-1), at most max_ms and at most what is left of total_ms, and at least what
 * the upstream asked for by Retry-After (0: nothing). -1: not again, since the attempts or the time
 * (`elapsed_ms` since the first) are used up, or the upstream asks for longer than is left. Any thread. */
int64_t retry_delay_ms(const struct retry_settings *settings, unsigned attempt, int64_t elapsed_ms,
                       int64_t retry_after_ms);

/** The value of a Retry-After header (RFC 9110, section 10.2.3: seconds or an HTTP date) in ms from now; 0:
 * there is none (NULL), it cannot be read, or its date has passed. */
int64_t retry_after_parse(const char *value, int64_t now_unix_ms);

#endif
