/* Percent-encoding (RFC 3986, section 2.1). */
#ifndef SLUICE_BASE_PERCENT_H
#define SLUICE_BASE_PERCENT_H

#include "base/buffer.h"

/** Returns the value of a hexadecimal digit, or -1. */
int hex_value(char digit);

/** Returns whether the character never needs to be encoded (RFC 3986, section 2.3): a letter, a digit, or one
 * of -._~ */
bool percent_is_unreserved(char character);

/** Decodes `text` once into `out`, NUL-terminated. Returns the decoded length. -EINVAL: a '%' without two hex
 * digits, or an encoded NUL. -ENOBUFS: the result does not fit `size`. Any thread. */
int percent_decode(const char *text, size_t length, char *out, size_t size) MUST_CHECK;

/** Appends `text` and encodes every byte that is not unreserved (RFC 3986, section 2.3). False: the buffer is
 * full. */
bool percent_append_encoded(struct buffer *buffer, const char *text, size_t length) MUST_CHECK;

/** Appends `before` unchanged, and `part` encoded except for "@". An "@" needs no encoding in a part of a
 * path (RFC 3986, section 3.3), and users' names are often addresses. False: the buffer is full. */
bool percent_append_part(struct buffer *buffer, const char *before, const char *part) MUST_CHECK;

#endif
