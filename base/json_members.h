/* Reads the members of the outermost objects of JSON text without a tree, whether the text is valid or not.
 *
 *     struct json_members members = json_members_begin(data, length, JSON_QUOTES_STRICT);
 *     for (struct json_member member; json_members_next(&members, &member);)
 *         ... json_string_is(member.name, member.name_length, "error") ...
 *
 * Outermost are the members of an object that stands alone or in a list, which is not in anything else. Of
 * valid JSON each of them is met once, duplicates among them, and both ways to read quotes are the same. Of
 * text that is cut off or broken they are what a person would take for members. Time is linear in the text.
 */
#ifndef SLUICE_BASE_JSON_MEMBERS_H
#define SLUICE_BASE_JSON_MEMBERS_H

#include <stdbool.h>
#include <stddef.h>

/** Which quote ends a string. */
enum json_quotes {
    JSON_QUOTES_STRICT,  /* the next one without a backslash */
    JSON_QUOTES_LENIENT, /* the next one that something follows which may follow a string; so a quote that was
                            not escaped is a part of its text */
};

struct json_members {
    const char *data;
    size_t length, at, depth;
    enum json_quotes quotes;
    bool is_object[2]; /* the outermost group, and the one in it; else it is a list */
};

struct json_member {
    const char *name; /* as written, between its quotes */
    size_t name_length;
    size_t value; /* the offset of the value, which may be the text's length */
};

/** `data` need not end with NUL and may be any bytes; it must outlive the reading. Any thread. */
struct json_members json_members_begin(const char *data, size_t length, enum json_quotes quotes);

/** The next member; false: there is none. */
bool json_members_next(struct json_members *members, struct json_member *ret_member);

/** Whether the inside of a string, as written, is `text` (ASCII), with or without escapes. */
bool json_string_is(const char *written, size_t length, const char *text);

/** The inside of the string, as written, that begins with its quote at data[at]. False: none begins there. */
bool json_string_at(const char *data, size_t length, size_t at, enum json_quotes quotes,
                    const char **ret_written, size_t *ret_length);

/** The offset of the first byte from data[at] on that is no blank, as cJSON takes blanks. */
static inline size_t json_skip_blanks(const char *data, size_t length, size_t at) {
    while (at < length && (unsigned char)data[at] <= ' ')
        at++;
    return at;
}

#endif
