/* Writes JSON piece by piece: answers, events, log lines. All JSON of the gateway is written here.
 *
 * JSON is read in three ways: into a tree (base/json_parse.h), its outermost members without a tree
 * (base/json_members.h), and members by their names, quickly (base/json_keys.h).
 *
 * A failure (no memory, over the maximum) is remembered, so the caller checks for it once, at the end.
 *
 *     struct json_writer json;
 *     json_writer_init(&json, 4096);
 *     json_begin_object(&json, NULL);
 *     json_add_string(&json, "status", "ok");
 *     json_end_object(&json);
 *     reply_json(request, 200, &json);
 */
#ifndef SLUICE_BASE_JSON_WRITER_H
#define SLUICE_BASE_JSON_WRITER_H

#include "base/buffer.h"

#include <stdint.h>

struct json_writer {
    struct buffer text;
    bool needs_comma;
    bool failed;
    bool is_plain; /* for an event of the gateway: deceiving characters are escaped (base/plain_text.h); set
                      after init */
};

/** A writer of at most `bytes_max` bytes, which are charged as MEMORY_ANSWERS. */
void json_writer_init(struct json_writer *writer, size_t bytes_max);

/** A writer into the caller's `storage`: `size` - 1 bytes at most, and a NUL. It allocates nothing, unless a text
 * is no UTF-8, and is not finished. Where memory is out, a lock is held, or a line is short. */
void json_writer_init_fixed(struct json_writer *writer, char *storage, size_t size);

void json_writer_finish(struct json_writer *writer);

/* `name` is the name of a member. It is NULL for an item of an array and for the outermost value. */

void json_begin_object(struct json_writer *writer, const char *name);
void json_end_object(struct json_writer *writer);
void json_begin_array(struct json_writer *writer, const char *name);
void json_end_array(struct json_writer *writer);

/** A NULL `text` becomes null. */
void json_add_string(struct json_writer *writer, const char *name, const char *text);
void json_add_text(struct json_writer *writer, const char *name, const char *bytes, size_t length);
void json_add_number(struct json_writer *writer, const char *name, int64_t number);
void json_add_count(struct json_writer *writer, const char *name, uint64_t count);
void json_add_bool(struct json_writer *writer, const char *name, bool value);
void json_add_null(struct json_writer *writer, const char *name);

/** Writes a text in parts: begin, any number of parts, end. Each part ends at the end of a character. */
void json_begin_text(struct json_writer *writer, const char *name);
void json_add_part(struct json_writer *writer, const char *bytes, size_t length);
void json_end_text(struct json_writer *writer);

/** Writes a time as ISO 8601 in UTC; 0 becomes null. */
void json_add_time(struct json_writer *writer, const char *name, int64_t unix_ms);

/** Writes {"error":{"code":…,"message":…}} and a NUL to `out`; returns the length. `size` is known to suffice; what
 * does not fit would be left out. Allocates nothing for texts in UTF-8. Any thread. */
size_t json_write_error(char *out, size_t size, const char *code, const char *message);

/* ---- texts alone --------------------------------------------------------------------------------- */

/** Appends `text` as a part of a JSON string, without quotes; the part ends at the end of a character.
 * Invalid UTF-8 becomes U+FFFD. False: the buffer is full and may hold some of the part. Any thread. */
bool json_text_append_part(struct buffer *buffer, const char *text, size_t length) MUST_CHECK;

/** Appends `text` as a JSON string with its quotes. Invalid UTF-8 becomes U+FFFD. False: the buffer is full
 * and may hold a part of the string. Any thread. */
bool json_text_append_string(struct buffer *buffer, const char *text, size_t length) MUST_CHECK;

/** Like json_text_append_string(), but deceiving characters (base/plain_text.h) are escaped too. For a log
 * that people read and for the gateway's own events. */
bool json_text_append_plainly(struct buffer *buffer, const char *text, size_t length) MUST_CHECK;

#endif
