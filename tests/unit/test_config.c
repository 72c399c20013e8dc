/* Settings: which source wins, and what a reload changes. */
#include "base/machine_memory.h"
#include "config/keys.h"
#include "config/load.h"
#include "tests/support/config_loading.h"

#include <sys/stat.h>

/* Where the value of this key came from. */
static const char *source_of(const struct config *config, const char *name) {
    static char source[CONFIG_SOURCE_SIZE];

    config_source_describe(config, CONFIG_NO_UPSTREAM, config_key_index(name), source);
    return source;
}

/* Whether a file of this text and mode is found to expose a secret. */
static bool exposes(const char *text, mode_t mode) {
    struct loaded loaded;

    write_file(text);
    assert_int_equal(chmod("sluice.yaml", mode), 0);
    load(&loaded, "--config", "sluice.yaml", NULL);
    struct config *config = load_good(&loaded);
    bool exposes_secret = config->file_exposes_secret;
    config_destroy(config);
    return exposes_secret;
}

static void a_file_with_a_secret_that_others_can_read_is_known(void **state) {
    static const char *const secrets[] = {
        "upstream_authorization: Bearer x\n", "redis_password: x\n",
        "upstream: http://a/run?key=x\nupstream_kind: sse\n",
        "upstreams:\n  - {name: a, upstream_authorization: x}\n",
        "upstreams:\n  - {name: a}\n  - {name: b, upstream: 'http://a/run?k=x', upstream_kind: sse}\n"};

    (void)state;
    for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++) {
        assert_true(exposes(secrets[i], 0604));
        assert_true(exposes(secrets[i], 0644));
        assert_false(exposes(secrets[i], 0640));
        assert_false(exposes(secrets[i], 0600));
    }
    assert_false(exposes("upstream: http://a/\n", 0644));
    assert_false(exposes("upstream_authorization: \"\"\n", 0644));
    assert_false(exposes("", 0644));
}

static void defaults_are_those_of_the_contract(void **state) {
    struct loaded loaded;

    (void)state;
    load(&loaded, NULL);
    struct config *config = load_good(&loaded);
    assert_string_equal(config->listen.address, "127.0.0.1");
    assert_int_equal(config->listen.port, 8080);
    assert_string_equal(config->upstream.base_url, "http://127.0.0.1:8000");
    assert_ptr_equal(config->upstream.adapter, &adapter_adk);
    assert_null(config->upstream.model);
    assert_null(config->upstream.authorization);
    assert_int_equal(config->workers, uv_available_parallelism());
    assert_int_equal(config->log_level, LOG_LEVEL_INFO);
    assert_int_equal(config->log_format, LOG_FORMAT_JSON);
    assert_int_equal(config->limits.runs_max, 1000);
    assert_int_equal(config->limits.runs_queued_per_session_max, 16);
    assert_int_equal(config->limits.subscribers_max, 100000);
    assert_int_equal(config->limits.subscribers_per_session_max, 10000);
    assert_int_equal(config->limits.sessions_max, 100000);
    assert_int_equal(config->limits.log_events_max, 1000);
    assert_int_equal(config->limits.log_bytes_max, 4 << 20);
    assert_int_equal(config->routes.run_input, RUN_INPUT_TEXT);
    assert_int_equal(config->routes.run_input_bytes_max, 16 << 10);
    assert_int_equal(config->limits.session_ttl_ms, 30 * 60 * 1000);
    assert_int_equal(config->limits.session_empty_ttl_ms, 60 * 1000);
    assert_int_equal(config->limits.runs_delayed_max, 1000);
    assert_int_equal(config->limits.runs_delayed_per_user_max, 100);
    assert_int_equal(config->limits.subscribers_waiting_max, 50000);
    assert_int_equal(config->limits.subscribers_waiting_per_address_max, 20000);
    assert_int_equal(config->upstream.event_bytes_max, 1 << 20);
    assert_int_equal(config->upstream.connect_timeout_ms, 10000);
    assert_int_equal(config->upstream.first_byte_timeout_ms, 60000);
    assert_int_equal(config->upstream.idle_timeout_ms, 120000);
    assert_int_equal(config->routes.request_body_bytes_max, 1 << 20);
    assert_int_equal(config->routes.request_json_values_max, 10000);
    assert_int_equal(config->relay.run_timeout_ms, 300000);
    assert_int_equal(config->routes.cors_origins_count, 0);
    assert_true(config->routes.demo);
    assert_int_equal(config->http.listener.request_header_bytes_max, 16 << 10);
    assert_int_equal(config->http.listener.request_timeout_ms, 15000);
    assert_int_equal(config->fanout.heartbeat_ms, 15000);
    assert_int_equal(config->fanout.retry_ms, 2000);
    assert_int_equal(config->fanout.stall_timeout_ms, 30000);
    assert_int_equal(config->limits.queue_timeout_ms, 600000);
    assert_int_equal(config->limits.queue_aging_ms, 10000);
    assert_true(config->memory_max_bytes == machine_memory_bytes("") / 2 ||
                config->memory_max_bytes == (uint64_t)16 << 20);
    assert_int_equal(config->routes.memory_warn_bytes, config->memory_max_bytes / 16 * 15);
    assert_int_equal(config->routes.health_queue_percent, 80);
    assert_int_equal(config->routes.health_sessions_percent, 90);
    assert_int_equal(config->drain_ms, 30000);
    assert_false(config->allow_unauthenticated);
    assert_string_equal(source_of(config, "listen"), "default");
    config_destroy(config);
}

static void flag_wins_over_environment_over_file_over_default(void **state) {
    struct loaded loaded;

    (void)state;
    write_file("runs_max: 11\ntasks_kept: 12\n\nsessions_max: 13\n");
    setenv("SLUICE_RUNS_MAX", "21", 1);
    setenv("SLUICE_TASKS_KEPT", "22", 1);
    setenv("SLUICE_LOG_EVENTS_MAX", "", 1);
    load(&loaded, "--config", "sluice.yaml", "--runs-max", "31", NULL);
    struct config *config = load_good(&loaded);
    assert_int_equal(config->limits.runs_max, 31);
    assert_int_equal(config->limits.tasks_kept, 22);
    assert_int_equal(config->limits.sessions_max, 13);
    assert_int_equal(config->limits.log_events_max, 1000);
    assert_string_equal(source_of(config, "runs_max"), "--runs-max");
    assert_string_equal(source_of(config, "tasks_kept"), "SLUICE_TASKS_KEPT");
    assert_string_equal(source_of(config, "sessions_max"), "sluice.yaml:4");
    assert_string_equal(source_of(config, "log_events_max"), "default");
    config_destroy(config);
    unsetenv("SLUICE_RUNS_MAX");
    unsetenv("SLUICE_TASKS_KEPT");
    unsetenv("SLUICE_LOG_EVENTS_MAX");
}

static void every_key_can_be_given_in_every_way(void **state) {
    /* There is an upstream "x" to fall back to. */
    static const char list[] = "upstreams: [{name: x}, {name: y}]\n";

    (void)state;
    write_sample_ca_file();
    for (size_t i = 0; i < config_keys_count; i++) {
        const struct config_key *key = &config_keys[i];
        const char *text = sample_of(key);
        char flag[CONFIG_NAME_SIZE];
        char variable[CONFIG_NAME_SIZE];
        char yaml[256];
        struct loaded loaded;

        write_file(list);
        config_key_flag(key, flag);
        load(&loaded, "--config", "sluice.yaml", flag, text, NULL);
        assert_string_equal(source_of(load_good(&loaded), key->name), flag);
        config_destroy(loaded.config);

        config_key_variable(key, variable);
        setenv(variable, text, 1);
        load(&loaded, "--config", "sluice.yaml", NULL);
        assert_string_equal(source_of(load_good(&loaded), key->name), variable);
        config_destroy(loaded.config);
        unsetenv(variable);

        snprintf(yaml, sizeof(yaml), key->type->list ? "%s: [\"%s\"]\n%s" : "%s: \"%s\"\n%s", key->name, text,
                 list);
        write_file(yaml);
        load(&loaded, "--config", "sluice.yaml", NULL);
        assert_string_equal(source_of(load_good(&loaded), key->name), "sluice.yaml:1");
        config_destroy(loaded.config);
    }
}

static void file_is_named_by_the_environment_unless_by_the_flag(void **state) {
    struct loaded loaded;

    (void)state;
    write_file("runs_max: 7\n");
    setenv("SLUICE_CONFIG", "sluice.yaml", 1);
    load(&loaded, NULL);
    assert_int_equal(load_good(&loaded)->limits.runs_max, 7);
    config_destroy(loaded.config);
    setenv("SLUICE_CONFIG", "nowhere.yaml", 1);
    load(&loaded, "--config=sluice.yaml", NULL);
    assert_int_equal(load_good(&loaded)->limits.runs_max, 7);
    config_destroy(loaded.config);
    unsetenv("SLUICE_CONFIG");
}

static void flags_of_true_or_false_may_stand_alone(void **state) {
    struct loaded loaded;

    (void)state;
    load(&loaded, "--allow-unauthenticated", "--demo=false", "--cors-credentials", "true", "--listen",
         "0.0.0.0:0", NULL);
    struct config *config = load_good(&loaded);
    assert_true(config->allow_unauthenticated);
    assert_false(config->routes.demo);
    assert_true(config->routes.cors_credentials);
    assert_string_equal(config->listen.address, "0.0.0.0");
    config_destroy(config);
}

static void null_and_nothing_in_the_file_count_as_not_given(void **state) {
    struct loaded loaded;

    (void)state;
    write_file("runs_max: null\nupstream_model: ~\nlog_level:\ncors_origins:\n");
    load(&loaded, "--config", "sluice.yaml", NULL);
    struct config *config = load_good(&loaded);
    assert_string_equal(source_of(config, "runs_max"), "default");
    assert_null(config->upstream.model);
    assert_int_equal(config->log_level, LOG_LEVEL_INFO);
    config_destroy(config);
}

static void empty_files_are_fine(void **state) {
    static const char *const texts[] = {"", "\n", "# nothing\n", "{}\n"};
    struct loaded loaded;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        write_file(texts[i]);
        load(&loaded, "--config", "sluice.yaml", NULL);
        config_destroy(load_good(&loaded));
    }
}

static void a_reload_changes_what_can_change_and_keeps_the_rest(void **state) {
    struct config_reload_report report;
    struct loaded loaded;

    (void)state;
    write_file("runs_max: 5\nupstream: http://127.0.0.1:1\nupstream_authorization: a\nheartbeat_ms: 100\n");
    load(&loaded, "--config", "sluice.yaml", "--retry-ms", "50", NULL);
    struct config *old = load_good(&loaded);
    write_file(
        "runs_max: 6\nupstream: http://127.0.0.1:2\nupstream_authorization: b\nheartbeat_ms: 0100\n"
        "cors_origins: [\"https://a.example\"]\nretry_ms: 60\nlog_level: debug\nlisten: 127.0.0.1:1\n");
    struct config *config = config_reload(old, &report);
    assert_string_equal(report.error.text, "");
    assert_non_null(config);
    assert_string_equal(report.changed, "log_level, runs_max, cors_origins");
    assert_string_equal(report.kept, "listen, upstream, upstream_authorization");
    config_destroy(old);
    assert_int_equal(config->limits.runs_max, 6);
    assert_int_equal(config->log_level, LOG_LEVEL_DEBUG);
    assert_string_equal(config->routes.cors_origins[0], "https://a.example");
    assert_int_equal(config->fanout.retry_ms, 50);
    assert_int_equal(config->listen.port, 8080);
    assert_string_equal(source_of(config, "listen"), "default");
    assert_string_equal(config->upstream.base_url, "http://127.0.0.1:1");
    assert_string_equal(config->upstream.authorization, "a");
    assert_string_equal(config->upstreams.items[0].base_url, "http://127.0.0.1:1");
    assert_string_equal(config->upstreams.items[0].authorization, "a");
    config_destroy(config);
}

static void a_bad_reload_changes_nothing_and_says_why(void **state) {
    struct config_reload_report report;
    struct loaded loaded;

    (void)state;
    write_file("runs_max: 5\n");
    load(&loaded, "--config", "sluice.yaml", NULL);
    struct config *old = load_good(&loaded);
    write_file("runs_max: 6\nruns_max: 7\n");
    assert_null(config_reload(old, &report));
    assert_string_equal(report.error.text, "sluice.yaml:2: runs_max: is given twice");
    assert_int_equal(unlink("sluice.yaml"), 0);
    assert_null(config_reload(old, &report));
    assert_string_equal(report.error.text, "sluice.yaml: cannot be read: No such file or directory");
    assert_int_equal(old->limits.runs_max, 5);
    config_destroy(old);
}

static void a_reload_of_the_same_changes_nothing(void **state) {
    struct config_reload_report report;
    struct loaded loaded;

    (void)state;
    load(&loaded, "--upstream", "http://127.0.0.1:1/", "--log-bytes-max", "64KiB", NULL);
    struct config *old = load_good(&loaded);
    struct config *config = config_reload(old, &report);
    assert_non_null(config);
    assert_string_equal(report.changed, "");
    assert_string_equal(report.kept, "");
    config_destroy(config);
    config_destroy(old);
}

static bool has_limit(const struct config *config, const char *key, uint64_t value) {
    for (size_t i = 0; i < config->routes.limits_count; i++) {
        if (strcmp(config->routes.limits[i].key, key) == 0)
            return config->routes.limits[i].value == value;
    }
    return false;
}

static void each_limit_of_the_broadcaster_is_a_key_that_is_shown(void **state) {
    struct loaded loaded;

    (void)state;
    load(&loaded, "--runs-max", "7", "--session-ttl-ms", "12345", "--subscribers-gathered-max", "0", NULL);
    struct config *config = load_good(&loaded);
#define X(type, name) assert_true(has_limit(config, #name, (uint64_t)config->limits.name));
    BROADCASTER_LIMITS(X)
#undef X
    assert_true(has_limit(config, "runs_max", 7));
    assert_true(has_limit(config, "session_ttl_ms", 12345));
    assert_false(has_limit(config, "log_level", LOG_LEVEL_INFO));
    config_destroy(config);
}

static void a_key_that_is_a_limit_is_a_number_of_all_upstreams(void **state) {
    (void)state;
    for (size_t i = 0; i < config_keys_count; i++) {
        const struct config_key *key = &config_keys[i];
        bool is_number = key->type == &config_count || key->type == &config_bytes || key->type == &config_ms;
        if (key->limit)
            assert_true(is_number && !key->of_upstream && !key->secret);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_contract),
        cmocka_unit_test(flag_wins_over_environment_over_file_over_default),
        cmocka_unit_test(every_key_can_be_given_in_every_way),
        cmocka_unit_test(file_is_named_by_the_environment_unless_by_the_flag),
        cmocka_unit_test(flags_of_true_or_false_may_stand_alone),
        cmocka_unit_test(null_and_nothing_in_the_file_count_as_not_given),
        cmocka_unit_test(empty_files_are_fine),
        cmocka_unit_test(a_reload_changes_what_can_change_and_keeps_the_rest),
        cmocka_unit_test(a_bad_reload_changes_nothing_and_says_why),
        cmocka_unit_test(a_reload_of_the_same_changes_nothing),
        cmocka_unit_test(a_file_with_a_secret_that_others_can_read_is_known),
        cmocka_unit_test(each_limit_of_the_broadcaster_is_a_key_that_is_shown),
        cmocka_unit_test(a_key_that_is_a_limit_is_a_number_of_all_upstreams),
    };
    return cmocka_run_group_tests(tests, enter_directory, leave_directory);
}
