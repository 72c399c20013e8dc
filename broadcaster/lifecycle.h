/* The names of the gateway's own events: run.start, run.end, run.retry, gap, and all that begins with
 * session., server. or auth.
 *
 * An agent may name its events as it likes. One of its events with such a name would look to every viewer as
 * if the gateway had sent it, so it is delivered as upstream.<name> (frame.c).
 */
#ifndef SLUICE_BROADCASTER_LIFECYCLE_H
#define SLUICE_BROADCASTER_LIFECYCLE_H

#include <stdbool.h>
#include <stddef.h>

/** Stands before the name of an agent's event that bears a name of the gateway's. */
#define LIFECYCLE_AGENT_PREFIX "upstream."

/** Whether only the gateway may send events of this type, in valid UTF-8. Blanks around it do not count: some
 * clients strip them from a name, and it would be another one then. Any thread. */
bool lifecycle_owns_type(const char *type, size_t length);

#endif
