/* The command line: every key is a flag, and there are some that are no keys. */
#include "config/options.h"

#include "config/keys.h"
#include "config/names.h"

#include <stdlib.h>
#include <string.h>

const struct config_action_flag config_action_flags[] = {
    {"--check-config", CONFIG_ACTION_CHECK, "Check all settings, print each with its source, and exit."},
    {"--print-config-docs", CONFIG_ACTION_DOCS, "Print the documentation of all settings as Markdown."},
    {"--print-config-example", CONFIG_ACTION_EXAMPLE, "Print a configuration file with all defaults."},
    {"--version", CONFIG_ACTION_VERSION, "Print the versions of the program and of its libraries."},
    {"--help", CONFIG_ACTION_HELP, "Print this help."},
};
const size_t config_action_flags_count = sizeof(config_action_flags) / sizeof(config_action_flags[0]);

/* One argument, cut at its first '='. */
struct argument {
    char name[CONFIG_NAME_SIZE]; /* the text before the '=', as a key: "log_level" of "--log-level=info" */
    const char *value;           /* NULL: there is none */
};

static void cut_argument(const char *text, struct argument *argument) {
    size_t length = strcspn(text + 2, "=");

    argument->value = text[2 + length] == '=' ? text + 2 + length + 1 : NULL;
    if (length >= sizeof(argument->name))
        length = sizeof(argument->name) - 1;
    memcpy(argument->name, text + 2, length);
    argument->name[length] = '\0';
    for (char *c = argument->name; *c != '\0'; c++) {
        if (*c == '-')
            *c = '_';
    }
}

static bool take_action(struct config_options *options, const char *text) {
    for (size_t i = 0; i < config_action_flags_count; i++) {
        if (strcmp(config_action_flags[i].flag, text) == 0) {
            options->action = config_action_flags[i].action;
            return true;
        }
    }
    return false;
}

static void refuse_unknown_flag(const char *text, const struct argument *argument,
                                struct config_error *error) {
    const char *meant = config_name_nearest(CONFIG_SCOPE_FLAGS, argument->name);
    char flag[CONFIG_NAME_SIZE] = "";

    if (meant != NULL)
        config_key_flag(&config_keys[config_key_index(meant)], flag);
    config_error_set(error, "%.80s: unknown option%s%s; sluice --help lists them all", text,
                     meant != NULL ? ", perhaps meant as " : "", flag);
}

/* A bool alone is true: its value is the next argument only if that is no flag. */
static bool value_follows(const struct config_key *key, const char *next) {
    return next != NULL && (key == NULL || key->type != &config_bool || strncmp(next, "--", 2) != 0);
}

static bool take_value(struct config_options *options, const char *text, const char *next,
                       bool *ret_used_next, struct config_error *error) {
    struct argument argument;

    cut_argument(text, &argument);
    int index = config_key_find(argument.name);
    bool is_file = strcmp(argument.name, "config") == 0;
    if (index < 0 && !is_file) {
        refuse_unknown_flag(text, &argument, error);
        return false;
    }
    const struct config_key *key = is_file ? NULL : &config_keys[index];
    if (argument.value == NULL && value_follows(key, next)) {
        argument.value = next;
        *ret_used_next = true;
    } else if (argument.value == NULL && key != NULL && key->type == &config_bool) {
        argument.value = "true";
    }
    if (argument.value == NULL) {
        config_error_set(error, "%s: needs a value; sluice --help lists the values", text);
        return false;
    }
    *(is_file ? &options->file : &options->values[index]) = argument.value;
    return true;
}

static bool take_arguments(struct config_options *options, int argc, char **argv,
                           struct config_error *error) {
    for (int i = 1; i < argc; i++) {
        bool used_next = false;
        if (strncmp(argv[i], "--", 2) != 0) {
            config_error_set(error, "%.80s: unexpected argument; sluice --help lists the options", argv[i]);
            return false;
        }
        if (take_action(options, argv[i]))
            continue;
        if (!take_value(options, argv[i], argv[i + 1], &used_next, error))
            return false;
        i += used_next;
    }
    return true;
}

bool config_options_init(struct config_options *options, int argc, char **argv, struct config_error *error) {
    *options = (struct config_options){.values = calloc(config_keys_count, sizeof(char *))};
    if (options->values == NULL) {
        config_error_set(error, "out of memory");
        return false;
    }
    if (!take_arguments(options, argc, argv, error)) {
        config_options_finish(options);
        return false;
    }
    return true;
}

void config_options_finish(struct config_options *options) {
    free(options->values);
    options->values = NULL;
}
