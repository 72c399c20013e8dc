/* The limits of one address: its connections, and its requests a second.
 *
 *     struct address *address;
 *     if (!address_limits_enter(limits, &peer, &address))
 *         ...; // refuse the connection
 *     if (!address_take_request(limits, address))
 *         ...; // 429: the address may send again in a second
 *     address_limits_leave(limits, address);
 *
 * An address is a whole IPv4 address or the first 64 bits of an IPv6 address, which one host or network is
 * given. All workers share the table, because the kernel spreads an address's connections over the workers.
 * One lock protects the table and is held for a look-up.
 *
 * When the table is full, it forgets the address that has been without connections for the longest time. A
 * forgotten address has a full burst again. If every address has connections, a connection of a further
 * address is refused.
 */
#ifndef SLUICE_HTTP_ADDRESS_LIMITS_H
#define SLUICE_HTTP_ADDRESS_LIMITS_H

#include "base/attributes.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/** An IPv6 address, or an IPv4 address as IPv6 writes it (RFC 4291, section 2.5.5.2). */
struct peer {
    struct in6_addr address;
};

/** Returns the peer of a connection from the address that accept() returned; all zeros if that is not an IP
 * address. */
struct peer peer_of(const struct sockaddr *address);

/** Returns the address that counts as one client: a whole IPv4 address, or the first 64 bits of an IPv6
 * address, which one host or network is given. */
struct in6_addr peer_client(const struct peer *peer);

/** Writes the address as text, an IPv4 address in its own form. */
void peer_format(const struct peer *peer, char out[INET6_ADDRSTRLEN]);

/** Maximum number of addresses in the table. */
#define ADDRESSES_MAX 65536

struct address_limits_settings {
    uint64_t connections_max;     /* 0 disables the limit */
    uint64_t requests_per_second; /* 0 disables the limit */
    uint64_t requests_burst;      /* requests at once after a pause; at least 1 */
};

struct address_limits;
struct address;

/** NULL: out of memory. */
struct address_limits *address_limits_create(const struct address_limits_settings *settings) MUST_CHECK;

/** Frees the table, after all addresses have left. Takes NULL. */
void address_limits_destroy(struct address_limits *limits);

/** Counts a new connection of `peer`. *ret_address is for address_limits_leave(), and NULL if there are no
 * limits. False: the limit has been reached, or there is no memory to count the connection. Any thread. */
bool address_limits_enter(struct address_limits *limits, const struct peer *peer,
                          struct address **ret_address) MUST_CHECK;

/** Counts the end of a connection. Takes a NULL address. Any thread. */
void address_limits_leave(struct address_limits *limits, struct address *address);

/** Counts a request. False: the rate has been reached; a request is accepted again within a second. Takes a
 * NULL address. Any thread. */
bool address_take_request(struct address_limits *limits, struct address *address) MUST_CHECK;

/** The limits, which do not change. Any thread. */
const struct address_limits_settings *address_limits_settings(const struct address_limits *limits);

/** Returns the number of addresses in the table. Any thread. */
size_t address_limits_count(struct address_limits *limits);

#endif
