/* The values of settings: what is taken and what is not. */
#include "tests/support/config_loading.h"

static void origins_are_a_list_in_the_file_and_have_commas_elsewhere(void **state) {
    struct loaded loaded;

    (void)state;
    write_file("cors_origins:\n  - https://a.example\n  - http://b.example:8081\n");
    load(&loaded, "--config", "sluice.yaml", NULL);
    const struct routes_settings *routes = &load_good(&loaded)->routes;
    assert_int_equal(routes->cors_origins_count, 2);
    assert_string_equal(routes->cors_origins[0], "https://a.example");
    assert_string_equal(routes->cors_origins[1], "http://b.example:8081");
    config_destroy(loaded.config);

    load(&loaded, "--cors-origins", "https://a.example, http://[::1]:3000", NULL);
    routes = &load_good(&loaded)->routes;
    assert_int_equal(routes->cors_origins_count, 2);
    assert_string_equal(routes->cors_origins[1], "http://[::1]:3000");
    config_destroy(loaded.config);
}

static void allowed_hosts_are_names_patterns_and_addresses(void **state) {
    static const char *const good[] = {"gateway.example",
                                       "*.gateway.example",
                                       "gateway.example:8443",
                                       "*.a.example:1",
                                       "[::1]",
                                       "[2001:db8::1]:80",
                                       "10.0.0.1",
                                       "*"};
    static const char *const bad[] = {
        "https://a.example", "A.example",  "a.example/",  "a.example:",  "a.example:0", "a.example:65536",
        "a.*.example",       "*a.example", "*.[::1]",     "[::1",        "a b",         "a.example,*",
        "a.example,",        "*.",         "u@a.example", "a.example:x", ":80"};
    struct loaded loaded;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        load(&loaded, "--allowed-hosts", good[i], NULL);
        const struct routes_settings *routes = &load_good(&loaded)->routes;
        assert_int_equal(routes->allowed_hosts_count, 1);
        assert_string_equal(routes->allowed_hosts[0], good[i]);
        config_destroy(loaded.config);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        load(&loaded, "--allowed-hosts", bad[i], NULL);
        assert_int_equal(loaded.result, CONFIG_REFUSED);
    }
    write_file("allowed_hosts:\n  - a.example\n  - \"*.b.example\"\n");
    load(&loaded, "--config", "sluice.yaml", NULL);
    assert_int_equal(load_good(&loaded)->routes.allowed_hosts_count, 2);
    assert_true(loaded.config->routes.listens_on_loopback);
    assert_string_equal(loaded.config->routes.listen_address, "127.0.0.1");
    config_destroy(loaded.config);
}

static void origins_that_no_browser_sends_are_refused(void **state) {
    static const char *const texts[] = {"https://a.example/",
                                        "https://A.example",
                                        "a.example",
                                        "https://",
                                        "https://a.example:443",
                                        "http://a.example:80",
                                        "null",
                                        "*.a.example",
                                        "https://a b",
                                        "https://a.example,",
                                        "https://a.example,*",
                                        "https://a:0",
                                        "https://a:x",
                                        "://a.example",
                                        "https://[::1",
                                        "https://u@a.example",
                                        "https://[zz]",
                                        "https://a?b",
                                        "https://a:70000",
                                        "*,*",
                                        "https://a.example:080x"};
    struct loaded loaded;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        load(&loaded, "--cors-origins", texts[i], NULL);
        assert_refused_as(&loaded, "--cors-origins: \"");
    }
}

static void cors_headers_are_names_of_headers(void **state) {
    static const char *const bad[] = {"*", "a,*", "a b", "a:", "(a)", "a,", ",", "\xc3\xa9", "a\r\nb"};
    struct loaded loaded;
    char text[514];

    (void)state;
    load(&loaded, "--cors-headers", "baggage, sentry-trace,X-A!#$%&'+-.^_`|~0", NULL);
    const struct routes_settings *routes = &load_good(&loaded)->routes;
    assert_int_equal(routes->cors_headers_count, 3);
    assert_string_equal(routes->cors_headers[1], "sentry-trace");
    config_destroy(loaded.config);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        load(&loaded, "--cors-headers", bad[i], NULL);
        assert_refused_as(&loaded, "--cors-headers: \"");
    }
    memset(text, 'a', sizeof(text));
    text[512] = text[513] = '\0';
    load(&loaded, "--cors-headers", text, NULL);
    config_destroy(load_good(&loaded));
    text[512] = 'a';
    load(&loaded, "--cors-headers", text, NULL);
    assert_int_equal(loaded.result, CONFIG_REFUSED);
}

static void bytes_have_units(void **state) {
    struct loaded loaded;

    (void)state;
    load(&loaded, "--log-bytes-max", "64KiB", "--request-body-bytes-max", "2MiB", "--memory-warn-bytes",
         "3GiB", "--event-bytes-max=1000", NULL);
    struct config *config = load_good(&loaded);
    assert_int_equal(config->limits.log_bytes_max, 65536);
    assert_int_equal(config->routes.request_body_bytes_max, 2 << 20);
    assert_int_equal(config->routes.memory_warn_bytes, 3ULL << 30);
    assert_int_equal(config->upstream.event_bytes_max, 1000);
    config_destroy(config);
}

static void numbers_are_digits_within_their_range(void **state) {
    static const char *const texts[] = {
        "", "0", "257", "-1", "+1", " 1", "1 ", "1.0", "0x10", "many", "18446744073709551617"};
    static const char *const sizes[] = {"1kib", "KiB", "1 KiB", "1KB", "18014398509481985KiB", "4GiBx"};
    struct loaded loaded;

    (void)state;
    for (size_t i = 2; i < sizeof(texts) / sizeof(texts[0]); i++) {
        load(&loaded, "--workers", texts[i], NULL);
        assert_refused_as(&loaded, "--workers: \"");
    }
    for (size_t i = 0; i < 2; i++) {
        load(&loaded, "--runs-max", texts[i], NULL);
        assert_refused_as(&loaded, "--runs-max: \"");
    }
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        load(&loaded, "--log-bytes-max", sizes[i], NULL);
        assert_refused_as(&loaded, "--log-bytes-max: \"");
    }
}

static void addresses_are_numeric_with_a_port(void **state) {
    static const char *const bad[] = {"",
                                      "8080",
                                      ":8080",
                                      "127.0.0.1",
                                      "127.0.0.1:",
                                      "127.0.0.1:65536",
                                      "::1:80",
                                      "[::1]",
                                      "localhost:80",
                                      "127.1:80",
                                      "[::1:80",
                                      "127.0.0.1:+1",
                                      "[1.2.3.4]:5",
                                      "1.2.3.4:x",
                                      "127.0.0.1:000000",
                                      "]:1",
                                      "[]:1"};
    struct loaded loaded;

    (void)state;
    load(&loaded, "--listen", "[0:0::1]:0", NULL);
    assert_string_equal(load_good(&loaded)->listen.address, "::1");
    assert_int_equal(loaded.config->listen.port, 0);
    config_destroy(loaded.config);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        load(&loaded, "--listen", bad[i], NULL);
        assert_refused_as(&loaded, "--listen: \"");
    }
}

static void loopback_is_what_this_machine_alone_reaches(void **state) {
    static const char *const near[] = {"127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"};
    static const char *const far[] = {
        "0.0.0.0", "10.0.0.1", "::", "fe80::1", "::ffff:10.0.0.1", "::127.0.0.1"};
    struct config_listen listen = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(near) / sizeof(near[0]); i++) {
        snprintf(listen.address, sizeof(listen.address), "%s", near[i]);
        assert_true(config_listen_is_loopback(&listen));
    }
    for (size_t i = 0; i < sizeof(far) / sizeof(far[0]); i++) {
        snprintf(listen.address, sizeof(listen.address), "%s", far[i]);
        assert_false(config_listen_is_loopback(&listen));
    }
}

static void upstream_urls_lose_their_last_slash_but_for_sse(void **state) {
    struct loaded loaded;

    (void)state;
    load(&loaded, "--upstream", "https://agent.example:8443/base//", NULL);
    assert_string_equal(load_good(&loaded)->upstreams.items[0].base_url, "https://agent.example:8443/base");
    config_destroy(loaded.config);
    load(&loaded, "--upstream", "http://agent.example/events/?a=b", "--upstream-kind", "sse", NULL);
    assert_string_equal(load_good(&loaded)->upstreams.items[0].base_url, "http://agent.example/events/?a=b");
    assert_ptr_equal(loaded.config->upstreams.items[0].adapter, &adapter_sse);
    config_destroy(loaded.config);
}

static void words_have_commas_between_them_and_no_spaces_in_them(void **state) {
    static const char *const bad[] = {"", ",", "a,", ",a", "a,,b", "a b", "a\tb", "a\x7f", " "};
    struct loaded loaded;

    (void)state;
    load(&loaded, "--upstream-apps", " a , team-*,b.c ", "--cache-ignore", "", NULL);
    assert_string_equal(load_good(&loaded)->upstream.apps, "a,team-*,b.c");
    assert_null(loaded.config->upstream.cache.ignore);
    config_destroy(loaded.config);
    write_file("upstream_apps: a, team-*\ncache_ignore: \"request_id,\u00e9t\u00e9\"\n");
    load(&loaded, "--config", "sluice.yaml", NULL);
    assert_string_equal(load_good(&loaded)->upstream.apps, "a,team-*");
    assert_string_equal(loaded.config->upstream.cache.ignore, "request_id,\u00e9t\u00e9");
    config_destroy(loaded.config);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        load(&loaded, "--upstream-apps", bad[i], NULL);
        assert_refused_as(&loaded, "--upstream-apps: \"");
    }
}

static void paths_begin_with_a_slash(void **state) {
    static const char *const bad[] = {"health", "http://h/health", "/a b", "/a#b", "/\u00e9", "/a\n"};
    struct loaded loaded;

    (void)state;
    load(&loaded, "--upstream-health-path", "/health?deep=1", NULL);
    assert_string_equal(load_good(&loaded)->upstream.health_path, "/health?deep=1");
    config_destroy(loaded.config);
    load(&loaded, "--upstream-health-path", "", NULL);
    assert_null(load_good(&loaded)->upstream.health_path);
    config_destroy(loaded.config);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        load(&loaded, "--upstream-health-path", bad[i], NULL);
        assert_refused_as(&loaded, "--upstream-health-path: \"");
    }
}

static void redis_is_a_host_a_url_or_a_socket(void **state) {
    static const char *const good[] = {"redis.example:6380", "redis://127.0.0.1:6379/2",
                                       "unix:/run/redis.sock"};
    static const char *const bad[] = {"redis://h:1/x", "h:99999", "unix:run", "h:1\n"};
    struct loaded loaded;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        load(&loaded, "--redis", good[i], NULL);
        assert_string_equal(load_good(&loaded)->cache.redis, good[i]);
        config_destroy(loaded.config);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        load(&loaded, "--redis", bad[i], NULL);
        assert_refused_as(&loaded, "--redis: \"");
    }
}

static void urls_that_are_no_upstream_are_refused(void **state) {
    static const char *const bad[] = {"",
                                      "ftp://x",
                                      "x",
                                      "http://",
                                      "http://u@x/",
                                      "http://x/#f",
                                      "http://u:p@x/",
                                      "http://x y",
                                      "http://x:99999",
                                      "file:///etc/passwd"};
    struct loaded loaded;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        load(&loaded, "--upstream", bad[i], NULL);
        assert_refused_as(&loaded, "--upstream: \"");
    }
}

static void a_smaller_log_makes_default_events_and_inputs_smaller(void **state) {
    struct loaded loaded;

    (void)state;
    load(&loaded, "--log-bytes-max", "64KiB", NULL);
    assert_int_equal(load_good(&loaded)->upstream.event_bytes_max, 65536);
    config_destroy(loaded.config);
    load(&loaded, "--log-bytes-max", "8KiB", NULL);
    assert_int_equal(load_good(&loaded)->routes.run_input_bytes_max, 8192);
    config_destroy(loaded.config);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(origins_are_a_list_in_the_file_and_have_commas_elsewhere),
        cmocka_unit_test(allowed_hosts_are_names_patterns_and_addresses),
        cmocka_unit_test(origins_that_no_browser_sends_are_refused),
        cmocka_unit_test(cors_headers_are_names_of_headers),
        cmocka_unit_test(bytes_have_units),
        cmocka_unit_test(numbers_are_digits_within_their_range),
        cmocka_unit_test(addresses_are_numeric_with_a_port),
        cmocka_unit_test(loopback_is_what_this_machine_alone_reaches),
        cmocka_unit_test(upstream_urls_lose_their_last_slash_but_for_sse),
        cmocka_unit_test(urls_that_are_no_upstream_are_refused),
        cmocka_unit_test(words_have_commas_between_them_and_no_spaces_in_them),
        cmocka_unit_test(paths_begin_with_a_slash),
        cmocka_unit_test(redis_is_a_host_a_url_or_a_socket),
        cmocka_unit_test(a_smaller_log_makes_default_events_and_inputs_smaller),
    };
    return cmocka_run_group_tests(tests, enter_directory, leave_directory);
}
