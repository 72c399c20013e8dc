/* The names of settings: where which may be given, how they look there, and what a wrong one was meant as. */
#ifndef SLUICE_CONFIG_NAMES_H
#define SLUICE_CONFIG_NAMES_H

#include "base/buffer.h"
#include "config/keys.h"

/** What the file may hold beside config_keys: the list of upstreams, and in each item its name. */
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
