/* Settings that are refused: one line that names the place and what is allowed. */
#include "tests/support/config_loading.h"

/* 80 bytes, which is what a message shows of a name. */
#define LONG_NAME "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static void a_bad_file_is_told_in_one_line_with_its_place(void **state) {
    static const struct {
        const char *text;
        const char *line; /* what it begins with */
    } cases[] = {
        {"a\n", "sluice.yaml: must be a mapping of keys to values"},
        {"- a\n", "sluice.yaml: must be a mapping of keys to values"},
        {"? [a]\n: b\n", "sluice.yaml: must be a mapping of keys to values"},
        {"runs_max: 1\nlog_levle: info\n",
         "sluice.yaml:2: log_levle: unknown key, perhaps meant as log_level; the keys are listen, "},
        {"{runs_max: 1,\n qqqqqqqqqqqqq: 2}",
         "sluice.yaml:2: qqqqqqqqqqqqq: unknown key; the keys are listen, "},
        {"\n\n\"a\\nb\": 1\n", "sluice.yaml:3: a?b: unknown key; the keys are listen, "},
        {"\n" LONG_NAME "x: 1\n", "sluice.yaml:2: " LONG_NAME "...: unknown key; the keys are listen, "},
        {"runs_max: 1\nupstream_model: \"a\\0b\"\n",
         "sluice.yaml:2: upstream_model: must not contain NUL (\\0)\n"},
        {"cors_origins:\n  - \"https://a.example\\x00.evil\"\n",
         "sluice.yaml:2: cors_origins: must not contain NUL (\\0)\n"},
        {"\"runs_max\\0x\": 5\n", "sluice.yaml:1: runs_max: must not contain NUL (\\0)\n"},
        {"# c\n\nlog_level: loud\n",
         "sluice.yaml:3: log_level: \"loud\" is not one of debug, info, warn, error\n"},
        {"runs_max: 1\n\"runs_max\" : 0\n", "sluice.yaml:2: runs_max: is given twice\n"},
        {"  tasks_kept: 1\n  runs_max: 0\n",
         "sluice.yaml:2: runs_max: \"0\" is not a whole number from 1 to 1000000\n"},
        {"upstream_model: \"a\n  runs_max: 1\"\nruns_max: 0\n", "sluice.yaml:3: runs_max: \"0\" is not"},
        {"\n\nruns_max:\n  a: 1\n", "sluice.yaml:3: runs_max: must be a whole number from 1 to 1000000\n"},
        {"listen: [a, b]\n", "sluice.yaml:1: listen: must be ADDRESS:PORT"},
        {"\ncors_origins: https://a.example\n", "sluice.yaml:2: cors_origins: must be a list of origins"},
        {"cors_origins:\n  - a: b\n", "sluice.yaml:1: cors_origins: must be a list of origins"},
        {"upstream: http://one:pa@ss@host:x/\n",
         "sluice.yaml:1: upstream: \"...@host:x/\" is not an http://"},
        {"redis: redis://:pass@host:x\n", "sluice.yaml:1: redis: \"...@host:x\" is not HOST:PORT"},
        {"runs_max: 1\n---\nruns_max: 2\n", "sluice.yaml:2: is a second YAML document"},
        {"runs_max: &a 5\ntasks_kept: *a\n", "sluice.yaml:2: tasks_kept: aliases are not allowed\n"},
        {"*a : 5\n", "sluice.yaml:1: aliases are not allowed\n"},
        {"runs_max: \"5\nlisten: 3\n", "sluice.yaml:3: is not YAML: found unexpected end of stream\n"},
        {"runs_max: 1\n\tlisten: 3\n", "sluice.yaml:2: is not YAML: "},
        {"runs_max: 1\n\nupstream_model: \"\xff\"\n",
         "sluice.yaml:3: is not YAML: invalid leading UTF-8 octet\n"},
        {"cors_origins: [\n", "sluice.yaml:2: is not YAML: "},
        {"memory_max_bytes: 16777215\n",
         "sluice.yaml:1: memory_max_bytes: memory_max_bytes (16777215) must be 0 or at least 16777216"},
        {"event_bytes_max: 8MiB\n", "sluice.yaml:1: event_bytes_max: event_bytes_max (8388608) must not be "
                                    "more than log_bytes_max (4194304)\n"},
        {"log_bytes_max: 64KiB\nrun_start_input_bytes_max: 65537\n",
         "sluice.yaml:2: run_start_input_bytes_max: run_start_input_bytes_max (65537) must not be more than "
         "log_bytes_max (65536)\n"},
        {"run_start_input: all\n", "sluice.yaml:1: run_start_input: \"all\" is not one of none, text, "},
        {"listen: 0.0.0.0:80\n", "sluice.yaml:1: listen: listening on 0.0.0.0 is open to everyone while no "
                                 "authentication is configured; use --allow-unauthenticated"},
        {"cors_origins: [\"*\"]\ncors_credentials: true\n", "sluice.yaml:2: cors_credentials: "},
        {"upstream: http://x/?a=b\n",
         "sluice.yaml:1: upstream: upstream may have a query only with upstream_kind sse or openai\n"},
    };
    struct loaded loaded;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        write_file(cases[i].text);
        load(&loaded, "--config", "sluice.yaml", NULL);
        assert_refused_as(&loaded, cases[i].line);
    }
}

static void files_that_cannot_be_read_are_refused(void **state) {
    struct loaded loaded;

    (void)state;
    load(&loaded, "--config", "nowhere.yaml", NULL);
    assert_refused(&loaded, "nowhere.yaml: cannot be read: No such file or directory");
    load(&loaded, "--config", ".", NULL);
    assert_refused(&loaded, ".: cannot be read: Is a directory");
    load(&loaded, "--config", "/dev/zero", NULL);
    assert_refused(&loaded, "/dev/zero: is larger than 1048576 bytes");
    load(&loaded, "--config", "a\nb", NULL);
    assert_refused(&loaded, "a?b: cannot be read: No such file or directory");
}

static void a_bad_environment_is_told_by_its_variable(void **state) {
    struct loaded loaded;

    (void)state;
    setenv("SLUICE_LOG_LEVEL", "loud", 1);
    load(&loaded, "--log-level", "info", NULL);
    assert_refused(&loaded, "SLUICE_LOG_LEVEL: \"loud\" is not one of debug, info, warn, error");
    unsetenv("SLUICE_LOG_LEVEL");
}

static void a_bad_command_line_is_told_by_its_flag(void **state) {
    struct loaded loaded;

    (void)state;
    load(&loaded, "--log-level=loud", NULL);
    assert_refused(&loaded, "--log-level: \"loud\" is not one of debug, info, warn, error");
    load(&loaded, "--log-level", NULL);
    assert_refused(&loaded, "--log-level: needs a value; sluice --help lists the values");
    load(&loaded, "--config", NULL);
    assert_refused(&loaded, "--config: needs a value; sluice --help lists the values");
    load(&loaded, "--log-levle", "info", NULL);
    assert_refused(&loaded,
                   "--log-levle: unknown option, perhaps meant as --log-level; sluice --help lists them all");
    load(&loaded, "--help=1", NULL);
    assert_refused(&loaded, "--help=1: unknown option; sluice --help lists them all");
    load(&loaded, "info", NULL);
    assert_refused(&loaded, "info: unexpected argument; sluice --help lists the options");
    load(&loaded, "--listen", "[::]:80", NULL);
    assert_refused_as(&loaded, "--listen: listening on :: is open to everyone");
}

static void a_long_value_is_cut_in_the_message(void **state) {
    char text[5000];
    struct loaded loaded;

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    load(&loaded, "--listen", text, NULL);
    assert_refused_as(&loaded, "--listen: \"xxxx");
    assert_true(strlen(loaded.error) < 200);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bad_file_is_told_in_one_line_with_its_place),
        cmocka_unit_test(files_that_cannot_be_read_are_refused),
        cmocka_unit_test(a_bad_environment_is_told_by_its_variable),
        cmocka_unit_test(a_bad_command_line_is_told_by_its_flag),
        cmocka_unit_test(a_long_value_is_cut_in_the_message),
    };
    return cmocka_run_group_tests(tests, enter_directory, leave_directory);
}
