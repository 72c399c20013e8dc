/* The head of a request, after libmicrohttpd has taken it apart.
 *
 * What the library has let through is looked at once more, as strictly as RFC 9112 is: two servers that
 * read one head in two ways are how requests are smuggled. First the target, then each field, then what the
 * fields say together. The library keeps a head as it came, in one piece of memory with NULs between its
 * parts. So where each part stands there says whether bytes lie in between that belong to no line.
 *
 * Version 1.0.0 of the library is the first that reads heads by RFC 9110 and 9112 itself: "rewritten parsing
 * of clients' requests", as its NEWS of 1 February 2024 has it. Debian 12 has 0.9.75. */
#include "http/head.h"

#include "base/http_token.h"
#include "base/metrics.h"
#include "base/path_dots.h"
#include "base/percent.h"
#include "base/utf8.h"
#include "routes/path.h"
#include "routes/site.h"

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- the target (RFC 9112, section 3.2) ---------------------------------------------------------- */

static const char scheme[] = "http://";

/* ---- authority ----------------------------------------------------------------------------------- */

static size_t span_length(const char *text, size_t length, const char *punctuation) {
    size_t at = 0;
    while (at < length) {
        unsigned char byte = (unsigned char)text[at];
        if (byte >= 0x80 || byte == '\0' || (!isalnum(byte) && strchr(punctuation, byte) == NULL))
            break;
        at++;
    }
    return at;
}

/* RFC 3986, section 3.2.2: letters, digits, these, and percent-encodings. */
#define NAME_PUNCTUATION "-._~!$&'()*+,;="

static size_t name_length(const char *text, size_t length) {
    size_t at = 0;
    for (;;) {
        at += span_length(text + at, length - at, NAME_PUNCTUATION);
        bool is_encoded = length - at > 2 && text[at] == '%' && hex_value(text[at + 1]) >= 0 &&
                          hex_value(text[at + 2]) >= 0;
        if (!is_encoded)
            return at;
        at += 3;
    }
}

/* What stands in brackets: an address of IPv6, or of a version to come, "v1.anything". */
static size_t literal_length(const char *text, size_t length) {
    size_t version = 1;
    if (length == 0 || tolower((unsigned char)text[0]) != 'v')
        return span_length(text, length, ":.");
    while (version < length && hex_value(text[version]) >= 0)
        version++;
    if (version == 1 || version == length || text[version] != '.')
        return 0;
    size_t rest = span_length(text + version + 1, length - version - 1, NAME_PUNCTUATION ":");
    return rest > 0 ? version + 1 + rest : 0;
}

static size_t host_length(const char *text, size_t length) {
    if (length == 0 || text[0] != '[')
        return name_length(text, length);
    size_t inside = literal_length(text + 1, length - 1);
    return inside > 0 && inside + 1 < length && text[inside + 1] == ']' ? inside + 2 : 0;
}

bool http_authority_is_valid(const char *text, size_t length) {
    size_t at = host_length(text, length);
    if (at == 0)
        return false;
    if (at == length)
        return true;
    if (text[at++] != ':')
        return false;
    while (at < length && isdigit((unsigned char)text[at]))
        at++;
    return at == length;
}

#define NO_PORT UINT32_MAX

/* That of a valid authority whose host has so many bytes: no port is the one of http. */
static uint32_t port_of_authority(const char *text, size_t length, size_t host) {
    uint32_t port = 0;
    if (host + 1 >= length)
        return 80;
    for (size_t at = host + 1; at < length; at++) {
        port = port * 10 + (uint32_t)(text[at] - '0');
        if (port > UINT16_MAX)
            return NO_PORT;
    }
    return port;
}

/* RFC 3986, section 6.2.3: a port that is left out, empty or the usual one is the same. */
static bool is_same(const char *one, size_t one_length, const char *other) {
    size_t other_length = strlen(other);
    size_t host = host_length(one, one_length);
    uint32_t port = port_of_authority(one, one_length, host);
    return host == host_length(other, other_length) && strncasecmp(one, other, host) == 0 &&
           http_authority_is_valid(other, other_length) && port != NO_PORT &&
           port == port_of_authority(other, other_length, host);
}

const char *http_target_path(const char *target, const char *host) {
    if (*target == '/' || strcmp(target, "*") == 0)
        return target;
    if (strncasecmp(target, scheme, sizeof(scheme) - 1) != 0)
        return NULL;
    const char *authority = target + sizeof(scheme) - 1;
    size_t length = strcspn(authority, "/");
    if (!http_authority_is_valid(authority, length))
        return NULL;
    if (host != NULL && !is_same(authority, length, host))
        return NULL;
    return authority[length] == '/' ? authority + length : "/";
}

/* ---- path and query ------------------------------------------------------------------------------ */

/* Decodes once; 0, -EINVAL: a byte that a target does not have, or no UTF-8; or -ENOMEM. The caller frees the text. */
static int decode_target(const char *text, char **ret_decoded) {
    size_t length = strlen(text);
    char *decoded = malloc(length + 1);
    if (decoded == NULL)
        return -ENOMEM;
    *ret_decoded = decoded;
    int decoded_length =
        path_query_is_safe(text) ? percent_decode(text, length, decoded, length + 1) : -EINVAL;
    return decoded_length >= 0 && utf8_is_valid(decoded, (size_t)decoded_length) ? 0 : -EINVAL;
}

static bool has_control_byte(const char *text) {
    while ((unsigned char)*text >= ' ' && *text != 0x7f)
        text++;
    return *text != '\0';
}

int http_path_check(const char *path) {
    char *decoded = NULL;
    int result = decode_target(path, &decoded);
    if (result == 0 && (has_control_byte(decoded) || path_has_dots(decoded)))
        result = -EINVAL;
    free(decoded);
    return result;
}

int http_query_check(const char *query) {
    char *decoded = NULL;
    int result = decode_target(query, &decoded);
    free(decoded);
    return result;
}

/* ---- the fields ---------------------------------------------------------------------------------- */

/* What is gathered from the fields of a head. */
struct head {
    uintptr_t line_end; /* where the line that was looked at last ends in memory, its CRLF included */
    bool scattered;
    unsigned hosts, lengths, encodings, fields;
    bool bad_name, bad_value;
    unsigned seen;        /* of the fields that may be there once, a bit each */
    const char *repeated; /* one of them that was there before; NULL: none */
    bool padded_encoding;
};

/* A token (RFC 9110, section 5.6.2). */
static bool is_token(const char *text) {
    size_t length = http_token_length(text);
    return length > 0 && text[length] == '\0';
}

/* RFC 9110, section 5.5. */
static bool is_field_value(const char *text) {
    for (; *text != '\0'; text++) {
        if (((unsigned char)*text < 0x20 && *text != '\t') || *text == 0x7f)
            return false;
    }
    return true;
}

/* The library cuts the head up where it came to lie. So the line of a field begins where the one before it
 * ended, and ends with CRLF behind the value, which the library does not trim. Where that does not come out
 * there is something in between that we are not shown: a NUL and what follows it, a line that ends with LF
 * alone, a folded line, a field without a name. */
static void follow_line(struct head *head, const char *name, const char *value) {
    uintptr_t begin = (uintptr_t)name, value_begin = (uintptr_t)value;
    head->scattered = head->scattered || begin != head->line_end || value_begin <= begin + strlen(name);
    head->line_end = value_begin + strlen(value) + 2;
}

/* Cuts off the white space after a value, which is not part of it (RFC 9110, section 5.5), where it lies in
 * the library's memory: so the library does not see it either, as far as it has not looked yet. Returns
 * whether there was any. */
static bool trim_value(const char *value) {
    char *own = (char *)(uintptr_t)value;
    size_t length = strlen(value), trimmed = length;
    while (trimmed > 0 && (own[trimmed - 1] == ' ' || own[trimmed - 1] == '\t'))
        trimmed--;
    own[trimmed] = '\0';
    return trimmed < length;
}

/* What has one value: of two, somebody else might take the other one. Host and the lengths have checks of
 * their own; what is not here is a list, or is passed on as it is. */
static void look_for_second(struct head *head, const char *name) {
    static const char *const singles[] = {"Content-Type",
                                          "Content-Encoding",
                                          "Origin",
                                          "Sec-Fetch-Site",
                                          "Access-Control-Request-Method",
                                          "Idempotency-Key",
                                          "Last-Event-ID",
                                          "Sluice-On-Disconnect",
                                          "Authorization"};
    for (size_t i = 0; i < sizeof(singles) / sizeof(singles[0]); i++) {
        if (strcasecmp(name, singles[i]) != 0)
            continue;
        if ((head->seen & 1u << i) != 0)
            head->repeated = singles[i];
        head->seen |= 1u << i;
    }
}

static enum MHD_Result look_at_field(void *context, enum MHD_ValueKind kind, const char *name,
                                     const char *value) {
    (void)kind;
    struct head *head = context;
    follow_line(head, name, value);
    bool padded = trim_value(value), is_encoding = strcasecmp(name, "Transfer-Encoding") == 0;
    look_for_second(head, name);
    head->hosts += strcasecmp(name, "Host") == 0;
    head->lengths += strcasecmp(name, "Content-Length") == 0;
    head->encodings += is_encoding;
    head->padded_encoding = head->padded_encoding || (padded && is_encoding);
    head->bad_name = head->bad_name || !is_token(name);
    head->bad_value = head->bad_value || !is_field_value(value);
    head->fields++;
    return MHD_YES;
}

static size_t header_size(const struct http_exchange *exchange) {
    return MHD_get_connection_info(exchange->handle, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE)->header_size;
}

/* Looks at all there is. `method`, `version` and the fields lie where they came to lie. */
static struct head look_at_head(const struct http_exchange *exchange, const char *method,
                                const char *version) {
    struct head head = {.line_end = (uintptr_t)version + strlen(version) + 2};
    head.scattered = exchange->uri_place != (uintptr_t)method + strlen(method) + 1 ||
                     (uintptr_t)version != exchange->uri_place + exchange->uri_length + 1;
    MHD_get_connection_values(exchange->handle, MHD_HEADER_KIND, look_at_field, &head);
    if (head.line_end + 2 != (uintptr_t)method + header_size(exchange))
        head.scattered = true;
#if MHD_VERSION >= 0x00097701
    head.scattered = false; /* the library is strict itself, and trims values */
#endif
    return head;
}

/* 0; -EINVAL: the target is no plain path on this host; -ENOMEM. */
static int read_target(struct request *request, const char *host) {
    const char *path = http_target_path(request->path, host);
    if (path == NULL || (*path == '*' && request->method != METHOD_OPTIONS))
        return -EINVAL;
    /* RFC 9112, section 3.2.4: of all of the server, written in absolute-form. */
    const char *scheme_end = strstr(request->path, "://");
    bool has_no_path = request->path[0] != '/' && scheme_end != NULL && strchr(scheme_end + 3, '/') == NULL;
    if (request->method == METHOD_OPTIONS && has_no_path && request->query[0] == '\0')
        path = "*";
    request->path = path;
    int result = http_path_check(path);
    return result == 0 ? http_query_check(request->query) : result;
}

static const char *refuse_head(struct request *request, int status, const char *code, const char *message) {
    reply_error(request, status, code, "%s", message);
    return code;
}

static const char *refuse_limit(struct request *request, const char *code, const char *what, const char *key,
                                uint64_t number, const char *unit) {
    reply_limit(request, 431, code, what, key, number, unit);
    return code;
}

/* Each field, cookie and parameter costs the library this much beside its text. */
#define FIELD_BYTES 64
/* What it needs to read a body and to write the head of an answer. */
#define ROOM_BYTES_MIN 512

/* The line lies in the first half of the connection's memory, and parameters are noted in the other one. */
bool http_head_parameters_fit(const char *uri, uint64_t request_header_bytes_max) {
    size_t length = 0, count = 0;
    for (; uri[length] != '\0'; length++)
        count += uri[length] == '?' || uri[length] == '&';
    return length < request_header_bytes_max &&
           count * FIELD_BYTES + ROOM_BYTES_MIN <= request_header_bytes_max;
}

struct cookies {
    size_t count, bytes;
};

static enum MHD_Result count_cookie(void *context, enum MHD_ValueKind kind, const char *name,
                                    const char *value) {
    (void)kind;
    struct cookies *cookies = context;
    cookies->count++;
    cookies->bytes += strlen(name) + strlen(value != NULL ? value : "") + strlen("=; ");
    return MHD_YES;
}

/* Whether the head leaves room in the connection's memory. A second copy of the cookies lies there, too. */
static bool leaves_room(const struct http_exchange *exchange, const struct head *head) {
    struct cookies cookies = {0};
    MHD_get_connection_values(exchange->handle, MHD_COOKIE_KIND, count_cookie, &cookies);
    int parameters = MHD_get_connection_values(exchange->handle, MHD_GET_ARGUMENT_KIND, NULL, NULL);
    size_t noted = head->fields + cookies.count + (size_t)parameters;
    size_t used = header_size(exchange) + cookies.bytes + noted * FIELD_BYTES;
    return used + ROOM_BYTES_MIN <= HTTP_POOL_BYTES(exchange->listener->settings.request_header_bytes_max);
}

static const char *check_size(struct http_exchange *exchange, const struct head *head) {
    struct request *request = &exchange->request;
    const struct http_listener_settings *settings = &exchange->listener->settings;
    exchange->has_no_room = !leaves_room(exchange, head);
    if (header_size(exchange) > settings->request_header_bytes_max || exchange->has_no_room)
        return refuse_limit(request, "headers_too_large", "Request line and headers are too large",
                            "request_header_bytes_max", settings->request_header_bytes_max, "bytes");
    if (head->fields > settings->request_headers_max)
        return refuse_limit(request, "too_many_headers", "There are too many headers", "request_headers_max",
                            settings->request_headers_max, NULL);
    return NULL;
}

/* Where the request ends (RFC 9112, section 6.3). */
static const char *check_length(struct http_exchange *exchange, const struct head *head) {
    struct request *request = &exchange->request;
    const char *encoding = request_header(request, "Transfer-Encoding");
    if (head->lengths + head->encodings > 1 || (head->encodings > 0 && request->http_1_0))
        return refuse_head(request, 400, "ambiguous_length", "A request must state its length only once.");
    if (encoding != NULL && strcasecmp(encoding, "chunked") != 0)
        return refuse_head(request, 501, "unsupported_transfer_encoding",
                           "The only transfer encoding allowed is chunked.");
    exchange->has_own_body = head->padded_encoding;
    if (head->padded_encoding && request->method != METHOD_POST)
        return refuse_head(request, 400, "invalid_header",
                           "White space after the value of Transfer-Encoding is accepted with POST only.");
    return NULL;
}

/* For whom it is (RFC 9112, section 3.2). */
static const char *check_target(struct request *request, const struct head *head) {
    const char *host = request_header(request, "Host");
    if (head->hosts != 1 && !(request->http_1_0 && head->hosts == 0))
        return refuse_head(request, 400, "invalid_host", "A request must have exactly one Host header.");
    if (host != NULL && !http_authority_is_valid(host, strlen(host)))
        return refuse_head(request, 400, "invalid_host",
                           "The Host header must be a host with or without a port.");
    if (!site_serves(request->context->settings, host)) {
        metrics_add(METRIC_REQUESTS_OF_OTHER_HOST, 1);
        return refuse_head(request, 403, "host_not_allowed",
                           "The Host header does not name this gateway; allowed_hosts lists further names.");
    }
    int result = read_target(request, host);
    if (result == -ENOMEM)
        reply_no_memory(request);
    else if (result < 0)
        return refuse_head(request, 400, "invalid_target",
                           "The request target is not a valid path on this host.");
    return NULL;
}

static const char *check_syntax(struct request *request, const struct head *head, const char *method) {
    const char *expected = request_header(request, "Expect");
    if (!is_token(method))
        return refuse_head(request, 400, "invalid_method", "The method is not a valid token.");
    if (head->bad_name || head->bad_value)
        return refuse_head(request, 400, "invalid_header", "A header has an invalid name or value.");
    if (head->repeated != NULL) {
        reply_error(request, 400, "repeated_header", "The header %s must not be repeated.", head->repeated);
        return "repeated_header";
    }
    if (head->scattered)
        return refuse_head(request, 400, "invalid_head",
                           "The request head contains bytes that belong to no header line.");
    if (expected != NULL && strcasecmp(expected, "100-continue") != 0)
        return refuse_head(request, 417, "unsupported_expectation",
                           "The only expectation allowed is 100-continue.");
    return NULL;
}

const char *http_head_check(struct http_exchange *exchange, const char *method, const char *version) {
    struct head head = look_at_head(exchange, method, version);
    const char *offence = check_size(exchange, &head);
    if (offence == NULL)
        offence = check_length(exchange, &head);
    if (offence == NULL)
        offence = check_syntax(&exchange->request, &head, method);
    if (offence == NULL)
        offence = check_target(&exchange->request, &head);
    return offence;
}
