/* The names that say whose a request is.
 *
 * The question is not how this gateway reads a name, but how any server behind it may read it. So names are
 * compared leniently, and in a query each word of a parameter's name counts: some servers take
 * "object[name]" or "!name" for that name, and a semicolon for an ampersand. */
#include "routes/identity.h"

#include "base/lenient_name.h"
#include "base/percent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum identity identity_of_name(const char *name) {
    static const char *const names[] = {
        [IDENTITY_APP] = "appname", [IDENTITY_USER] = "userid", [IDENTITY_SESSION] = "sessionid"};
    int identity = IDENTITY_APP;
    while (identity < IDENTITY_NONE && !lenient_name_is(names[identity], name))
        identity++;
    return (enum identity)identity;
}

static bool name_is_among(const char *name, const char *const *names) {
    while (names != NULL && *names != NULL && strcmp(*names, name) != 0)
        names++;
    return names != NULL && *names != NULL;
}

const char *identity_find(const cJSON *object, const char *const *but) {
    const cJSON *member;
    cJSON_ArrayForEach(member, object) {
        if (identity_of_name(member->string) != IDENTITY_NONE && !name_is_among(member->string, but))
            return member->string;
    }
    return NULL;
}

static bool is_of_word(char byte) {
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
           byte == '_' || (unsigned char)byte >= 0x80;
}

/* Whether the letters of the name, whatever stands between them, are one of those names: some servers take a
 * blank, a dot or a bracket without its other one for an underscore (PHP). */
static bool names_identity_as_whole(const char *name, char *scratch) {
    size_t length = 0;
    for (; *name != '\0'; name++) {
        if (is_of_word(*name))
            scratch[length++] = *name;
    }
    scratch[length] = '\0';
    return identity_of_name(scratch) != IDENTITY_NONE;
}

/* A parameter may be one of a list, a map or an object, and have a mark in front: servers take "name[]",
 * "[name]", "object.name" or "!name" for that name. So each word of it counts. */
static bool has_word_of_identity(char *name) {
    while (*name != '\0') {
        size_t length = 0;
        while (is_of_word(name[length]))
            length++;
        char after = name[length];
        name[length] = '\0';
        if (identity_of_name(name) != IDENTITY_NONE)
            return true;
        name += length + (after != '\0');
    }
    return false;
}

/* As some servers do, a semicolon is taken for an ampersand. */
int identity_is_in_query(const char *query) {
    size_t size = strlen(query) + 1;
    char *name = malloc(2 * size);
    if (name == NULL)
        return -ENOMEM;
    bool found = false;
    while (*query != '\0' && !found) {
        size_t length = strcspn(query, "=&;");
        found = percent_decode(query, length, name, length + 1) >= 0 &&
                (names_identity_as_whole(name, name + size) || has_word_of_identity(name));
        query += strcspn(query, "&;");
        query += *query != '\0';
    }
    free(name);
    return found;
}
