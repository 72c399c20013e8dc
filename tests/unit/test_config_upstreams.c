/* Settings of upstreams: one of the keys, or several of a list in the file. */
#include "config/keys.h"
#include "config/load.h"
#include "config/upstreams.h"
#include "tests/support/config_loading.h"

/* Loads this file. */
static struct config *load_text(struct loaded *loaded, const char *text) {
    write_file(text);
    load(loaded, "--config", "sluice.yaml", NULL);
    return load_good(loaded);
}

static void without_a_list_there_is_one_upstream_of_the_keys(void **state) {
    struct loaded loaded;

    (void)state;
    load(&loaded, "--upstream", "http://h/", "--upstream-model", "m", "--retry-attempts-max", "3",
         "--log-bytes-max", "64KiB", NULL);
    const struct config *config = load_good(&loaded);
    assert_int_equal(config->upstreams.count, 1);
    const struct upstream_settings *upstream = &config->upstreams.items[0];
    assert_string_equal(upstream->name, "default");
    assert_string_equal(upstream->base_url, "http://h");
    assert_string_equal(upstream->model, "m");
    assert_ptr_equal(upstream->adapter, &adapter_adk);
    assert_int_equal(upstream->retry.attempts_max, 3);
    assert_int_equal(upstream->event_bytes_max, 65536);
    assert_int_equal(upstream->connections_max, 1024);
    config_destroy(loaded.config);
}

static void what_guards_an_upstream_is_off_by_default(void **state) {
    struct loaded loaded;

    (void)state;
    load(&loaded, NULL);
    const struct upstream_settings *upstream = &load_good(&loaded)->upstreams.items[0];
    assert_string_equal(upstream->apps, "*");
    assert_int_equal(upstream->weight, 1);
    assert_null(upstream->fallback);
    assert_null(upstream->canned_answer);
    assert_false(upstream->resumable);
    assert_null(upstream->health_path);
    assert_int_equal(upstream->health_interval_ms, 10000);
    assert_int_equal(upstream->retry.attempts_max, 1);
    assert_int_equal(upstream->breaker.failure_percent, 0);
    assert_int_equal(upstream->limiter.rate_calls, 0);
    assert_int_equal(upstream->limiter.concurrency_max, 0);
    assert_false(upstream->limiter.adaptive);
    assert_false(upstream->cache.on);
    assert_true(upstream->cache.per_user);
    assert_false(upstream->cache.paced);
    assert_null(upstream->cache.ignore);
    const struct config *config = loaded.config;
    assert_null(config->cache.redis);
    assert_null(config->cache.redis_password);
    assert_int_equal(config->cache.bytes_max, 64 << 20);
    assert_int_equal(config->cache.run_bytes_max, 1 << 20);
    assert_int_equal(config->limits.runs_per_app_max, 0);
    assert_int_equal(config->limits.runs_per_user_max, 0);
    assert_int_equal(config->relay.run_events_max, 0);
    assert_int_equal(config->relay.run_bytes_max, 0);
    assert_int_equal(config->relay.run_tokens_max, 0);
    config_destroy(loaded.config);
}

static void an_item_takes_what_it_does_not_give_from_outside_of_the_list(void **state) {
    struct loaded loaded;

    (void)state;
    write_file("upstreams:\n"
               "  - name: a\n"
               "    upstream: http://a\n"
               "    retry_attempts_max: 2\n"
               "    upstream_apps: x, y-*\n"
               "    upstream_fallback: b\n"
               "  - name: b\n"
               "    upstream_kind: openai\n"
               "    upstream_weight: 0\n"
               "    cache: true\n"
               "retry_attempts_max: 3\n"
               "upstream_weight: 7\n");
    setenv("SLUICE_UPSTREAM", "http://env", 1);
    setenv("SLUICE_UPSTREAM_AUTHORIZATION", "hush", 1);
    load(&loaded, "--config", "sluice.yaml", "--breaker-failure-percent", "50", "--event-bytes-max", "1000",
         NULL);
    unsetenv("SLUICE_UPSTREAM");
    unsetenv("SLUICE_UPSTREAM_AUTHORIZATION");
    const struct upstreams_settings *upstreams = &load_good(&loaded)->upstreams;
    assert_int_equal(upstreams->count, 2);
    const struct upstream_settings *a = &upstreams->items[0], *b = &upstreams->items[1];
    assert_string_equal(a->name, "a");
    assert_string_equal(a->base_url, "http://a");
    assert_ptr_equal(a->adapter, &adapter_adk);
    assert_int_equal(a->retry.attempts_max, 2);
    assert_string_equal(a->apps, "x,y-*");
    assert_string_equal(a->fallback, "b");
    assert_int_equal(a->weight, 7);
    assert_false(a->cache.on);
    assert_string_equal(b->name, "b");
    assert_string_equal(b->base_url, "http://env");
    assert_ptr_equal(b->adapter, &adapter_openai);
    assert_int_equal(b->retry.attempts_max, 3);
    assert_string_equal(b->apps, "*");
    assert_null(b->fallback);
    assert_int_equal(b->weight, 0);
    assert_true(b->cache.on);
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(upstreams->items[i].authorization, "hush");
        assert_int_equal(upstreams->items[i].breaker.failure_percent, 50);
        assert_int_equal(upstreams->items[i].event_bytes_max, 1000);
    }
    config_destroy(loaded.config);
}

static void an_item_may_give_the_keys_of_an_upstream_and_no_others(void **state) {
    (void)state;
    write_sample_ca_file();
    for (size_t i = 0; i < config_keys_count; i++) {
        const struct config_key *key = &config_keys[i];
        char yaml[256], source[CONFIG_SOURCE_SIZE], error[256];
        struct loaded loaded;

        const char *url = strcmp(key->name, "upstream") == 0 ? "" : "    upstream: https://h\n";
        snprintf(yaml, sizeof(yaml), "upstreams:\n  - name: y\n    %s: %s\"%s\"%s\n%s  - name: x\n",
                 key->name, key->type->list ? "[" : "", sample_of(key), key->type->list ? "]" : "", url);
        write_file(yaml);
        load(&loaded, "--config", "sluice.yaml", NULL);
        if (!key->of_upstream) {
            snprintf(error, sizeof(error), "sluice.yaml:3: %s: unknown key", key->name);
            assert_refused_as(&loaded, error);
            continue;
        }
        config_source_describe(load_good(&loaded), 0, i, source);
        assert_string_equal(source, "sluice.yaml:3");
        config_source_describe(loaded.config, 1, i, source);
        assert_string_equal(source, "default");
        config_destroy(loaded.config);
    }
}

static void each_upstream_has_its_own_url(void **state) {
    struct loaded loaded;

    (void)state;
    const struct config *config = load_text(&loaded, "upstream: http://h/p/\n"
                                                     "upstreams:\n"
                                                     "  - name: a\n"
                                                     "  - name: b\n"
                                                     "    upstream_kind: sse\n"
                                                     "  - name: c\n"
                                                     "    upstream: http://h//\n"
                                                     "  - name: d\n"
                                                     "    upstream: http://h/?q=/\n"
                                                     "    upstream_kind: sse\n");
    assert_string_equal(config->upstreams.items[0].base_url, "http://h/p");
    assert_string_equal(config->upstreams.items[1].base_url, "http://h/p/");
    assert_string_equal(config->upstreams.items[2].base_url, "http://h");
    assert_string_equal(config->upstreams.items[3].base_url, "http://h/?q=/");
    config_destroy(loaded.config);
}

static void a_fallback_for_all_is_not_its_own(void **state) {
    struct loaded loaded;

    (void)state;
    const struct config *config =
        load_text(&loaded, "upstream_fallback: b\nupstreams: [{name: a}, {name: b}, {name: c}]\n");
    assert_string_equal(config->upstreams.items[0].fallback, "b");
    assert_null(config->upstreams.items[1].fallback);
    assert_string_equal(config->upstreams.items[2].fallback, "b");
    config_destroy(loaded.config);
}

static void a_list_of_nothing_is_none(void **state) {
    static const char *const texts[] = {"upstreams:\n", "upstreams: null\n", "upstreams: ~\n"};
    struct loaded loaded;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        const struct config *config = load_text(&loaded, texts[i]);
        assert_null(config->list);
        assert_int_equal(config->upstreams.count, 1);
        assert_string_equal(config->upstreams.items[0].name, "default");
        config_destroy(loaded.config);
    }
}

static void null_and_nothing_in_an_item_count_as_not_given(void **state) {
    struct loaded loaded;

    (void)state;
    const struct config *config = load_text(&loaded, "retry_attempts_max: 4\n"
                                                     "upstream_model: m\n"
                                                     "upstream_apps: x\n"
                                                     "upstreams:\n"
                                                     "  - name: a\n"
                                                     "    retry_attempts_max:\n"
                                                     "    upstream_model: null\n"
                                                     "    upstream_apps: ~\n");
    assert_int_equal(config->upstreams.items[0].retry.attempts_max, 4);
    assert_string_equal(config->upstreams.items[0].model, "m");
    assert_string_equal(config->upstreams.items[0].apps, "x");
    config_destroy(loaded.config);
}

static void names_may_look_like_something_else(void **state) {
    struct loaded loaded;

    (void)state;
    const struct config *config = load_text(
        &loaded, "upstreams: [{name: null}, {name: true}, {name: 1}, {name: _-_}, {name: default}]\n");
    assert_int_equal(config->upstreams.count, 5);
    assert_string_equal(config->upstreams.items[0].name, "null");
    assert_string_equal(config->upstreams.items[1].name, "true");
    assert_string_equal(config->upstreams.items[2].name, "1");
    config_destroy(loaded.config);
}

/* A list of so many upstreams. */
static void write_list(size_t count) {
    char yaml[4096] = "upstreams:\n";

    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(yaml);
        snprintf(yaml + length, sizeof(yaml) - length, "  - name: u%zu\n", i);
    }
    write_file(yaml);
}

static void there_are_at_most_64(void **state) {
    struct loaded loaded;

    (void)state;
    write_list(64);
    load(&loaded, "--config", "sluice.yaml", NULL);
    assert_int_equal(load_good(&loaded)->upstreams.count, 64);
    assert_string_equal(loaded.config->upstreams.items[63].name, "u63");
    config_destroy(loaded.config);
    write_list(65);
    load(&loaded, "--config", "sluice.yaml", NULL);
    assert_refused(&loaded,
                   "sluice.yaml:1: upstreams: must be a list of 1 to 64 upstreams, each a mapping of "
                   "keys to values");
}

/* ---- reload ------------------------------------------------------------------------------------- */

#define OLD_LIST                                                                                             \
    "upstreams:\n"                                                                                           \
    "  - name: a\n"                                                                                          \
    "    upstream: http://127.0.0.1:1/\n"                                                                    \
    "    retry_attempts_max: 5\n"                                                                            \
    "  - name: b\n"                                                                                          \
    "    upstream_authorization: hush\n"

/* Reads this file again, for which `old` is given up. */
static struct config *reload(struct config *old, const char *text, struct config_reload_report *report) {
    write_file(text);
    struct config *config = config_reload(old, report);
    assert_string_equal(report->error.text, "");
    assert_non_null(config);
    config_destroy(old);
    return config;
}

static void a_reload_reaches_the_upstreams_that_do_not_give_a_key_themselves(void **state) {
    struct config_reload_report report;
    struct loaded loaded;

    (void)state;
    struct config *config = load_text(&loaded, "retry_attempts_max: 2\nupstream_weight: 2\n" OLD_LIST);
    config = reload(config, "# moved\n" OLD_LIST "retry_attempts_max: 3\nupstream_weight: 4\n", &report);
    assert_string_equal(report.changed, "retry_attempts_max");
    assert_string_equal(report.kept, "upstream_weight");
    assert_int_equal(config->upstreams.count, 2);
    assert_int_equal(config->upstreams.items[0].retry.attempts_max, 5);
    assert_int_equal(config->upstreams.items[1].retry.attempts_max, 3);
    assert_int_equal(config->upstreams.items[0].weight, 2);
    assert_int_equal(config->upstreams.items[1].weight, 2);
    assert_string_equal(config->upstreams.items[1].authorization, "hush");
    config_destroy(config);
}

static void a_list_that_has_changed_needs_a_restart(void **state) {
    static const char *const lists[] = {
        "",
        "upstreams:\n  - name: a\n    upstream: http://127.0.0.1:1/\n    retry_attempts_max: 5\n",
        "upstreams:\n  - name: a\n    upstream: http://127.0.0.1:1/\n    retry_attempts_max: 6\n  - name: b\n"
        "    upstream_authorization: hush\n",
        "upstreams:\n  - name: a\n    upstream: http://127.0.0.1:1/\n    retry_attempts_max: 5\n  - name: c\n"
        "    upstream_authorization: hush\n",
        "upstreams:\n  - name: a\n    upstream: http://127.0.0.1:1/\n    retry_attempts_max: 5\n  - name: "
        "b\n",
    };
    struct config_reload_report report;
    struct loaded loaded;
    char yaml[1024];

    (void)state;
    struct config *config = load_text(&loaded, OLD_LIST);
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        uint64_t retry_base_ms = 50 + i;
        snprintf(yaml, sizeof(yaml), "retry_base_ms: %zu\n%s", 50 + i, lists[i]);
        config = reload(config, yaml, &report);
        assert_string_equal(report.changed, "retry_base_ms");
        assert_string_equal(report.kept, "upstreams");
        assert_int_equal(config->upstreams.count, 2);
        assert_string_equal(config->upstreams.items[0].base_url, "http://127.0.0.1:1");
        assert_int_equal(config->upstreams.items[0].retry.attempts_max, 5);
        assert_int_equal(config->upstreams.items[0].retry.base_ms, retry_base_ms);
        assert_string_equal(config->upstreams.items[1].name, "b");
        assert_string_equal(config->upstreams.items[1].authorization, "hush");
        assert_int_equal(config->upstreams.items[1].retry.base_ms, retry_base_ms);
    }
    config = reload(config, OLD_LIST, &report);
    assert_string_equal(report.changed, "retry_base_ms");
    assert_string_equal(report.kept, "");
    config_destroy(config);
}

static void a_list_that_is_new_needs_a_restart(void **state) {
    struct config_reload_report report;
    struct loaded loaded;

    (void)state;
    struct config *config = load_text(&loaded, "upstream: http://127.0.0.1:1\n");
    config = reload(config, "upstream: http://127.0.0.1:1\n" OLD_LIST, &report);
    assert_string_equal(report.kept, "upstreams");
    assert_int_equal(config->upstreams.count, 1);
    assert_string_equal(config->upstreams.items[0].name, "default");
    assert_string_equal(config->upstreams.items[0].base_url, "http://127.0.0.1:1");
    config_destroy(config);
}

/* What is new fits together, and not with what stays. */
static void a_reload_that_does_not_fit_the_list_that_stays_is_refused(void **state) {
    struct config_reload_report report;
    struct loaded loaded;

    (void)state;
    struct config *config = load_text(&loaded, "upstreams:\n  - name: a\n");
    write_file("retry_max_ms: 100\nupstreams:\n  - name: a\n    retry_base_ms: 50\n");
    assert_null(config_reload(config, &report));
    assert_string_equal(report.error.text,
                        "sluice.yaml:1: retry_max_ms: upstream a: retry_base_ms (200) must not be "
                        "more than retry_max_ms (100)");
    assert_int_equal(config->upstreams.items[0].retry.max_ms, 5000);
    config_destroy(config);
}

static void a_bad_list_changes_nothing_and_says_why(void **state) {
    struct config_reload_report report;
    struct loaded loaded;

    (void)state;
    struct config *config = load_text(&loaded, OLD_LIST);
    write_file("retry_attempts_max: 3\n" OLD_LIST "  - name: b\n");
    assert_null(config_reload(config, &report));
    assert_string_equal(report.error.text,
                        "sluice.yaml:8: name: \"b\" is the name of another upstream already");
    assert_int_equal(config->upstreams.count, 2);
    assert_int_equal(config->upstreams.items[1].retry.attempts_max, 1);
    config_destroy(config);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_list_there_is_one_upstream_of_the_keys),
        cmocka_unit_test(what_guards_an_upstream_is_off_by_default),
        cmocka_unit_test(an_item_takes_what_it_does_not_give_from_outside_of_the_list),
        cmocka_unit_test(an_item_may_give_the_keys_of_an_upstream_and_no_others),
        cmocka_unit_test(each_upstream_has_its_own_url),
        cmocka_unit_test(a_fallback_for_all_is_not_its_own),
        cmocka_unit_test(a_list_of_nothing_is_none),
        cmocka_unit_test(null_and_nothing_in_an_item_count_as_not_given),
        cmocka_unit_test(names_may_look_like_something_else),
        cmocka_unit_test(there_are_at_most_64),
        cmocka_unit_test(a_reload_reaches_the_upstreams_that_do_not_give_a_key_themselves),
        cmocka_unit_test(a_list_that_has_changed_needs_a_restart),
        cmocka_unit_test(a_list_that_is_new_needs_a_restart),
        cmocka_unit_test(a_reload_that_does_not_fit_the_list_that_stays_is_refused),
        cmocka_unit_test(a_bad_list_changes_nothing_and_says_why),
    };
    return cmocka_run_group_tests(tests, enter_directory, leave_directory);
}
