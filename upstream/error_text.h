/* What an upstream's error answer says, in a sentence for people. */
#ifndef SLUICE_UPSTREAM_ERROR_TEXT_H
#define SLUICE_UPSTREAM_ERROR_TEXT_H

#include "base/buffer.h"

/** Appends the text that the JSON `body` has under "error", "detail", "message" and the like, or the first
 * line of one that is plain text; nothing if it is neither. Of {"error":"Name","message":"words"} it is
 * "Name: words". What is appended is one line of valid UTF-8.
 * False: the buffer is full or memory is out; nothing useful was appended. */
bool error_text_append(struct buffer *out, const char *body, size_t length) MUST_CHECK;

/** The same; of text that it would leave out, markup or JSON without such a member, the first line as it is.
 */
bool error_text_append_any(struct buffer *out, const char *text, size_t length) MUST_CHECK;

/** Appends the first bytes of any text as one line of printable UTF-8: blanks and line ends in a row are one
 * space; controls, bytes that are no UTF-8, and % are written as %XX. "..." follows what is longer. */
bool error_text_append_bytes(struct buffer *out, const char *text, size_t length) MUST_CHECK;

#endif
