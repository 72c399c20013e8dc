/* Writing JSON text (RFC 8259) where a tree would be too much: log lines and lifecycle events. */
#ifndef SLUICE_BASE_JSON_TEXT_H
#define SLUICE_BASE_JSON_TEXT_H

#include "base/buffer.h"

/** Appends what stands between the quotes of a JSON string: a part of one that ends where a character does.
 * Invalid UTF-8 becomes U+FFFD. False: the buffer is full (and holds some of the part then). Any thread. */
bool json_text_append_part(struct buffer *buffer, const char *text, size_t length) MUST_CHECK;

/** Appends `text` as a JSON string with its quotes; invalid UTF-8 becomes U+FFFD. False: the buffer is full
 *  (and holds a part of the string then). Any thread. */
bool json_text_append_string(struct buffer *buffer, const char *text, size_t length) MUST_CHECK;

/** The same for a log that people read and for the gateway's own events: what deceives (base/plain_text.h) is
 * escaped, too. */
bool json_text_append_plainly(struct buffer *buffer, const char *text, size_t length) MUST_CHECK;

#endif
