/* One log line for each request that is no proper one, with the address that it came from. One limit a
 * listener, on its thread. */
#ifndef SLUICE_HTTP_OFFENCE_H
#define SLUICE_HTTP_OFFENCE_H

#include "base/log_limit.h"
#include "http/peer.h"

/** Counts the offence and logs it as a warning. `status`: what was answered; 0: the library's business, which
 * closed the connection. */
void offence_note(struct log_limit *offences, const struct peer *peer, int status, const char *reason);

#endif
