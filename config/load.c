/* Loads the settings and reloads them.
 *
 * Each source gives texts: the defaults in the table of keys, the file, the environment, the flags. They are read
 * in this order, and the type of a key parses each text into the key's field, so that the last source wins. Then
 * complete() derives what is in force (a 0 that stands for a computed value, the upstreams of a list) and checks
 * what no key can judge alone. A reload does the same for a second struct config, puts the old value back into
 * each key that needs a restart, and completes it again. The struct never changes after that.
 */
#include "config/load.h"

#include "base/machine_memory.h"
#include "config/config.h"
#include "config/file.h"
#include "config/keys.h"
#include "config/print.h"
#include "config/upstreams.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- errors --------------------------------------------------------------------------------------- */

void config_error_set(struct config_error *error, const char *format, ...) {
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(error->text, sizeof(error->text), format, arguments);
    va_end(arguments);
    for (char *c = error->text; *c != '\0'; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    }
}

/* ---- the command line ----------------------------------------------------------------------------- */

const struct config_action_flag config_action_flags[] = {
    {"--check-config", CONFIG_ACTION_CHECK, "Check all settings, print each with its source, and exit."},
    {"--print-config-docs", CONFIG_ACTION_DOCS, "Print the documentation of all settings as Markdown."},
    {"--print-config-example", CONFIG_ACTION_EXAMPLE, "Print a configuration file with all defaults."},
    {"--version", CONFIG_ACTION_VERSION, "Print the versions of the program and of its libraries."},
    {"--help", CONFIG_ACTION_HELP, "Print this help."},
};
const size_t config_action_flags_count = sizeof(config_action_flags) / sizeof(config_action_flags[0]);

struct options {
    enum config_action action;
    const char *file;    /* of --config; NULL: not given */
    const char **values; /* one a key, in the order of config_keys; NULL: not given */
};

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

static bool take_action(struct options *options, const char *text) {
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

static bool take_value(struct options *options, const char *text, const char *next, bool *ret_used_next,
                       struct config_error *error) {
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

static bool take_arguments(struct options *options, int argc, char **argv, struct config_error *error) {
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

static void finish_options(struct options *options) {
    free(options->values);
    options->values = NULL;
}

/* Reads the arguments, whose texts the result points to; values are not checked yet. False: refused, `error` says
 * why, and there is nothing to finish. */
static bool init_options(struct options *options, int argc, char **argv, struct config_error *error) {
    *options = (struct options){.values = calloc(config_keys_count, sizeof(char *))};
    if (options->values == NULL) {
        config_error_set(error, "out of memory");
        return false;
    }
    if (!take_arguments(options, argc, argv, error)) {
        finish_options(options);
        return false;
    }
    return true;
}

/* ---- where a value came from ---------------------------------------------------------------------- */

/* What its item says of the key; NULL: there is no such item. */
static const struct config_file_value *item_value(const struct config *config, size_t upstream,
                                                  size_t index) {
    if (upstream == CONFIG_NO_UPSTREAM || config->list == NULL)
        return NULL;
    return &config->list->items[upstream].values[index];
}

const char *config_source_own_text(const struct config *config, size_t upstream, size_t index) {
    const struct config_file_value *value = item_value(config, upstream, index);

    return value != NULL ? value->text : NULL;
}

struct config_source config_source_of(const struct config *config, size_t upstream, size_t index) {
    const struct config_file_value *value = item_value(config, upstream, index);

    if (value == NULL || value->text == NULL)
        return config->sources[index];
    return (struct config_source){CONFIG_FROM_FILE, value->line};
}

void config_source_describe(const struct config *config, size_t upstream, size_t index,
                            char out[CONFIG_SOURCE_SIZE]) {
    const struct config_source source = config_source_of(config, upstream, index);

    switch (source.kind) {
    case CONFIG_FROM_DEFAULT:
        snprintf(out, CONFIG_SOURCE_SIZE, "default");
        break;
    case CONFIG_FROM_FILE:
        snprintf(out, CONFIG_SOURCE_SIZE, "%s:%u", config->file, source.line);
        break;
    case CONFIG_FROM_ENVIRONMENT:
        config_key_variable(&config_keys[index], out);
        break;
    case CONFIG_FROM_FLAG:
        config_key_flag(&config_keys[index], out);
        break;
    }
}

void config_source_blame(const struct config *config, size_t upstream, size_t index,
                         struct config_error *error, const char *format, ...) {
    enum config_source_kind kind = config_source_of(config, upstream, index).kind;
    bool names_key = kind == CONFIG_FROM_ENVIRONMENT || kind == CONFIG_FROM_FLAG;
    /* The line of an item says which upstream is meant. */
    const char *name =
        item_value(config, upstream, index) != NULL && config_source_own_text(config, upstream, index) == NULL
            ? config->list->items[upstream].name.text
            : NULL;
    char source[CONFIG_SOURCE_SIZE];
    char reason[1024];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    config_source_describe(config, upstream, index, source);
    config_error_set(error, "%s%s%s: %s%s%s%s", source, names_key ? "" : ": ",
                     names_key ? "" : config_keys[index].name, name != NULL ? "upstream " : "",
                     name != NULL ? name : "", name != NULL ? ": " : "", reason);
}

void config_source_refuse(const struct config *config, size_t upstream, size_t index, const char *text,
                          struct config_error *error) {
    const struct config_key *key = &config_keys[index];
    const char *shown = strrchr(text, '@'); /* the text before it may be a password */
    struct buffer allowed;

    if (shown == NULL)
        shown = text;
    buffer_init(&allowed, sizeof(error->text));
    if (!key->type->allow(key, &allowed))
        config_error_set(error, "out of memory");
    else if (key->secret)
        config_source_blame(config, upstream, index, error, "the value is not %s", allowed.bytes);
    else
        config_source_blame(config, upstream, index, error, "\"%s%.80s%s\" is not %s",
                            shown != text ? "..." : "", shown, strlen(shown) > 80 ? "..." : "",
                            allowed.bytes);
    buffer_finish(&allowed);
}

#define VALUE_MAX 65536

/* ---- the four sources --------------------------------------------------------------------------- */

static bool set_config_value(struct config *config, size_t index, const char *text,
                             struct config_source source, struct config_error *error) {
    const struct config_key *key = &config_keys[index];
    int result = key->type->parse(key, text, (char *)config + key->offset);

    config->sources[index] = source;
    if (result == -ENOMEM)
        config_error_set(error, "out of memory");
    else if (result < 0)
        config_source_refuse(config, CONFIG_NO_UPSTREAM, index, text, error);
    return result == 0;
}

static bool read_defaults(struct config *config, struct config_error *error) {
    for (size_t i = 0; i < config_keys_count; i++) {
        if (!set_config_value(config, i, config_keys[i].fallback,
                              (struct config_source){CONFIG_FROM_DEFAULT, 0}, error))
            return false;
    }
    return true;
}

static bool read_config_file(struct config *config, struct config_error *error) {
    struct config_file file;
    bool good = true;

    if (config->file == NULL)
        return true;
    if (!config_file_init(&file, config->file, error))
        return false;
    for (size_t i = 0; i < config_keys_count && good; i++) {
        if (file.values[i].text != NULL)
            good = set_config_value(config, i, file.values[i].text,
                                    (struct config_source){CONFIG_FROM_FILE, file.values[i].line}, error);
    }
    config->list = config_file_list_ref(file.list);
    config->file_exposes_secret = file.exposes_secret;
    config_file_finish(&file);
    return good;
}

static bool read_environment(struct config *config, struct config_error *error) {
    char name[CONFIG_NAME_SIZE];

    for (size_t i = 0; i < config_keys_count; i++) {
        config_key_variable(&config_keys[i], name);
        /* Nothing changes the environment. NOLINTNEXTLINE(concurrency-mt-unsafe) */
        const char *text = getenv(name);
        if (text != NULL && text[0] != '\0' &&
            !set_config_value(config, i, text, (struct config_source){CONFIG_FROM_ENVIRONMENT, 0}, error))
            return false;
    }
    return true;
}

static bool read_flags(struct config *config, const struct options *options, struct config_error *error) {
    for (size_t i = 0; i < config_keys_count; i++) {
        if (options->values[i] != NULL &&
            !set_config_value(config, i, options->values[i], (struct config_source){CONFIG_FROM_FLAG, 0},
                              error))
            return false;
    }
    return true;
}

/* ---- what no key can judge alone ---------------------------------------------------------------- */

/* Below this there is no room for a few requests. */
#define MEMORY_BYTES_MIN ((uint64_t)16 << 20)

static void resolve_memory(struct config *config) {
    if (config->memory_max_bytes == 0) {
        uint64_t half = machine_memory_bytes("") / 2;
        config->memory_max_bytes = half > MEMORY_BYTES_MIN ? half : MEMORY_BYTES_MIN;
    }
    if (config->routes.memory_warn_bytes == 0)
        config->routes.memory_warn_bytes = config->memory_max_bytes / 16 * 15;
}

/* The limits that are in force, for /stats and /metrics. */
static void show_limits(struct config *config) {
    size_t count = 0;

    for (size_t i = 0; i < config_keys_count; i++) {
        const struct config_key *key = &config_keys[i];
        if (!key->limit)
            continue;
        struct limit_in_force *limit = &config->shown[count++];
        limit->key = key->name;
        memcpy(&limit->value, (const char *)config + key->offset, sizeof(limit->value));
    }
    config->routes.limits = config->shown;
    config->routes.limits_count = count;
}

/* Derives the values that are in force. */
static void resolve_config(struct config *config) {
    resolve_memory(config);
    config->routes.cors_origins = (const char *const *)config->cors_origins.items;
    config->routes.cors_origins_count = config->cors_origins.count;
    config->routes.cors_headers = (const char *const *)config->cors_headers.items;
    config->routes.cors_headers_count = config->cors_headers.count;
    config->routes.allowed_hosts = (const char *const *)config->allowed_hosts.items;
    config->routes.allowed_hosts_count = config->allowed_hosts.count;
    config->routes.listens_on_loopback = config_listen_is_loopback(&config->listen);
    config->routes.listen_address = config->listen.address;
    if (config->workers == 0) {
        uint64_t most = config_keys[config_key_index("workers")].maximum;
        config->workers = uv_available_parallelism();
        config->workers = config->workers < most ? config->workers : most;
    }
    /* Someone who makes the log smaller need not set the sizes of events as well. */
    if (config->sources[config_key_index("event_bytes_max")].kind == CONFIG_FROM_DEFAULT &&
        config->upstream.event_bytes_max > config->limits.log_bytes_max)
        config->upstream.event_bytes_max = config->limits.log_bytes_max;
    if (config->sources[config_key_index("run_start_input_bytes_max")].kind == CONFIG_FROM_DEFAULT &&
        config->routes.run_input_bytes_max > config->limits.log_bytes_max)
        config->routes.run_input_bytes_max = config->limits.log_bytes_max;
    show_limits(config);
}

/* An event that is larger than the log would leave nothing else in it. */
static bool fits_log(const struct config *config, const char *key, uint64_t bytes,
                     struct config_error *error) {
    if (bytes <= config->limits.log_bytes_max)
        return true;
    config_source_blame(config, CONFIG_NO_UPSTREAM, config_key_index(key), error,
                        "%s (%" PRIu64 ") must not be more than log_bytes_max (%" PRIu64 ")", key, bytes,
                        (uint64_t)config->limits.log_bytes_max);
    return false;
}

static bool check_together(const struct config *config, struct config_error *error) {
    const struct config_list *origins = &config->cors_origins;

    if (!config->allow_unauthenticated && !config_listen_is_loopback(&config->listen)) {
        config_source_blame(config, CONFIG_NO_UPSTREAM, config_key_index("listen"), error,
                            "listening on %s is open to everyone while no authentication is configured; use "
                            "--allow-unauthenticated if that is meant, or an address such as 127.0.0.1",
                            config->listen.address);
        return false;
    }
    if (config->memory_max_bytes < MEMORY_BYTES_MIN) {
        config_source_blame(config, CONFIG_NO_UPSTREAM, config_key_index("memory_max_bytes"), error,
                            "memory_max_bytes (%" PRIu64 ") must be 0 or at least %" PRIu64,
                            config->memory_max_bytes, MEMORY_BYTES_MIN);
        return false;
    }
    if (!fits_log(config, "event_bytes_max", config->upstream.event_bytes_max, error) ||
        !fits_log(config, "run_start_input_bytes_max", config->routes.run_input_bytes_max, error))
        return false;
    if (config->routes.cors_credentials && origins->count > 0 && strcmp(origins->items[0], "*") == 0) {
        config_source_blame(config, CONFIG_NO_UPSTREAM, config_key_index("cors_credentials"), error,
                            "cors_credentials needs exact cors_origins: with \"*\" every page of the web "
                            "could use credentials");
        return false;
    }
    return true;
}

/* Derives and checks. Once more after a reload has put values back. */
static bool complete_config(struct config *config, struct config_error *error) {
    resolve_config(config);
    return check_together(config, error) && config_upstreams_build(config, error) &&
           config_upstreams_check(config, error);
}

/* ---- all together ------------------------------------------------------------------------------- */

static struct config *config_create(int argc, char **argv, const char *file) {
    struct config *config = calloc(1, sizeof(*config));

    if (config == NULL)
        return NULL;
    config->argc = argc;
    config->argv = argv;
    config->sources = calloc(config_keys_count, sizeof(*config->sources));
    config->shown = calloc(config_keys_count, sizeof(*config->shown));
    if (config->sources == NULL || config->shown == NULL ||
        (file != NULL && (config->file = strdup(file)) == NULL)) {
        config_destroy(config);
        return NULL;
    }
    return config;
}

void config_destroy(struct config *config) {
    if (config == NULL)
        return;
    config_upstreams_finish(config);
    config_file_list_unref(config->list);
    for (size_t i = 0; i < config_keys_count; i++) {
        if (config_keys[i].type->finish != NULL)
            config_keys[i].type->finish((char *)config + config_keys[i].offset);
    }
    free(config->sources);
    free(config->shown);
    free(config->file);
    free(config);
}

static struct config *config_read(int argc, char **argv, const struct options *options,
                                  struct config_error *error) {
    /* Nothing changes the environment. NOLINTNEXTLINE(concurrency-mt-unsafe) */
    const char *variable = getenv("SLUICE_CONFIG");
    const char *file = options->file != NULL                     ? options->file
                       : variable != NULL && variable[0] != '\0' ? variable
                                                                 : NULL;
    struct config *config = config_create(argc, argv, file);

    if (config == NULL) {
        config_error_set(error, "out of memory");
        return NULL;
    }
    if (!read_defaults(config, error) || !read_config_file(config, error) ||
        !read_environment(config, error) || !read_flags(config, options, error) ||
        !complete_config(config, error)) {
        config_destroy(config);
        return NULL;
    }
    return config;
}

/* Whether the action needs no settings, and was done. */
static bool print_what_is_known(enum config_action action) {
    switch (action) {
    case CONFIG_ACTION_HELP:
        config_print_help(stdout);
        return true;
    case CONFIG_ACTION_VERSION:
        config_print_version(stdout);
        return true;
    case CONFIG_ACTION_DOCS:
        config_print_docs(stdout);
        return true;
    case CONFIG_ACTION_EXAMPLE:
        config_print_example(stdout);
        return true;
    case CONFIG_ACTION_RUN:
    case CONFIG_ACTION_CHECK:
        break;
    }
    return false;
}

enum config_result config_load(int argc, char **argv, struct config **ret_config) {
    struct options options;
    struct config_error error = {.text = ""};
    struct config *config = NULL;
    bool done = false;

    if (init_options(&options, argc, argv, &error)) {
        done = print_what_is_known(options.action);
        if (!done)
            config = config_read(argc, argv, &options, &error);
        finish_options(&options);
    }
    if (done)
        return CONFIG_DONE;
    if (config == NULL) {
        fprintf(stderr, "%s\n", error.text);
        return CONFIG_REFUSED;
    }
    if (options.action == CONFIG_ACTION_CHECK) {
        printf("# configuration is valid\n");
        config_print_values(config, stdout);
        config_destroy(config);
        return CONFIG_DONE;
    }
    *ret_config = config;
    return CONFIG_LOADED;
}

/* ---- reload ------------------------------------------------------------------------------------- */

static void list_name(char list[CONFIG_NAMES_SIZE], const char *name) {
    size_t length = strlen(list);

    snprintf(list + length, CONFIG_NAMES_SIZE - length, "%s%s", length > 0 ? ", " : "", name);
}

/* Compares one key; a change that needs a restart is undone. False: out of memory. */
static bool merge_key(struct config *config, const struct config *old, size_t index,
                      struct config_reload_report *report) {
    const struct config_key *key = &config_keys[index];
    void *field = (char *)config + key->offset;
    struct buffer before;
    struct buffer after;

    buffer_init(&before, VALUE_MAX);
    buffer_init(&after, VALUE_MAX);
    bool good = buffer_append(&before, "", 0) && buffer_append(&after, "", 0) &&
                key->type->format(key, (const char *)old + key->offset, &before) &&
                key->type->format(key, field, &after);
    if (good && strcmp(before.bytes, after.bytes) != 0) {
        list_name(key->reloadable ? report->changed : report->kept, key->name);
        if (!key->reloadable) {
            good = key->type->parse(key, before.bytes, field) == 0;
            config->sources[index] = old->sources[index];
        }
    }
    buffer_finish(&before);
    buffer_finish(&after);
    return good;
}

/* A list that has changed needs a restart: the old one stays, as a whole. */
static void merge_list(struct config *config, const struct config *old, struct config_reload_report *report) {
    if (config_file_lists_equal(config->list, old->list))
        return;
    list_name(report->kept, CONFIG_LIST_NAME);
    config_file_list_unref(config->list);
    config->list = config_file_list_ref(old->list);
}

/* Puts back what needs a restart. */
static bool merge_reloaded(struct config *config, const struct config *old,
                           struct config_reload_report *report) {
    for (size_t i = 0; i < config_keys_count; i++) {
        if (!merge_key(config, old, i, report)) {
            config_error_set(&report->error, "out of memory");
            return false;
        }
    }
    merge_list(config, old, report);
    return complete_config(config, &report->error);
}

struct config *config_reload(const struct config *old, struct config_reload_report *report) {
    struct options options;
    struct config *config;

    *report = (struct config_reload_report){0};
    if (!init_options(&options, old->argc, old->argv, &report->error))
        return NULL;
    config = config_read(old->argc, old->argv, &options, &report->error);
    finish_options(&options);
    if (config != NULL && !merge_reloaded(config, old, report)) {
        config_destroy(config);
        config = NULL;
    }
    return config;
}
