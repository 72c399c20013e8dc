/* Where a Redis server is: see redis_address.h. The text is read once, at the start. A name is looked up by a
 * detached thread, one at a time for all workers, which holds a reference to what it writes into: so neither a
 * worker nor the end of the process waits for it. What it finds is valid for VALID_MS.
 */
#include "upstream/redis_address.h"

#include "base/clock.h"
#include "base/lock.h"
#include "base/refcount.h"

#include <netdb.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <uv.h>

/* ---- as it is written --------------------------------------------------------------------------- */

#define PORT_DEFAULT 6379
#define PORT_MAX 65535
#define DATABASE_MAX 65535

/** Copies `length` bytes; false: they do not fit, or there are none. */
static bool copy_part(char *out, size_t size, const char *text, size_t length) {
    if (length == 0 || length >= size)
        return false;
    memcpy(out, text, length);
    out[length] = '\0';
    return true;
}

/** Reads digits alone, `length` of them. */
static bool read_plain_digits(const char *text, size_t length, uint32_t max, uint32_t *ret_number) {
    uint32_t number = 0;
    if (length == 0 || length > 5)
        return false;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        number = number * 10 + (uint32_t)(text[i] - '0');
    }
    *ret_number = number;
    return number <= max;
}

/** `text` up to `end` is host or host:port, an IPv6 address in brackets. */
static bool read_host_place(const char *text, const char *end, struct redis_address *address) {
    const char *host = text, *host_end, *rest;
    if (text < end && *text == '[') {
        host = text + 1;
        host_end = memchr(host, ']', (size_t)(end - host));
        rest = host_end != NULL ? host_end + 1 : NULL;
    } else {
        host_end = memchr(text, ':', (size_t)(end - text));
        host_end = host_end != NULL ? host_end : end;
        rest = host_end;
    }
    if (rest == NULL || !copy_part(address->host, sizeof(address->host), host, (size_t)(host_end - host)))
        return false;
    if (rest == end)
        return true;
    uint32_t port = 0;
    if (*rest != ':' || !read_plain_digits(rest + 1, (size_t)(end - rest - 1), PORT_MAX, &port) || port == 0)
        return false;
    address->port = (uint16_t)port;
    return true;
}

bool redis_address_parse(const char *text, struct redis_address *ret_address) {
    static const char scheme[] = "redis://", local[] = "unix:";
    struct redis_address address = {.port = PORT_DEFAULT};
    bool done;
    if (strncmp(text, local, strlen(local)) == 0) {
        const char *path = text + strlen(local);
        done = *path == '/' && copy_part(address.path, sizeof(address.path), path, strlen(path));
    } else {
        if (strncmp(text, scheme, strlen(scheme)) == 0)
            text += strlen(scheme);
        const char *end = text + strcspn(text, "/");
        const char *database = *end == '/' ? end + 1 : end;
        done = strpbrk(text, "@ \t") == NULL && read_host_place(text, end, &address) &&
               (*database == '\0' ||
                read_plain_digits(database, strlen(database), DATABASE_MAX, &address.database));
    }
    if (done)
        *ret_address = address;
    return done;
}

/* ---- the resolver ------------------------------------------------------------------------------- */

/* For so long what was looked up is true: longer than anybody waits before he asks again. */
#define VALID_MS 10000

struct redis_resolver {
    atomic_uint references; /* the owner's, and that of the thread that looks it up */
    struct redis_address address;
    struct lock lock;
    /* lock */
    struct sockaddr_storage place;
    int64_t valid_until_mono_ms;
    bool is_looking;
};

/** Where it is, if that can be told from the address alone. */
static bool read_place(const struct redis_address *address, struct sockaddr_storage *ret_place) {
    if (address->path[0] == '\0')
        return uv_ip4_addr(address->host, address->port, (struct sockaddr_in *)ret_place) == 0 ||
               uv_ip6_addr(address->host, address->port, (struct sockaddr_in6 *)ret_place) == 0;
    struct sockaddr_un *local = (struct sockaddr_un *)ret_place;
    local->sun_family = AF_UNIX;
    memcpy(local->sun_path, address->path, sizeof(local->sun_path));
    return true;
}

struct redis_resolver *redis_resolver_create(const struct redis_address *address) {
    struct redis_resolver *resolver = calloc(1, sizeof(*resolver));
    if (resolver == NULL)
        return NULL;
    resolver->references = 1;
    resolver->address = *address;
    lock_init(&resolver->lock);
    resolver->valid_until_mono_ms = read_place(address, &resolver->place) ? INT64_MAX : INT64_MIN;
    return resolver;
}

void redis_resolver_destroy(struct redis_resolver *resolver) {
    if (resolver == NULL || !refcount_drop(&resolver->references))
        return;
    lock_finish(&resolver->lock);
    free(resolver);
}

/** IPv4 first, as hiredis has it: a server that listens on one of two is more likely to be there. */
static const struct addrinfo *pick_address(const struct addrinfo *found) {
    const struct addrinfo *picked = found;
    while (picked->ai_family != AF_INET && picked->ai_next != NULL)
        picked = picked->ai_next;
    return picked->ai_family == AF_INET ? picked : found;
}

/** The look-up has ended. `found`: NULL if there is nothing. */
static void take_found(struct redis_resolver *resolver, const struct addrinfo *found) {
    lock_acquire(&resolver->lock);
    resolver->is_looking = false;
    if (found != NULL) {
        memcpy(&resolver->place, found->ai_addr, found->ai_addrlen);
        resolver->valid_until_mono_ms = clock_mono_ms() + VALID_MS;
    }
    lock_release(&resolver->lock);
    redis_resolver_destroy(resolver);
}

static void *look_up(void *context) {
    struct redis_resolver *resolver = context;
    const struct addrinfo wanted = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    char port[8];
    snprintf(port, sizeof(port), "%u", (unsigned)resolver->address.port);
    if (getaddrinfo(resolver->address.host, port, &wanted, &found) == 0) {
        take_found(resolver, pick_address(found));
        freeaddrinfo(found);
    } else {
        take_found(resolver, NULL);
    }
    return NULL;
}

static void begin_to_look(struct redis_resolver *resolver) {
    pthread_t thread;
    refcount_add(&resolver->references);
    if (pthread_create(&thread, NULL, look_up, resolver) == 0)
        pthread_detach(thread);
    else
        take_found(resolver, NULL);
}

bool redis_resolver_get(struct redis_resolver *resolver, struct sockaddr_storage *ret_place) {
    lock_acquire(&resolver->lock);
    bool is_known = clock_mono_ms() < resolver->valid_until_mono_ms;
    bool begins = !is_known && !resolver->is_looking;
    if (is_known)
        *ret_place = resolver->place;
    if (begins)
        resolver->is_looking = true;
    lock_release(&resolver->lock);
    if (begins)
        begin_to_look(resolver);
    return is_known;
}
