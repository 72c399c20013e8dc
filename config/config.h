/* The settings of the process: flags over environment over file over defaults, checked, then constant.
 *
 *     struct config *config;
 *     switch (config_load(argc, argv, &config)) {
 *     case CONFIG_DONE: return 0;
 *     case CONFIG_REFUSED: return 2;
 *     case CONFIG_LOADED: break;
 *     }
 *     ...
 *     config_destroy(config);
 *
 * What keys there are stands in config/keys.c and nowhere else.
 */
#ifndef SLUICE_CONFIG_CONFIG_H
#define SLUICE_CONFIG_CONFIG_H

#include "base/attributes.h"
#include "base/log.h"
#include "broadcaster/broadcaster.h"
#include "broadcaster/fanout.h"
#include "http/address_limits.h"
#include "http/listener.h"
#include "routes/context.h"
#include "upstream/cache.h"
#include "upstream/settings.h"
#include "upstream/upstreams.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLUICE_VERSION "0.1.0"

/** Where to listen. */
struct config_listen {
    char address[INET6_ADDRSTRLEN]; /* numeric, IPv4 or IPv6 */
    uint16_t port;                  /* 0: a free one */
};

/** A list of texts. */
struct config_list {
    char **items;
    size_t count;
};

/** What a worker's listener takes from clients. */
struct config_http {
    struct http_listener_settings listener;
    struct address_limits_settings address;
};

/** Upstreams at most, and the bytes of a name at most. */
#define CONFIG_UPSTREAMS_MAX 64
#define CONFIG_UPSTREAM_NAME_MAX 64

/** Why settings were refused: one line for people, without a line feed; a longer text is cut off. */
struct config_error {
    char text[4096];
};

/** Formats the line; control characters in it become '?'. */
void config_error_set(struct config_error *error, const char *format, ...) PRINTF_LIKE(2, 3);

struct config_file_list;
struct config_source;

struct config {
    struct config_listen listen;
    bool allow_unauthenticated;
    uint64_t workers; /* at least 1 */
    enum log_level log_level;
    enum log_format log_format;
    int64_t drain_ms;
    uint64_t memory_max_bytes; /* in force: never 0 */
    int64_t cleanup_interval_ms;
    /* The keys of an upstream as they were given, and what is made of them and of the list of upstreams: that
     * is in force, at least one. */
    struct upstream_settings upstream;
    struct upstreams_settings upstreams;
    struct upstream_settings *upstream_items; /* upstreams.items */
    struct cache_settings cache;
    struct broadcaster_limits limits;
    struct fanout_settings fanout;
    struct config_http http;
    struct routes_settings routes;
    struct relay_settings relay;
    struct config_list cors_origins;  /* what routes.cors_origins points to */
    struct config_list allowed_hosts; /* the same of routes.allowed_hosts */
    struct config_list cors_headers;  /* the same of routes.cors_headers */
    struct limit_in_force *shown;     /* what routes.limits points to */

    /* Where it came from; see config/load.h. */
    struct config_source *sources; /* one a key, in the order of config_keys */
    char *file;                    /* NULL: none was named */
    bool file_exposes_secret;      /* one stands in it, and other users of the machine may read it */
    struct config_file_list *list; /* of upstreams, as the file says it; NULL: there is none */
    int argc;
    char **argv;
};

enum config_result {
    CONFIG_LOADED,  /* go on */
    CONFIG_DONE,    /* the text that was asked for has been printed: exit with status 0 */
    CONFIG_REFUSED, /* one line on standard error says why: exit with status 2 */
};

/** Reads the command line, the environment and the file. `argv` must outlive the result. At start, before
 * there are threads. The caller owns *ret_config, which is set with CONFIG_LOADED only. */
enum config_result config_load(int argc, char **argv, struct config **ret_config) MUST_CHECK;

/** Frees it; NULL is fine. */
void config_destroy(struct config *config);

/** Room for the names of all keys. */
#define CONFIG_NAMES_SIZE 4096

/** What a reload did, key names separated by ", ". */
struct config_reload_report {
    struct config_error error;       /* why it was refused */
    char changed[CONFIG_NAMES_SIZE]; /* took effect; "" if none */
    char kept[CONFIG_NAMES_SIZE];    /* changed, but need a restart: they stay as they were; "" if none */
};

/** Reads all sources again as config_load() did, and keeps the old value of every key that cannot change at
 * run time. Prints nothing. NULL: refused, report->error says why and `old` stays in force. Otherwise the
 * caller owns the result, and both are valid until destroyed. One thread at a time. */
struct config *config_reload(const struct config *old, struct config_reload_report *report) MUST_CHECK;

/** Whether the address is reachable from this machine only. */
bool config_listen_is_loopback(const struct config_listen *listen);

#endif
