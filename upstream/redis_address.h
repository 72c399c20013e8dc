/* Where a Redis server is, as people write it. */
#ifndef SLUICE_UPSTREAM_REDIS_ADDRESS_H
#define SLUICE_UPSTREAM_REDIS_ADDRESS_H

#include "base/attributes.h"

#include <stdbool.h>
#include <stdint.h>

struct redis_address {
    char host[256];    /* a name or an IP address; "": the socket at path */
    char path[108];    /* as long as the kernel takes it */
    uint16_t port;     /* 6379 if none was given */
    uint32_t database; /* 0 if none was given */
};

/** Reads `host`, `host:port`, `[IPv6]:port`, either of them behind `redis://` and with `/database` behind it,
 * or `unix:/path`. False: it is none of these. */
bool redis_address_parse(const char *text, struct redis_address *ret_address) MUST_CHECK;

#endif
