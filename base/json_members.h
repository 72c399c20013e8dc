/* Reads the members of the outermost objects of JSON text without a tree, whether the text is valid or not.
 *
 *     struct json_members members = json_members_begin(data, length, JSON_QUOTES_STRICT);
 *     for (struct json_member member; json_members_next(&members, &member);)
 *         ... json_string_is(member.name, member.name_length, "error") ...
 *
 * An outermost object stands alone, or in a list that stands alone. In valid JSON each member of such an
 * object is reported once, duplicates included, and both ways to read quotes agree. In text that is cut off
 * or broken, the reader reports what a person would take for members. Time is linear in the text.
 */
#ifndef SLUICE_BASE_JSON_MEMBERS_H
#define SLUICE_BASE_JSON_MEMBERS_H

#include <stdbool.h>
#include <stddef.h>

/** Which quote ends a string. */
enum json_quotes {
    JSON_QUOTES_STRICT,  /* the next quote without a backslash */
    JSON_QUOTES_LENIENT, /* the next quote before a byte that may follow a string; an unescaped quote
                            elsewhere is a part of the text */
};

struct json_members {
    const char *data;
    size_t length, at, depth;
    enum json_quotes quotes;
    bool is_object[2]; /* of the outermost group and the group in it; false for a list */
};

struct json_member {
    const char *name; /* as written, between its quotes */
    size_t name_length;
    size_t value; /* the offset of the value, which may be the text's length */
};

/** Begins to read `data`, which may be any bytes, need not end with NUL, and must outlive the reading. Any
 * thread. */
struct json_members json_members_begin(const char *data, size_t length, enum json_quotes quotes);

/** Reads the next member. False: there is none. */
bool json_members_next(struct json_members *members, struct json_member *ret_member);

/** Returns whether the inside of a string, as written, stands for `text` (ASCII), with or without escapes. */
bool json_string_is(const char *written, size_t length, const char *text);

/** Finds the inside, as written, of the string whose first quote is at data[at]. False: no string begins
 * there. */
bool json_string_at(const char *data, size_t length, size_t at, enum json_quotes quotes,
                    const char **ret_written, size_t *ret_length);

/** Returns the offset of the first byte from data[at] on that cJSON does not take for a blank. */
static inline size_t json_skip_blanks(const char *data, size_t length, size_t at) {
    while (at < length && (unsigned char)data[at] <= ' ')
        at++;
    return at;
}

#endif
