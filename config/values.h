/* The types of settings: how a text becomes a value, whichever source it came from, and back. */
#ifndef SLUICE_CONFIG_VALUES_H
#define SLUICE_CONFIG_VALUES_H

#include "base/attributes.h"
#include "base/buffer.h"

#include <stdbool.h>
#include <stddef.h>

struct config_key;

struct config_type {
    const char *placeholder; /* stands for a value in --help; NULL: the choices do */
    bool quoted;             /* written with quotes in YAML */
    bool list;               /* a list in YAML, commas between the items elsewhere */

    /** Checks `text` and replaces the field's value. 0; -EINVAL: not allowed; -ENOMEM. The field is untouched
     *  then. */
    int (*parse)(const struct config_key *key, const char *text, void *field);

    /** Appends the value as a text that parse() takes back. False: the buffer is full. */
    bool (*format)(const struct config_key *key, const void *field, struct buffer *out);

    /** Appends what is allowed, so that `"x" is not ...` is a sentence. False: the buffer is full. */
    bool (*allow)(const struct config_key *key, struct buffer *out);

    /** Frees what the field owns; NULL: nothing. */
    void (*finish)(void *field);
};

extern const struct config_type config_bool;     /* bool */
extern const struct config_type config_count;    /* uint64_t */
extern const struct config_type config_bytes;    /* uint64_t */
extern const struct config_type config_ms;       /* int64_t */
extern const struct config_type config_choice;   /* an enum */
extern const struct config_type config_adapter;  /* const struct adapter * */
extern const struct config_type config_text;     /* char *, NULL if empty */
extern const struct config_type config_url;      /* char * */
extern const struct config_type config_name;     /* char *, NULL if empty */
extern const struct config_type config_app;      /* char *, NULL if empty */
extern const struct config_type config_headers;  /* char *, a line each, NULL if there are none */
extern const struct config_type config_template; /* char *, NULL if empty */
extern const struct config_type config_words;   /* char *, commas between the words, NULL if there are none */
extern const struct config_type config_path;    /* char *, NULL if empty */
extern const struct config_type config_redis;   /* char *, NULL if empty */
extern const struct config_type config_address; /* struct config_listen */
extern const struct config_type config_origins; /* struct config_list */
extern const struct config_type config_hosts;   /* struct config_list */
extern const struct config_type config_header_names; /* struct config_list */

/** Whether it is 1 to `length_max` letters, digits, _ and -. */
bool config_name_is_valid(const char *text, size_t length_max) MUST_CHECK;

#endif
