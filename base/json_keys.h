/* Finds members of JSON text by name without parsing it: a cheap first look that decides whether parsing is
 * worth its price.
 *
 *     static const struct json_keys keys = {.names = {JSON_KEY("error"), JSON_KEY("finish_reason")},
 *                                           .initials = {JSON_INITIAL('e'), JSON_INITIAL('f'), ...}};
 *     size_t at = 0;
 *     for (size_t key; (key = json_keys_next(&keys, data, length, &at)) != JSON_KEYS_NONE;)
 *         ... data + at is the value of that member ...
 *
 * It reports members at any depth. A name that is written with escapes is found like any other name. Text
 * inside a string is never taken for a member, because each quote in a string has a backslash.
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
/** An initial, repeated to the size of the blocks that it is compared with. */
#define JSON_INITIAL(c)                                                                                      \
    { c, c, c, c, c, c, c, c, c, c, c, c, c, c, c, c }

struct json_keys {
    struct json_key names[JSON_KEYS_MAX]; /* an empty name ends the list */
    /** The first letters of all names, by JSON_INITIAL(). Unused places repeat one of them. */
    char initials[JSON_INITIALS][16];
};

/** Finds the first member at or after data[*at] that has one of the names. Returns the index of that name,
 * and sets *at to the offset of the member's value. JSON_KEYS_NONE: there is none. `data` may be any bytes
 * and need not end with NUL. Any thread. */
size_t json_keys_next(const struct json_keys *keys, const char *data, size_t length, size_t *at);

/** Returns whether the JSON value at data[at] is written exactly as `literal`: null, true, a number, or a
 * text with its quotes. */
static inline bool json_keys_value_is(const char *data, size_t length, size_t at, const char *literal) {
    size_t size = strlen(literal);
    if (at > length || length - at < size || memcmp(data + at, literal, size) != 0)
        return false;
    char after = length - at > size ? data[at + size] : ',';
    return after == ',' || after == '}' || after == ']' || (unsigned char)after <= ' ';
}

/** Returns whether the text at data[at] may be `text`, judged by its first letter or an escape in its place.
 */
static inline bool json_keys_may_be(const char *data, size_t length, size_t at, const char *text) {
    return at < length && length - at > 1 && data[at] == '"' &&
           (data[at + 1] == text[0] || data[at + 1] == '\\');
}

#endif
