/* The names of the gateway's own events: see lifecycle.h. */
#include "broadcaster/lifecycle.h"

#include <string.h>

/* ---- blanks -------------------------------------------------------------------------------------- */

/* White space of Unicode, and what else some language's trim() drops: U+180E, U+200B and the byte order mark.
 */
static bool is_wide_blank(unsigned code) {
    static const unsigned others[] = {0x1680, 0x180e, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000, 0xfeff};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (others[i] == code)
            return true;
    }
    return code >= 0x2000 && code <= 0x200b;
}

/* How many bytes the blank at `text` has; 0: there is none. */
static size_t blank_length(const char *text, size_t length) {
    const unsigned char *byte = (const unsigned char *)text;
    if (length > 0 && (byte[0] <= ' ' || byte[0] == 0x7f))
        return 1;
    if (length > 1 && byte[0] == 0xc2)
        return byte[1] == 0x85 || byte[1] == 0xa0 ? 2 : 0;
    if (length < 3 || (byte[0] & 0xf0) != 0xe0)
        return 0;
    unsigned code = (byte[0] & 0x0fu) << 12 | (byte[1] & 0x3fu) << 6 | (byte[2] & 0x3fu);
    return is_wide_blank(code) ? 3 : 0;
}

/* The length of the blank that ends at `end`. */
static size_t blank_length_before(const char *end, size_t length) {
    for (size_t size = 1; size <= 3 && size <= length; size++) {
        if (blank_length(end - size, size) == size)
            return size;
    }
    return 0;
}

/* ---- names --------------------------------------------------------------------------------------- */

static bool type_is(const char *type, size_t length, const char *word) {
    return strlen(word) == length && memcmp(type, word, length) == 0;
}

static bool type_begins_with(const char *type, size_t length, const char *prefix) {
    return strlen(prefix) <= length && memcmp(type, prefix, strlen(prefix)) == 0;
}

/* Asked for each named event of an agent: the first letter decides most of them. */
static bool owns_type(const char *type, size_t length) {
    if (length == 0)
        return false;
    switch (*type) {
    case 'r':
        return type_is(type, length, "run.start") || type_is(type, length, "run.end") ||
               type_is(type, length, "run.retry");
    case 'g':
        return type_is(type, length, "gap");
    case 's':
        return type_begins_with(type, length, "session.") || type_begins_with(type, length, "server.");
    case 'a':
        return type_begins_with(type, length, "auth.");
    default:
        return false;
    }
}

bool lifecycle_owns_type(const char *type, size_t length) {
    size_t blank;
    if (length == 0) /* there is no text then */
        return false;
    while ((blank = blank_length(type, length)) > 0) {
        type += blank;
        length -= blank;
    }
    length = strnlen(type, length); /* as a client written in C reads it */
    while ((blank = blank_length_before(type + length, length)) > 0)
        length -= blank;
    return owns_type(type, length);
}
