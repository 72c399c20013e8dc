/* What the tests of settings share: each runs in a directory of its own, loads settings there, and sees what
 * was said about them. */
#ifndef SLUICE_TESTS_SUPPORT_CONFIG_LOADING_H
#define SLUICE_TESTS_SUPPORT_CONFIG_LOADING_H

#include "config/config.h"
#include "config/keys.h"
#include "tests/support/unit_certificate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define ARGUMENTS_MAX 16

static char directory[] = "/tmp/sluice-test-config-XXXXXX";

#define SAMPLE_CA_FILE "ca.pem"

/* A value that the key takes: the default, if it has one. */
static inline const char *sample_of(const struct config_key *key) {
    if (key->fallback[0] != '\0')
        return key->fallback;
    if (strcmp(key->name, "upstream_ca_file") == 0)
        return SAMPLE_CA_FILE;
    return key->type == &config_origins    ? "https://a.b"
           : key->type == &config_path     ? "/x"
           : key->type == &config_headers  ? "a: b"
           : key->type == &config_template ? "{}"
                                           : "x";
}

static inline void write_sample_ca_file(void) {
    struct unit_certificate made;
    FILE *file = fopen(SAMPLE_CA_FILE, "w");

    unit_certificate_make(&made);
    assert_non_null(file);
    assert_true(fputs(made.certificate, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* What one call of config_load() gave. */
struct loaded {
    enum config_result result;
    struct config *config;
    char error[8192]; /* all that it wrote to standard error */
    char *argv[ARGUMENTS_MAX + 2];
};

static inline void write_file(const char *text) {
    FILE *file = fopen("sluice.yaml", "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* Calls config_load() with these arguments, up to a NULL. */
static inline void load(struct loaded *loaded, ...) {
    FILE *capture = tmpfile();
    int saved = dup(STDERR_FILENO);
    int argc = 1;
    va_list arguments;

    *loaded = (struct loaded){.argv = {"sluice"}};
    va_start(arguments, loaded);
    while ((loaded->argv[argc] = va_arg(arguments, char *)) != NULL)
        assert_true(++argc <= ARGUMENTS_MAX);
    va_end(arguments);
    fflush(stderr);
    assert_true(dup2(fileno(capture), STDERR_FILENO) >= 0);
    loaded->result = config_load(argc, loaded->argv, &loaded->config);
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
    rewind(capture);
    loaded->error[fread(loaded->error, 1, sizeof(loaded->error) - 1, capture)] = '\0';
    fclose(capture);
}

static inline struct config *load_good(struct loaded *loaded) {
    assert_string_equal(loaded->error, "");
    assert_int_equal(loaded->result, CONFIG_LOADED);
    assert_non_null(loaded->config);
    return loaded->config;
}

/* Refused, with exactly this one line. */
static inline void assert_refused(const struct loaded *loaded, const char *line) {
    char expected[4096];

    snprintf(expected, sizeof(expected), "%s\n", line);
    assert_string_equal(loaded->error, expected);
    assert_int_equal(loaded->result, CONFIG_REFUSED);
    assert_null(loaded->config);
}

/* Refused with one line that begins like this. */
static inline void assert_refused_as(const struct loaded *loaded, const char *start) {
    assert_int_equal(loaded->result, CONFIG_REFUSED);
    assert_null(loaded->config);
    char said[4096];
    snprintf(said, sizeof(said), "%.*s", (int)strlen(start), loaded->error);
    assert_string_equal(said, start);
    assert_ptr_equal(strchr(loaded->error, '\n'), loaded->error + strlen(loaded->error) - 1);
}

static inline int enter_directory(void **state) {
    (void)state;
    return mkdtemp(directory) == NULL ? -1 : chdir(directory);
}

static inline int leave_directory(void **state) {
    (void)state;
    unlink("sluice.yaml");
    unlink(SAMPLE_CA_FILE);
    return rmdir(directory);
}

#endif
