/* The names that say whose a request is: see identity.h. */
#include "routes/identity.h"

#include "base/percent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LETTERS_MAX 9 /* of "sessionid" */

/* All characters that fold to letters of ASCII, by any of these: simple and full case folding
 * (CaseFolding.txt, statuses C, S and F), its Turkic variant (T), and mapping to upper case and back, as Java
 * compares. The ligatures with f and st are left out, since no name has these letters. */
static const struct {
    const char *bytes; /* UTF-8 */
    const char *folded;
} others[] = {
    {"\xC5\xBF", "s"},      /* U+017F, long s */
    {"\xC3\x9F", "ss"},     /* U+00DF, sharp s */
    {"\xE1\xBA\x9E", "ss"}, /* U+1E9E, capital sharp s */
    {"\xC4\xB0", "i"},      /* U+0130, I with a dot */
    {"\xC4\xB1", "i"},      /* U+0131, i without one */
    {"i\xCC\x87", "i"},     /* what U+0130 is in full case folding: the i, and U+0307 */
    {"I\xCC\x87", "i"},
};

/* Folds one character; returns its end, NULL if it is no letter of the names'. */
static const char *fold_next(const char *at, char folded[3]) {
    bool may_be_other = (unsigned char)*at >= 0x80 || *at == 'i' || *at == 'I';
    for (size_t i = 0; may_be_other && i < sizeof(others) / sizeof(others[0]); i++) {
        size_t length = strlen(others[i].bytes);
        if (strncmp(at, others[i].bytes, length) == 0) {
            memcpy(folded, others[i].folded, strlen(others[i].folded) + 1);
            return at + length;
        }
    }
    bool is_upper = *at >= 'A' && *at <= 'Z';
    folded[0] = is_upper ? (char)(*at - 'A' + 'a') : *at;
    folded[1] = '\0';
    return folded[0] >= 'a' && folded[0] <= 'z' ? at + 1 : NULL;
}

/* False: the name has another character, or too many. */
static bool fold(const char *name, char out[LETTERS_MAX + 1]) {
    size_t length = 0;
    while (*name != '\0') {
        char folded[3];
        if (*name == '_') {
            name++;
            continue;
        }
        name = fold_next(name, folded);
        if (name == NULL || length + strlen(folded) > LETTERS_MAX)
            return false;
        memcpy(out + length, folded, strlen(folded));
        length += strlen(folded);
    }
    out[length] = '\0';
    return true;
}

enum identity identity_of_name(const char *name) {
    static const char *const names[] = {
        [IDENTITY_APP] = "appname", [IDENTITY_USER] = "userid", [IDENTITY_SESSION] = "sessionid"};
    char folded[LETTERS_MAX + 1];
    int identity = fold(name, folded) ? IDENTITY_APP : IDENTITY_NONE;
    while (identity < IDENTITY_NONE && strcmp(names[identity], folded) != 0)
        identity++;
    return (enum identity)identity;
}

static bool is_among(const char *name, const char *const *names) {
    while (names != NULL && *names != NULL && strcmp(*names, name) != 0)
        names++;
    return names != NULL && *names != NULL;
}

const char *identity_find(const cJSON *object, const char *const *but) {
    const cJSON *member;
    cJSON_ArrayForEach(member, object) {
        if (identity_of_name(member->string) != IDENTITY_NONE && !is_among(member->string, but))
            return member->string;
    }
    return NULL;
}

/* Some servers take a character like this in the middle of a parameter's name for an underscore (PHP). */
static bool may_be_underscore(char byte) {
    return byte == ' ' || byte == '+' || byte == '.' || byte == '-';
}

static bool is_of_word(char byte) {
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
           byte == '_' || (unsigned char)byte >= 0x80;
}

/* Whether the name, without what may be an underscore, stands for one of them. */
static bool names_identity_as_whole(const char *name, char *scratch) {
    size_t length = 0;
    for (; *name != '\0'; name++) {
        if (!may_be_underscore(*name))
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
