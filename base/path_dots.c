/* Segments of dots.
 *
 * Each character of a path is sorted as the most generous server would take it, after any number of decodings:
 * slash, one to three dots, a mark at which a segment may be cut off, space, or other. A segment that is then
 * nothing but one or two dots, up to a cut or spaces, leads elsewhere.
 */
#include "base/path_dots.h"

#include "base/percent.h"

#include <stddef.h>

enum sort { SLASH, DOT, TWO_DOTS, THREE_DOTS, CUT, SPACE, OTHER };

/* These are so by Unicode's compatibility decompositions, or by the best fit of a code page. */
static const struct {
    const char *bytes;
    enum sort sort;
} sorts[] = {
    {"\xc2\xa0", SPACE},          /* U+00A0 no-break space */
    {"\xcd\xbe", CUT},            /* U+037E Greek question mark */
    {"\xe2\x80\xa4", DOT},        /* U+2024 one dot leader */
    {"\xe2\x80\xa5", TWO_DOTS},   /* U+2025 two dot leader */
    {"\xe2\x80\xa6", THREE_DOTS}, /* U+2026 ellipsis */
    {"\xe2\x81\x84", SLASH},      /* U+2044 fraction slash */
    {"\xe2\x88\x95", SLASH},      /* U+2215 division slash */
    {"\xe3\x80\x80", SPACE},      /* U+3000 ideographic space */
    {"\xef\xb8\x99", THREE_DOTS}, /* U+FE19 vertical ellipsis */
    {"\xef\xb8\xb0", TWO_DOTS},   /* U+FE30 vertical two dot leader */
    {"\xef\xb9\x92", DOT},        /* U+FE52 small full stop */
    {"\xef\xb9\x94", CUT},        /* U+FE54 small semicolon */
    {"\xef\xb9\x96", CUT},        /* U+FE56 small question mark */
    {"\xef\xb9\x9f", CUT},        /* U+FE5F small number sign */
    {"\xef\xb9\xa8", SLASH},      /* U+FE68 small reverse solidus */
    {"\xef\xbc\x83", CUT},        /* U+FF03 fullwidth number sign */
    {"\xef\xbc\x8e", DOT},        /* U+FF0E fullwidth full stop */
    {"\xef\xbc\x8f", SLASH},      /* U+FF0F fullwidth solidus */
    {"\xef\xbc\x9b", CUT},        /* U+FF1B fullwidth semicolon */
    {"\xef\xbc\x9f", CUT},        /* U+FF1F fullwidth question mark */
    {"\xef\xbc\xbc", SLASH},      /* U+FF3C fullwidth reverse solidus */
};

static enum sort sort_of_byte(char byte) {
    switch (byte) {
    case '/':
    case '\\':
        return SLASH;
    case '.':
        return DOT;
    case ';':
    case '?':
    case '#':
        return CUT;
    case ' ':
        return SPACE;
    default:
        return OTHER;
    }
}

/* The byte at *at, which is stepped over; it may be encoded any number of times: "%2e", "%252e". */
static char next_path_byte(const char **at) {
    const char *digits = *at + 1;
    char byte = *(*at)++;
    if (byte != '%')
        return byte;
    while (digits[0] == '2' && digits[1] == '5' && hex_value(digits[2]) >= 0)
        digits += 2;
    int high = hex_value(digits[0]);
    int low = high >= 0 ? hex_value(digits[1]) : -1;
    if (low < 0)
        return byte;
    *at = digits + 2;
    return (char)(high * 16 + low);
}

/* Whether the bytes at *at, which are stepped over then, are these, none of which is NUL. */
static bool skip_bytes(const char **at, const char *bytes) {
    const char *next = *at;
    for (; *bytes != '\0'; bytes++) {
        if (*next == '\0' || next_path_byte(&next) != *bytes)
            return false;
    }
    *at = next;
    return true;
}

/* The sort of the character at *at, which is stepped over. */
static enum sort next_sort(const char **at) {
    bool is_ascii = (unsigned char)**at < 0x80 && **at != '%';
    for (size_t i = 0; i < sizeof(sorts) / sizeof(sorts[0]) && !is_ascii; i++) {
        if (skip_bytes(at, sorts[i].bytes))
            return sorts[i].sort;
    }
    /* By single bytes is fine: none that follows in a character begins one of these. */
    return sort_of_byte(next_path_byte(at));
}

/* Looks at the segment at *at, which is stepped over with the slash after it. */
static bool next_is_dots(const char **at) {
    unsigned dots = 0;
    bool is_only_dots = true, has_space = false;
    while (**at != '\0') {
        enum sort sort = next_sort(at);
        if (sort == SLASH)
            break;
        if (sort == CUT && is_only_dots && dots > 0)
            return true;
        has_space = has_space || sort == SPACE;
        bool is_dot = sort == DOT || sort == TWO_DOTS || sort == THREE_DOTS;
        if (is_dot)
            dots += sort == DOT ? 1 : sort == TWO_DOTS ? 2 : 3;
        is_only_dots = is_only_dots && ((is_dot && !has_space) || (sort == SPACE && dots > 0));
    }
    return is_only_dots && (dots == 1 || dots == 2);
}

bool path_has_dots(const char *decoded) {
    while (*decoded != '\0') {
        if (next_is_dots(&decoded))
            return true;
    }
    return false;
}
