/* One log line for each invalid request, with the client's address. Each listener has one limit, on its
 * thread. */
#ifndef SLUICE_HTTP_OFFENCE_H
#define SLUICE_HTTP_OFFENCE_H

#include "base/log_limit.h"
#include "http/address_limits.h"

/** Counts the offence and logs it as a warning. `status` is the answer's status, or 0 if the library closed
 * the connection. */
void offence_note(struct log_limit *offences, const struct peer *peer, int status, const char *reason);

#endif
