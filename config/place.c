/* Where things stand in the configuration file: see config/place.h. */
#include "config/place.h"

#include "config/names.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#define NAME_SHOWN_MAX 80

/* The depths, of mappings and lists, that keys are looked for at. */
enum { DEPTH_OF_FILE = 1, DEPTH_OF_LIST = 2, DEPTH_OF_ITEM = 3 };

/* How far a walk through the file has come. */
struct walk {
    unsigned depth;
    unsigned documents;        /* begun */
    bool in_list;              /* of upstreams */
    bool in_item;              /* of that list, which is a mapping */
    bool is_value;             /* what comes next in the mapping of the file */
    bool is_item_value;        /* ... of the item */
    bool is_key;               /* what was just met is a scalar that is a key of either */
    bool is_item;              /* ... or begins an item */
    struct config_place place; /* the item, and the last of those keys; its line is not kept */
};

/* What is looked for. */
struct wanted {
    bool (*is_met)(struct wanted *wanted, const struct walk *walk, const yaml_event_t *event);
    const char *name;
    unsigned item;
    unsigned nth;
    bool or_problem; /* what is no YAML is wanted as well */
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

/* What was met is a key of the mapping that the walk is in. One that is no scalar has no name. */
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

/* A node has come to its end: what comes next is a value if that was a key, and a key if it was a value. */
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

struct config_place config_place_of_key(const struct buffer *text, unsigned item, const char *name,
                                        unsigned nth) {
    return find_wanted(text, (struct wanted){.is_met = is_named_key, .item = item, .name = name, .nth = nth});
}

static bool is_wanted_item(struct wanted *wanted, const struct walk *walk, const yaml_event_t *event) {
    (void)event;
    return walk->is_item && walk->place.item == wanted->item;
}

struct config_place config_place_of_item(const struct buffer *text, unsigned item) {
    return find_wanted(text, (struct wanted){.is_met = is_wanted_item, .item = item});
}

static bool is_unknown_key(struct wanted *wanted, const struct walk *walk, const yaml_event_t *event) {
    enum config_scope scope = walk->place.item > 0 ? CONFIG_SCOPE_ITEM : CONFIG_SCOPE_FILE;

    (void)wanted;
    return walk->is_key && !config_name_is_known(scope, scalar_text(event));
}

struct config_place config_place_of_unknown_key(const struct buffer *text) {
    return find_wanted(text, (struct wanted){.is_met = is_unknown_key});
}

static bool is_alias(struct wanted *wanted, const struct walk *walk, const yaml_event_t *event) {
    (void)wanted;
    (void)walk;
    return event->type == YAML_ALIAS_EVENT;
}

struct config_place config_place_of_alias(const struct buffer *text) {
    return find_wanted(text, (struct wanted){.is_met = is_alias});
}

static bool has_nul(struct wanted *wanted, const struct walk *walk, const yaml_event_t *event) {
    (void)wanted;
    (void)walk;
    return event->type == YAML_SCALAR_EVENT && strlen(scalar_text(event)) != event->data.scalar.length;
}

struct config_place config_place_of_nul(const struct buffer *text) {
    return find_wanted(text, (struct wanted){.is_met = has_nul});
}

static bool is_second_document(struct wanted *wanted, const struct walk *walk, const yaml_event_t *event) {
    (void)wanted;
    (void)event;
    return walk->documents == 2;
}

struct config_place config_place_of_problem(const struct buffer *text) {
    return find_wanted(text, (struct wanted){.is_met = is_second_document, .or_problem = true});
}

/* Never is what is looked for, so that all are visited. */
static bool visit_key(struct wanted *wanted, const struct walk *walk, const yaml_event_t *event) {
    struct config_place place = walk->place;

    place.line = line_of(event);
    if (walk->is_key)
        wanted->visit(wanted->context, &place);
    return false;
}

void config_place_visit_keys(const struct buffer *text,
                             void (*visit)(void *context, const struct config_place *place), void *context) {
    const struct config_place nowhere =
        find_wanted(text, (struct wanted){.is_met = visit_key, .visit = visit, .context = context});

    (void)nowhere;
}
