/* UTF-8 as the Encoding standard decodes it.
 *
 * Eight bytes of ASCII are passed at a time. Other bytes are cut into parts: a well-formed sequence, or a maximal
 * ill-formed part as the standard defines it, each of which becomes one U+FFFD.
 */
#include "base/utf8.h"

#include <stdint.h>
#include <string.h>

#define HIGH_BITS UINT64_C(0x8080808080808080)

/** One part of the input: a well-formed sequence, or a maximal ill-formed part. */
struct part {
    size_t length;
    bool valid;
};

/** How many bytes at the start are ASCII. */
static size_t ascii_span(const unsigned char *bytes, size_t length) {
    size_t i = 0;
    uint64_t words[4];
    for (; length - i >= sizeof words; i += sizeof words) {
        memcpy(words, bytes + i, sizeof words);
        if (((words[0] | words[1] | words[2] | words[3]) & HIGH_BITS) != 0)
            break;
    }
    while (i < length && bytes[i] < 0x80)
        i++;
    return i;
}

/** Reads the part that begins with the non-ASCII byte *bytes: Encoding standard, "UTF-8 decoder". */
static struct part read_part(const unsigned char *bytes, size_t length) {
    unsigned char lead = bytes[0];
    unsigned char lower = 0x80, upper = 0xBF; /* of the second byte */
    size_t needed;
    if (lead >= 0xC2 && lead <= 0xDF) {
        needed = 2;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
        needed = 3;
        lower = lead == 0xE0 ? 0xA0 : lower; /* else it would be overlong */
        upper = lead == 0xED ? 0x9F : upper; /* else a surrogate */
    } else if (lead >= 0xF0 && lead <= 0xF4) {
        needed = 4;
        lower = lead == 0xF0 ? 0x90 : lower; /* else overlong */
        upper = lead == 0xF4 ? 0x8F : upper; /* else above U+10FFFF */
    } else {
        return (struct part){.length = 1, .valid = false};
    }
    for (size_t i = 1; i < needed; i++) {
        if (i == length || bytes[i] < lower || bytes[i] > upper)
            return (struct part){.length = i, .valid = false};
        lower = 0x80;
        upper = 0xBF;
    }
    return (struct part){.length = needed, .valid = true};
}

/** How many bytes at the start are well-formed UTF-8. */
static size_t valid_span(const unsigned char *bytes, size_t length) {
    size_t i = 0;
    while (i < length) {
        if (bytes[i] < 0x80) {
            i += ascii_span(bytes + i, length - i);
            continue;
        }
        struct part part = read_part(bytes + i, length - i);
        if (!part.valid)
            break;
        i += part.length;
    }
    return i;
}

bool utf8_is_valid(const char *bytes, size_t length) {
    return valid_span((const unsigned char *)bytes, length) == length;
}

bool utf8_append_replaced(struct buffer *buffer, const char *bytes, size_t length) {
    for (;;) {
        const unsigned char *rest = (const unsigned char *)bytes;
        size_t valid = valid_span(rest, length);
        if (!buffer_append(buffer, bytes, valid))
            return false;
        if (valid == length)
            return true;
        if (!buffer_append(buffer, "\xEF\xBF\xBD", 3))
            return false;
        size_t done = valid + read_part(rest + valid, length - valid).length;
        bytes += done;
        length -= done;
    }
}

size_t utf8_beginning(const char *bytes, size_t length, size_t length_max) {
    if (length <= length_max)
        return length;
    size_t cut = length_max;
    for (size_t back = 0; back < 3 && ((unsigned char)bytes[cut] & 0xC0) == 0x80; back++)
        cut--;
    return ((unsigned char)bytes[cut] & 0xC0) == 0x80 ? length_max : cut; /* that is no character at all */
}

/* ---- halves of surrogate pairs ------------------------------------------------------------------------ */

/* The half that the text begins with, 0xD800 to 0xDFFF; 0: it does not. */
static unsigned half_at(const char *bytes, size_t length) {
    const unsigned char *byte = (const unsigned char *)bytes;
    bool is_half = length >= UTF8_HALF_BYTES && byte[0] == 0xED && byte[1] >= 0xA0 && byte[1] <= 0xBF &&
                   byte[2] >= 0x80 && byte[2] <= 0xBF;
    return is_half ? 0xD000U | (byte[1] & 0x3FU) << 6 | (byte[2] & 0x3FU) : 0;
}

static bool is_first(unsigned half) {
    return half != 0 && half < 0xDC00;
}

bool utf8_ends_with_half(const char *bytes, size_t length) {
    return length >= UTF8_HALF_BYTES && is_first(half_at(bytes + length - UTF8_HALF_BYTES, UTF8_HALF_BYTES));
}

static size_t write_character(char *out, unsigned code) {
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}

size_t utf8_join_halves(char *bytes, size_t length) {
    static const unsigned char replacement[] = {0xEF, 0xBF, 0xBD};
    size_t from = 0, to = 0;
    while (from < length) {
        const char *next = memchr(bytes + from, 0xED, length - from);
        size_t plain = next != NULL ? (size_t)(next - bytes) - from : length - from;
        if (to < from)
            memmove(bytes + to, bytes + from, plain);
        from += plain;
        to += plain;
        unsigned half = half_at(bytes + from, length - from);
        if (half == 0) { /* the end, or another character */
            if (from < length)
                bytes[to++] = bytes[from++];
            continue;
        }
        from += UTF8_HALF_BYTES;
        unsigned other = half_at(bytes + from, length - from);
        if (is_first(half) && other >= 0xDC00) {
            from += UTF8_HALF_BYTES;
            to += write_character(bytes + to, 0x10000 + ((half & 0x3FF) << 10 | (other & 0x3FF)));
        } else {
            memcpy(bytes + to, replacement, sizeof(replacement));
            to += sizeof(replacement);
        }
    }
    return to;
}
