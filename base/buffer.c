/* A growing run of bytes with a maximum.
 *
 * The capacity doubles, up to the maximum, and there is always room for a NUL, so that the bytes are a C string at
 * any time. A function that fails leaves the buffer as it was. Memory of a counted buffer is charged when the
 * capacity grows, not for each byte.
 */
#include "base/buffer.h"

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY_MIN 64

void buffer_init(struct buffer *buffer, size_t bytes_max) {
    buffer_init_counted(buffer, bytes_max, MEMORY_UNCOUNTED);
}

void buffer_init_counted(struct buffer *buffer, size_t bytes_max, enum memory_kind kind) {
    assert(bytes_max < SIZE_MAX); /* the NUL needs one more */
    *buffer = (struct buffer){.bytes_max = bytes_max, .kind = kind};
}

void buffer_init_fixed(struct buffer *buffer, char *storage, size_t size) {
    assert(size > 0);
    storage[0] = '\0';
    *buffer = (struct buffer){.bytes = storage, .capacity = size, .bytes_max = size - 1};
}

/* It has no memory any more. */
static void let_go(struct buffer *buffer) {
    if (buffer->kind != MEMORY_UNCOUNTED && buffer->bytes != NULL)
        memory_release(buffer->kind, buffer->capacity);
    *buffer = (struct buffer){.bytes_max = buffer->bytes_max, .kind = buffer->kind};
}

void buffer_finish(struct buffer *buffer) {
    free(buffer->bytes);
    let_go(buffer);
}

void buffer_clear(struct buffer *buffer) {
    buffer->length = 0;
    if (buffer->bytes != NULL)
        buffer->bytes[0] = '\0';
}

/* Answers of the gateway's own are made however little memory there is, within their share: they say so. */
static bool may_grow(const struct buffer *buffer, size_t capacity) {
    if (buffer->kind == MEMORY_UNCOUNTED)
        return true;
    bool is_own = buffer->kind == MEMORY_ANSWERS;
    return (is_own || memory_may_grow(capacity)) && memory_share_may_grow(buffer->kind, capacity);
}

static void note_growth(const struct buffer *buffer, size_t capacity) {
    if (buffer->kind == MEMORY_UNCOUNTED)
        return;
    memory_charge(buffer->kind, capacity);
    if (buffer->bytes != NULL)
        memory_release(buffer->kind, buffer->capacity);
}

bool buffer_reserve(struct buffer *buffer, size_t extra) {
    if (extra > buffer->bytes_max - buffer->length)
        return false;
    size_t needed = buffer->length + extra + 1;
    if (needed <= buffer->capacity)
        return true;
    size_t capacity = buffer->capacity * 2;
    if (capacity > buffer->bytes_max + 1)
        capacity = buffer->bytes_max + 1;
    if (capacity < needed)
        capacity = needed;
    if (capacity < CAPACITY_MIN)
        capacity = CAPACITY_MIN;
    if (!may_grow(buffer, capacity))
        return false;
    char *bytes = realloc(buffer->bytes, capacity);
    if (bytes == NULL)
        return false;
    note_growth(buffer, capacity);
    buffer->bytes = bytes;
    buffer->capacity = capacity;
    return true;
}

bool buffer_append(struct buffer *buffer, const void *bytes, size_t length) {
    if (!buffer_reserve(buffer, length))
        return false;
    if (length > 0)
        memcpy(buffer->bytes + buffer->length, bytes, length);
    buffer->length += length;
    buffer->bytes[buffer->length] = '\0';
    return true;
}

bool buffer_append_text(struct buffer *buffer, const char *text) {
    return buffer_append(buffer, text, strlen(text));
}

bool buffer_printf(struct buffer *buffer, const char *format, ...) {
    va_list values, again;
    va_start(values, format);
    va_copy(again, values);
    int length = vsnprintf(NULL, 0, format, values);
    bool fits = length >= 0 && buffer_reserve(buffer, (size_t)length);
    if (fits) {
        vsnprintf(buffer->bytes + buffer->length, (size_t)length + 1, format, again);
        buffer->length += (size_t)length;
    }
    va_end(again);
    va_end(values);
    return fits;
}

void buffer_consume(struct buffer *buffer, size_t count) {
    assert(count <= buffer->length);
    if (count == 0)
        return;
    memmove(buffer->bytes, buffer->bytes + count, buffer->length - count);
    buffer->length -= count;
    buffer->bytes[buffer->length] = '\0';
}

char *buffer_detach(struct buffer *buffer) {
    if (!buffer_reserve(buffer, 0))
        return NULL;
    char *bytes = buffer->bytes;
    bytes[buffer->length] = '\0';
    char *shrunk = realloc(bytes, buffer->length + 1);
    if (shrunk != NULL)
        bytes = shrunk;
    let_go(buffer);
    return bytes;
}
