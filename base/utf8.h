/* UTF-8 as the Encoding standard decodes it ("UTF-8 decode without BOM"). */
#ifndef SLUICE_BASE_UTF8_H
#define SLUICE_BASE_UTF8_H

#include "base/buffer.h"

/** Returns whether the bytes are well-formed UTF-8 (Unicode 15, table 3-7). Any thread. */
bool utf8_is_valid(const char *bytes, size_t length);

/** Returns the length of the longest beginning of at most `length_max` bytes (4 or more) that does not end
 * within a character. */
size_t utf8_beginning(const char *bytes, size_t length, size_t length_max);

/** Appends the bytes, with each maximal ill-formed part replaced by U+FFFD like the Encoding standard's
 * decoder. False: the buffer is full or memory is out. Any thread. */
bool utf8_append_replaced(struct buffer *buffer, const char *bytes, size_t length) MUST_CHECK;

/** The bytes of half a surrogate pair, if UTF-8 encoded halves: ED A0 80 to ED BF BF. JSON can hold the
 * halves of a pair in two texts. */
#define UTF8_HALF_BYTES 3

/** Returns whether the text ends with the first half of a pair. The next text may begin with the second half.
 * Any thread. */
bool utf8_ends_with_half(const char *bytes, size_t length);

/** Joins, in place, halves that make a pair to the character; each other half becomes U+FFFD. All other bytes
 * are unchanged. Returns the new length, which is not larger. Any thread. */
size_t utf8_join_halves(char *bytes, size_t length);

#endif
