/* What an upstream's error answer says, in a sentence for people. */
#ifndef SLUICE_UPSTREAM_ERROR_TEXT_H
#define SLUICE_UPSTREAM_ERROR_TEXT_H

#include "base/buffer.h"

/** Appends the text that the JSON `body` has under "error", "detail" or "message", or the first line of one
 * that is plain text; nothing if it is neither. What is appended is one line of valid UTF-8. False: the
 * buffer is full or memory is out; nothing useful was appended. */
bool error_text_append(struct buffer *out, const char *body, size_t length) MUST_CHECK;

#endif
