/* The command line: every key is a flag, and there are some that are no keys. */
#ifndef SLUICE_CONFIG_OPTIONS_H
#define SLUICE_CONFIG_OPTIONS_H

#include "base/attributes.h"
#include "config/error.h"

#include <stdbool.h>
#include <stddef.h>

/** What the program was asked to do. */
enum config_action {
    CONFIG_ACTION_RUN,
    CONFIG_ACTION_CHECK,
    CONFIG_ACTION_HELP,
    CONFIG_ACTION_VERSION,
    CONFIG_ACTION_DOCS,
    CONFIG_ACTION_EXAMPLE,
};

/** A flag that asks for something to be printed. */
struct config_action_flag {
    const char *flag;
    enum config_action action;
    const char *meaning;
};

extern const struct config_action_flag config_action_flags[];
extern const size_t config_action_flags_count;

struct config_options {
    enum config_action action;
    const char *file;    /* of --config; NULL: not given */
    const char **values; /* one a key, in the order of config_keys; NULL: not given */
};

/** Reads the arguments, whose texts the result points to; values are not checked yet. False: refused, `error`
 * says why, and there is nothing to finish. */
bool config_options_init(struct config_options *options, int argc, char **argv,
                         struct config_error *error) MUST_CHECK;

void config_options_finish(struct config_options *options);

#endif
