/* The upstreams in force.
 *
 * A key of an upstream has one field in config->upstream, with the value outside of the list. Each upstream gets a
 * copy of the struct: a key that its item in the list gives is parsed from that text, any other is copied through
 * its text. Without a list there is one upstream, which has the name "default". Then the upstreams are checked one
 * by one and together: fallbacks and weights.
 */
#include "config/upstreams.h"

#include "config/file.h"
#include "config/keys.h"
#include "config/load.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define VALUE_MAX 65536
#define ALONE "default" /* the name if there is no list */

_Static_assert(CONFIG_UPSTREAM_NAME_MAX == 64, "CONFIG_ITEM_NAME_ALLOWED says how long a name may be");

/* ---- values ------------------------------------------------------------------------------------- */

/* Whether each upstream has a value of its own: also of keys that no item may give. */
static bool is_per_upstream(const struct config_key *key) {
    return key->offset >= offsetof(struct config, upstream) &&
           key->offset < offsetof(struct config, upstream) + sizeof(struct upstream_settings);
}

static void *field_of(struct upstream_settings *settings, const struct config_key *key) {
    return (char *)settings + (key->offset - offsetof(struct config, upstream));
}

const void *config_upstream_field(const struct config *config, size_t upstream,
                                  const struct config_key *key) {
    return field_of(&config->upstream_items[upstream], key);
}

/* The value outside of the list, by way of its text. 0 or a negative errno. */
static int copy_value(const struct config *config, const struct config_key *key, void *field) {
    struct buffer text;
    int result = -ENOMEM;

    buffer_init(&text, VALUE_MAX);
    if (buffer_append(&text, "", 0) && key->type->format(key, (const char *)config + key->offset, &text))
        result = key->type->parse(key, text.bytes, field);
    buffer_finish(&text);
    return result;
}

static bool set_upstream_value(struct config *config, size_t upstream, size_t index,
                               struct config_error *error) {
    const struct config_key *key = &config_keys[index];
    const char *own = config_source_own_text(config, upstream, index);
    void *field = field_of(&config->upstream_items[upstream], key);
    int result = own != NULL ? key->type->parse(key, own, field) : copy_value(config, key, field);

    assert(own != NULL || result != -EINVAL);
    if (result == -ENOMEM)
        config_error_set(error, "out of memory");
    else if (result < 0)
        config_source_refuse(config, upstream, index, own, error);
    return result == 0;
}

/* ---- names -------------------------------------------------------------------------------------- */

static bool check_name(const struct config *config, size_t upstream, struct config_error *error) {
    const struct config_file_value *name = &config->list->items[upstream].name;

    if (name->text == NULL) {
        config_error_set(error, "%s:%u: %s: is missing; each upstream needs " CONFIG_ITEM_NAME_ALLOWED,
                         config->file, name->line, CONFIG_ITEM_NAME);
        return false;
    }
    if (!config_name_is_valid(name->text, CONFIG_UPSTREAM_NAME_MAX)) {
        config_error_set(error, "%s:%u: %s: \"%.80s%s\" is not " CONFIG_ITEM_NAME_ALLOWED, config->file,
                         name->line, CONFIG_ITEM_NAME, name->text, strlen(name->text) > 80 ? "..." : "");
        return false;
    }
    for (size_t i = 0; i < upstream; i++) {
        if (strcmp(config->upstream_items[i].name, name->text) != 0)
            continue;
        config_error_set(error, "%s:%u: %s: \"%s\" is the name of another upstream already", config->file,
                         name->line, CONFIG_ITEM_NAME, name->text);
        return false;
    }
    return true;
}

/* ---- building ----------------------------------------------------------------------------------- */

/* Derives the values that are in force. */
static void resolve_upstream(const struct config *config, size_t upstream) {
    struct upstream_settings *settings = &config->upstream_items[upstream];
    char *url = settings->base_url;

    assert(url != NULL); /* it has a default */
    /* Paths are appended to the URL, unless it is whole, and a query stays at its end. */
    if (!settings->adapter->url_is_whole && strchr(url, '?') == NULL) {
        for (size_t length = strlen(url); length > 0 && url[length - 1] == '/'; length--)
            url[length - 1] = '\0';
    }
    /* A fallback that is named once for all upstreams is not meant as its own fallback. */
    if (config->list != NULL && settings->fallback != NULL &&
        strcmp(settings->fallback, settings->name) == 0 &&
        config_source_own_text(config, upstream, config_key_index("upstream_fallback")) == NULL) {
        free(settings->fallback);
        settings->fallback = NULL;
    }
}

static bool has_tls(const struct upstream_settings *settings) {
    return strncmp(settings->base_url, "https://", 8) == 0;
}

/* Refuses the file of authorities; the reason is an error of ca_bundle_load(). */
static void refuse_ca(const struct config *config, size_t upstream, int reason, struct config_error *error) {
    const char *path = config->upstream_items[upstream].ca_file;
    size_t index = config_key_index("upstream_ca_file");

    if (reason == -ENOTSUP)
        config_source_blame(config, upstream,
                            config_key_index(path != NULL ? "upstream_ca_file" : "upstream"), error,
                            "https needs a libcurl that uses OpenSSL");
    else if (reason == -ENOMEM)
        config_error_set(error, "out of memory");
    else if (reason == -EISDIR)
        config_source_blame(config, upstream, index, error, "%s: is not a file", path);
    else if (reason == -EFBIG)
        config_source_blame(config, upstream, index, error, "%s: is larger than %d bytes", path,
                            CA_BUNDLE_BYTES_MAX);
    else if (reason == -EBADMSG)
        config_source_blame(config, upstream, index, error,
                            "%s: holds no certificate in PEM form, or one that cannot be read", path);
    else
        config_source_blame(
            config, upstream, index, error, "%s: cannot be read: %s", path,
            /* glibc's strerror() has a buffer for each thread. NOLINTNEXTLINE(concurrency-mt-unsafe) */
            strerror(-reason));
}

/* The system's authorities, read once for all upstreams. */
static int share_system_ca(struct config *config, size_t upstream) {
    for (size_t i = 0; i < upstream; i++) {
        const struct upstream_settings *other = &config->upstream_items[i];
        if (other->ca_file != NULL || other->ca == NULL)
            continue;
        config->upstream_items[upstream].ca = ca_bundle_ref(other->ca);
        return 0;
    }
    return ca_bundle_load_system(&config->upstream_items[upstream].ca);
}

static bool load_ca(struct config *config, size_t upstream, struct config_error *error) {
    struct upstream_settings *settings = &config->upstream_items[upstream];
    int result = 0;

    if (settings->ca_file != NULL)
        result = ca_bundle_load(settings->ca_file, &settings->ca);
    else if (has_tls(settings))
        result = share_system_ca(config, upstream);
    if (result < 0)
        refuse_ca(config, upstream, result, error);
    return result == 0;
}

static bool build_one(struct config *config, size_t upstream, struct config_error *error) {
    struct upstream_settings *settings = &config->upstream_items[upstream];

    if (config->list != NULL && !check_name(config, upstream, error))
        return false;
    settings->name = strdup(config->list != NULL ? config->list->items[upstream].name.text : ALONE);
    if (settings->name == NULL) {
        config_error_set(error, "out of memory");
        return false;
    }
    for (size_t i = 0; i < config_keys_count; i++) {
        if (is_per_upstream(&config_keys[i]) && !set_upstream_value(config, upstream, i, error))
            return false;
    }
    resolve_upstream(config, upstream);
    return load_ca(config, upstream, error);
}

bool config_upstreams_build(struct config *config, struct config_error *error) {
    size_t count = config->list != NULL ? config->list->count : 1;

    config_upstreams_finish(config);
    config->upstream_items = calloc(count, sizeof(*config->upstream_items));
    if (config->upstream_items == NULL) {
        config_error_set(error, "out of memory");
        return false;
    }
    config->upstreams = (struct upstreams_settings){.count = count, .items = config->upstream_items};
    for (size_t i = 0; i < count; i++) {
        if (!build_one(config, i, error))
            return false;
    }
    return true;
}

void config_upstreams_finish(struct config *config) {
    for (size_t i = 0; i < config->upstreams.count; i++) {
        struct upstream_settings *settings = &config->upstream_items[i];
        for (size_t k = 0; k < config_keys_count; k++) {
            const struct config_key *key = &config_keys[k];
            if (is_per_upstream(key) && key->type->finish != NULL)
                key->type->finish(field_of(settings, key));
        }
        free(settings->name);
        ca_bundle_unref(settings->ca);
    }
    free(config->upstream_items);
    config->upstream_items = NULL;
    config->upstreams = (struct upstreams_settings){0};
}

/* ---- what no key can judge alone ---------------------------------------------------------------- */

/* Numbers of which the first must not be more than the second, unless that is 0. */
static const struct {
    const char *least;
    const char *most;
} ordered[] = {{"retry_base_ms", "retry_max_ms"},
               {"breaker_recovery_ms", "breaker_recovery_max_ms"},
               {"limiter_concurrency_min", "limiter_concurrency_max"}};

static uint64_t number_of(const struct config *config, size_t upstream, size_t index) {
    uint64_t number;

    memcpy(&number, config_upstream_field(config, upstream, &config_keys[index]), sizeof(number));
    return number;
}

static bool check_order(const struct config *config, size_t upstream, struct config_error *error) {
    for (size_t i = 0; i < sizeof(ordered) / sizeof(ordered[0]); i++) {
        size_t first = config_key_index(ordered[i].least);
        size_t second = config_key_index(ordered[i].most);
        uint64_t least = number_of(config, upstream, first);
        uint64_t most = number_of(config, upstream, second);
        if (most == 0 || least <= most)
            continue;
        bool was_given = config_source_of(config, upstream, first).kind != CONFIG_FROM_DEFAULT;
        config_source_blame(config, upstream, was_given ? first : second, error,
                            "%s (%" PRIu64 ") must not be more than %s (%" PRIu64 ")", ordered[i].least,
                            least, ordered[i].most, most);
        return false;
    }
    return true;
}

static bool kind_has_query(const struct adapter *kind) {
    return kind->url_has_query;
}

static bool kind_can_resume(const struct adapter *kind) {
    return kind->can_resume;
}

/* The upstream has what only some kinds may have. Always false. */
static bool refuse_kind(const struct config *config, size_t upstream, const char *key, const char *what,
                        bool (*may_have)(const struct adapter *kind), struct config_error *error) {
    char kinds[64] = "";
    struct buffer text;

    buffer_init_fixed(&text, kinds, sizeof(kinds));
    for (const struct adapter *const *kind = adapter_kinds; *kind != NULL; kind++) {
        if (may_have(*kind) && !buffer_printf(&text, "%s%s", text.length > 0 ? " or " : "", (*kind)->name))
            break;
    }
    config_source_blame(config, upstream, config_key_index(key), error, "%s only with upstream_kind %s", what,
                        kinds);
    return false;
}

static bool check_kind(const struct config *config, size_t upstream, struct config_error *error) {
    const struct upstream_settings *settings = &config->upstream_items[upstream];

    if (!settings->adapter->url_has_query && strchr(settings->base_url, '?') != NULL)
        return refuse_kind(config, upstream, "upstream", "upstream may have a query", kind_has_query, error);
    /* One for all upstreams may be of no use to some of them. */
    bool is_for_it = config->list == NULL ||
                     config_source_own_text(config, upstream, config_key_index("upstream_ca_file")) != NULL;
    if (settings->ca_file != NULL && is_for_it && !has_tls(settings)) {
        config_source_blame(config, upstream, config_key_index("upstream_ca_file"), error,
                            "upstream_ca_file is for an upstream of https://; this upstream has no TLS");
        return false;
    }
    if (!settings->adapter->can_resume && settings->resumable)
        return refuse_kind(config, upstream, "upstream_resumable", "upstream_resumable may be true",
                           kind_can_resume, error);
    if (settings->limiter.adaptive && settings->limiter.concurrency_max == 0) {
        config_source_blame(config, upstream, config_key_index("limiter_adaptive"), error,
                            "limiter_adaptive needs a limiter_concurrency_max, below which it adapts");
        return false;
    }
    return true;
}

/* The names of all upstreams, or of the first ones if the room ends. */
static const char *list_upstream_names(const struct config *config, char *out, size_t size) {
    struct buffer names;

    buffer_init_fixed(&names, out, size);
    for (size_t i = 0; i < config->upstreams.count; i++) {
        if (!buffer_printf(&names, "%s%s", i > 0 ? ", " : "", config->upstream_items[i].name))
            break;
    }
    return out;
}

static bool check_fallback(const struct config *config, size_t upstream, struct config_error *error) {
    const struct upstreams_settings *upstreams = &config->upstreams;
    const struct upstream_settings *settings = &upstreams->items[upstream];
    size_t index = config_key_index("upstream_fallback");
    size_t next = upstream;

    if (settings->fallback == NULL)
        return true;
    if (upstreams_find(upstreams, settings->fallback) == UPSTREAM_NONE) {
        char names[512];
        config_source_blame(config, upstream, index, error, "\"%s\" is not one of the upstreams: %s",
                            settings->fallback, list_upstream_names(config, names, sizeof(names)));
        return false;
    }
    /* The chain may lead into a circle that this upstream is not part of: the check of its members reports it. */
    for (size_t steps = 0; steps < upstreams->count && next != UPSTREAM_NONE; steps++) {
        next = upstreams_fallback(upstreams, next);
        if (next == upstream) {
            config_source_blame(config, upstream, index, error, "the fallbacks of \"%s\" lead back to it",
                                settings->name);
            return false;
        }
    }
    return true;
}

static bool check_weights(const struct config *config, struct config_error *error) {
    for (size_t i = 0; i < config->upstreams.count; i++) {
        if (config->upstream_items[i].weight > 0)
            return true;
    }
    config_source_blame(config, 0, config_key_index("upstream_weight"), error,
                        "at least one upstream needs a weight above 0");
    return false;
}

bool config_upstreams_check(const struct config *config, struct config_error *error) {
    for (size_t i = 0; i < config->upstreams.count; i++) {
        if (!check_kind(config, i, error) || !check_order(config, i, error) ||
            !check_fallback(config, i, error))
            return false;
    }
    return check_weights(config, error);
}
