/* The target of a request line: see http/target.h. */
#include "http/target.h"

#include "base/path_dots.h"
#include "base/percent.h"
#include "base/utf8.h"
#include "routes/path.h"

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

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
