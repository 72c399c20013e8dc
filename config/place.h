/* Where things stand in the configuration file: libyaml's marks tell, which libcyaml does not. */
#ifndef SLUICE_CONFIG_PLACE_H
#define SLUICE_CONFIG_PLACE_H

#include "base/attributes.h"
#include "base/buffer.h"

/** Room for a name of 80 bytes; a longer one is cut and ends in "...". */
#define CONFIG_PLACE_NAME_SIZE 84

struct config_place {
    unsigned line;                     /* from 1; 0: there is no such place */
    unsigned item;                     /* of the list of upstreams that it is in, from 1; 0: in none */
    char name[CONFIG_PLACE_NAME_SIZE]; /* of the key that it belongs to, at the top level or in that item; "":
                                          of none */
};

/** The `nth` time, from 1, that the key `name` stands in the `item`, or at the top level for 0. */
struct config_place config_place_of_key(const struct buffer *text, unsigned item, const char *name,
                                        unsigned nth) MUST_CHECK;

/** Where the item of the list of upstreams, from 1, begins. */
struct config_place config_place_of_item(const struct buffer *text, unsigned item) MUST_CHECK;

/** The first key that may not stand where it does. */
struct config_place config_place_of_unknown_key(const struct buffer *text) MUST_CHECK;

/** The first alias. */
struct config_place config_place_of_alias(const struct buffer *text) MUST_CHECK;

/** The first scalar that holds a NUL. Who reads it as a C string would take a part of it for the whole. */
struct config_place config_place_of_nul(const struct buffer *text) MUST_CHECK;

/** What is no YAML, or the beginning of a second document. */
struct config_place config_place_of_problem(const struct buffer *text) MUST_CHECK;

/** Calls `visit` with each key, of the top level and of items, in their order. */
void config_place_visit_keys(const struct buffer *text,
                             void (*visit)(void *context, const struct config_place *place), void *context);

#endif
