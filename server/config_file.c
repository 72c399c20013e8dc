/* The configuration file: libcyaml reads and judges it. */
#include "server/config_file.h"

#include "base/buffer.h"
#include "server/config_keys.h"
#include "server/config_place.h"

#include <cyaml/cyaml.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- bytes -------------------------------------------------------------------------------------- */

/* 0, or a negative errno; -EFBIG: over the limit. */
static int read_all(int file, struct buffer *text) {
    char chunk[16384];
    ssize_t count;

    while ((count = read(file, chunk, sizeof(chunk))) != 0) {
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -errno;
        if (!buffer_append(text, chunk, (size_t)count))
            return text->length + (size_t)count > text->bytes_max ? -EFBIG : -ENOMEM;
    }
    return 0;
}

static bool load_text(const char *path, struct buffer *text, struct config_error *error) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    int result = file < 0 ? -errno : read_all(file, text);

    if (file >= 0)
        close(file);
    if (result == -EFBIG)
        config_error_set(error, "%s: is larger than %d bytes", path, CONFIG_FILE_BYTES_MAX);
    else if (result < 0)
        /* glibc's strerror() has a buffer for each thread. NOLINTNEXTLINE(concurrency-mt-unsafe) */
        config_error_set(error, "%s: cannot be read: %s", path, strerror(-result));
    return result == 0;
}

/* ---- schema ------------------------------------------------------------------------------------- */

/* What libcyaml fills in for one key: all is text, for one check serves all sources of settings. */
struct raw_value {
    char *text;
    char **items;
    unsigned count;
};

static const cyaml_schema_value_t item_schema = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED)};

static cyaml_schema_field_t field_schema(size_t index) {
    const struct config_key *key = &config_keys[index];
    uint32_t base = (uint32_t)(index * sizeof(struct raw_value));

    if (key->type->list)
        return (cyaml_schema_field_t){
            .key = key->name,
            .data_offset = base + (uint32_t)offsetof(struct raw_value, items),
            .count_offset = base + (uint32_t)offsetof(struct raw_value, count),
            .count_size = sizeof(unsigned),
            .value = {CYAML_VALUE_SEQUENCE(CYAML_FLAG_OPTIONAL | CYAML_FLAG_POINTER_NULL_STR, char *,
                                           &item_schema, 0, CYAML_UNLIMITED)}};
    return (cyaml_schema_field_t){
        .key = key->name,
        .data_offset = base + (uint32_t)offsetof(struct raw_value, text),
        .value = {
            CYAML_VALUE_STRING(CYAML_FLAG_OPTIONAL | CYAML_FLAG_POINTER_NULL_STR, char, 0, CYAML_UNLIMITED)}};
}

/* ---- what libcyaml says ------------------------------------------------------------------------- */

/* libcyaml tells its errors by log lines alone: the first is the reason, the ones behind it the place. */
struct complaint {
    char reason[256];
    char key[64]; /* of ours; "" if it names none */
};

/* What stands in `line` behind `mark`, up to one of `ends`. */
static bool copy_behind(const char *line, const char *mark, const char *ends, char *out, size_t size) {
    const char *start = strstr(line, mark);

    if (start == NULL)
        return false;
    start += strlen(mark);
    snprintf(out, size, "%.*s", (int)strcspn(start, ends), start);
    return true;
}

static void PRINTF_LIKE(3, 0)
    on_cyaml_log(cyaml_log_t level, void *context, const char *format, va_list arguments) {
    struct complaint *complaint = context;
    char line[256];

    (void)level;
    vsnprintf(line, sizeof(line), format, arguments);
    if (complaint->reason[0] == '\0' &&
        !copy_behind(line, "libyaml: ", "\n", complaint->reason, sizeof(complaint->reason)) &&
        !copy_behind(line, "Load: ", "\n", complaint->reason, sizeof(complaint->reason)))
        snprintf(complaint->reason, sizeof(complaint->reason), "%.*s", (int)strcspn(line, "\n"), line);
    if (!copy_behind(line, "Mapping field already seen: ", "\n", complaint->key, sizeof(complaint->key)))
        copy_behind(line, "in mapping field '", "'", complaint->key, sizeof(complaint->key));
}

/* `line` 0: no key is to blame, whatever libcyaml says. */
static void refuse_shape(const char *path, unsigned line, const char *name, struct config_error *error) {
    int index = config_key_find(name);
    struct buffer allowed;

    if (index < 0 || line == 0) {
        config_error_set(error, "%s: must be a mapping of keys to values, such as \"listen: 127.0.0.1:8080\"",
                         path);
        return;
    }
    buffer_init(&allowed, sizeof(error->text));
    if (config_keys[index].type->allow(&config_keys[index], &allowed))
        config_error_set(error, "%s:%u: %s: must be %s", path, line, name, allowed.bytes);
    else
        config_error_set(error, "out of memory");
    buffer_finish(&allowed);
}

static void refuse_key(const char *path, const struct buffer *text, struct config_error *error) {
    const struct config_place place = config_place_of_unknown_key(text);
    const struct config_key *meant = config_key_nearest(place.name);
    struct buffer names;

    buffer_init(&names, sizeof(error->text));
    if (config_keys_append_names(&names))
        config_error_set(error, "%s:%u: %s: unknown key%s%s; the keys are %s", path, place.line, place.name,
                         meant != NULL ? ", perhaps meant as " : "", meant != NULL ? meant->name : "",
                         names.bytes);
    else
        config_error_set(error, "out of memory");
    buffer_finish(&names);
}

static void refuse(const char *path, const struct buffer *text, cyaml_err_t code,
                   const struct complaint *complaint, struct config_error *error) {
    bool twice = strncmp(complaint->reason, "Mapping field already seen", 26) == 0;
    unsigned line = config_place_of_key(text, complaint->key, twice ? 2 : 1).line;
    unsigned problem = config_place_of_problem(text).line;

    if (code == CYAML_ERR_OOM)
        config_error_set(error, "%s: out of memory", path);
    else if (code == CYAML_ERR_INVALID_KEY)
        refuse_key(path, text, error);
    else if (twice)
        config_error_set(error, "%s:%u: %s: is given twice", path, line, complaint->key);
    else if (code == CYAML_ERR_ALIAS && line == 0)
        config_error_set(error, "%s: aliases are not allowed", path);
    else if (code == CYAML_ERR_ALIAS)
        config_error_set(error, "%s:%u: %s: aliases are not allowed", path, line, complaint->key);
    else if (code == CYAML_ERR_INVALID_VALUE || problem == 0)
        refuse_shape(path, line, complaint->key, error);
    else if (code == CYAML_OK)
        config_error_set(error, "%s:%u: is a second YAML document, only one is read", path, problem);
    else
        config_error_set(error, "%s:%u: is not YAML: %s", path, problem, complaint->reason);
}

/* ---- reading ------------------------------------------------------------------------------------ */

/* The items of a list with commas between them; an empty list is no value. NULL: out of memory. */
static char *join_items(const struct raw_value *raw) {
    struct buffer joined;

    buffer_init(&joined, CONFIG_FILE_BYTES_MAX);
    for (unsigned i = 0; i < raw->count; i++) {
        if (!buffer_printf(&joined, "%s%s", i > 0 ? "," : "", raw->items[i])) {
            buffer_finish(&joined);
            return NULL;
        }
    }
    return buffer_detach(&joined);
}

/* Copies what libcyaml loaded, and adds the lines. */
static struct config_file_value *take_values(const struct raw_value *raw, const struct buffer *text) {
    /* There are keys. NOLINTNEXTLINE(clang-analyzer-optin.portability.UnixAPI) */
    struct config_file_value *values = calloc(config_keys_count, sizeof(*values));

    for (size_t i = 0; i < config_keys_count && values != NULL && raw != NULL; i++) {
        if (raw[i].text == NULL && raw[i].items == NULL)
            continue;
        values[i].text = raw[i].items != NULL ? join_items(&raw[i]) : strdup(raw[i].text);
        values[i].line = config_place_of_key(text, config_keys[i].name, 1).line;
        if (values[i].text == NULL) {
            config_file_values_destroy(values);
            return NULL;
        }
    }
    return values;
}

/* libcyaml gives C strings, which would end at an escaped NUL. */
static bool check_whole(const char *path, const struct buffer *text, struct config_error *error) {
    const struct config_place place = config_place_of_nul(text);

    if (place.line > 0)
        config_error_set(error, "%s:%u: %s%smust be without NUL (\\0)", path, place.line, place.name,
                         place.name[0] != '\0' ? ": " : "");
    return place.line == 0;
}

static struct config_file_value *parse_text(const char *path, const struct buffer *text,
                                            const cyaml_schema_field_t *fields, struct config_error *error) {
    const cyaml_schema_value_t schema = {.type = CYAML_MAPPING,
                                         .flags = CYAML_FLAG_POINTER,
                                         .data_size =
                                             (uint32_t)(config_keys_count * sizeof(struct raw_value)),
                                         .mapping = {.fields = fields}};
    struct complaint complaint = {0};
    const cyaml_config_t settings = {.log_fn = on_cyaml_log,
                                     .log_ctx = &complaint,
                                     .mem_fn = cyaml_mem,
                                     .log_level = CYAML_LOG_NOTICE,
                                     .flags = CYAML_CFG_NO_ALIAS};
    struct config_file_value *values = NULL;
    cyaml_data_t *raw = NULL;
    cyaml_err_t code =
        cyaml_load_data((const uint8_t *)text->bytes, text->length, &settings, &schema, &raw, NULL);

    if (code != CYAML_OK || complaint.reason[0] != '\0')
        refuse(path, text, code, &complaint, error);
    else if ((values = take_values(raw, text)) == NULL)
        config_error_set(error, "%s: out of memory", path);
    cyaml_free(&settings, &schema, raw, 0);
    return values;
}

struct config_file_value *config_file_read(const char *path, struct config_error *error) {
    cyaml_schema_field_t *fields = calloc(config_keys_count + 1, sizeof(*fields));
    struct config_file_value *values = NULL;
    struct buffer text;

    buffer_init(&text, CONFIG_FILE_BYTES_MAX);
    if (fields == NULL || !buffer_append(&text, "", 0)) {
        config_error_set(error, "%s: out of memory", path);
        goto finish;
    }
    for (size_t i = 0; i < config_keys_count; i++)
        fields[i] = field_schema(i);
    if (load_text(path, &text, error) && check_whole(path, &text, error))
        values = parse_text(path, &text, fields, error);
finish:
    buffer_finish(&text);
    free(fields);
    return values;
}

void config_file_values_destroy(struct config_file_value *values) {
    for (size_t i = 0; i < config_keys_count && values != NULL; i++)
        free(values[i].text);
    free(values);
}
