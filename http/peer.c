/* The address of a client: see peer.h. */
#include "http/peer.h"

#include <arpa/inet.h>
#include <string.h>

struct peer peer_of(const struct sockaddr *address) {
    struct peer peer = {0};
    if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, address, sizeof(v6));
        peer.address = v6.sin6_addr;
    } else if (address->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof(v4));
        memset(&peer.address.s6_addr[10], 0xff, 2);
        memcpy(&peer.address.s6_addr[12], &v4.sin_addr, 4);
    }
    return peer;
}

struct in6_addr peer_client(const struct peer *peer) {
    struct in6_addr client = peer->address;
    if (!IN6_IS_ADDR_V4MAPPED(&client))
        memset(&client.s6_addr[8], 0, 8);
    return client;
}

void peer_format(const struct peer *peer, char out[INET6_ADDRSTRLEN]) {
    if (IN6_IS_ADDR_V4MAPPED(&peer->address))
        inet_ntop(AF_INET, &peer->address.s6_addr[12], out, INET6_ADDRSTRLEN);
    else
        inet_ntop(AF_INET6, &peer->address, out, INET6_ADDRSTRLEN);
}
