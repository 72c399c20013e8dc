/* Writing JSON text: see json_text.h. */
#include "base/json_text.h"

#include "base/plain_text.h"
#include "base/utf8.h"

#include <stdio.h>

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

/* The escape for what stands at `text`, and how many bytes it stands for; 0: none is needed. */
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

static bool append_escaped(struct buffer *buffer, const char *text, size_t length, bool plainly) {
    size_t plain = 0; /* start of the bytes that need no escape */
    for (size_t i = 0; i < length;) {
        unsigned char byte = (unsigned char)text[i];
        char escape[8];
        bool is_usual = byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
        size_t count = is_usual ? 0 : escape_for(text + i, length - i, plainly, escape);
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

bool json_text_append_string(struct buffer *buffer, const char *text, size_t length) {
    return buffer_append_text(buffer, "\"") && append_part(buffer, text, length, false) &&
           buffer_append_text(buffer, "\"");
}

bool json_text_append_plainly(struct buffer *buffer, const char *text, size_t length) {
    return buffer_append_text(buffer, "\"") && append_part(buffer, text, length, true) &&
           buffer_append_text(buffer, "\"");
}
