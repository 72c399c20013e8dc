/* Cutting a member out of a JSON text: see json_cut.h.
 *
 * The text is valid, so brackets, commas and strings are all there is to look at: a comma at depth 1 ends a
 * member of the object itself. */
#include "routes/json_cut.h"

#include <string.h>

/* Where the string that begins at text[at] ends, its quote included. */
static size_t end_of_string(const char *text, size_t length, size_t at) {
    for (at++; at < length && text[at] != '"'; at++)
        at += text[at] == '\\';
    return at < length ? at + 1 : length;
}

/* The next comma or bracket at depth 1, from `at`, which stands after the object's opening bracket. */
static size_t find_member_end(const char *text, size_t length, size_t at) {
    size_t depth = 1;
    while (at < length) {
        char byte = text[at];
        if (byte == '"') {
            at = end_of_string(text, length, at);
            continue;
        }
        if (depth == 1 && (byte == ',' || byte == '}'))
            return at;
        if (byte == '{' || byte == '[')
            depth++;
        else if (byte == '}' || byte == ']')
            depth--;
        at++;
    }
    return length;
}

size_t json_cut_member(const char *text, size_t length, size_t index, char *out) {
    const char *bracket = memchr(text, '{', length);
    size_t begin = bracket != NULL ? (size_t)(bracket - text) + 1 : length;
    size_t end = find_member_end(text, length, begin);
    for (size_t i = 0; i < index && end < length; i++) {
        begin = end; /* with its comma */
        end = find_member_end(text, length, end + 1);
    }
    if (index == 0 && end < length && text[end] == ',')
        end++;
    memcpy(out, text, begin);
    memcpy(out + begin, text + end, length - end);
    return begin + length - end;
}
