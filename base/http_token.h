/* Tokens of HTTP (RFC 9110, section 5.6.2): names of headers, methods, the two halves of a media type. */
#ifndef SLUICE_BASE_HTTP_TOKEN_H
#define SLUICE_BASE_HTTP_TOKEN_H

#include <stddef.h>
#include <string.h>

/** Returns the length of the token that `text` begins with; 0 if it begins with none. */
static inline size_t http_token_length(const char *text) {
    return strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~");
}

#endif
