/* A growing run of bytes with a maximum.
 *
 *     struct buffer text;
 *     buffer_init(&text, 64 * 1024);
 *     if (!buffer_append(&text, "abc", 3) || !buffer_printf(&text, " %d", 7))
 *         ...; // full, or out of memory: text is as it was before that call
 *     buffer_finish(&text);
 */
#ifndef SLUICE_BASE_BUFFER_H
#define SLUICE_BASE_BUFFER_H

#include "base/attributes.h"
#include "base/memory_budget.h"

#include <stdbool.h>
#include <stddef.h>

struct buffer {
    char *bytes; /* `length` bytes and a NUL after them; NULL before the first append */
    size_t length;
    size_t capacity;
    size_t bytes_max;
    enum memory_kind kind; /* the kind that the buffer's memory is charged to */
};

/** Makes an empty buffer that never holds more than `bytes_max` bytes. Allocates nothing. */
void buffer_init(struct buffer *buffer, size_t bytes_max);

/** Like buffer_init(), but the buffer's memory is charged to `kind`. While memory_may_grow() returns false,
 * an append fails as out of memory, except for MEMORY_ANSWERS. */
void buffer_init_counted(struct buffer *buffer, size_t bytes_max, enum memory_kind kind);

/** Makes an empty buffer in the caller's `storage`. The buffer holds at most `size` - 1 bytes and never
 * allocates. It must not be finished or detached. */
void buffer_init_fixed(struct buffer *buffer, char *storage, size_t size);

/** Frees the buffer's memory. */
void buffer_finish(struct buffer *buffer);

/** Empties the buffer and keeps its memory. */
void buffer_clear(struct buffer *buffer);

/** Makes room for `extra` more bytes. False: over the maximum or out of memory, and nothing changed. */
bool buffer_reserve(struct buffer *buffer, size_t extra) MUST_CHECK;

/** Appends bytes. False: over the maximum or out of memory, and nothing changed. */
bool buffer_append(struct buffer *buffer, const void *bytes, size_t length) MUST_CHECK;

/** Appends a C string. False as buffer_append(). */
bool buffer_append_text(struct buffer *buffer, const char *text) MUST_CHECK;

/** Appends formatted text. False as buffer_append(). */
bool buffer_printf(struct buffer *buffer, const char *format, ...) MUST_CHECK PRINTF_LIKE(2, 3);

/** Removes the first `count` bytes; `count` is at most the length. */
void buffer_consume(struct buffer *buffer, size_t count);

/** Returns the bytes, NUL-terminated, for the caller to free(). The buffer is empty afterwards, and the bytes
 * are no longer charged. An empty buffer returns an empty string. NULL: out of memory. */
char *buffer_detach(struct buffer *buffer) MUST_CHECK;

#endif
