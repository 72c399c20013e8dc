/* For the rest of this room: the flags that are no keys, and where the value of a setting came from.
 *
 * Main thread at the start, or the thread of a reload.
 */
#ifndef SLUICE_CONFIG_LOAD_H
#define SLUICE_CONFIG_LOAD_H

#include "base/attributes.h"
#include "config/config.h"

#include <stdbool.h>
#include <stddef.h>

/* ---- the command line ----------------------------------------------------------------------------- */

/** What the program was asked to do. */
enum config_action {
    CONFIG_ACTION_RUN,
    CONFIG_ACTION_CHECK,
    CONFIG_ACTION_HELP,
    CONFIG_ACTION_VERSION,
    CONFIG_ACTION_DOCS,
    CONFIG_ACTION_EXAMPLE,
};

/** A flag that asks for something to be printed. */
struct config_action_flag {
    const char *flag;
    enum config_action action;
    const char *meaning;
};

extern const struct config_action_flag config_action_flags[];
extern const size_t config_action_flags_count;

/* ---- where a value came from ---------------------------------------------------------------------- */

enum config_source_kind { CONFIG_FROM_DEFAULT, CONFIG_FROM_FILE, CONFIG_FROM_ENVIRONMENT, CONFIG_FROM_FLAG };

struct config_source {
    enum config_source_kind kind;
    unsigned line; /* in the file */
};

/* A value is that of a key, by its index, for an upstream of config->upstreams, by its index, or for none. */
#define CONFIG_NO_UPSTREAM SIZE_MAX

/** What the upstream's item in the list says of the key, as a text. NULL: nothing, or there is no list; the
 * value comes from the key outside of it then. */
const char *config_source_own_text(const struct config *config, size_t upstream, size_t index);

struct config_source config_source_of(const struct config *config, size_t upstream, size_t index);

/** Room for what config_source_describe() writes; longer file names are cut. */
#define CONFIG_SOURCE_SIZE 512

/** Names the source of the value: "default", "sluice.yaml:3", "SLUICE_LISTEN" or "--listen". */
void config_source_describe(const struct config *config, size_t upstream, size_t index,
                            char out[CONFIG_SOURCE_SIZE]);

/** Refuses the value: the error names the source and the key, then what `format` says. */
void config_source_blame(const struct config *config, size_t upstream, size_t index,
                         struct config_error *error, const char *format, ...) PRINTF_LIKE(5, 6);

/** Refuses `text` as the value: the error says what is allowed. */
void config_source_refuse(const struct config *config, size_t upstream, size_t index, const char *text,
                          struct config_error *error);

#endif
