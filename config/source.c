/* Where the value of a setting came from. */
#include "config/source.h"

#include "config/file.h"
#include "config/names.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* What its item says of the key; NULL: there is no such item. */
static const struct config_file_value *item_value(const struct config *config, size_t upstream,
                                                  size_t index) {
    if (upstream == CONFIG_NO_UPSTREAM || config->list == NULL)
        return NULL;
    return &config->list->items[upstream].values[index];
}

const char *config_source_own_text(const struct config *config, size_t upstream, size_t index) {
    const struct config_file_value *value = item_value(config, upstream, index);

    return value != NULL ? value->text : NULL;
}

struct config_source config_source_of(const struct config *config, size_t upstream, size_t index) {
    const struct config_file_value *value = item_value(config, upstream, index);

    if (value == NULL || value->text == NULL)
        return config->sources[index];
    return (struct config_source){CONFIG_FROM_FILE, value->line};
}

void config_source_describe(const struct config *config, size_t upstream, size_t index,
                            char out[CONFIG_SOURCE_SIZE]) {
    const struct config_source source = config_source_of(config, upstream, index);

    switch (source.kind) {
    case CONFIG_FROM_DEFAULT:
        snprintf(out, CONFIG_SOURCE_SIZE, "default");
        break;
    case CONFIG_FROM_FILE:
        snprintf(out, CONFIG_SOURCE_SIZE, "%s:%u", config->file, source.line);
        break;
    case CONFIG_FROM_ENVIRONMENT:
        config_key_variable(&config_keys[index], out);
        break;
    case CONFIG_FROM_FLAG:
        config_key_flag(&config_keys[index], out);
        break;
    }
}

void config_source_blame(const struct config *config, size_t upstream, size_t index,
                         struct config_error *error, const char *format, ...) {
    enum config_source_kind kind = config_source_of(config, upstream, index).kind;
    bool names_key = kind == CONFIG_FROM_ENVIRONMENT || kind == CONFIG_FROM_FLAG;
    /* An item's own line tells which upstream it is about. */
    const char *name =
        item_value(config, upstream, index) != NULL && config_source_own_text(config, upstream, index) == NULL
            ? config->list->items[upstream].name.text
            : NULL;
    char source[CONFIG_SOURCE_SIZE];
    char reason[1024];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    config_source_describe(config, upstream, index, source);
    config_error_set(error, "%s%s%s: %s%s%s%s", source, names_key ? "" : ": ",
                     names_key ? "" : config_keys[index].name, name != NULL ? "upstream " : "",
                     name != NULL ? name : "", name != NULL ? ": " : "", reason);
}

void config_source_refuse(const struct config *config, size_t upstream, size_t index, const char *text,
                          struct config_error *error) {
    const struct config_key *key = &config_keys[index];
    const char *shown = strrchr(text, '@'); /* what stands in front of it may be a password */
    struct buffer allowed;

    if (shown == NULL)
        shown = text;
    buffer_init(&allowed, sizeof(error->text));
    if (!key->type->allow(key, &allowed))
        config_error_set(error, "out of memory");
    else if (key->secret)
        config_source_blame(config, upstream, index, error, "the value is not %s", allowed.bytes);
    else
        config_source_blame(config, upstream, index, error, "\"%s%.80s%s\" is not %s",
                            shown != text ? "..." : "", shown, strlen(shown) > 80 ? "..." : "",
                            allowed.bytes);
    buffer_finish(&allowed);
}
