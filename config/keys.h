/* The table of all settings: the flags, environment, file, --help, documentation and checks come from it. */
#ifndef SLUICE_CONFIG_KEYS_H
#define SLUICE_CONFIG_KEYS_H

#include "config/values.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** A word that a key takes, and what it stands for; a NULL name ends a list of them. */
struct config_choice {
    const char *name;
    int value;
};

struct config_key {
    const char *group; /* heading in --help and the documentation; keys of a group stand together */
    const char *name;  /* as in the file: lower case with underscores */
    const struct config_type *type;
    size_t offset;        /* of the field in struct config */
    const char *fallback; /* the default, as text that the type parses */
    uint64_t minimum;     /* of a number, or of the bytes of words */
    uint64_t maximum;     /* of a number, or of the bytes of a text */
    const struct config_choice *choices;
    bool of_upstream; /* an item of the list of upstreams may give it; its field is in config.upstream */
    bool reloadable;  /* SIGHUP can change it */
    bool limit;  /* /stats and /metrics show it; a number, and no item of the list of upstreams gives it */
    bool secret; /* its value is never printed */
    const char *meaning;
};

extern const struct config_key config_keys[];
extern const size_t config_keys_count;

/** The index of the key of this name, or -1. */
int config_key_find(const char *name) MUST_CHECK;

/** The index of the key of this name, which there is. */
size_t config_key_index(const char *name);

#endif
