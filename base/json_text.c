/* Writing JSON text: see json_text.h. */
#include "base/json_text.h"

#include "base/utf8.h"

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

static bool append_escaped(struct buffer *buffer, const char *text, size_t length) {
    size_t plain = 0; /* start of the bytes that need no escape */
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte >= 0x20 && byte != '"' && byte != '\\')
            continue;
        if (!buffer_append(buffer, text + plain, i - plain))
            return false;
        const char *escape = short_escape(text[i]);
        bool done =
            escape != NULL ? buffer_append_text(buffer, escape) : buffer_printf(buffer, "\\u%04x", byte);
        if (!done)
            return false;
        plain = i + 1;
    }
    return buffer_append(buffer, text + plain, length - plain);
}

bool json_text_append_part(struct buffer *buffer, const char *text, size_t length) {
    if (utf8_is_valid(text, length))
        return append_escaped(buffer, text, length);
    struct buffer clean;
    buffer_init(&clean, 3 * length); /* each bad byte becomes at most the three of U+FFFD */
    bool done =
        utf8_append_replaced(&clean, text, length) && append_escaped(buffer, clean.bytes, clean.length);
    buffer_finish(&clean);
    return done;
}

bool json_text_append_string(struct buffer *buffer, const char *text, size_t length) {
    return buffer_append_text(buffer, "\"") && json_text_append_part(buffer, text, length) &&
           buffer_append_text(buffer, "\"");
}
