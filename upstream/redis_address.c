/* Where a Redis server is: see redis_address.h. */
#include "upstream/redis_address.h"

#include <stddef.h>
#include <string.h>

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
