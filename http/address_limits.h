/* What one address may have: so many connections, and so many requests a second.
 *
 *     struct address *address;
 *     if (!address_limits_enter(limits, &peer, &address))
 *         ...; // refuse the connection
 *     if (!address_take_request(limits, address))
 *         ...; // 429: in a second it may ask again
 *     address_limits_leave(limits, address);
 *
 * An address is a whole IPv4 address or, since that is what one host or network is given, the first 64 bits
 * of an IPv6 address. The table is shared by all workers under one lock, because the kernel spreads an
 * address's connections over them; it is held for a look-up.
 *
 * When the table is full, the address that was without connections for the longest is forgotten, which gives
 * it back a full burst. If none is without, a connection of yet another address is refused.
 */
#ifndef SLUICE_HTTP_ADDRESS_LIMITS_H
#define SLUICE_HTTP_ADDRESS_LIMITS_H

#include "base/attributes.h"
#include "http/peer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** In the table at once. */
#define ADDRESSES_MAX 65536

struct address_limits_settings {
    uint64_t connections_max;     /* 0: no limit */
    uint64_t requests_per_second; /* 0: no limit */
    uint64_t requests_burst;      /* at once, after a pause; at least 1 */
};

struct address_limits;
struct address;

/** NULL: out of memory. */
struct address_limits *address_limits_create(const struct address_limits_settings *settings) MUST_CHECK;

/** All have left. Takes NULL. */
void address_limits_destroy(struct address_limits *limits);

/** A connection of `peer` begins; *ret_address is for address_limits_leave() (and NULL where there are no
 * limits). False: it may have no more, or there is no memory to count it. Any thread. */
bool address_limits_enter(struct address_limits *limits, const struct peer *peer,
                          struct address **ret_address) MUST_CHECK;

/** The connection has ended. Takes a NULL address. Any thread. */
void address_limits_leave(struct address_limits *limits, struct address *address);

/** A request has come. False: one too many; at most a second later the next one is taken. Takes a NULL
 * address. Any thread. */
bool address_take_request(struct address_limits *limits, struct address *address) MUST_CHECK;

/** The limits, which do not change. Any thread. */
const struct address_limits_settings *address_limits_settings(const struct address_limits *limits);

/** Addresses in the table. Any thread. */
size_t address_limits_count(struct address_limits *limits);

#endif
