/* What libcyaml is told of the settings: see config/schema.h. */
#include "config/schema.h"

#include "config/config.h"
#include "config/names.h"

#include <stdlib.h>

#define GIVEN_OR_NULL (CYAML_FLAG_OPTIONAL | CYAML_FLAG_POINTER_NULL_STR)

static const cyaml_schema_value_t word_schema = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED)};

/* The offset in a row of what is at `offset` of its entry at `index`. */
static uint32_t offset_in_row(size_t index, size_t offset) {
    return (uint32_t)(index * sizeof(struct config_raw) + offset);
}

static cyaml_schema_field_t text_field(const char *name, size_t index, int flags) {
    return (cyaml_schema_field_t){.key = name,
                                  .data_offset = offset_in_row(index, offsetof(struct config_raw, text)),
                                  .value = {CYAML_VALUE_STRING(flags, char, 0, CYAML_UNLIMITED)}};
}

static cyaml_schema_field_t list_field(const char *name, size_t index, const cyaml_schema_value_t *entry,
                                       size_t entry_size, uint32_t min, uint32_t max) {
    return (cyaml_schema_field_t){.key = name,
                                  .data_offset = offset_in_row(index, offsetof(struct config_raw, items)),
                                  .count_offset = offset_in_row(index, offsetof(struct config_raw, count)),
                                  .count_size = sizeof(unsigned),
                                  .value = {.type = CYAML_SEQUENCE,
                                            .flags = (enum cyaml_flag)GIVEN_OR_NULL,
                                            .data_size = (uint32_t)entry_size,
                                            .sequence = {.entry = entry, .min = min, .max = max}}};
}

static cyaml_schema_field_t key_field(size_t index) {
    const struct config_key *key = &config_keys[index];

    return key->type->list ? list_field(key->name, index, &word_schema, sizeof(char *), 0, CYAML_UNLIMITED)
                           : text_field(key->name, index, GIVEN_OR_NULL);
}

static cyaml_schema_value_t row_schema(const cyaml_schema_field_t *fields, int flags) {
    return (cyaml_schema_value_t){.type = CYAML_MAPPING,
                                  .flags = (enum cyaml_flag)flags,
                                  .data_size = offset_in_row(config_keys_count + 1, 0),
                                  .mapping = {.fields = fields}};
}

bool config_schema_init(struct config_schema *schema) {
    size_t item_fields = 0;

    /* One more than there are names, for the end. */
    *schema =
        (struct config_schema){.fields = calloc(config_keys_count + 2, sizeof(*schema->fields)),
                               .item_fields = calloc(config_keys_count + 2, sizeof(*schema->item_fields))};
    if (schema->fields == NULL || schema->item_fields == NULL) {
        config_schema_finish(schema);
        return false;
    }
    for (size_t i = 0; i < config_keys_count; i++) {
        schema->fields[i] = key_field(i);
        if (config_keys[i].of_upstream)
            schema->item_fields[item_fields++] = schema->fields[i];
    }
    /* No name is null: one may be the word. */
    schema->item_fields[item_fields] =
        text_field(CONFIG_ITEM_NAME, config_keys_count, CYAML_FLAG_OPTIONAL | CYAML_FLAG_POINTER);
    schema->item = row_schema(schema->item_fields, CYAML_FLAG_DEFAULT);
    schema->fields[config_keys_count] = list_field(CONFIG_LIST_NAME, config_keys_count, &schema->item,
                                                   schema->item.data_size, 1, CONFIG_UPSTREAMS_MAX);
    schema->file = row_schema(schema->fields, CYAML_FLAG_POINTER);
    return true;
}

void config_schema_finish(struct config_schema *schema) {
    free(schema->fields);
    free(schema->item_fields);
}
