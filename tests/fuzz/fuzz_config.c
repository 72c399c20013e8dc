/* The configuration file, by config_load() as the program calls it: it is refused with one line that says
 * where, or the settings can be printed and loaded again as the same.
 *
 * input: [0] the file, or [1] settings, each [key: 1] [value's length: 1] value
 */
#include "server/config.h"
#include "server/config_keys.h"
#include "server/config_print.h"
#include "tests/fuzz/fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

extern char **environ;

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
static struct config *load(char said[4096]) {
    static char program[] = "sluice", flag[] = "--config";
    static char *arguments[] = {program, flag, file_name, NULL};
    struct config *config = NULL;
    FILE *outer = stderr;
    memset(said, 0, 4096);
    stderr = fmemopen(said, 4096, "w");
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

/* A value as its type formats it; the caller finishes the buffer. */
static void format(const struct config *config, size_t index, struct buffer *ret_text) {
    const struct config_key *key = &config_keys[index];
    buffer_init(ret_text, 1 << 20);
    REQUIRE(buffer_append(ret_text, "", 0));
    REQUIRE(key->type->format(key, (const char *)config + key->offset, ret_text));
}

static bool is_number(const struct config_key *key) {
    return key->type == &config_count || key->type == &config_bytes || key->type == &config_ms;
}

static uint64_t number_of(const struct config *config, const struct config_key *key) {
    uint64_t number;
    memcpy(&number, (const char *)config + key->offset, sizeof(number));
    return number;
}

static void check_values(const struct config *config) {
    for (size_t i = 0; i < config_keys_count; i++) {
        const struct config_key *key = &config_keys[i];
        REQUIRE(!is_number(key) || number_of(config, key) >= key->minimum);
        REQUIRE(!is_number(key) || number_of(config, key) <= key->maximum);
    }
    REQUIRE(config->workers >= 1 && config->upstream.adapter != NULL);
    REQUIRE(config->upstream.event_bytes_max <= config->limits.log_bytes_max);
    REQUIRE(config->allow_unauthenticated || config_listen_is_loopback(&config->listen));
}

static void check_same(const struct config *config, const struct config *other) {
    for (size_t i = 0; i < config_keys_count; i++) {
        const struct config_key *key = &config_keys[i];
        struct buffer one, two;
        REQUIRE(!is_number(key) || number_of(config, key) == number_of(other, key));
        format(config, i, &one);
        format(other, i, &two);
        REQUIRE(key->secret || strcmp(one.bytes, two.bytes) == 0);
        buffer_finish(&one);
        buffer_finish(&two);
    }
}

static void check_printed(const struct config *config) {
    char *text = NULL, said[4096];
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    REQUIRE(out != NULL);
    config_print_values(config, out);
    REQUIRE(fclose(out) == 0);
    const char *secret = config->upstream.authorization;
    REQUIRE(secret == NULL || strlen(secret) < 40 || strstr(text, secret) == NULL);
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
    while (input->length > 0) {
        const struct config_key *key = &config_keys[fuzz_take_byte(input) % config_keys_count];
        size_t length = fuzz_take_byte(input);
        length = length < input->length ? length : input->length;
        fprintf(out, key->type->list ? "%s: [%.*s]\n" : "%s: %.*s\n", key->name, (int)length,
                (const char *)input->bytes);
        input->bytes += length;
        input->length -= length;
    }
    REQUIRE(fclose(out) == 0);
    return text;
}

static void check_file(const char *text, size_t length) {
    char said[4096];
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
