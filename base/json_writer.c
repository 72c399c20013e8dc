/* Writing JSON text (RFC 8259).
 *
 * There is no tree: texts are escaped as they are appended to a buffer. Most bytes need no escape, so runs of
 * them are found eight at a time and copied as a whole. Bytes that are no UTF-8 become U+FFFD, because JSON is UTF-8 and a reader may refuse
 * the whole text otherwise. The writer adds commas and names, and remembers a failure until it is asked for.
 */
#include "base/json_writer.h"

#include "base/clock.h"
#include "base/plain_text.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- texts ------------------------------------------------------------------------------------------ */

static const char *short_escape(char byte) {
    switch (byte) {
    case '"':
        return "\\\"";
    case '\\':
        return "\\\\";
    case '\n':
        return "\\n";
    case '\r':
        return "\\r";
    case '\t':
        return "\\t";
    default:
        return NULL;
    }
}

/* Writes the escape for the character at `text`; returns how many bytes it replaces. 0: none is needed. */
static size_t escape_for(const char *text, size_t length, bool plainly, char out[8]) {
    unsigned code = (unsigned char)*text;
    const char *escape = short_escape(*text);
    size_t count = code < 0x20 || escape != NULL ? 1 : 0;
    if (count == 0 && plainly)
        count = plain_text_deceiving_length(text, length, &code);
    if (count > 0 && escape != NULL)
        snprintf(out, 8, "%s", escape);
    else if (count > 0)
        snprintf(out, 8, "\\u%04x", code);
    return count;
}

#define EACH_BYTE(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Marks a byte that is 0, if there is one. */
static inline uint64_t find_zero(uint64_t word) {
    return (word - EACH_BYTE(1)) & ~word & EACH_BYTE(0x80);
}

/* Whether all eight bytes are printable ASCII that needs no escape. */
static inline bool are_usual(uint64_t word) {
    uint64_t below_blank = (word - EACH_BYTE(' ')) & ~word & EACH_BYTE(0x80);
    uint64_t marked = find_zero(word ^ EACH_BYTE('"')) | find_zero(word ^ EACH_BYTE('\\'));
    uint64_t others = find_zero(word ^ EACH_BYTE(0x7f)) | (word & EACH_BYTE(0x80));
    return (below_blank | marked | others) == 0;
}

static inline bool is_usual(unsigned char byte) {
    return byte >= ' ' && byte < 0x7f && byte != '"' && byte != '\\';
}

/* How many of the first bytes are printable ASCII that needs no escape: nearly always all of them. */
static size_t usual_length(const char *text, size_t length) {
    size_t at = 0;
    for (uint64_t word; length - at >= sizeof(word); at += sizeof(word)) {
        memcpy(&word, text + at, sizeof(word));
        if (!are_usual(word))
            break;
    }
    while (at < length && is_usual((unsigned char)text[at]))
        at++;
    return at;
}

static bool append_escaped(struct buffer *buffer, const char *text, size_t length, bool plainly) {
    size_t plain = 0; /* start of the bytes that need no escape */
    for (size_t i = 0; (i += usual_length(text + i, length - i)) < length;) {
        char escape[8];
        size_t count = escape_for(text + i, length - i, plainly, escape);
        if (count > 0) {
            if (!buffer_append(buffer, text + plain, i - plain) || !buffer_append_text(buffer, escape))
                return false;
            plain = i + count;
        }
        i += count > 0 ? count : 1;
    }
    return buffer_append(buffer, text + plain, length - plain);
}

static bool append_part(struct buffer *buffer, const char *text, size_t length, bool plainly) {
    if (utf8_is_valid(text, length))
        return append_escaped(buffer, text, length, plainly);
    struct buffer clean;
    buffer_init(&clean, 3 * length); /* each bad byte becomes at most the three of U+FFFD */
    bool done = utf8_append_replaced(&clean, text, length) &&
                append_escaped(buffer, clean.bytes, clean.length, plainly);
    buffer_finish(&clean);
    return done;
}

bool json_text_append_part(struct buffer *buffer, const char *text, size_t length) {
    return append_part(buffer, text, length, false);
}

static bool append_json_string(struct buffer *buffer, const char *text, size_t length, bool plainly) {
    bool is_short_way =
        (length == 0 || usual_length(text, length) == length) && buffer_reserve(buffer, length + 2);
    if (!is_short_way)
        return buffer_append(buffer, "\"", 1) && append_part(buffer, text, length, plainly) &&
               buffer_append(buffer, "\"", 1);
    char *out = buffer->bytes + buffer->length;
    *out++ = '"';
    if (length > 0)
        memcpy(out, text, length);
    out[length] = '"';
    out[length + 1] = '\0';
    buffer->length += length + 2;
    return true;
}

bool json_text_append_string(struct buffer *buffer, const char *text, size_t length) {
    return append_json_string(buffer, text, length, false);
}

bool json_text_append_plainly(struct buffer *buffer, const char *text, size_t length) {
    return append_json_string(buffer, text, length, true);
}

/* ---- the writer ------------------------------------------------------------------------------------- */

void json_writer_init(struct json_writer *writer, size_t bytes_max) {
    *writer = (struct json_writer){0};
    buffer_init_counted(&writer->text, bytes_max, MEMORY_ANSWERS);
}

void json_writer_init_fixed(struct json_writer *writer, char *storage, size_t size) {
    *writer = (struct json_writer){0};
    buffer_init_fixed(&writer->text, storage, size);
}

void json_writer_finish(struct json_writer *writer) {
    buffer_finish(&writer->text);
}

static void writer_append(struct json_writer *writer, const char *text) {
    writer->failed = writer->failed || !buffer_append_text(&writer->text, text);
}

static void append_byte(struct json_writer *writer, char byte) {
    writer->failed = writer->failed || !buffer_append(&writer->text, &byte, 1);
}

static void append_string(struct json_writer *writer, const char *bytes, size_t length) {
    bool done = writer->is_plain ? json_text_append_plainly(&writer->text, bytes, length)
                                 : json_text_append_string(&writer->text, bytes, length);
    writer->failed = writer->failed || !done;
}

/* Writes the comma and the name that come before a value. */
static void begin_value(struct json_writer *writer, const char *name) {
    if (writer->needs_comma)
        append_byte(writer, ',');
    writer->needs_comma = true;
    if (name == NULL)
        return;
    append_string(writer, name, strlen(name));
    append_byte(writer, ':');
}

static void begin_group(struct json_writer *writer, const char *name, const char *bracket) {
    begin_value(writer, name);
    writer_append(writer, bracket);
    writer->needs_comma = false;
}

static void end_group(struct json_writer *writer, const char *bracket) {
    writer_append(writer, bracket);
    writer->needs_comma = true;
}

void json_begin_object(struct json_writer *writer, const char *name) {
    begin_group(writer, name, "{");
}

void json_end_object(struct json_writer *writer) {
    end_group(writer, "}");
}

void json_begin_array(struct json_writer *writer, const char *name) {
    begin_group(writer, name, "[");
}

void json_end_array(struct json_writer *writer) {
    end_group(writer, "]");
}

void json_add_null(struct json_writer *writer, const char *name) {
    begin_value(writer, name);
    writer_append(writer, "null");
}

void json_add_string(struct json_writer *writer, const char *name, const char *text) {
    if (text == NULL)
        json_add_null(writer, name);
    else
        json_add_text(writer, name, text, strlen(text));
}

void json_add_text(struct json_writer *writer, const char *name, const char *bytes, size_t length) {
    begin_value(writer, name);
    append_string(writer, bytes, length);
}

void json_begin_text(struct json_writer *writer, const char *name) {
    begin_value(writer, name);
    writer_append(writer, "\"");
}

void json_add_part(struct json_writer *writer, const char *bytes, size_t length) {
    writer->failed = writer->failed || !json_text_append_part(&writer->text, bytes, length);
}

void json_end_text(struct json_writer *writer) {
    writer_append(writer, "\"");
}

void json_add_number(struct json_writer *writer, const char *name, int64_t number) {
    begin_value(writer, name);
    writer->failed = writer->failed || !buffer_printf(&writer->text, "%" PRId64, number);
}

void json_add_count(struct json_writer *writer, const char *name, uint64_t count) {
    begin_value(writer, name);
    writer->failed = writer->failed || !buffer_printf(&writer->text, "%" PRIu64, count);
}

void json_add_bool(struct json_writer *writer, const char *name, bool value) {
    begin_value(writer, name);
    writer_append(writer, value ? "true" : "false");
}

void json_add_time(struct json_writer *writer, const char *name, int64_t unix_ms) {
    char text[CLOCK_ISO_SIZE];
    if (unix_ms == 0) {
        json_add_null(writer, name);
        return;
    }
    clock_format_iso(unix_ms, text);
    json_add_string(writer, name, text);
}

size_t json_write_error(char *out, size_t size, const char *code, const char *message) {
    struct json_writer json;
    json_writer_init_fixed(&json, out, size);
    json_begin_object(&json, NULL);
    json_begin_object(&json, "error");
    json_add_string(&json, "code", code);
    json_add_string(&json, "message", message);
    json_end_object(&json);
    json_end_object(&json);
    return json.text.length;
}
