/* The configuration file: flat YAML, read by libcyaml with a schema made from the table of keys. */
#ifndef SLUICE_SERVER_CONFIG_FILE_H
#define SLUICE_SERVER_CONFIG_FILE_H

#include "base/attributes.h"
#include "server/config_error.h"

#include <stdbool.h>

#define CONFIG_FILE_BYTES_MAX (1 << 20)

/** What the file says about one key; the value is not checked yet. */
struct config_file_value {
    char *text;    /* NULL: nothing, or null; a list has commas between its items */
    unsigned line; /* of the key, from 1 */
};

/** Reads the file. Returns one value a key in the order of config_keys, for config_file_values_destroy().
 * NULL: refused, `error` says why. An empty file is fine. */
struct config_file_value *config_file_read(const char *path, struct config_error *error) MUST_CHECK;

/** NULL is fine. */
void config_file_values_destroy(struct config_file_value *values);

#endif
