/* What libcyaml is told of the settings: a schema made from the table of keys. */
#ifndef SLUICE_CONFIG_SCHEMA_H
#define SLUICE_CONFIG_SCHEMA_H

#include "base/attributes.h"

#include <cyaml/cyaml.h>
#include <stdbool.h>

/** What libcyaml fills in for one key: all is text, for one check serves all sources of settings. A row of
 * them has one a key, in the order of config_keys, and behind them one more: in the file's row that is the
 * list of upstreams, in an item's row the name. */
struct config_raw {
    char *text;
    void *items; /* of a list: `char *`; of the list of upstreams: rows */
    unsigned count;
};

struct config_schema {
    cyaml_schema_value_t file; /* to be loaded: a row */
    cyaml_schema_value_t item;
    cyaml_schema_field_t *fields;
    cyaml_schema_field_t *item_fields;
};

/** It has pointers to itself: it stays where it is. False: out of memory, nothing is left to finish. */
bool config_schema_init(struct config_schema *schema) MUST_CHECK;

void config_schema_finish(struct config_schema *schema);

#endif
