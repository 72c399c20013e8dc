/* Text of strangers that people read.
 *
 * Characters that a terminal obeys, that end a line for some readers or that turn the order of characters around
 * are found by their bytes in UTF-8. The writer of JSON escapes them; a copy for a line of text has blanks and
 * other marks in their place.
 */
#include "base/plain_text.h"

#include "base/utf8.h"

#include <stdbool.h>
#include <string.h>

size_t plain_text_deceiving_length(const char *text, size_t length, unsigned *ret_code) {
    const unsigned char *byte = (const unsigned char *)text;
    if (byte[0] == 0x7f) {
        *ret_code = 0x7f;
        return 1;
    }
    if (length >= 2 && (byte[0] == 0xc2 || byte[0] == 0xd8)) {
        *ret_code = (byte[0] & 0x1fu) << 6 | (byte[1] & 0x3fu);
        return (*ret_code >= 0x80 && *ret_code < 0xa0) || *ret_code == 0x61c ? 2 : 0;
    }
    if (length < 3 || byte[0] != 0xe2 || (byte[1] != 0x80 && byte[1] != 0x81))
        return 0;
    *ret_code = 0x2000 | (byte[1] & 0x3fu) << 6 | (byte[2] & 0x3fu);
    bool is_one = *ret_code == 0x200e || *ret_code == 0x200f ||
                  (*ret_code >= 0x2028 && *ret_code <= 0x202e) ||
                  (*ret_code >= 0x2066 && *ret_code <= 0x2069);
    return is_one ? 3 : 0;
}

static char plain_byte(char byte) {
    if ((unsigned char)byte < 0x20)
        return ' ';
    return byte == '"' ? '\'' : byte == '\\' ? '/' : byte;
}

void plain_text_copy(char *out, size_t size, const char *text) {
    const char *end = text + strlen(text);
    size_t length = 0;
    while (text < end && length + 1 < size) {
        unsigned code;
        size_t deceiving = plain_text_deceiving_length(text, (size_t)(end - text), &code);
        out[length++] = deceiving > 0 ? ' ' : plain_byte(*text);
        text += deceiving > 0 ? deceiving : 1;
    }
    while (length > 0 && ((unsigned char)*text & 0xc0) == 0x80) { /* it was cut within a character */
        length--;
        text--;
    }
    out[length] = '\0';
    bool is_valid = utf8_is_valid(out, length);
    for (size_t i = 0; i < length && !is_valid; i++) {
        if ((unsigned char)out[i] >= 0x80)
            out[i] = '?';
    }
}
