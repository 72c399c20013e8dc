/* The address of a client. */
#ifndef SLUICE_HTTP_PEER_H
#define SLUICE_HTTP_PEER_H

#include <netinet/in.h>
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

#endif
