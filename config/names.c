/* The names of settings: see config/names.h. */
#include "config/names.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* The names of a scope have the indexes 0 to config_keys_count. NULL: there is none at this one. */
static const char *name_at(enum config_scope scope, size_t index) {
    if (index < config_keys_count)
        return scope != CONFIG_SCOPE_ITEM || config_keys[index].of_upstream ? config_keys[index].name : NULL;
    switch (scope) {
    case CONFIG_SCOPE_FILE:
        return CONFIG_LIST_NAME;
    case CONFIG_SCOPE_ITEM:
        return CONFIG_ITEM_NAME;
    case CONFIG_SCOPE_FLAGS:
        break;
    }
    return NULL;
}

bool config_name_is_known(enum config_scope scope, const char *name) {
    for (size_t i = 0; i <= config_keys_count; i++) {
        const char *known = name_at(scope, i);
        if (known != NULL && strcmp(known, name) == 0)
            return true;
    }
    return false;
}

/* How many bytes must be changed, put in or taken out to make `b` of `a` (Levenshtein, one row at a time). */
static size_t edit_distance(const char *a, const char *b) {
    size_t row[CONFIG_NAME_SIZE];
    size_t length = strlen(b);

    for (size_t j = 0; j <= length; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= length; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
        }
    }
    return row[length];
}

const char *config_name_nearest(enum config_scope scope, const char *name) {
    const char *nearest = NULL;
    size_t least = strlen(name) / 3 + 1;

    if (least > 4)
        least = 4;
    for (size_t i = 0; i <= config_keys_count; i++) {
        const char *known = name_at(scope, i);
        size_t changes = known != NULL ? edit_distance(name, known) : least;
        if (changes < least) {
            nearest = known;
            least = changes;
        }
    }
    return nearest;
}

bool config_names_append(enum config_scope scope, struct buffer *out) {
    bool first = true;

    for (size_t i = 0; i <= config_keys_count; i++) {
        const char *known = name_at(scope, i);
        if (known == NULL)
            continue;
        if (!buffer_printf(out, "%s%s", first ? "" : ", ", known))
            return false;
        first = false;
    }
    return true;
}

void config_key_flag(const struct config_key *key, char out[CONFIG_NAME_SIZE]) {
    snprintf(out, CONFIG_NAME_SIZE, "--%s", key->name);
    for (char *c = out; *c != '\0'; c++) {
        if (*c == '_')
            *c = '-';
    }
}

void config_key_variable(const struct config_key *key, char out[CONFIG_NAME_SIZE]) {
    snprintf(out, CONFIG_NAME_SIZE, "SLUICE_%s", key->name);
    for (char *c = out; *c != '\0'; c++)
        *c = (char)toupper((unsigned char)*c);
}
