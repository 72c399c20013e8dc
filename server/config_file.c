/* The configuration file: libcyaml reads and judges it; libyaml's marks tell the lines, which libcyaml does
 * not. */
#include "server/config_file.h"

#include "base/buffer.h"
#include "server/config_keys.h"

#include <cyaml/cyaml.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

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

/* ---- lines -------------------------------------------------------------------------------------- */

/* Where the parser stopped; an error of its reader has an offset only. */
static unsigned problem_line(const yaml_parser_t *parser, const struct buffer *text) {
    unsigned line = 1;

    if (parser->error != YAML_READER_ERROR)
        return (unsigned)parser->problem_mark.line + 1;
    for (size_t i = 0; i < parser->problem_offset && i < text->length; i++)
        line += text->bytes[i] == '\n';
    return line;
}

/* How far a walk through the top-level mapping has come. */
struct walk {
    unsigned depth;     /* of mappings and lists */
    unsigned documents; /* begun */
    bool is_value;      /* what comes next at depth 1 */
};

/* Whether the event is a key of the top-level mapping. */
static bool walk_step(struct walk *walk, const yaml_event_t *event) {
    bool ends = event->type == YAML_MAPPING_END_EVENT || event->type == YAML_SEQUENCE_END_EVENT;
    bool begins = event->type == YAML_MAPPING_START_EVENT || event->type == YAML_SEQUENCE_START_EVENT;
    bool single = event->type == YAML_SCALAR_EVENT || event->type == YAML_ALIAS_EVENT;

    walk->documents += event->type == YAML_DOCUMENT_START_EVENT;
    walk->depth -= ends;
    bool is_key = single && walk->depth == 1 && !walk->is_value;
    if (walk->depth == 1 && (single || ends))
        walk->is_value = !walk->is_value;
    walk->depth += begins;
    return is_key;
}

/* The line of the `nth` time that `key` stands at the top level, from 1. Without a key: the line of what is
 * no YAML, or of a second document. 0: there is none. */
static unsigned find_line(const struct buffer *text, const char *key, unsigned nth) {
    struct walk walk = {0};
    yaml_parser_t parser;
    yaml_event_t event;
    unsigned line = 0;
    bool end = !yaml_parser_initialize(&parser);

    if (end)
        return 0;
    yaml_parser_set_input_string(&parser, (const unsigned char *)text->bytes, text->length);
    while (line == 0 && !end) {
        if (!yaml_parser_parse(&parser, &event)) {
            line = key == NULL ? problem_line(&parser, text) : 0;
            break;
        }
        bool is_key = walk_step(&walk, &event);
        if (key == NULL ? walk.documents == 2
                        : is_key && event.type == YAML_SCALAR_EVENT &&
                              strcmp((const char *)event.data.scalar.value, key) == 0 && --nth == 0)
            line = (unsigned)event.start_mark.line + 1;
        end = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return line;
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
    char key[64]; /* "" if it names none */
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
    if (!copy_behind(line, "Unexpected key: ", "\n", complaint->key, sizeof(complaint->key)) &&
        !copy_behind(line, "Mapping field already seen: ", "\n", complaint->key, sizeof(complaint->key)))
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

static void refuse_key(const char *path, unsigned line, const char *name, struct config_error *error) {
    const struct config_key *meant = config_key_nearest(name);
    struct buffer names;

    buffer_init(&names, sizeof(error->text));
    if (config_keys_append_names(&names))
        config_error_set(error, "%s:%u: %s: unknown key%s%s; the keys are %s", path, line, name,
                         meant != NULL ? ", perhaps meant as " : "", meant != NULL ? meant->name : "",
                         names.bytes);
    else
        config_error_set(error, "out of memory");
    buffer_finish(&names);
}

static void refuse(const char *path, const struct buffer *text, cyaml_err_t code,
                   const struct complaint *complaint, struct config_error *error) {
    bool twice = strncmp(complaint->reason, "Mapping field already seen", 26) == 0;
    unsigned line = find_line(text, complaint->key, twice ? 2 : 1);
    unsigned problem = find_line(text, NULL, 0);

    if (code == CYAML_ERR_OOM)
        config_error_set(error, "%s: out of memory", path);
    else if (code == CYAML_ERR_INVALID_KEY)
        refuse_key(path, line, complaint->key, error);
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
        values[i].line = find_line(text, config_keys[i].name, 1);
        if (values[i].text == NULL) {
            config_file_values_destroy(values);
            return NULL;
        }
    }
    return values;
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
    if (load_text(path, &text, error))
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
