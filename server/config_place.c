/* Where things stand in the configuration file: see config_place.h. */
#include "server/config_place.h"

#include "server/config_keys.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#define NAME_SHOWN_MAX 80

/* How far a walk through the file has come. */
struct walk {
    unsigned depth;     /* of mappings and lists */
    unsigned documents; /* begun */
    bool is_value;      /* what comes next at depth 1 */
    bool is_key;        /* what was just met is a scalar that is a key of the top-level mapping */
    char name[CONFIG_PLACE_NAME_SIZE]; /* of the last of those keys */
};

/* What is looked for. */
struct wanted {
    bool (*is_met)(struct wanted *wanted, const struct walk *walk, const yaml_event_t *event);
    const char *name;
    unsigned nth;
    bool or_problem; /* what is no YAML is wanted as well */
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

static const char *scalar_text(const yaml_event_t *event) {
    return (const char *)event->data.scalar.value;
}

static void walk_step(struct walk *walk, const yaml_event_t *event) {
    bool ends = event->type == YAML_MAPPING_END_EVENT || event->type == YAML_SEQUENCE_END_EVENT;
    bool begins = event->type == YAML_MAPPING_START_EVENT || event->type == YAML_SEQUENCE_START_EVENT;
    bool single = event->type == YAML_SCALAR_EVENT || event->type == YAML_ALIAS_EVENT;

    walk->documents += event->type == YAML_DOCUMENT_START_EVENT;
    walk->depth -= ends;
    walk->is_key = event->type == YAML_SCALAR_EVENT && walk->depth == 1 && !walk->is_value;
    if (walk->is_key)
        snprintf(walk->name, sizeof(walk->name), "%.*s%s", NAME_SHOWN_MAX, scalar_text(event),
                 strlen(scalar_text(event)) > NAME_SHOWN_MAX ? "..." : "");
    if (walk->depth == 1 && (single || ends))
        walk->is_value = !walk->is_value;
    walk->depth += begins;
}

static struct config_place find(const struct buffer *text, struct wanted wanted) {
    struct config_place place = {0};
    struct walk walk = {0};
    yaml_parser_t parser;
    yaml_event_t event;
    bool end = !yaml_parser_initialize(&parser);

    if (end)
        return place;
    yaml_parser_set_input_string(&parser, (const unsigned char *)text->bytes, text->length);
    while (place.line == 0 && !end) {
        if (!yaml_parser_parse(&parser, &event)) {
            place.line = wanted.or_problem ? problem_line(&parser, text) : 0;
            break;
        }
        walk_step(&walk, &event);
        if (wanted.is_met(&wanted, &walk, &event))
            place.line = (unsigned)event.start_mark.line + 1;
        end = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    memcpy(place.name, walk.name, sizeof(place.name));
    return place;
}

static bool is_named_key(struct wanted *wanted, const struct walk *walk, const yaml_event_t *event) {
    return walk->is_key && strcmp(scalar_text(event), wanted->name) == 0 && --wanted->nth == 0;
}

struct config_place config_place_of_key(const struct buffer *text, const char *name, unsigned nth) {
    return find(text, (struct wanted){.is_met = is_named_key, .name = name, .nth = nth});
}

static bool is_unknown_key(struct wanted *wanted, const struct walk *walk, const yaml_event_t *event) {
    (void)wanted;
    return walk->is_key && config_key_find(scalar_text(event)) < 0;
}

struct config_place config_place_of_unknown_key(const struct buffer *text) {
    return find(text, (struct wanted){.is_met = is_unknown_key});
}

static bool has_nul(struct wanted *wanted, const struct walk *walk, const yaml_event_t *event) {
    (void)wanted;
    (void)walk;
    return event->type == YAML_SCALAR_EVENT && strlen(scalar_text(event)) != event->data.scalar.length;
}

struct config_place config_place_of_nul(const struct buffer *text) {
    return find(text, (struct wanted){.is_met = has_nul});
}

static bool is_second_document(struct wanted *wanted, const struct walk *walk, const yaml_event_t *event) {
    (void)wanted;
    (void)event;
    return walk->documents == 2;
}

struct config_place config_place_of_problem(const struct buffer *text) {
    return find(text, (struct wanted){.is_met = is_second_document, .or_problem = true});
}
