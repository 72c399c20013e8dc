/* The types of settings that read a part of HTTP: the address to listen on, origins, hosts, and headers.
 *
 * A list has commas between its items in every source but the file, which has a YAML list. What is accepted is
 * exactly what could match or be sent: an origin as browsers write it, a header that the gateway does not write
 * itself.
 */
#include "config/values.h"

#include "base/http_token.h"
#include "config/config.h"
#include "config/keys.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- address ------------------------------------------------------------------------------------ */

/* Digits only, 0 to 65535. */
static bool parse_port(const char *text, uint16_t *ret_port) {
    unsigned port = 0;
    size_t length = strlen(text);

    if (length < 1 || length > 5 || strspn(text, "0123456789") != length)
        return false;
    for (; *text != '\0'; text++)
        port = port * 10 + (unsigned)(*text - '0');
    if (port > UINT16_MAX)
        return false;
    *ret_port = (uint16_t)port;
    return true;
}

static int address_parse(const struct config_key *key, const char *text, void *field) {
    struct config_listen listen = {0};
    char address[INET6_ADDRSTRLEN] = "";
    struct in6_addr binary;
    const char *colon = strrchr(text, ':');
    bool bracketed = text[0] == '[' && colon > text && colon[-1] == ']';
    int family = bracketed ? AF_INET6 : AF_INET;

    (void)key;
    if (colon == NULL)
        return -EINVAL;
    const char *start = text + (bracketed ? 1 : 0);
    size_t length = (size_t)(colon - start) - (bracketed ? 1 : 0);
    if (length >= sizeof(address))
        return -EINVAL;
    memcpy(address, start, length);
    if (inet_pton(family, address, &binary) != 1 || !parse_port(colon + 1, &listen.port))
        return -EINVAL;
    inet_ntop(family, &binary, listen.address, sizeof(listen.address));
    *(struct config_listen *)field = listen;
    return 0;
}

static bool address_format(const struct config_key *key, const void *field, struct buffer *out) {
    const struct config_listen *listen = field;

    (void)key;
    return buffer_printf(out, strchr(listen->address, ':') != NULL ? "[%s]:%u" : "%s:%u", listen->address,
                         listen->port);
}

static bool address_allow(const struct config_key *key, struct buffer *out) {
    (void)key;
    return buffer_append_text(out, "ADDRESS:PORT, such as 127.0.0.1:8080 or [::1]:8080");
}

const struct config_type config_address = {.placeholder = "ADDR:PORT",
                                           .quoted = true,
                                           .parse = address_parse,
                                           .format = address_format,
                                           .allow = address_allow};

bool config_listen_is_loopback(const struct config_listen *listen) {
    struct in_addr v4;
    struct in6_addr v6;

    if (inet_pton(AF_INET, listen->address, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET;
    if (inet_pton(AF_INET6, listen->address, &v6) != 1)
        return false;
    return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == IN_LOOPBACKNET);
}

/* ---- lists of origins, hosts and header names ------------------------------------------------------- */

#define LIST_ITEMS_MAX 64
#define LIST_ITEM_BYTES_MAX 256
/* They stand in one header of an answer, whose head has room for so much even if that room is the least. */
#define CORS_HEADERS_BYTES_MAX 512

static bool host_is_valid(const char *host, size_t length) {
    if (length == 0)
        return false;
    if (host[0] == '[')
        return length > 2 && host[length - 1] == ']' && strspn(host + 1, "0123456789abcdef:.") == length - 2;
    return strspn(host, "abcdefghijklmnopqrstuvwxyz0123456789.-_") == length;
}

/* As browsers send it (RFC 6454, section 6.1): lower case, no path, no default port. Anything else would
 * never match. */
static bool origin_is_valid(const char *origin) {
    size_t scheme = strspn(origin, "abcdefghijklmnopqrstuvwxyz0123456789+.-");
    const char *host = origin + scheme + 3;
    uint16_t port;

    if (strlen(origin) > LIST_ITEM_BYTES_MAX || scheme == 0 || strncmp(origin + scheme, "://", 3) != 0)
        return false;
    size_t length = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
    if (length > strlen(host) || !host_is_valid(host, length))
        return false;
    if (host[length] == '\0')
        return true;
    if (host[length] != ':' || !parse_port(host + length + 1, &port) || port == 0)
        return false;
    return !(port == 80 && strncmp(origin, "http:", 5) == 0) &&
           !(port == 443 && strncmp(origin, "https:", 6) == 0);
}

/* "gateway.example", "*.example.com", "[::1]:8080". */
static bool host_pattern_is_valid(const char *text) {
    const char *host = strncmp(text, "*.", 2) == 0 ? text + 2 : text;
    uint16_t port;

    if (strlen(text) > LIST_ITEM_BYTES_MAX || (host != text && host[0] == '['))
        return false;
    size_t length = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
    if (length > strlen(host) || !host_is_valid(host, length))
        return false;
    return host[length] == '\0' || (host[length] == ':' && parse_port(host + length + 1, &port) && port != 0);
}

static void list_finish(void *field) {
    struct config_list *list = field;

    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct config_list){0};
}

/* Cuts `text` at its commas, and spaces off the ends of the items. */
static int list_fill(struct config_list *list, char *text, bool (*is_valid)(const char *item)) {
    char *rest = text;
    char *item;

    while ((item = strsep(&rest, ",")) != NULL) {
        item += strspn(item, " ");
        for (size_t end = strlen(item); end > 0 && item[end - 1] == ' '; end--)
            item[end - 1] = '\0';
        if (list->count == LIST_ITEMS_MAX || (strcmp(item, "*") != 0 && !is_valid(item)))
            return -EINVAL;
        if ((list->items[list->count] = strdup(item)) == NULL)
            return -ENOMEM;
        list->count++;
    }
    for (size_t i = 0; i < list->count && list->count > 1; i++) {
        if (strcmp(list->items[i], "*") == 0)
            return -EINVAL;
    }
    return 0;
}

static int list_parse(const char *text, bool (*is_valid)(const char *item), void *field) {
    struct config_list list = {.items = calloc(LIST_ITEMS_MAX, sizeof(char *))};
    char *copy = strdup(text);
    int result = list.items == NULL || copy == NULL ? -ENOMEM : 0;

    if (result == 0 && text[0] != '\0')
        result = list_fill(&list, copy, is_valid);
    free(copy);
    if (result < 0) {
        list_finish(&list);
        return result;
    }
    list_finish(field);
    *(struct config_list *)field = list;
    return 0;
}

static bool list_format(const struct config_key *key, const void *field, struct buffer *out) {
    const struct config_list *list = field;

    (void)key;
    for (size_t i = 0; i < list->count; i++) {
        if (!buffer_printf(out, "%s%s", i > 0 ? "," : "", list->items[i]))
            return false;
    }
    return true;
}

static int origins_parse(const struct config_key *key, const char *text, void *field) {
    (void)key;
    return list_parse(text, origin_is_valid, field);
}

static bool origins_allow(const struct config_key *key, struct buffer *out) {
    (void)key;
    return buffer_append_text(
        out, "a list of origins such as https://app.example (lower case, no path, no default "
             "port), or * alone");
}

const struct config_type config_origins = {.placeholder = "LIST",
                                           .quoted = true,
                                           .list = true,
                                           .parse = origins_parse,
                                           .format = list_format,
                                           .allow = origins_allow,
                                           .finish = list_finish};

static int hosts_parse(const struct config_key *key, const char *text, void *field) {
    (void)key;
    return list_parse(text, host_pattern_is_valid, field);
}

static bool hosts_allow(const struct config_key *key, struct buffer *out) {
    (void)key;
    return buffer_append_text(out,
                              "a list of host names such as gateway.example, *.example.com or [::1] (lower "
                              "case, with or without a port), or * alone");
}

const struct config_type config_hosts = {.placeholder = "LIST",
                                         .quoted = true,
                                         .list = true,
                                         .parse = hosts_parse,
                                         .format = list_format,
                                         .allow = hosts_allow,
                                         .finish = list_finish};

/* A token (RFC 9110, section 5.6.2), but not "*": the gateway names what it allows. */
static bool header_name_is_valid(const char *name) {
    size_t length = http_token_length(name);
    return length > 0 && name[length] == '\0' && strchr(name, '*') == NULL;
}

static int header_names_parse(const struct config_key *key, const char *text, void *field) {
    (void)key;
    if (strlen(text) > CORS_HEADERS_BYTES_MAX || strchr(text, '*') != NULL)
        return -EINVAL;
    return list_parse(text, header_name_is_valid, field);
}

static bool header_names_allow(const struct config_key *key, struct buffer *out) {
    (void)key;
    return buffer_printf(out, "a list of header names such as baggage, of at most %d bytes in all",
                         CORS_HEADERS_BYTES_MAX);
}

const struct config_type config_header_names = {.placeholder = "LIST",
                                                .quoted = true,
                                                .list = true,
                                                .parse = header_names_parse,
                                                .format = list_format,
                                                .allow = header_names_allow,
                                                .finish = list_finish};

/* ---- headers ------------------------------------------------------------------------------------- */

/* A comma ends a header if a name and a colon follow it; else it belongs to the value. */
static size_t header_length(const char *text) {
    const char *at = text;
    for (; *at != '\0'; at++) {
        const char *next = *at == ',' ? at + 1 + strspn(at + 1, " ") : NULL;
        size_t name = next != NULL ? http_token_length(next) : 0;
        if (name > 0 && next[name] == ':')
            break;
    }
    return (size_t)(at - text);
}

/* Those that the gateway writes itself, or that speak of the connection. */
static bool is_reserved(const char *name, size_t length) {
    static const char *const names[] = {
        "Accept",         "Authorization",     "Connection",      "Content-Encoding",
        "Content-Length", "Content-Type",      "Expect",          "Host",
        "Keep-Alive",     "Last-Event-ID",     "Range",           "TE",
        "Trailer",        "Transfer-Encoding", "traceparent",     "tracestate",
        "Upgrade",        "Accept-Language",   "Proxy-Connection"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strlen(names[i]) == length && strncasecmp(names[i], name, length) == 0)
            return true;
    }
    return false;
}

/* Copies one header as "Name: value"; returns the end of the copy. NULL: it is none. */
static char *copy_header(const char *text, size_t length, char *out) {
    size_t name = http_token_length(text), value = name + 1;
    if (name == 0 || name >= length || text[name] != ':' || is_reserved(text, name))
        return NULL;
    while (value < length && text[value] == ' ')
        value++;
    while (length > value && text[length - 1] == ' ')
        length--;
    if (value == length)
        return NULL;
    for (size_t i = value; i < length; i++) {
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
            return NULL;
    }
    out = stpcpy(mempcpy(out, text, name), ": ");
    return mempcpy(out, text + value, length - value);
}

/* `out` has room for all of it, and a blank for each header. */
static bool copy_headers(const char *text, char *out) {
    while (*text != '\0') {
        size_t length = header_length(text);
        out = copy_header(text, length, out);
        if (out == NULL)
            return false;
        text += length;
        if (*text == ',')
            *out++ = '\n';
        text += strspn(text, ", ");
    }
    *out = '\0';
    return true;
}

static int take_headers(void *field, char *text) {
    free(*(char **)field);
    *(char **)field = text;
    return 0;
}

static int headers_parse(const struct config_key *key, const char *text, void *field) {
    if (text[0] == '\0')
        return take_headers(field, NULL);
    if (strlen(text) > key->maximum)
        return -EINVAL;
    char *lines = malloc(2 * strlen(text) + 1);
    if (lines == NULL)
        return -ENOMEM;
    if (copy_headers(text, lines))
        return take_headers(field, lines);
    free(lines);
    return -EINVAL;
}

static bool headers_format(const struct config_key *key, const void *field, struct buffer *out) {
    (void)key;
    for (const char *at = *(char *const *)field; at != NULL && *at != '\0'; at++) {
        if (!buffer_append(out, *at == '\n' ? "," : at, 1))
            return false;
    }
    return true;
}

static bool headers_allow(const struct config_key *key, struct buffer *out) {
    return buffer_printf(out,
                         "a list of headers such as \"api-key: 1234\", of at most %" PRIu64
                         " bytes, none of the gateway's own",
                         key->maximum);
}

static void headers_finish(void *field) {
    free(*(char **)field);
}

const struct config_type config_headers = {.placeholder = "HEADERS",
                                           .quoted = true,
                                           .list = true,
                                           .parse = headers_parse,
                                           .format = headers_format,
                                           .allow = headers_allow,
                                           .finish = headers_finish};
