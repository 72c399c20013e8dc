/* Upstreams that are refused: one line that names the place and what is allowed. */
#include "tests/support/config_loading.h"

struct bad_file {
    const char *text;
    const char *line; /* what is said of it begins so */
};

static void assert_all_refused(const struct bad_file *cases, size_t count) {
    struct loaded loaded;

    for (size_t i = 0; i < count; i++) {
        write_file(cases[i].text);
        load(&loaded, "--config", "sluice.yaml", NULL);
        assert_refused_as(&loaded, cases[i].line);
    }
}

static void upstreams_that_make_no_sense_are_refused(void **state) {
    static const struct bad_file cases[] = {
        {"upstreams:\n  - upstream: http://h\n",
         "sluice.yaml:2: name: is missing; each upstream needs a name of 1 "
         "to 64 letters, digits, _ and -\n"},
        {"upstreams:\n  - name: a\n  - {}\n", "sluice.yaml:3: name: is missing"},
        {"upstreams:\n  - name:\n",
         "sluice.yaml:2: name: \"\" is not a name of 1 to 64 letters, digits, _ and -\n"},
        {"upstreams:\n  - name: a b\n", "sluice.yaml:2: name: \"a b\" is not a name of 1 to 64 letters"},
        {"upstreams:\n  - name: \u00e9\n", "sluice.yaml:2: name: \"\u00e9\" is not a name of"},
        {"upstreams:\n  - name: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbc\n",
         "sluice.yaml:2: name: \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbc\" is not"},
        {"upstreams:\n  - name: a\n  - name: b\n  - name: a\n",
         "sluice.yaml:4: name: \"a\" is the name of another upstream already\n"},
        {"upstreams:\n  - name: a\n    upstream_kind: soap\n",
         "sluice.yaml:3: upstream_kind: \"soap\" is not one of adk, sse, openai\n"},
        {"upstreams:\n  - name: a\n    upstream_authorization: \"a\\nhush\"\n",
         "sluice.yaml:3: upstream_authorization: the value is not a text of at most 8192 bytes"},
        {"upstreams:\n  - name: a\n  - name: b\n    retry_attempts_max: 21\n",
         "sluice.yaml:4: retry_attempts_max: \"21\" is not a whole number from 1 to 20\n"},
        {"upstreams:\n  - name: a\n    upstream: http://h/?a=b\n",
         "sluice.yaml:3: upstream: upstream may have a query only with upstream_kind sse or openai\n"},
        {"upstream: http://h/?a=b\nupstreams:\n  - name: a\n    upstream_kind: sse\n  - name: b\n",
         "sluice.yaml:1: upstream: upstream b: upstream may have a query only with upstream_kind sse or "
         "openai\n"},
        {"upstream_ca_file: missing.pem\n",
         "sluice.yaml:1: upstream_ca_file: missing.pem: cannot be read: No such file or directory\n"},
        {"upstreams:\n  - name: a\n    upstream: https://h\n    upstream_ca_file: sluice.yaml\n",
         "sluice.yaml:4: upstream_ca_file: sluice.yaml: holds no certificate in PEM form"},
        {"upstream_resumable: true\n",
         "sluice.yaml:1: upstream_resumable: upstream_resumable may be true only with upstream_kind sse\n"},
        {"upstreams:\n  - name: a\n    limiter_adaptive: true\n",
         "sluice.yaml:3: limiter_adaptive: limiter_adaptive needs a limiter_concurrency_max, below which it "
         "adapts\n"},
        {"upstreams:\n  - name: a\n    limiter_concurrency_max: 4\n    limiter_concurrency_min: 5\n",
         "sluice.yaml:4: limiter_concurrency_min: limiter_concurrency_min (5) must not be more than "
         "limiter_concurrency_max (4)\n"},
        {"retry_max_ms: 100\n",
         "sluice.yaml:1: retry_max_ms: retry_base_ms (200) must not be more than retry_max_ms (100)\n"},
        {"retry_base_ms: 300\nupstreams:\n  - name: a\n  - name: b\n    retry_max_ms: 250\n",
         "sluice.yaml:1: retry_base_ms: upstream b: retry_base_ms (300) must not be more than retry_max_ms "
         "(250)\n"},
        {"breaker_recovery_ms: 200000\n",
         "sluice.yaml:1: breaker_recovery_ms: breaker_recovery_ms (200000) must not "
         "be more than breaker_recovery_max_ms (120000)\n"},
        {"upstream_fallback: x\n",
         "sluice.yaml:1: upstream_fallback: \"x\" is not one of the upstreams: default\n"},
        {"upstream_fallback: default\n",
         "sluice.yaml:1: upstream_fallback: the fallbacks of \"default\" lead back to it\n"},
        {"upstreams:\n  - name: a\n    upstream_fallback: c\n  - name: b\n",
         "sluice.yaml:3: upstream_fallback: \"c\" is not one of the upstreams: a, b\n"},
        {"upstreams:\n  - name: a\n    upstream_fallback: a\n",
         "sluice.yaml:3: upstream_fallback: the fallbacks of \"a\" lead back to it\n"},
        {"upstreams:\n  - {name: a, upstream_fallback: b}\n  - {name: b, upstream_fallback: c}\n"
         "  - {name: c, upstream_fallback: a}\n",
         "sluice.yaml:2: upstream_fallback: the fallbacks of \"a\" lead back to it\n"},
        {"upstreams:\n  - {name: a, upstream_fallback: b}\n  - {name: b, upstream_fallback: c}\n"
         "  - {name: c, upstream_fallback: b}\n",
         "sluice.yaml:3: upstream_fallback: the fallbacks of \"b\" lead back to it\n"},
        {"upstream_fallback: a\nupstreams:\n  - {name: a, upstream_fallback: b}\n  - name: b\n",
         "sluice.yaml:3: upstream_fallback: the fallbacks of \"a\" lead back to it\n"},
        {"upstream_weight: 0\n",
         "sluice.yaml:1: upstream_weight: at least one upstream needs a weight above 0\n"},
        {"upstreams:\n  - {name: a, upstream_weight: 0}\n  - {name: b, upstream_weight: 0}\n",
         "sluice.yaml:2: upstream_weight: at least one upstream needs a weight above 0\n"},
    };

    (void)state;
    assert_all_refused(cases, sizeof(cases) / sizeof(cases[0]));
}

static void a_list_of_the_wrong_shape_is_refused(void **state) {
#define MUST_BE "upstreams: must be a list of 1 to 64 upstreams, each a mapping of keys to values\n"
    static const struct bad_file cases[] = {
        {"upstreams: 5\n", "sluice.yaml:1: " MUST_BE},
        {"\nupstreams: []\n", "sluice.yaml:2: " MUST_BE},
        {"upstreams: {a: b}\n", "sluice.yaml:1: " MUST_BE},
        {"upstreams: {name: {a: b}}\n", "sluice.yaml:1: " MUST_BE},
        {"upstreams:\n  - name: a\n  - 5\n", "sluice.yaml:3: " MUST_BE},
        {"upstreams:\n  - name: a\n  -\n", "sluice.yaml:3: " MUST_BE},
        {"upstreams:\n  - [name, a]\n", "sluice.yaml:2: " MUST_BE},
        {"upstreams:\n  - - name: a\n", "sluice.yaml:2: " MUST_BE},
        {"upstreams:\n  - ? [a]\n    : b\n", "sluice.yaml:2: " MUST_BE},
        {"upstreams:\n  - name: b\n    ? {a: b}\n    : c\n", "sluice.yaml:2: " MUST_BE},
        {"upstreams:\n  - name: [a]\n",
         "sluice.yaml:2: name: must be a name of 1 to 64 letters, digits, _ and -\n"},
        {"upstreams:\n  - name: a\n    retry_attempts_max: {a: b}\n",
         "sluice.yaml:3: retry_attempts_max: must be a whole number from 1 to 20\n"},
        {"upstreams:\n  - name: a\n  - name: b\n    upstream_apps: [c]\n",
         "sluice.yaml:4: upstream_apps: must be one or more words without spaces, with commas between them"},
        {"upstreams:\n  - name: a\n    upstream_headers: \"api-key: 1234\"\n",
         "sluice.yaml:3: upstream_headers: must be a list of headers such as \"api-key: 1234\", of at most "
         "8192 "
         "bytes, none of the gateway's own\n"},
    };

    (void)state;
    assert_all_refused(cases, sizeof(cases) / sizeof(cases[0]));
}

static void keys_that_do_not_belong_into_an_item_are_told_with_their_line(void **state) {
    static const struct bad_file cases[] = {
        {"upstreams:\n  - name: a\n    upstream_wieght: 1\n",
         "sluice.yaml:3: upstream_wieght: unknown key, perhaps meant as upstream_weight; the keys of an "
         "upstream are "
         "upstream, upstream_kind, "},
        {"upstreams:\n  - nam: a\n",
         "sluice.yaml:2: nam: unknown key, perhaps meant as name; the keys of an upstream"},
        {"upstreams:\n  - name: a\n    runs_max: 5\n",
         "sluice.yaml:3: runs_max: unknown key; the keys of an upstream are "},
        {"upstreams:\n  - name: a\n    upstreams: [{name: b}]\n",
         "sluice.yaml:3: upstreams: unknown key, perhaps meant "
         "as upstream; the keys of an upstream are "},
        {"upstreams:\n  - name: a\nname: b\n", "sluice.yaml:3: name: unknown key; the keys are listen, "},
        {"upstrems:\n  - name: a\n",
         "sluice.yaml:1: upstrems: unknown key, perhaps meant as upstreams; the keys are listen, "},
        {"upstreams:\n  - name: a\n    name: b\n", "sluice.yaml:3: name: is given twice\n"},
        {"upstream: http://h\nupstreams:\n  - name: a\n    upstream: http://h\n  - name: b\n    upstream: "
         "http://h\n"
         "    upstream: http://i\n",
         "sluice.yaml:7: upstream: is given twice\n"},
        {"upstreams:\n  - name: a\nupstreams:\n  - name: b\n", "sluice.yaml:3: upstreams: is given twice\n"},
        {"upstreams:\n  - name: &a b\n  - name: *a\n", "sluice.yaml:3: name: aliases are not allowed\n"},
        {"upstreams:\n  - &a {name: b}\n  - *a\n", "sluice.yaml:3: upstreams: aliases are not allowed\n"},
        {"upstreams:\n  - name: a\n    *a : b\n", "sluice.yaml:3: aliases are not allowed\n"},
        {"upstreams:\n  - name: \"a\\0b\"\n", "sluice.yaml:2: name: must not contain NUL (\\0)\n"},
        {"upstreams:\n  - name: a\n  - \"a\\0\"\n", "sluice.yaml:3: upstreams: must not contain NUL (\\0)\n"},
        {"upstreams:\n  - name: a\n    upstream: \"http://h\n", "sluice.yaml:4: is not YAML: "},
        {"upstreams:\n  - name: a\n---\nruns_max: 1\n", "sluice.yaml:3: is a second YAML document"},
    };
    struct loaded loaded;

    (void)state;
    assert_all_refused(cases, sizeof(cases) / sizeof(cases[0]));
    load(&loaded, "--upstreams", "a", NULL);
    assert_refused(&loaded,
                   "--upstreams: unknown option, perhaps meant as --upstream; sluice --help lists them all");
    load(&loaded, "--upstream-weight", "0", NULL);
    assert_refused(&loaded, "--upstream-weight: at least one upstream needs a weight above 0");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(upstreams_that_make_no_sense_are_refused),
        cmocka_unit_test(a_list_of_the_wrong_shape_is_refused),
        cmocka_unit_test(keys_that_do_not_belong_into_an_item_are_told_with_their_line),
    };
    return cmocka_run_group_tests(tests, enter_directory, leave_directory);
}
