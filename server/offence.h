/* One log line for each request that is no proper one, with the address that it came from; not more lines a
 * second than somebody can read, so that to offend is no way to fill a disk. One a listener, on its thread.
 */
#ifndef SLUICE_SERVER_OFFENCE_H
#define SLUICE_SERVER_OFFENCE_H

#include "server/peer.h"

#include <stdint.h>

#define OFFENCE_LINES_PER_SECOND 20

/** All zeros at the beginning. */
struct offence_log {
    int64_t second; /* of the monotonic clock, that `lines` were written in */
    unsigned lines;
    uint64_t unwritten; /* since the last line; the next one tells */
};

/** Counts the offence and logs it as a warning. `status`: what was answered; 0: the library's business, which
 * closed the connection. */
void offence_note(struct offence_log *offences, const struct peer *peer, int status, const char *reason);

#endif
