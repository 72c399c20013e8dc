/* Text of strangers that people read, in a terminal, a log or a line of an event stream. */
#ifndef SLUICE_BASE_PLAIN_TEXT_H
#define SLUICE_BASE_PLAIN_TEXT_H

#include <stddef.h>

/** How many bytes of UTF-8 the character at `text` has, if it is one that a terminal obeys (DEL, C1
 * controls), that ends a line for some (U+0085, U+2028, U+2029), or that turns the order of characters around
 * (U+061C, U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069); its code point is in *ret_code then. 0: it is
 * none of these. Any thread. */
size_t plain_text_deceiving_length(const char *text, size_t length, unsigned *ret_code);

/** Copies what may stand in JSON and in a log line without any escape, so that its length there is known: a
 * blank for each control and for what deceives, other marks for quotes and backslashes, U+003F for what is no
 * UTF-8. Cuts at `size` with the NUL, before a character's middle. Any thread. */
void plain_text_copy(char *out, size_t size, const char *text);

#endif
