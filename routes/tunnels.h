/* Tunnels that are open, of all workers: what GET /tunnels lists and DELETE /tunnels/{id} ends. */
#ifndef SLUICE_ROUTES_TUNNELS_H
#define SLUICE_ROUTES_TUNNELS_H

#include "routes/passed_path.h"
#include "routes/request.h"

struct live;

/** Counts one in, for the session that the request is about. `cancel` is called on this thread if somebody ends it. NULL: there are
 * tunnels_max, or no memory, and the reply says so. */
struct live *live_open(struct request *request, void (*cancel)(void *context), void *context) MUST_CHECK;

/** It has ended; on the same thread. Takes NULL. */
void live_close(struct live *live);

/** How many there are. Any thread. */
uint64_t live_count(void);

/** Ends all of a session; returns how many. Any thread. */
size_t live_cancel_session(const char *app, const char *user, const char *session);

/** Ends all. Any thread. */
void live_cancel_all(void);

#endif
