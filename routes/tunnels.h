/* The open tunnels of all workers: GET /tunnels lists them, DELETE /tunnels/{id} ends one. */
#ifndef SLUICE_ROUTES_TUNNELS_H
#define SLUICE_ROUTES_TUNNELS_H

#include "routes/request.h"

struct live;

/** Lists a new tunnel of the session that the request is about. `cancel` is called on this thread when the
 * tunnel is asked to end. NULL: tunnels_max has been reached, or memory ran out; the reply is decided. */
struct live *live_open(struct request *request, void (*cancel)(void *context), void *context) MUST_CHECK;

/** Takes an ended tunnel off the list, on the same thread. Takes NULL. */
void live_close(struct live *live);

/** Returns the number of open tunnels. Any thread. */
uint64_t live_count(void);

/** Asks all tunnels of a session to end, and returns their number. Any thread. */
size_t live_cancel_session(const char *app, const char *user, const char *session);

/** Asks all tunnels to end. Any thread. */
void live_cancel_all(void);

#endif
