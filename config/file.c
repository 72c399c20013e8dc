/* The configuration file.
 *
 * libcyaml reads and judges the text by a schema, which is made from the table of keys: every value is loaded as
 * a text, because the types of settings check the texts of all sources alike. libcyaml does not report at which
 * line a key stands, and its errors are lines of a log. So a refused text is read once more by libyaml, whose
 * events have lines, to find the place that the error is about.
 */
#include "config/file.h"

#include "base/attributes.h"
#include "base/buffer.h"
#include "config/config.h"
#include "config/keys.h"

#include <cyaml/cyaml.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

/* ---- where things stand --------------------------------------------------------------------------- */

/* Room for a name of 80 bytes; a longer one is cut and ends in "...". */
#define PLACE_NAME_SIZE 84

struct config_place {
    unsigned line;              /* from 1; 0: there is no such place */
    unsigned item;              /* of the list of upstreams that it is in, from 1; 0: in none */
    char name[PLACE_NAME_SIZE]; /* of the key that it belongs to, at the top level or in that item; "":
                                          of none */
};

#define NAME_SHOWN_MAX 80

/* The depths, of mappings and lists, that keys are looked for at. */
enum { DEPTH_OF_FILE = 1, DEPTH_OF_LIST = 2, DEPTH_OF_ITEM = 3 };

/* How far a walk through the file has come. */
struct walk {
    unsigned depth;
    unsigned documents;        /* begun */
    bool in_list;              /* of upstreams */
    bool in_item;              /* of that list, which is a mapping */
    bool is_value;             /* the next node in the mapping of the file is a value, not a key */
    bool is_item_value;        /* ... of the item */
    bool is_key;               /* the node is a scalar that is a key of either */
    bool is_item;              /* ... or begins an item */
    struct config_place place; /* the item, and the last of those keys; its line is not kept */
};

/* A search. */
struct wanted {
    bool (*is_met)(struct wanted *wanted, const struct walk *walk, const yaml_event_t *event);
    const char *name;
    unsigned item;
    unsigned nth;
    bool or_problem; /* the place where the text stops being YAML is wanted as well */
    void (*visit)(void *context, const struct config_place *place);
    void *context;
};

/* Where the parser stopped; an error of its reader has an offset only. */
static unsigned problem_line(const yaml_parser_t *parser, const struct buffer *text) {
    unsigned line = 1;

    if (parser->error != YAML_READER_ERROR)
        return (unsigned)parser->problem_mark.line + 1;
    for (size_t i = 0; i < parser->problem_offset && i < text->length; i++)
        line += text->bytes[i] == '\n';
    return line;
}

static unsigned line_of(const yaml_event_t *event) {
    return (unsigned)event->start_mark.line + 1;
}

static const char *scalar_text(const yaml_event_t *event) {
    return (const char *)event->data.scalar.value;
}

/* The node is a key of the mapping that the walk is in. A key that is no scalar has no name. */
static void walk_key(struct walk *walk, const yaml_event_t *event) {
    walk->is_key = event->type == YAML_SCALAR_EVENT;
    const char *name = walk->is_key ? scalar_text(event) : "";
    snprintf(walk->place.name, sizeof(walk->place.name), "%.*s%s", NAME_SHOWN_MAX, name,
             strlen(name) > NAME_SHOWN_MAX ? "..." : "");
}

/* A scalar, an alias, or the begin of a mapping or list. */
static void walk_node(struct walk *walk, const yaml_event_t *event) {
    if ((walk->depth == DEPTH_OF_FILE && !walk->is_value) ||
        (walk->depth == DEPTH_OF_ITEM && walk->in_item && !walk->is_item_value)) {
        walk_key(walk, event);
    } else if (walk->depth == DEPTH_OF_FILE) {
        walk->in_list =
            event->type == YAML_SEQUENCE_START_EVENT && strcmp(walk->place.name, CONFIG_LIST_NAME) == 0;
    } else if (walk->depth == DEPTH_OF_LIST && walk->in_list) {
        walk->is_item = true;
        walk->in_item = event->type == YAML_MAPPING_START_EVENT;
        walk->is_item_value = false;
        walk->place.item++;
        snprintf(walk->place.name, sizeof(walk->place.name), "%s", CONFIG_LIST_NAME);
    }
}

/* A node has ended: the next one is a value if this was a key, and a key if this was a value. */
static void walk_end(struct walk *walk) {
    if (walk->depth == DEPTH_OF_FILE) {
        walk->is_value = !walk->is_value;
        walk->in_list = false;
        walk->place.item = 0;
    } else if (walk->depth == DEPTH_OF_LIST) {
        walk->in_item = false;
    } else if (walk->depth == DEPTH_OF_ITEM) {
        walk->is_item_value = !walk->is_item_value;
    }
}

static void walk_step(struct walk *walk, const yaml_event_t *event) {
    bool ends = event->type == YAML_MAPPING_END_EVENT || event->type == YAML_SEQUENCE_END_EVENT;
    bool begins = event->type == YAML_MAPPING_START_EVENT || event->type == YAML_SEQUENCE_START_EVENT;
    bool single = event->type == YAML_SCALAR_EVENT || event->type == YAML_ALIAS_EVENT;

    walk->documents += event->type == YAML_DOCUMENT_START_EVENT;
    walk->is_key = walk->is_item = false;
    walk->depth -= ends;
    if (begins || single)
        walk_node(walk, event);
    if (single || ends)
        walk_end(walk);
    walk->depth += begins;
}

static struct config_place find_wanted(const struct buffer *text, struct wanted wanted) {
    struct walk walk = {0};
    yaml_parser_t parser;
    yaml_event_t event;
    unsigned line = 0;
    bool end = !yaml_parser_initialize(&parser);

    if (end)
        return walk.place;
    yaml_parser_set_input_string(&parser, (const unsigned char *)text->bytes, text->length);
    while (line == 0 && !end) {
        if (!yaml_parser_parse(&parser, &event)) {
            line = wanted.or_problem ? problem_line(&parser, text) : 0;
            break;
        }
        walk_step(&walk, &event);
        if (wanted.is_met(&wanted, &walk, &event))
            line = line_of(&event);
        end = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    walk.place.line = line;
    return walk.place;
}

static bool is_named_key(struct wanted *wanted, const struct walk *walk, const yaml_event_t *event) {
    return walk->is_key && walk->place.item == wanted->item &&
           strcmp(scalar_text(event), wanted->name) == 0 && --wanted->nth == 0;
}

/* The `nth` time, from 1, that the key `name` stands in the `item`, or at the top level for 0. */
static struct config_place locate_key(const struct buffer *text, unsigned item, const char *name,
                                      unsigned nth) {
    return find_wanted(text, (struct wanted){.is_met = is_named_key, .item = item, .name = name, .nth = nth});
}

static bool is_wanted_item(struct wanted *wanted, const struct walk *walk, const yaml_event_t *event) {
    (void)event;
    return walk->is_item && walk->place.item == wanted->item;
}

/* The begin of the item of the list of upstreams, from 1. */
static struct config_place locate_item(const struct buffer *text, unsigned item) {
    return find_wanted(text, (struct wanted){.is_met = is_wanted_item, .item = item});
}

static bool is_unknown_key(struct wanted *wanted, const struct walk *walk, const yaml_event_t *event) {
    enum config_scope scope = walk->place.item > 0 ? CONFIG_SCOPE_ITEM : CONFIG_SCOPE_FILE;

    (void)wanted;
    return walk->is_key && !config_name_is_known(scope, scalar_text(event));
}

/* The first key that may not stand where it does. */
static struct config_place locate_unknown_key(const struct buffer *text) {
    return find_wanted(text, (struct wanted){.is_met = is_unknown_key});
}

static bool is_alias(struct wanted *wanted, const struct walk *walk, const yaml_event_t *event) {
    (void)wanted;
    (void)walk;
    return event->type == YAML_ALIAS_EVENT;
}

/* The first alias. */
static struct config_place locate_alias(const struct buffer *text) {
    return find_wanted(text, (struct wanted){.is_met = is_alias});
}

static bool has_nul(struct wanted *wanted, const struct walk *walk, const yaml_event_t *event) {
    (void)wanted;
    (void)walk;
    return event->type == YAML_SCALAR_EVENT && strlen(scalar_text(event)) != event->data.scalar.length;
}

/* The first scalar that holds a NUL. A reader of it as a C string would take a part of it for the whole. */
static struct config_place locate_nul(const struct buffer *text) {
    return find_wanted(text, (struct wanted){.is_met = has_nul});
}

static bool is_second_document(struct wanted *wanted, const struct walk *walk, const yaml_event_t *event) {
    (void)wanted;
    (void)event;
    return walk->documents == 2;
}

/* The text that is no YAML, or the beginning of a second document. */
static struct config_place locate_problem(const struct buffer *text) {
    return find_wanted(text, (struct wanted){.is_met = is_second_document, .or_problem = true});
}

/* Never ends the search, so that all are visited. */
static bool visit_key(struct wanted *wanted, const struct walk *walk, const yaml_event_t *event) {
    struct config_place place = walk->place;

    place.line = line_of(event);
    if (walk->is_key)
        wanted->visit(wanted->context, &place);
    return false;
}

/* Calls `visit` with each key, of the top level and of items, in their order. */
static void visit_keys(const struct buffer *text,
                       void (*visit)(void *context, const struct config_place *place), void *context) {
    const struct config_place nowhere =
        find_wanted(text, (struct wanted){.is_met = visit_key, .visit = visit, .context = context});

    (void)nowhere;
}

/* ---- schema --------------------------------------------------------------------------------------- */

/* What libcyaml fills in for one key: all is text, for one check serves all sources of settings. A row of
 * them has one a key, in the order of config_keys, and after them one more: in the file's row that is the
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

#define GIVEN_OR_NULL (CYAML_FLAG_OPTIONAL | CYAML_FLAG_POINTER_NULL_STR)

static const cyaml_schema_value_t word_schema = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED)};

/* The offset within a row of the member at `offset` of the entry at `index`. */
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

static void schema_finish(struct config_schema *schema) {
    free(schema->fields);
    free(schema->item_fields);
}

/* It has pointers to itself: it stays where it is. False: out of memory, nothing is left to finish. */
static bool schema_init(struct config_schema *schema) {
    size_t item_fields = 0;

    /* One more than there are names, for the end. */
    *schema =
        (struct config_schema){.fields = calloc(config_keys_count + 2, sizeof(*schema->fields)),
                               .item_fields = calloc(config_keys_count + 2, sizeof(*schema->item_fields))};
    if (schema->fields == NULL || schema->item_fields == NULL) {
        schema_finish(schema);
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

/* ---- bytes -------------------------------------------------------------------------------------- */

/* 0, or a negative errno; -EFBIG: over the limit. */
static int read_whole_file(int file, struct buffer *text) {
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

/* *ret_is_public: whether users may read it that are neither its owner nor in its group. */
static bool load_text(const char *path, struct buffer *text, bool *ret_is_public,
                      struct config_error *error) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    int result = file < 0 ? -errno : read_whole_file(file, text);
    struct stat status;

    *ret_is_public = file >= 0 && fstat(file, &status) == 0 && (status.st_mode & S_IROTH) != 0;
    if (file >= 0)
        close(file);
    if (result == -EFBIG)
        config_error_set(error, "%s: is larger than %d bytes", path, CONFIG_FILE_BYTES_MAX);
    else if (result < 0)
        /* glibc's strerror() has a buffer for each thread. NOLINTNEXTLINE(concurrency-mt-unsafe) */
        config_error_set(error, "%s: cannot be read: %s", path, strerror(-result));
    return result == 0;
}

/* ---- what libcyaml says ------------------------------------------------------------------------- */

/* libcyaml reports its errors by log lines alone: the first is the reason, the ones after it the place, from
 * the innermost to the outermost. */
struct complaint {
    char reason[256];
    char key[64];   /* the innermost of ours; "" if it names none */
    char outer[64]; /* the outermost */
    unsigned item;  /* of the outermost list, from 1; 0: in none */
};

/* Copies the text of `line` after the `mark` that it begins with, up to one of `ends`. */
static bool copy_behind(const char *line, const char *mark, const char *ends, char *out, size_t size) {
    size_t length = strlen(mark);

    if (strncmp(line, mark, length) != 0)
        return false;
    snprintf(out, size, "%.*s", (int)strcspn(line + length, ends), line + length);
    return true;
}

static void take_reason(struct complaint *complaint, const char *line) {
    if (!copy_behind(line, "Load: libyaml: ", "\n", complaint->reason, sizeof(complaint->reason)) &&
        !copy_behind(line, "Load: ", "\n", complaint->reason, sizeof(complaint->reason)))
        snprintf(complaint->reason, sizeof(complaint->reason), "%.*s", (int)strcspn(line, "\n"), line);
}

static void PRINTF_LIKE(3, 0)
    on_cyaml_log(cyaml_log_t level, void *context, const char *format, va_list arguments) {
    struct complaint *complaint = context;
    char line[256];
    char entry[16];

    (void)level;
    vsnprintf(line, sizeof(line), format, arguments);
    if (copy_behind(line, "  in mapping field '", "'", complaint->outer, sizeof(complaint->outer))) {
        if (complaint->key[0] == '\0')
            memcpy(complaint->key, complaint->outer, sizeof(complaint->key));
    } else if (copy_behind(line, "  in sequence entry '", "'", entry, sizeof(entry))) {
        complaint->item = (unsigned)strtoul(entry, NULL, 10);
    } else if (complaint->reason[0] == '\0') {
        take_reason(complaint, line);
    }
}

/* The place of the `nth` key or item that the complaint names; line 0: it names neither. */
static struct config_place place_of_complaint(const struct buffer *text, const struct complaint *complaint,
                                              cyaml_err_t code, unsigned nth) {
    bool in_list = strcmp(complaint->outer, CONFIG_LIST_NAME) == 0 && code != CYAML_ERR_SEQUENCE_ENTRIES_MAX;
    unsigned item = in_list ? complaint->item : 0;
    /* A key that is no scalar, for which it names another one. */
    bool odd_key = code == CYAML_ERR_INTERNAL_ERROR;

    if (item > 0 && (odd_key || strcmp(complaint->key, CONFIG_LIST_NAME) == 0))
        return locate_item(text, item);
    if (odd_key)
        return (struct config_place){0};
    return locate_key(text, item, complaint->key, nth);
}

/* False: there is nothing of that name, or no memory. */
static bool append_allowed(const struct config_place *place, struct buffer *out) {
    int index = config_key_find(place->name);

    if (strcmp(place->name, CONFIG_LIST_NAME) == 0)
        return buffer_printf(out, "a list of 1 to %d upstreams, each a mapping of keys to values",
                             CONFIG_UPSTREAMS_MAX);
    if (place->item > 0 && strcmp(place->name, CONFIG_ITEM_NAME) == 0)
        return buffer_append_text(out, CONFIG_ITEM_NAME_ALLOWED);
    return index >= 0 && config_keys[index].type->allow(&config_keys[index], out);
}

static void refuse_shape(const char *path, const struct config_place *place, struct config_error *error) {
    struct buffer allowed;

    buffer_init(&allowed, sizeof(error->text));
    if (place->line > 0 && append_allowed(place, &allowed))
        config_error_set(error, "%s:%u: %s: must be %s", path, place->line, place->name, allowed.bytes);
    else
        config_error_set(error, "%s: must be a mapping of keys to values, such as \"listen: 127.0.0.1:8080\"",
                         path);
    buffer_finish(&allowed);
}

static void refuse_key(const char *path, const struct buffer *text, struct config_error *error) {
    const struct config_place place = locate_unknown_key(text);
    enum config_scope scope = place.item > 0 ? CONFIG_SCOPE_ITEM : CONFIG_SCOPE_FILE;
    const char *meant = config_name_nearest(scope, place.name);
    struct buffer names;

    buffer_init(&names, sizeof(error->text));
    if (config_names_append(scope, &names))
        config_error_set(error, "%s:%u: %s: unknown key%s%s; the keys%s are %s", path, place.line, place.name,
                         meant != NULL ? ", perhaps meant as " : "", meant != NULL ? meant : "",
                         scope == CONFIG_SCOPE_ITEM ? " of an upstream" : "", names.bytes);
    else
        config_error_set(error, "out of memory");
    buffer_finish(&names);
}

static void refuse_alias(const char *path, const struct buffer *text, struct config_error *error) {
    const struct config_place place = locate_alias(text);

    config_error_set(error, "%s:%u: %s%saliases are not allowed", path, place.line, place.name,
                     place.name[0] != '\0' ? ": " : "");
}

static void refuse_file(const char *path, const struct buffer *text, cyaml_err_t code,
                        const struct complaint *complaint, struct config_error *error) {
    bool twice = strncmp(complaint->reason, "Mapping field already seen", 26) == 0;
    const struct config_place place = place_of_complaint(text, complaint, code, twice ? 2 : 1);
    unsigned problem = locate_problem(text).line;

    if (code == CYAML_ERR_OOM)
        config_error_set(error, "%s: out of memory", path);
    else if (code == CYAML_ERR_INVALID_KEY)
        refuse_key(path, text, error);
    else if (code == CYAML_ERR_ALIAS)
        refuse_alias(path, text, error);
    else if (twice)
        config_error_set(error, "%s:%u: %s: is given twice", path, place.line, place.name);
    else if (code == CYAML_OK)
        config_error_set(error, "%s:%u: is a second YAML document; only one is read", path, problem);
    else if (code == CYAML_ERR_LIBYAML_PARSER)
        config_error_set(error, "%s:%u: is not YAML: %s", path, problem, complaint->reason);
    else
        refuse_shape(path, &place, error);
}

/* ---- reading ------------------------------------------------------------------------------------ */

/* The items of a list with commas between them; an empty list is no value. NULL: out of memory. */
static char *join_items(const struct config_raw *raw) {
    char *const *items = raw->items;
    struct buffer joined;

    buffer_init(&joined, CONFIG_FILE_BYTES_MAX);
    for (unsigned i = 0; i < raw->count; i++) {
        if (!buffer_printf(&joined, "%s%s", i > 0 ? "," : "", items[i])) {
            buffer_finish(&joined);
            return NULL;
        }
    }
    return buffer_detach(&joined);
}

static void values_destroy(struct config_file_value *values) {
    if (values == NULL)
        return;
    for (size_t i = 0; i < config_keys_count; i++)
        free(values[i].text);
    free(values);
}

/* Copies what a row says. False: out of memory. */
static bool take_texts(struct config_file_value *values, const struct config_raw *row) {
    for (size_t i = 0; i < config_keys_count; i++) {
        if (row[i].text == NULL && row[i].items == NULL)
            continue;
        values[i].text = row[i].items != NULL ? join_items(&row[i]) : strdup(row[i].text);
        if (values[i].text == NULL)
            return false;
    }
    return true;
}

/* `row` is NULL if there is nothing in the file. NULL: out of memory. */
static struct config_file_value *take_row(const struct config_raw *row) {
    /* There are keys. NOLINTNEXTLINE(clang-analyzer-optin.portability.UnixAPI) */
    struct config_file_value *values = calloc(config_keys_count, sizeof(*values));

    if (values != NULL && row != NULL && !take_texts(values, row)) {
        values_destroy(values);
        return NULL;
    }
    return values;
}

/* Copies the list of upstreams. NULL: out of memory. */
static struct config_file_list *take_list(const struct config_raw *raw) {
    const struct config_raw *rows = raw->items;
    struct config_file_list *list = calloc(1, sizeof(*list));

    if (list == NULL)
        return NULL;
    list->references = 1;
    list->items = calloc(raw->count, sizeof(*list->items));
    bool good = list->items != NULL;
    for (size_t i = 0; i < raw->count && good; i++) {
        const struct config_raw *row = &rows[i * (config_keys_count + 1)];
        const char *name = row[config_keys_count].text;
        struct config_file_item *item = &list->items[list->count++];
        item->values = take_row(row);
        item->name.text = name != NULL ? strdup(name) : NULL;
        good = item->values != NULL && (name == NULL || item->name.text != NULL);
    }
    if (!good) {
        config_file_list_unref(list);
        return NULL;
    }
    return list;
}

/* Keeps the line of a key where its value is. */
static void take_line(void *context, const struct config_place *place) {
    const struct config_file *file = context;
    struct config_file_value *values = file->values;
    struct config_file_value *name = NULL; /* the one key besides config_keys that has a value */
    int index = config_key_find(place->name);

    if (place->item > 0) {
        if (file->list == NULL || place->item > file->list->count)
            return; /* libyaml found more items than libcyaml: they get no line */
        values = file->list->items[place->item - 1].values;
        name = &file->list->items[place->item - 1].name;
    }
    struct config_file_value *value = index >= 0 ? &values[index] : name;
    if (value != NULL)
        value->line = place->line;
}

static void take_lines(struct config_file *file, const struct buffer *text) {
    visit_keys(text, take_line, file);
    for (size_t i = 0; file->list != NULL && i < file->list->count; i++) {
        struct config_file_value *name = &file->list->items[i].name;
        if (name->text == NULL)
            name->line = locate_item(text, (unsigned)i + 1).line;
    }
}

/* Copies what libcyaml loaded, and adds the lines. False: out of memory. */
static bool take_content(struct config_file *file, const struct config_raw *row, const struct buffer *text) {
    bool has_list = row != NULL && row[config_keys_count].items != NULL;

    *file = (struct config_file){.values = take_row(row),
                                 .list = has_list ? take_list(&row[config_keys_count]) : NULL};
    if (file->values == NULL || (has_list && file->list == NULL)) {
        config_file_finish(file);
        return false;
    }
    take_lines(file, text);
    return true;
}

/* Whether a secret is given: a key that is one, or a URL with a query, which may hold one. */
static bool has_secret(const struct config_file_value *values) {
    for (size_t i = 0; i < config_keys_count; i++) {
        const char *text = values[i].text != NULL ? values[i].text : "";
        bool has_query = config_keys[i].type == &config_url && strchr(text, '?') != NULL;
        if ((config_keys[i].secret && text[0] != '\0') || has_query)
            return true;
    }
    return false;
}

static bool holds_secret(const struct config_file *file) {
    bool holds = has_secret(file->values);

    for (size_t i = 0; file->list != NULL && i < file->list->count && !holds; i++)
        holds = has_secret(file->list->items[i].values);
    return holds;
}

/* libcyaml gives C strings, which would end at an escaped NUL. */
static bool check_whole_text(const char *path, const struct buffer *text, struct config_error *error) {
    const struct config_place place = locate_nul(text);

    if (place.line > 0)
        config_error_set(error, "%s:%u: %s%smust not contain NUL (\\0)", path, place.line, place.name,
                         place.name[0] != '\0' ? ": " : "");
    return place.line == 0;
}

static bool parse_text(struct config_file *file, const char *path, const struct buffer *text,
                       const cyaml_schema_value_t *schema, struct config_error *error) {
    struct complaint complaint = {0};
    const cyaml_config_t settings = {.log_fn = on_cyaml_log,
                                     .log_ctx = &complaint,
                                     .mem_fn = cyaml_mem,
                                     .log_level = CYAML_LOG_NOTICE,
                                     .flags = CYAML_CFG_NO_ALIAS};
    bool good = false;
    cyaml_data_t *row = NULL;
    cyaml_err_t code =
        cyaml_load_data((const uint8_t *)text->bytes, text->length, &settings, schema, &row, NULL);

    if (code != CYAML_OK || complaint.reason[0] != '\0')
        refuse_file(path, text, code, &complaint, error);
    else if (!(good = take_content(file, row, text)))
        config_error_set(error, "%s: out of memory", path);
    cyaml_free(&settings, schema, row, 0);
    return good;
}

bool config_file_init(struct config_file *file, const char *path, struct config_error *error) {
    struct config_schema schema;
    struct buffer text;
    bool good = false;
    bool is_public = false;

    buffer_init(&text, CONFIG_FILE_BYTES_MAX);
    if (!schema_init(&schema)) {
        config_error_set(error, "%s: out of memory", path);
        return false;
    }
    if (!buffer_append(&text, "", 0))
        config_error_set(error, "%s: out of memory", path);
    else if (load_text(path, &text, &is_public, error) && check_whole_text(path, &text, error))
        good = parse_text(file, path, &text, &schema.file, error);
    if (good)
        file->exposes_secret = is_public && holds_secret(file);
    buffer_finish(&text);
    schema_finish(&schema);
    return good;
}

void config_file_finish(struct config_file *file) {
    values_destroy(file->values);
    config_file_list_unref(file->list);
}

/* ---- the list of upstreams ---------------------------------------------------------------------- */

struct config_file_list *config_file_list_ref(struct config_file_list *list) {
    if (list != NULL)
        list->references++;
    return list;
}

void config_file_list_unref(struct config_file_list *list) {
    if (list == NULL || --list->references > 0)
        return;
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i].name.text);
        values_destroy(list->items[i].values);
    }
    free(list->items);
    free(list);
}

static bool texts_equal(const char *a, const char *b) {
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool items_equal(const struct config_file_item *a, const struct config_file_item *b) {
    bool equal = texts_equal(a->name.text, b->name.text);

    for (size_t i = 0; i < config_keys_count && equal; i++)
        equal = texts_equal(a->values[i].text, b->values[i].text);
    return equal;
}

bool config_file_lists_equal(const struct config_file_list *a, const struct config_file_list *b) {
    if (a == NULL || b == NULL || a->count != b->count)
        return a == b;
    for (size_t i = 0; i < a->count; i++) {
        if (!items_equal(&a->items[i], &b->items[i]))
            return false;
    }
    return true;
}
