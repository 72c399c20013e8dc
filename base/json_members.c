/* The members of the outermost objects of JSON text.
 *
 * One walk from quote to quote and bracket to bracket keeps the depth, and whether the two outermost groups are
 * objects or lists. Nothing is remembered of deeper groups, so broken text costs no more than valid text. In
 * lenient reading a quote ends a string only if something follows that may follow a string.
 */
#include "base/json_members.h"

#include "base/percent.h"

#include <string.h>

/* Whether a string may end before data[at]. Each run of blanks is looked over once more at most. */
static bool may_end_before(const char *data, size_t length, size_t at) {
    at = json_skip_blanks(data, length, at);
    return at == length || data[at] == ',' || data[at] == ':' || data[at] == '}' || data[at] == ']';
}

/* Whether an odd number of backslashes stands before data[at]; none of them is before `begin`. */
static bool is_escaped_quote(const char *data, size_t begin, size_t at) {
    size_t escape = at;
    while (escape > begin && data[escape - 1] == '\\')
        escape--;
    return (at - escape) % 2 != 0;
}

/* The offset of the quote that ends the string whose inside begins at data[begin]; `length`: none does. */
static size_t find_string_end(const char *data, size_t length, size_t begin, enum json_quotes quotes) {
    const char *quote = data + begin;
    while ((quote = memchr(quote, '"', length - (size_t)(quote - data))) != NULL) {
        size_t at = (size_t)(quote - data);
        if (!is_escaped_quote(data, begin, at) &&
            (quotes == JSON_QUOTES_STRICT || may_end_before(data, length, at + 1)))
            return at;
        quote++;
    }
    return length;
}

struct json_members json_members_begin(const char *data, size_t length, enum json_quotes quotes) {
    return (struct json_members){.data = data, .length = length, .quotes = quotes};
}

/* Whether a string before a colon is an outermost member's name here. */
static bool is_outermost(const struct json_members *members) {
    size_t depth = members->depth;
    return (depth == 1 && members->is_object[0]) ||
           (depth == 2 && !members->is_object[0] && members->is_object[1]);
}

static void open_json_group(struct json_members *members, bool is_object) {
    if (members->depth < sizeof(members->is_object))
        members->is_object[members->depth] = is_object;
    members->depth++;
}

bool json_members_next(struct json_members *members, struct json_member *ret_member) {
    const char *data = members->data;
    size_t length = members->length;
    while (members->at < length) {
        char byte = data[members->at++];
        if (byte == '{' || byte == '[') {
            open_json_group(members, byte == '{');
        } else if (byte == '}' || byte == ']') {
            members->depth -= members->depth > 0;
        } else if (byte == '"') {
            size_t name = members->at;
            size_t end = find_string_end(data, length, name, members->quotes);
            members->at = end < length ? end + 1 : length;
            if (!is_outermost(members))
                continue;
            size_t colon = json_skip_blanks(data, length, members->at);
            if (colon == length || data[colon] != ':')
                continue;
            *ret_member =
                (struct json_member){data + name, end - name, json_skip_blanks(data, length, colon + 1)};
            return true;
        }
    }
    return false;
}

/* The character at the beginning, and how many bytes it is written with; -1: none that is ASCII. */
static int read_character(const char *written, size_t length, size_t *ret_taken) {
    static const char escapes[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    int code = 0;
    *ret_taken = 1;
    if (written[0] != '\\')
        return (unsigned char)written[0] < 0x80 ? written[0] : -1;
    if (length < 2)
        return -1;
    *ret_taken = 2;
    const char *escape = memchr(escapes, written[1], sizeof(escapes) - 1);
    if (escape != NULL)
        return meant[escape - escapes];
    if (written[1] != 'u' || length < strlen("\\uXXXX"))
        return -1;
    *ret_taken = strlen("\\uXXXX");
    for (size_t i = 2; i < *ret_taken; i++) {
        int digit = hex_value(written[i]);
        if (digit < 0)
            return -1;
        code = code * 16 + digit;
    }
    return code < 0x80 ? code : -1;
}

bool json_string_is(const char *written, size_t length, const char *text) {
    for (; *text != '\0' && length > 0; text++) {
        size_t taken;
        if (read_character(written, length, &taken) != *text)
            return false;
        written += taken;
        length -= taken;
    }
    return *text == '\0' && length == 0;
}

bool json_string_at(const char *data, size_t length, size_t at, enum json_quotes quotes,
                    const char **ret_written, size_t *ret_length) {
    if (at >= length || data[at] != '"')
        return false;
    *ret_written = data + at + 1;
    *ret_length = find_string_end(data, length, at + 1, quotes) - at - 1;
    return true;
}
