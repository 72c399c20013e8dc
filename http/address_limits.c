/* What one address may have.
 *
 * The table is shared by all workers, because the kernel spreads an address's connections over them. It has
 * one lock, which is held for a look-up. An address without connections stays in the table, in the order of
 * how long it has been without, so that a client cannot refill its bucket by connecting anew. It is
 * forgotten when room is needed. */
#include "http/address_limits.h"

#include "base/broken_state.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/memory_budget.h"
#include "base/table.h"
#include "base/token_bucket.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

/* ---- the address of a client --------------------------------------------------------------------- */

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

/* ---- the table ----------------------------------------------------------------------------------- */

struct address {
    struct in6_addr key;
    uint64_t connections;
    struct token_bucket requests;
    TAILQ_ENTRY(address) entry; /* among those without connections, the longest without first */
    UT_hash_handle hh;
};

/* cppcheck-suppress unusedStructMember ; the macros of sys/queue.h use them */
TAILQ_HEAD(address_list, address);

struct address_limits {
    struct address_limits_settings settings;
    struct token_rate rate; /* of requests */
    struct lock lock;
    struct address *table;
    struct address_list unused;
};

static bool are_off(const struct address_limits_settings *settings) {
    return settings->connections_max == 0 && settings->requests_per_second == 0;
}

static struct address *find_address_locked(struct address_limits *limits, const struct in6_addr *key) {
    lock_assert_held(&limits->lock);
    struct address *address;
    HASH_FIND(hh, limits->table, key, sizeof(*key), address);
    return address;
}

static void forget_address_locked(struct address_limits *limits, struct address *address) {
    lock_assert_held(&limits->lock);
    TAILQ_REMOVE(&limits->unused, address, entry);
    HASH_DEL(limits->table, address);
    memory_release(MEMORY_CONNECTIONS, sizeof(*address));
    free(address);
}

/* A new one without connections. NULL: no room, or no memory. */
static struct address *add_address_locked(struct address_limits *limits, const struct in6_addr *key) {
    lock_assert_held(&limits->lock);
    if (HASH_COUNT(limits->table) == ADDRESSES_MAX) {
        if (TAILQ_EMPTY(&limits->unused))
            return NULL;
        forget_address_locked(limits, TAILQ_FIRST(&limits->unused));
    }
    struct address *address = calloc(1, sizeof(*address));
    if (address == NULL)
        return NULL;
    address->key = *key;
    bool out_of_memory = false;
    HASH_ADD(hh, limits->table, key, sizeof(address->key), address);
    if (out_of_memory) {
        free(address);
        return NULL;
    }
    memory_charge(MEMORY_CONNECTIONS, sizeof(*address));
    TAILQ_INSERT_TAIL(&limits->unused, address, entry);
    return address;
}

static struct address *enter_address_locked(struct address_limits *limits, const struct in6_addr *key) {
    lock_assert_held(&limits->lock);
    uint64_t connections_max = limits->settings.connections_max;
    struct address *address = find_address_locked(limits, key);
    if (address == NULL)
        address = add_address_locked(limits, key);
    if (address == NULL || (connections_max > 0 && address->connections >= connections_max))
        return NULL;
    if (address->connections++ == 0)
        TAILQ_REMOVE(&limits->unused, address, entry);
    return address;
}

bool address_limits_enter(struct address_limits *limits, const struct peer *peer,
                          struct address **ret_address) {
    struct in6_addr key = peer_client(peer);
    if (are_off(&limits->settings)) {
        *ret_address = NULL;
        return true;
    }
    lock_acquire(&limits->lock);
    struct address *address = enter_address_locked(limits, &key);
    lock_release(&limits->lock);
    if (address != NULL)
        *ret_address = address;
    return address != NULL;
}

void address_limits_leave(struct address_limits *limits, struct address *address) {
    if (address == NULL)
        return;
    lock_acquire(&limits->lock);
    if (address->connections == 0)
        broken_state_note("http/address_limits.c: more connections left than came");
    else if (--address->connections == 0)
        TAILQ_INSERT_TAIL(&limits->unused, address, entry);
    lock_release(&limits->lock);
}

bool address_take_request(struct address_limits *limits, struct address *address) {
    if (address == NULL || limits->settings.requests_per_second == 0)
        return true;
    lock_acquire(&limits->lock);
    bool taken = token_bucket_take(&address->requests, &limits->rate, clock_mono_ms());
    lock_release(&limits->lock);
    return taken;
}

size_t address_limits_count(struct address_limits *limits) {
    lock_acquire(&limits->lock);
    size_t count = HASH_COUNT(limits->table);
    lock_release(&limits->lock);
    return count;
}

struct address_limits *address_limits_create(const struct address_limits_settings *settings) {
    assert(settings->requests_burst > 0);
    struct address_limits *limits = calloc(1, sizeof(*limits));
    if (limits == NULL)
        return NULL;
    limits->settings = *settings;
    limits->rate = (struct token_rate){.tokens = (int64_t)settings->requests_per_second,
                                       .per_ms = 1000,
                                       .burst = (int64_t)settings->requests_burst};
    lock_init(&limits->lock);
    TAILQ_INIT(&limits->unused);
    return limits;
}

const struct address_limits_settings *address_limits_settings(const struct address_limits *limits) {
    return &limits->settings;
}

void address_limits_destroy(struct address_limits *limits) {
    if (limits == NULL)
        return;
    while (!TAILQ_EMPTY(&limits->unused)) {
        lock_acquire(&limits->lock);
        forget_address_locked(limits, TAILQ_FIRST(&limits->unused));
        lock_release(&limits->lock);
    }
    assert(limits->table == NULL);
    lock_finish(&limits->lock);
    free(limits);
}
