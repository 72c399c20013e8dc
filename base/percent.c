/* Percent-encoding.
 *
 * Decoding happens once, into storage of the caller. It refuses an encoded NUL, which would end a C string early, and
 * a '%' without two digits, which servers read differently. Encoding keeps only what RFC 3986 calls unreserved, so
 * that any text becomes one part of a path.
 */
#include "base/percent.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

int hex_value(char digit) {
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F')
        return digit - 'A' + 10;
    return -1;
}

bool percent_is_unreserved(char character) {
    unsigned char byte = (unsigned char)character;
    return byte != '\0' && byte < 0x80 && (isalnum(byte) || strchr("-._~", byte) != NULL);
}

int percent_decode(const char *text, size_t length, char *out, size_t size) {
    size_t used = 0;
    for (size_t i = 0; i < length; i++) {
        char byte = text[i];
        if (byte == '%') {
            int high = length - i > 2 ? hex_value(text[i + 1]) : -1;
            int low = high >= 0 ? hex_value(text[i + 2]) : -1;
            if (low < 0 || high * 16 + low == 0)
                return -EINVAL;
            byte = (char)(high * 16 + low);
            i += 2;
        }
        if (used + 1 >= size)
            return -ENOBUFS;
        out[used++] = byte;
    }
    if (size == 0)
        return -ENOBUFS;
    out[used] = '\0';
    return (int)used;
}

/* The unreserved bytes and those of `kept` stay as they are. */
static bool append_encoded(struct buffer *buffer, const char *text, size_t length, const char *kept) {
    size_t plain = 0; /* where the bytes begin that stay and were not appended yet */
    for (size_t i = 0; i < length; i++) {
        if (percent_is_unreserved(text[i]) || (text[i] != '\0' && strchr(kept, text[i]) != NULL))
            continue;
        if (!buffer_append(buffer, text + plain, i - plain) ||
            !buffer_printf(buffer, "%%%02X", (unsigned char)text[i]))
            return false;
        plain = i + 1;
    }
    return buffer_append(buffer, text + plain, length - plain);
}

bool percent_append_encoded(struct buffer *buffer, const char *text, size_t length) {
    return append_encoded(buffer, text, length, "");
}

bool percent_append_part(struct buffer *buffer, const char *before, const char *part) {
    return buffer_append_text(buffer, before) && append_encoded(buffer, part, strlen(part), "@");
}
