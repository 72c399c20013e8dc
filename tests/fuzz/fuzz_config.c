/* The configuration file, by config_load() as the program calls it: it is refused with one line that says
 * where, or the settings can be printed and loaded again as the same.
 *
 * input: [0] the file, or [1] settings, each [key: 1] [value's length: 1] value; one key more than there are
 * begins an upstream of that name, which the ones behind it are of
 */
#include "config/keys.h"
#include "config/load.h"
#include "config/print.h"
#include "config/upstreams.h"
#include "tests/fuzz/fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

extern char **environ;

#define SAID_MAX 8192

/* The file that is loaded, of no place on any disk, and its name. */
static int file = -1;
static char file_name[64];

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    static char *no_environment[] = {NULL};
    environ = no_environment; /* settings come from there too */
    file = memfd_create("sluice.yaml", 0);
    REQUIRE(file >= 0);
    snprintf(file_name, sizeof(file_name), "/proc/self/fd/%d", file);
    return 0;
}

static void write_file(const char *text, size_t length) {
    REQUIRE(ftruncate(file, 0) == 0 && pwrite(file, text, length, 0) == (ssize_t)length);
}

/* Loads the file; NULL: refused. What was said on standard error is in `said`. */
static struct config *load(char said[SAID_MAX]) {
    static char program[] = "sluice", flag[] = "--config";
    static char *arguments[] = {program, flag, file_name, NULL};
    struct config *config = NULL;
    FILE *outer = stderr;
    memset(said, 0, SAID_MAX);
    stderr = fmemopen(said, SAID_MAX, "w");
    REQUIRE(stderr != NULL);
    enum config_result result = config_load(3, arguments, &config);
    fclose(stderr);
    stderr = outer;
    REQUIRE(result == (config != NULL ? CONFIG_LOADED : CONFIG_REFUSED));
    return config;
}

/* One line, of this file, and if it names a line of it, one that there is. */
static void check_refusal(const char *said, const char *text, size_t length) {
    size_t name_length = strlen(file_name), lines = 1;
    for (size_t i = 0; i < length; i++)
        lines +=
            text[i] == '\n' || text[i] == '\r' || (text[i] & 0x80) != 0; /* NEL and others end lines too */
    REQUIRE(strncmp(said, file_name, name_length) == 0 && said[name_length] == ':');
    REQUIRE(strchr(said, '\n') == said + strlen(said) - 1 && strlen(said) > name_length + 3);
    if (said[name_length + 1] == ' ')
        return;
    char *end;
    unsigned long line = strtoul(said + name_length + 1, &end, 10);
    REQUIRE(*end == ':' && line >= 1 && line <= lines + 1);
}

/* Where the value of a key is, for an upstream or CONFIG_NO_UPSTREAM. */
static const void *field_of(const struct config *config, size_t upstream, size_t index) {
    const struct config_key *key = &config_keys[index];
    return upstream == CONFIG_NO_UPSTREAM ? (const char *)config + key->offset
                                          : config_upstream_field(config, upstream, key);
}

/* A value as its type formats it; the caller finishes the buffer. */
static void format(const struct config *config, size_t upstream, size_t index, struct buffer *ret_text) {
    const struct config_key *key = &config_keys[index];
    buffer_init(ret_text, 1 << 20);
    REQUIRE(buffer_append(ret_text, "", 0));
    REQUIRE(key->type->format(key, field_of(config, upstream, index), ret_text));
}

static bool is_number(const struct config_key *key) {
    return key->type == &config_count || key->type == &config_bytes || key->type == &config_ms;
}

static uint64_t number_of(const struct config *config, size_t upstream, size_t index) {
    uint64_t number;
    memcpy(&number, field_of(config, upstream, index), sizeof(number));
    return number;
}

static void check_number(const struct config *config, size_t upstream, size_t index) {
    const struct config_key *key = &config_keys[index];
    REQUIRE(!is_number(key) || number_of(config, upstream, index) >= key->minimum);
    REQUIRE(!is_number(key) || number_of(config, upstream, index) <= key->maximum);
}

static void check_upstream(const struct config *config, size_t index) {
    const struct upstreams_settings *upstreams = &config->upstreams;
    const struct upstream_settings *upstream = &upstreams->items[index];
    size_t length = strlen(upstream->base_url), steps = 0;
    for (size_t i = 0; i < config_keys_count; i++) {
        if (config_keys[i].of_upstream)
            check_number(config, index, i);
    }
    REQUIRE(config_name_is_valid(upstream->name, CONFIG_UPSTREAM_NAME_MAX));
    REQUIRE(upstreams_find(upstreams, upstream->name) == index);
    REQUIRE(upstream->adapter != NULL && upstream->apps != NULL && upstream->apps[0] != '\0');
    REQUIRE(upstream->event_bytes_max <= config->limits.log_bytes_max);
    REQUIRE(strchr(upstream->base_url, '?') != NULL || upstream->adapter->url_is_whole ||
            (length > 0 && upstream->base_url[length - 1] != '/'));
    REQUIRE(upstream->adapter->url_has_query || strchr(upstream->base_url, '?') == NULL);
    REQUIRE(upstream->adapter->can_resume || !upstream->resumable);
    REQUIRE(upstream->fallback == NULL || upstreams_find(upstreams, upstream->fallback) != UPSTREAM_NONE);
    for (size_t at = index; at != UPSTREAM_NONE; at = upstreams_fallback(upstreams, at))
        REQUIRE(steps++ < upstreams->count);
}

static void check_values(const struct config *config) {
    const struct upstreams_settings *upstreams = &config->upstreams;
    uint64_t weight = 0;
    for (size_t i = 0; i < config_keys_count; i++)
        check_number(config, CONFIG_NO_UPSTREAM, i);
    REQUIRE(upstreams->count >= 1 && upstreams->count <= CONFIG_UPSTREAMS_MAX);
    for (size_t i = 0; i < upstreams->count; i++) {
        check_upstream(config, i);
        weight += upstreams->items[i].weight;
    }
    REQUIRE(weight > 0 && config->workers >= 1);
    REQUIRE(config->allow_unauthenticated || config_listen_is_loopback(&config->listen));
}

static void check_same_value(const struct config *config, const struct config *other, size_t upstream,
                             size_t index) {
    struct buffer one, two;
    format(config, upstream, index, &one);
    format(other, upstream, index, &two);
    REQUIRE(config_keys[index].secret || strcmp(one.bytes, two.bytes) == 0);
    buffer_finish(&one);
    buffer_finish(&two);
}

static void check_same(const struct config *config, const struct config *other) {
    REQUIRE(config->upstreams.count == other->upstreams.count);
    for (size_t i = 0; i < config_keys_count; i++) {
        check_same_value(config, other, CONFIG_NO_UPSTREAM, i);
        for (size_t u = 0; u < config->upstreams.count && config_keys[i].of_upstream; u++)
            check_same_value(config, other, u, i);
    }
    for (size_t u = 0; u < config->upstreams.count; u++)
        REQUIRE(strcmp(config->upstream_items[u].name, other->upstream_items[u].name) == 0);
}

static void check_unseen(const char *text, const char *secret) {
    REQUIRE(secret == NULL || strlen(secret) < 40 || strstr(text, secret) == NULL);
}

static void check_printed(const struct config *config) {
    char *text = NULL, said[SAID_MAX];
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    REQUIRE(out != NULL);
    config_print_values(config, out);
    REQUIRE(fclose(out) == 0);
    check_unseen(text, config->upstream.authorization);
    check_unseen(text, config->cache.redis_password);
    for (size_t i = 0; i < config->upstreams.count; i++)
        check_unseen(text, config->upstreams.items[i].authorization);
    write_file(text, length);
    struct config *again = load(said);
    REQUIRE(again != NULL);
    check_same(config, again);
    config_destroy(again);
    free(text);
}

/* A file of settings, of which each key is one. The caller frees it. */
static char *compose(struct fuzz_input *input, size_t *ret_length) {
    char *text = NULL;
    FILE *out = open_memstream(&text, ret_length);
    REQUIRE(out != NULL);
    const char *indent = "";
    while (input->length > 0) {
        size_t index = fuzz_take_byte(input) % (config_keys_count + 1);
        size_t length = fuzz_take_byte(input);
        length = length < input->length ? length : input->length;
        const char *value = (const char *)input->bytes;
        if (index == config_keys_count) {
            fprintf(out, "%s  - name: %.*s\n", indent[0] == '\0' ? "upstreams:\n" : "", (int)length, value);
            indent = "    ";
        } else {
            fprintf(out, config_keys[index].type->list ? "%s%s: [%.*s]\n" : "%s%s: %.*s\n", indent,
                    config_keys[index].name, (int)length, value);
        }
        input->bytes += length;
        input->length -= length;
    }
    REQUIRE(fclose(out) == 0);
    return text;
}

static void check_file(const char *text, size_t length) {
    char said[SAID_MAX];
    write_file(text, length);
    struct config *config = load(said);
    if (config == NULL) {
        check_refusal(said, text, length);
        return;
    }
    REQUIRE(said[0] == '\0');
    check_values(config);
    check_printed(config);
    config_destroy(config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_input input = {data, size};
    if ((fuzz_take_byte(&input) & 1) == 0) {
        check_file((const char *)input.bytes, input.length);
        return 0;
    }
    size_t length = 0;
    char *text = compose(&input, &length);
    check_file(text, length);
    free(text);
    return 0;
}
