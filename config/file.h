/* The configuration file: YAML, read by libcyaml with a schema made from the table of keys. It is flat, but
 * for the list of upstreams. */
#ifndef SLUICE_CONFIG_FILE_H
#define SLUICE_CONFIG_FILE_H

#include "base/attributes.h"
#include "config/config.h"

#include <stdbool.h>
#include <stddef.h>

#define CONFIG_FILE_BYTES_MAX (1 << 20)

/** What the file says about one key; the value is not checked yet. */
struct config_file_value {
    char *text;    /* NULL: nothing, or null; a list has commas between its items */
    unsigned line; /* of the key, from 1 */
};

/** The item of one upstream. */
struct config_file_item {
    struct config_file_value name;    /* the line is where the item begins if there is none */
    struct config_file_value *values; /* one a key, in the order of config_keys; those that are not of
                                         upstreams are nothing */
};

/** The list of upstreams. It does not change, so a reload may take it over: it is referenced. */
struct config_file_list {
    unsigned references;
    size_t count; /* at least 1 */
    struct config_file_item *items;
};

struct config_file {
    struct config_file_value *values; /* one a key, in the order of config_keys */
    struct config_file_list *list;    /* NULL: there is none */
    bool exposes_secret;              /* one stands in it, and other users of the machine may read it */
};

/** Reads the file. False: refused, `error` says why, and there is nothing to finish. An empty file is fine.
 */
bool config_file_init(struct config_file *file, const char *path, struct config_error *error) MUST_CHECK;

void config_file_finish(struct config_file *file);

/** Both take NULL. One thread at a time. */
struct config_file_list *config_file_list_ref(struct config_file_list *list);
void config_file_list_unref(struct config_file_list *list);

/** Whether both say the same in the same words, wherever they stand. NULL is no list. */
bool config_file_lists_equal(const struct config_file_list *a, const struct config_file_list *b) MUST_CHECK;

#endif
