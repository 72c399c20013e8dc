/* Finds members of JSON text by name without parsing it: a cheap first look that decides whether parsing is
 * worth its price.
 *
 *     static const struct json_keys keys = {.names = {JSON_KEY("error"), JSON_KEY("finish_reason")},
 *                                           .initials = {JSON_INITIAL('e'), JSON_INITIAL('f'), ...}};
 *     size_t at = 0;
 *     for (size_t key; (key = json_keys_next(&keys, data, length, &at)) != JSON_KEYS_NONE;)
 *         ... data + at is the value of that member ...
 *
 * It reports a member at any depth, and a name that is written with escapes like any other. Text inside a
 * string is never taken for a member, because a quote has a backslash there.
 */
#ifndef SLUICE_BASE_JSON_KEYS_H
#define SLUICE_BASE_JSON_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define JSON_KEYS_MAX 8
#define JSON_INITIALS 5
#define JSON_KEYS_NONE ((size_t)-1)

struct json_key {
    const char *text;
    size_t length;
};

#define JSON_KEY(name)                                                                                       \
    { name, sizeof(name) - 1 }
/** As the blocks are that it is compared with. */
#define JSON_INITIAL(c)                                                                                      \
    { c, c, c, c, c, c, c, c, c, c, c, c, c, c, c, c }

struct json_keys {
    struct json_key names[JSON_KEYS_MAX]; /* an empty one: there are no more */
    /** The first letters of all names, by JSON_INITIAL(); one of them again if they are fewer. */
    char initials[JSON_INITIALS][16];
};

/** The index of the first name that is a member's at or after data[*at], and its value's offset in *at; else
 * JSON_KEYS_NONE. `data` need not end with NUL and may be any bytes. Any thread. */
size_t json_keys_next(const struct json_keys *keys, const char *data, size_t length, size_t *at);

/** Whether the JSON value at data[at] is the literal `null` or `true`, a number, or a text with its quotes,
 * written as given. */
static inline bool json_keys_value_is(const char *data, size_t length, size_t at, const char *literal) {
    size_t size = strlen(literal);
    if (at > length || length - at < size || memcmp(data + at, literal, size) != 0)
        return false;
    char after = length - at > size ? data[at + size] : ',';
    return after == ',' || after == '}' || after == ']' || (unsigned char)after <= ' ';
}

/** Whether a text begins at data[at] that may be this one, by its first letter or an escape in its place. */
static inline bool json_keys_may_be(const char *data, size_t length, size_t at, const char *text) {
    return at < length && length - at > 1 && data[at] == '"' &&
           (data[at + 1] == text[0] || data[at + 1] == '\\');
}

#endif
