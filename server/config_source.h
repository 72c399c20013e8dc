/* Where the value of a setting came from. */
#ifndef SLUICE_SERVER_CONFIG_SOURCE_H
#define SLUICE_SERVER_CONFIG_SOURCE_H

#include "server/config.h"

enum config_source_kind { CONFIG_FROM_DEFAULT, CONFIG_FROM_FILE, CONFIG_FROM_ENVIRONMENT, CONFIG_FROM_FLAG };

struct config_source {
    enum config_source_kind kind;
    unsigned line; /* in the file */
};

/** Room for what config_source_describe() writes; longer file names are cut. */
#define CONFIG_SOURCE_SIZE 512

/** Names the source of the key at `index`: "default", "sluice.yaml:3", "SLUICE_LISTEN" or "--listen". */
void config_source_describe(const struct config *config, size_t index, char out[CONFIG_SOURCE_SIZE]);

/** Refuses the value of the key at `index`: the error names the source and the key, then what `format` says.
 */
void config_source_blame(const struct config *config, size_t index, struct config_error *error,
                         const char *format, ...) PRINTF_LIKE(4, 5);

#endif
