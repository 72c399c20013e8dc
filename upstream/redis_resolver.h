/* Where a Redis server is by now. Its name is looked up by a thread that nobody waits for: a look-up may take
 * as long as a dead name server makes it, and cannot be ended.
 */
#ifndef SLUICE_UPSTREAM_REDIS_RESOLVER_H
#define SLUICE_UPSTREAM_REDIS_RESOLVER_H

#include "upstream/redis_address.h"

#include <sys/socket.h>

struct redis_resolver;

/** NULL: out of memory. */
struct redis_resolver *redis_resolver_create(const struct redis_address *address) MUST_CHECK;

/** Where to connect to, at once. False: it has to be looked up first, which has begun; ask again a little
 * later. There is one look-up at a time, whoever asks. Any thread. */
bool redis_resolver_get(struct redis_resolver *resolver, struct sockaddr_storage *ret_place) MUST_CHECK;

/** Does not wait for a look-up: that frees what it uses when it ends. Takes NULL. */
void redis_resolver_destroy(struct redis_resolver *resolver);

#endif
