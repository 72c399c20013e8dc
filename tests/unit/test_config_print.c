/* What the program prints about its settings. */
#include "config/keys.h"
#include "config/print.h"
#include "tests/support/config_loading.h"

static char *printed(void (*print)(FILE *out)) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    print(out);
    fclose(out);
    return text;
}

static char *printed_values(const struct config *config) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    config_print_values(config, out);
    fclose(out);
    return text;
}

static void secrets_are_never_printed(void **state) {
    struct loaded loaded;

    (void)state;
    load(&loaded, "--upstream-authorization", "Bearer hush", NULL);
    assert_string_equal(load_good(&loaded)->upstream.authorization, "Bearer hush");
    char *values = printed_values(loaded.config);
    assert_null(strstr(values, "hush"));
    assert_non_null(strstr(values, "#upstream_authorization: (not shown)  # --upstream-authorization\n"));
    free(values);
    config_destroy(loaded.config);
    load(&loaded, "--upstream-authorization", "Bearer\nhush", NULL);
    assert_refused_as(&loaded, "--upstream-authorization: the value is not a text");
    assert_null(strstr(loaded.error, "hush"));
}

static void printed_values_load_as_what_they_were(void **state) {
    struct loaded loaded;

    (void)state;
    load(&loaded, "--listen", "[::1]:1234", "--upstream-model", "a \"b\": #c", "--cors-origins",
         "https://a.example,https://b.example", "--log-bytes-max", "1000000", NULL);
    char *before = printed_values(load_good(&loaded));
    assert_non_null(strstr(before, "log_bytes_max: 1000000  # --log-bytes-max\n"));
    config_destroy(loaded.config);
    write_file(before);
    load(&loaded, "--config", "sluice.yaml", NULL);
    struct config *config = load_good(&loaded);
    assert_string_equal(config->listen.address, "::1");
    assert_int_equal(config->listen.port, 1234);
    assert_string_equal(config->upstream.model, "a \"b\": #c");
    assert_int_equal(config->routes.cors_origins_count, 2);
    assert_int_equal(config->limits.log_bytes_max, 1000000);
    config_destroy(config);
    free(before);
}

/* The text is printed with this in it, and loads as it was. */
static void check_printed_text(const char *text, const char *printed_as) {
    struct loaded loaded;

    load(&loaded, "--upstream-model", text, NULL);
    char *values = printed_values(load_good(&loaded));
    assert_non_null(strstr(values, printed_as));
    config_destroy(loaded.config);
    write_file(values);
    load(&loaded, "--config", "sluice.yaml", NULL);
    assert_string_equal(load_good(&loaded)->upstream.model, text);
    config_destroy(loaded.config);
    free(values);
}

static void printed_texts_load_as_they_were(void **state) {
    /* YAML takes these for line ends, or refuses them: C1 control characters, the byte order mark. */
    static const char odd[] = "\xc2\x80\xc2\x84\xc2\x85\xc2\x9f\xe2\x80\xa8\xe2\x80\xa9\xef\xbb\xbf";
    static const char escaped[] = "\"\\u0080\\u0084\\u0085\\u009F\\u2028\\u2029\\uFEFF\"";
    static const char plain[] = "\u00a0\u00e9\u20a8\u2027\u202a\u8a9e\ufeba\ufffd\U0001f600\U0010ffff";

    (void)state;
    check_printed_text(odd, escaped);
    check_printed_text(plain, plain);
}

static void the_example_says_the_defaults(void **state) {
    char *example = printed(config_print_example);
    struct loaded loaded;

    (void)state;
    write_file(example);
    load(&loaded, "--config", "sluice.yaml", NULL);
    char *plain = printed_values(load_good(&loaded));
    config_destroy(loaded.config);
    for (char *line = example; (line = strstr(line, "\n#")) != NULL; line++) {
        if (line[2] != ' ')
            line[1] = ' ';
    }
    write_file(example);
    load(&loaded, "--config", "sluice.yaml", NULL);
    char *active = printed_values(load_good(&loaded));
    assert_non_null(strstr(active, "runs_max: 1000  # sluice.yaml:"));
    config_destroy(loaded.config);
    size_t count = 0;
    for (char *a = active, *b = plain; *a != '\0'; a = strchr(a, '\n') + 1, b = strchr(b, '\n') + 1) {
        assert_memory_equal(a, b, (size_t)(strstr(b, "  # ") - b));
        count++;
    }
    assert_int_equal(count, config_keys_count);
    free(active);
    free(plain);
    free(example);
}

static void a_list_is_printed_with_what_each_upstream_gives(void **state) {
    static const char printed_list[] = "upstreams:\n"
                                       "  - name: \"null\"  # sluice.yaml:4\n"
                                       "    upstream: \"http://h\"  # sluice.yaml:5\n"
                                       "    #upstream_authorization: (not shown)  # sluice.yaml:6\n"
                                       "    upstream_apps: \"a,b-*\"  # sluice.yaml:7\n"
                                       "  - name: \"x\"  # sluice.yaml:8\n"
                                       "  - name: \"y\"  # sluice.yaml:9\n"
                                       "    upstream_kind: sse  # sluice.yaml:10\n";
    struct loaded loaded;

    (void)state;
    write_file("runs_max: 5\n"
               "\n"
               "upstreams:\n"
               "  - name: null\n"
               "    upstream: http://h/\n"
               "    upstream_authorization: hush\n"
               "    upstream_apps: a, b-*\n"
               "  - name: x\n"
               "  - name: y\n"
               "    upstream_kind: sse\n"
               "upstream: http://all/\n");
    load(&loaded, "--config", "sluice.yaml", NULL);
    char *before = printed_values(load_good(&loaded));
    assert_string_equal(loaded.config->upstreams.items[0].authorization, "hush");
    config_destroy(loaded.config);
    assert_null(strstr(before, "hush"));
    assert_non_null(strstr(before, printed_list));
    write_file(before);
    load(&loaded, "--config", "sluice.yaml", NULL);
    const struct upstreams_settings *upstreams = &load_good(&loaded)->upstreams;
    assert_int_equal(upstreams->count, 3);
    assert_string_equal(upstreams->items[0].name, "null");
    assert_string_equal(upstreams->items[0].base_url, "http://h");
    assert_string_equal(upstreams->items[0].apps, "a,b-*");
    assert_string_equal(upstreams->items[1].base_url, "http://all");
    assert_string_equal(upstreams->items[2].base_url, "http://all/");
    config_destroy(loaded.config);
    free(before);
}

static void the_example_shows_a_list_that_loads(void **state) {
    char example[65536];
    char yaml[4096] = "";
    FILE *out = fmemopen(example, sizeof(example), "w");
    struct loaded loaded;

    (void)state;
    assert_non_null(out);
    config_print_example(out);
    fclose(out);
    const char *list = strstr(example, "\n# upstreams:\n");
    assert_non_null(list);
    for (const char *line = list + 1; *line != '\0'; line += strcspn(line, "\n") + 1) {
        size_t length = strlen(yaml);
        snprintf(yaml + length, sizeof(yaml) - length, "%.*s\n", (int)strcspn(line, "\n") - 2, line + 2);
    }
    write_file(yaml);
    load(&loaded, "--config", "sluice.yaml", NULL);
    const struct upstreams_settings *upstreams = &load_good(&loaded)->upstreams;
    assert_int_equal(upstreams->count, 3);
    assert_string_equal(upstreams->items[1].fallback, "spare");
    assert_string_equal(upstreams->items[2].canned_answer, "Please try again later.");
    config_destroy(loaded.config);
}

static void help_and_documentation_name_every_key_within_their_width(void **state) {
    char *help = printed(config_print_help);
    char *docs = printed(config_print_docs);

    (void)state;
    for (size_t i = 0; i < config_keys_count; i++) {
        char flag[CONFIG_NAME_SIZE];
        char text[CONFIG_NAME_SIZE + 8];
        config_key_flag(&config_keys[i], flag);
        snprintf(text, sizeof(text), "\n  %s ", flag);
        assert_non_null(strstr(help, text));
        snprintf(text, sizeof(text), "\n| `%s` |", config_keys[i].name);
        assert_non_null(strstr(docs, text));
    }
    for (char *line = help; *line != '\0'; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 100);
    free(help);
    free(docs);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(secrets_are_never_printed),
        cmocka_unit_test(printed_values_load_as_what_they_were),
        cmocka_unit_test(printed_texts_load_as_they_were),
        cmocka_unit_test(the_example_says_the_defaults),
        cmocka_unit_test(a_list_is_printed_with_what_each_upstream_gives),
        cmocka_unit_test(the_example_shows_a_list_that_loads),
        cmocka_unit_test(help_and_documentation_name_every_key_within_their_width),
    };
    return cmocka_run_group_tests(tests, enter_directory, leave_directory);
}
