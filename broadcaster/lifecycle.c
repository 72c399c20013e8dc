/* The names of the gateway's own events: see lifecycle.h. */
#include "broadcaster/lifecycle.h"

#include <string.h>

static bool is_word(const char *type, size_t length, const char *word) {
    return strlen(word) == length && memcmp(type, word, length) == 0;
}

static bool begins_with(const char *type, size_t length, const char *prefix) {
    return strlen(prefix) <= length && memcmp(type, prefix, strlen(prefix)) == 0;
}

/* Asked for each named event of an agent: the first letter decides most of them. */
bool lifecycle_owns_type(const char *type, size_t length) {
    if (length == 0)
        return false;
    switch (*type) {
    case 'r':
        return is_word(type, length, "run.start") || is_word(type, length, "run.end") ||
               is_word(type, length, "run.retry");
    case 'g':
        return is_word(type, length, "gap");
    case 's':
        return begins_with(type, length, "session.") || begins_with(type, length, "server.");
    case 'a':
        return begins_with(type, length, "auth.");
    default:
        return false;
    }
}
