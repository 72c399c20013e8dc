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
    char *bytes; /* `length` bytes and a NUL behind them; NULL while nothing was appended */
    size_t length;
    size_t capacity;
    size_t bytes_max;
    enum memory_kind kind; /* what its memory is charged as */
};

/** An empty buffer that never holds more than `bytes_max` bytes. Allocates nothing. */
void buffer_init(struct buffer *buffer, size_t bytes_max);

/** The same; its memory is charged as `kind` as long as the buffer has it. While memory_may_grow() says no,
 * it counts as out of memory, but for MEMORY_ANSWERS. */
void buffer_init_counted(struct buffer *buffer, size_t bytes_max, enum memory_kind kind);

/** An empty buffer in the caller's `storage`: it holds `size` - 1 bytes at most and never allocates. It is
 *  neither finished nor detached. */
void buffer_init_fixed(struct buffer *buffer, char *storage, size_t size);

/** Frees what it holds. */
void buffer_finish(struct buffer *buffer);

/** Empties it and keeps its memory. */
void buffer_clear(struct buffer *buffer);

/** Makes room for `extra` more bytes. False: over the maximum or out of memory; nothing changed. */
bool buffer_reserve(struct buffer *buffer, size_t extra) MUST_CHECK;

/** Appends. False: over the maximum or out of memory; nothing changed. */
bool buffer_append(struct buffer *buffer, const void *bytes, size_t length) MUST_CHECK;

/** Appends a C string. False as buffer_append(). */
bool buffer_append_text(struct buffer *buffer, const char *text) MUST_CHECK;

/** Appends formatted text. False as buffer_append(). */
bool buffer_printf(struct buffer *buffer, const char *format, ...) MUST_CHECK PRINTF_LIKE(2, 3);

/** Removes the first `count` bytes; `count` is at most the length. */
void buffer_consume(struct buffer *buffer, size_t count);

/** Hands over the bytes, NUL-terminated, for the caller to free(); the buffer is empty then, and the bytes
 * are charged no more. NULL: out of memory (an empty buffer gives an empty string). */
char *buffer_detach(struct buffer *buffer) MUST_CHECK;

#endif
