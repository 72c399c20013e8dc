/* JSON answers, written as they go along: see json_writer.h. */
#include "base/json_writer.h"

#include "base/clock.h"
#include "base/json_text.h"

#include <inttypes.h>
#include <string.h>

void json_writer_init(struct json_writer *writer, size_t bytes_max) {
    *writer = (struct json_writer){0};
    buffer_init_counted(&writer->text, bytes_max, MEMORY_ANSWERS);
}

void json_writer_finish(struct json_writer *writer) {
    buffer_finish(&writer->text);
}

static void writer_append(struct json_writer *writer, const char *text) {
    writer->failed = writer->failed || !buffer_append_text(&writer->text, text);
}

static void append_string(struct json_writer *writer, const char *bytes, size_t length) {
    bool done = writer->is_plain ? json_text_append_plainly(&writer->text, bytes, length)
                                 : json_text_append_string(&writer->text, bytes, length);
    writer->failed = writer->failed || !done;
}

/* What stands before each value: a comma, and the name. */
static void begin_value(struct json_writer *writer, const char *name) {
    if (writer->needs_comma)
        writer_append(writer, ",");
    writer->needs_comma = true;
    if (name == NULL)
        return;
    append_string(writer, name, strlen(name));
    writer_append(writer, ":");
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
