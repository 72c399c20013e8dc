/* Where things stand in the configuration file: libyaml's marks tell, which libcyaml does not. */
#ifndef SLUICE_SERVER_CONFIG_PLACE_H
#define SLUICE_SERVER_CONFIG_PLACE_H

#include "base/attributes.h"
#include "base/buffer.h"

/** Room for a name of 80 bytes; a longer one is cut and ends in "...". */
#define CONFIG_PLACE_NAME_SIZE 84

struct config_place {
    unsigned line;                     /* from 1; 0: there is no such place */
    char name[CONFIG_PLACE_NAME_SIZE]; /* of the key at the top level that it belongs to; "": of none */
};

/** The `nth` time that the key `name` stands at the top level, from 1. */
struct config_place config_place_of_key(const struct buffer *text, const char *name, unsigned nth) MUST_CHECK;

/** The first key at the top level that is none of config_keys. */
struct config_place config_place_of_unknown_key(const struct buffer *text) MUST_CHECK;

/** The first scalar that holds a NUL. Who reads it as a C string would take a part of it for the whole. */
struct config_place config_place_of_nul(const struct buffer *text) MUST_CHECK;

/** What is no YAML, or the beginning of a second document. */
struct config_place config_place_of_problem(const struct buffer *text) MUST_CHECK;

#endif
