/* Where a Redis server is: as people write it, and by now. Its name is looked up by a thread that nobody waits
 * for: a look-up may take as long as a dead name server makes it, and cannot be ended.
 */
#ifndef SLUICE_UPSTREAM_REDIS_ADDRESS_H
#define SLUICE_UPSTREAM_REDIS_ADDRESS_H

#include "base/attributes.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct redis_address {
    char host[256];    /* a name or an IP address; "": the socket at path */
    char path[108];    /* as long as the kernel takes it */
    uint16_t port;     /* 6379 if none was given */
    uint32_t database; /* 0 if none was given */
};

/** Reads `host`, `host:port`, `[IPv6]:port`, either of them behind `redis://` and with `/database` behind it,
 * or `unix:/path`. False: it is none of these. */
bool redis_address_parse(const char *text, struct redis_address *ret_address) MUST_CHECK;

/* ---- the resolver --------------------------------------------------------------------------------- */

struct redis_resolver;

/** NULL: out of memory. */
struct redis_resolver *redis_resolver_create(const struct redis_address *address) MUST_CHECK;

/** Where to connect to, at once. False: it has to be looked up first, which has begun; ask again a little
 * later. There is one look-up at a time, whoever asks. Any thread. */
bool redis_resolver_get(struct redis_resolver *resolver, struct sockaddr_storage *ret_place) MUST_CHECK;

/** Does not wait for a look-up: that frees what it uses when it ends. Takes NULL. */
void redis_resolver_destroy(struct redis_resolver *resolver);

#endif
