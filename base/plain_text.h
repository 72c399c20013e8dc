/* Text from outside that people read in a terminal, a log or a line of an event stream. */
#ifndef SLUICE_BASE_PLAIN_TEXT_H
#define SLUICE_BASE_PLAIN_TEXT_H

#include <stddef.h>

/** Returns the UTF-8 length of the character at `text` if that character deceives, and its code point in
 * *ret_code. A deceiving character is one of three: a control that a terminal obeys (DEL, C1 controls); a
 * line end for some readers (U+0085, U+2028, U+2029); or a change of direction (U+061C, U+200E, U+200F,
 * U+202A to U+202E, U+2066 to U+2069). 0: the character does not deceive. Any thread. */
size_t plain_text_deceiving_length(const char *text, size_t length, unsigned *ret_code);

/** Copies `text` so that the copy needs no escape in JSON or in a log line, and its length there is known.
 * Each control and each deceiving character becomes a blank. Quotes and backslashes become other marks, and
 * invalid UTF-8 becomes U+003F. The copy is cut to `size` with its NUL, between two characters. Any thread.
 */
void plain_text_copy(char *out, size_t size, const char *text);

#endif
