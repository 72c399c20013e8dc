/* Whose page may use the gateway.
 *
 * Two questions, and each has a header of the browser's as its answer. Host says by which name the gateway
 * was asked: on a loopback address it must be a loopback name or a listed one, against DNS rebinding.
 * Origin and Sec-Fetch-Site say whose page asks: a foreign one may change nothing. Addresses are compared
 * as numbers, since one address has many spellings. */
#include "routes/site.h"

#include "routes/cors.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* An authority: "name", "name:port", "[::1]:port". */
struct place {
    const char *name;
    size_t length;
    int port; /* 0: none is given */
};

static int read_port(const char *digits) {
    long port = strtol(digits, NULL, 10);
    return port > 0 && port <= 65535 ? (int)port : 0;
}

static struct place place_of_authority(const char *authority) {
    struct place place = {.name = authority};
    place.length = *authority == '[' ? strcspn(authority, "]") : strcspn(authority, ":");
    place.length += authority[place.length] == ']';
    if (authority[place.length] == ':')
        place.port = read_port(authority + place.length + 1);
    if (place.length > 1 && authority[place.length - 1] == '.')
        place.length--; /* "localhost." is the same name, written out */
    return place;
}

static bool place_is(const struct place *place, const char *name, size_t length) {
    return place->length == length && strncasecmp(place->name, name, length) == 0;
}

static bool host_ends_with(const char *text, size_t length, const char *end) {
    size_t end_length = strlen(end);
    return length > end_length && strncasecmp(text + length - end_length, end, end_length) == 0;
}

/* ---- addresses ----------------------------------------------------------------------------------- */

/* An address as IPv6 writes it, an IPv4 address as mapped (RFC 4291, section 2.5.5.2). */
static bool read_address(const char *text, size_t length, struct in6_addr *ret_address) {
    char copy[INET6_ADDRSTRLEN];
    struct in_addr v4;
    bool bracketed = length > 2 && text[0] == '[' && text[length - 1] == ']';
    if (bracketed) {
        text++;
        length -= 2;
    }
    if (length == 0 || length >= sizeof(copy))
        return false;
    memcpy(copy, text, length);
    copy[length] = '\0';
    if (bracketed || strchr(copy, ':') != NULL)
        return inet_pton(AF_INET6, copy, ret_address) == 1;
    if (inet_pton(AF_INET, copy, &v4) != 1)
        return false;
    *ret_address = (struct in6_addr){.s6_addr = {[10] = 0xff, [11] = 0xff}};
    memcpy(&ret_address->s6_addr[12], &v4, sizeof(v4));
    return true;
}

bool site_is_loopback(const char *host, size_t length) {
    static const char name[] = "localhost";
    struct in6_addr address;
    if (length == strlen(name) && strncasecmp(host, name, length) == 0)
        return true;
    if (host_ends_with(host, length, ".localhost"))
        return true;
    if (!read_address(host, length, &address))
        return false;
    return IN6_IS_ADDR_LOOPBACK(&address) || (IN6_IS_ADDR_V4MAPPED(&address) && address.s6_addr[12] == 127);
}

static bool is_own_address(const struct routes_settings *settings, const struct place *place) {
    struct in6_addr own, address;
    const char *listen = settings->listen_address;
    return listen != NULL && read_address(listen, strlen(listen), &own) &&
           read_address(place->name, place->length, &address) && IN6_ARE_ADDR_EQUAL(&own, &address);
}

/* ---- allowed_hosts ------------------------------------------------------------------------------- */

/* "*.example.com" stands for all names below that one, "*" for all. */
static bool name_fits(const struct place *pattern, const struct place *asked) {
    if (place_is(pattern, "*", 1))
        return true;
    if (pattern->length < 2 || pattern->name[0] != '*')
        return place_is(asked, pattern->name, pattern->length);
    size_t suffix = pattern->length - 1;
    return asked->length > suffix &&
           strncasecmp(asked->name + asked->length - suffix, pattern->name + 1, suffix) == 0;
}

/* A proxy may leave the port out of the Host header: only two different ones do not fit. */
static bool allows_host(const struct routes_settings *settings, const struct place *place) {
    for (size_t i = 0; i < settings->allowed_hosts_count; i++) {
        struct place pattern = place_of_authority(settings->allowed_hosts[i]);
        bool port_fits = pattern.port == 0 || place->port == 0 || pattern.port == place->port;
        if (port_fits && name_fits(&pattern, place))
            return true;
    }
    return false;
}

bool site_serves(const struct routes_settings *settings, const char *host) {
    if (host == NULL || (!settings->listens_on_loopback && settings->allowed_hosts_count == 0))
        return true;
    struct place place = place_of_authority(host);
    return site_is_loopback(place.name, place.length) || is_own_address(settings, &place) ||
           allows_host(settings, &place);
}

/* ---- origins ------------------------------------------------------------------------------------- */

/* Reads "https://name:port"; the port is always set. False: it is no page's of a web server. */
static bool read_origin(const char *origin, struct place *ret_place, int *ret_default_port) {
    bool is_http = strncasecmp(origin, "http://", 7) == 0;
    if (!is_http && strncasecmp(origin, "https://", 8) != 0)
        return false;
    *ret_default_port = is_http ? 80 : 443;
    *ret_place = place_of_authority(origin + (is_http ? 7 : 8));
    if (ret_place->port == 0)
        ret_place->port = *ret_default_port;
    return ret_place->length > 0;
}

/* Whether the origin's port is this one. TLS may end at a proxy, so that the scheme is not known: no port
 * stands for the default one of the origin's. */
static bool port_is_same(const struct place *origin, int default_port, const struct place *place) {
    return (place->port != 0 ? place->port : default_port) == origin->port;
}

/* The Host header is a name and no pattern, whatever characters it has: "*" is one that a host may have. */
static bool is_of_host(const struct request *request, const char *text) {
    const char *host = request_header(request, "Host");
    struct place origin;
    int default_port;
    if (host == NULL || !read_origin(text, &origin, &default_port))
        return false;
    struct place place = place_of_authority(host);
    return port_is_same(&origin, default_port, &place) && place_is(&place, origin.name, origin.length);
}

/* A proxy may have put another name into the Host header: these are ours by configuration. A lone "*" names
 * none. */
static bool is_of_allowed_host(const struct routes_settings *settings, const char *text) {
    struct place origin;
    int default_port;
    if (!read_origin(text, &origin, &default_port))
        return false;
    for (size_t i = 0; i < settings->allowed_hosts_count; i++) {
        struct place pattern = place_of_authority(settings->allowed_hosts[i]);
        if (!place_is(&pattern, "*", 1) && port_is_same(&origin, default_port, &pattern) &&
            name_fits(&pattern, &origin))
            return true;
    }
    return false;
}

bool site_is_foreign(const struct request *request) {
    const struct routes_settings *settings = request->context->settings;
    const char *origin = request_header(request, "Origin");
    const char *fetch_site = request_header(request, "Sec-Fetch-Site");
    if (cors_allows_all(settings))
        return false;
    if (origin != NULL && (cors_allows(request) || is_of_allowed_host(settings, origin)))
        return false;
    if (origin != NULL && !is_of_host(request, origin))
        return true;
    return fetch_site != NULL &&
           (strcasecmp(fetch_site, "cross-site") == 0 || strcasecmp(fetch_site, "same-site") == 0);
}
