/* The table of all settings: the flags, environment, file, --help, documentation and checks come from it. */
#ifndef SLUICE_CONFIG_KEYS_H
#define SLUICE_CONFIG_KEYS_H

#include "base/buffer.h"
#include "config/values.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** A word that a key takes, and the value that it stands for; a NULL name ends a list of them. */
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

/* ---- names ---------------------------------------------------------------------------------------- */

/** The keys that the file may hold besides config_keys: the list of upstreams, and in each item its name. */
#define CONFIG_LIST_NAME "upstreams"
#define CONFIG_ITEM_NAME "name"
#define CONFIG_ITEM_NAME_ALLOWED "a name of 1 to 64 letters, digits, _ and -"

/** Where settings are given. */
enum config_scope {
    CONFIG_SCOPE_FLAGS, /* all of config_keys */
    CONFIG_SCOPE_FILE,  /* all of config_keys, and the list of upstreams */
    CONFIG_SCOPE_ITEM,  /* in an item of that list: its name, and the keys of an upstream */
};

/** Whether the name may be given there. */
bool config_name_is_known(enum config_scope scope, const char *name) MUST_CHECK;

/** The name given there that is most like `name`, or NULL if none is. */
const char *config_name_nearest(enum config_scope scope, const char *name);

/** Appends all names that may be given there with commas between them. False: the buffer is full. */
bool config_names_append(enum config_scope scope, struct buffer *out) MUST_CHECK;

/** Room for a key's name with its prefix as flag or environment variable. */
#define CONFIG_NAME_SIZE 64

/** "--runs-max" */
void config_key_flag(const struct config_key *key, char out[CONFIG_NAME_SIZE]);

/** "SLUICE_RUNS_MAX" */
void config_key_variable(const struct config_key *key, char out[CONFIG_NAME_SIZE]);

#endif
