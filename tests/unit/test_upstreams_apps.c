/* upstream/upstreams: the patterns that say which apps an upstream serves. */
#include "tests/support/unit.h"
#include "upstream/upstreams.h"

static void upstreams_pattern_without_star_is_a_name(void **state) {
    (void)state;
    assert_true(upstreams_app_fits("chat", "chat"));
    assert_false(upstreams_app_fits("chat", "chats"));
    assert_false(upstreams_app_fits("chat", "cha"));
    assert_false(upstreams_app_fits("chat", "Chat"));
    assert_false(upstreams_app_fits("", "chat"));
    assert_false(upstreams_app_fits("chat", ""));
}

static void upstreams_pattern_star_is_any_text(void **state) {
    (void)state;
    assert_true(upstreams_app_fits("*", "chat"));
    assert_true(upstreams_app_fits("*", ""));
    assert_true(upstreams_app_fits("chat*", "chat"));
    assert_true(upstreams_app_fits("chat*", "chat-2"));
    assert_true(upstreams_app_fits("*-eu", "chat-eu"));
    assert_false(upstreams_app_fits("*-eu", "chat-eu-2"));
    assert_true(upstreams_app_fits("a*b*c", "a-b-b-c"));
    assert_true(upstreams_app_fits("*ab", "aab"));
    assert_true(upstreams_app_fits("*a*ab*", "xaxaaby"));
    assert_false(upstreams_app_fits("a*b*c", "a-c-b"));
    assert_true(upstreams_app_fits("a**c", "ac"));
    assert_false(upstreams_app_fits("a*a", "a"));
    assert_true(upstreams_app_fits("a.c", "a.c"));
    assert_false(upstreams_app_fits("a.c", "abc"));
}

static void upstreams_patterns_fit_if_one_does(void **state) {
    (void)state;
    assert_true(upstreams_app_fits("chat,search", "search"));
    assert_true(upstreams_app_fits(" chat , search* ", "search-2"));
    assert_true(upstreams_app_fits("chat,,*x", "box"));
    assert_false(upstreams_app_fits("chat,search", "chat,search"));
    assert_false(upstreams_app_fits("chat,search", "chatsearch"));
    assert_false(upstreams_app_fits(",", ""));
}

static void upstreams_pattern_of_many_stars_is_quick(void **state) {
    (void)state;
    char name[129];
    memset(name, 'a', sizeof(name) - 1);
    name[128] = '\0';
    assert_false(upstreams_app_fits("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", name));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(upstreams_pattern_without_star_is_a_name),
        cmocka_unit_test(upstreams_pattern_star_is_any_text),
        cmocka_unit_test(upstreams_patterns_fit_if_one_does),
        cmocka_unit_test(upstreams_pattern_of_many_stars_is_quick),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
