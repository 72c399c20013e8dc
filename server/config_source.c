/* Where the value of a setting came from. */
#include "server/config_source.h"

#include "server/config_keys.h"

#include <stdarg.h>
#include <stdio.h>

void config_source_describe(const struct config *config, size_t index, char out[CONFIG_SOURCE_SIZE]) {
    const struct config_source *source = &config->sources[index];

    switch (source->kind) {
    case CONFIG_FROM_DEFAULT:
        snprintf(out, CONFIG_SOURCE_SIZE, "default");
        break;
    case CONFIG_FROM_FILE:
        snprintf(out, CONFIG_SOURCE_SIZE, "%s:%u", config->file, source->line);
        break;
    case CONFIG_FROM_ENVIRONMENT:
        config_key_variable(&config_keys[index], out);
        break;
    case CONFIG_FROM_FLAG:
        config_key_flag(&config_keys[index], out);
        break;
    }
}

void config_source_blame(const struct config *config, size_t index, struct config_error *error,
                         const char *format, ...) {
    enum config_source_kind kind = config->sources[index].kind;
    bool names_key = kind == CONFIG_FROM_ENVIRONMENT || kind == CONFIG_FROM_FLAG;
    char source[CONFIG_SOURCE_SIZE];
    char reason[1024];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    config_source_describe(config, index, source);
    config_error_set(error, "%s%s%s: %s", source, names_key ? "" : ": ",
                     names_key ? "" : config_keys[index].name, reason);
}
