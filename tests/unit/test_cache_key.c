/* upstream/cache_key: the same key for the same question, another one for every other. */
#include "upstream/cache_key.h"

#include "tests/support/unit.h"

#include <string.h>

static struct upstream_settings settings;

static int set_up(void **state) {
    static char name[] = "default", base_url[] = "http://127.0.0.1:8000";
    (void)state;
    settings = (struct upstream_settings){
        .name = name, .adapter = &adapter_adk, .base_url = base_url, .cache.per_user = true};
    return 0;
}

static const char *key_of(const char *app, const char *user, const char *body) {
    static char keys[2][CACHE_KEY_SIZE];
    static unsigned turn;
    char *key = keys[turn++ % 2];
    const struct cache_key_parts parts = {
        .url = settings.base_url, .app = app, .user = user, .body = body, .length = strlen(body)};
    assert_true(cache_key_make(&settings, &parts, key));
    return key;
}

static void assert_same(const char *one, const char *other) {
    assert_string_equal(one, other);
}

static void assert_other(const char *one, const char *other) {
    assert_string_not_equal(one, other);
}

static void key_has_a_version_and_a_digest(void **state) {
    (void)state;
    const char *key = key_of("app", "user", "{}");
    assert_int_equal(strlen(key), CACHE_KEY_SIZE - 1);
    assert_memory_equal(key, "sluice:1:", 9);
    assert_int_equal(strspn(key + 9, "0123456789abcdef"), 64);
}

static void order_and_white_space_do_not_count(void **state) {
    (void)state;
    assert_same(key_of("app", "user", "{\"a\":1,\"b\":{\"c\":2,\"d\":3}}"),
                key_of("app", "user", "{ \"b\": {\"d\":3, \"c\":2}, \"a\": 1 }"));
    assert_other(key_of("app", "user", "{\"a\":1}"), key_of("app", "user", "{\"a\":2}"));
    assert_other(key_of("app", "user", "{\"a\":12345678901234567890}"),
                 key_of("app", "user", "{\"a\":12345678901234567891}"));
}

static void session_of_an_adk_body_never_counts(void **state) {
    (void)state;
    assert_same(key_of("app", "user", "{\"sessionId\":\"s1\",\"userId\":\"user\",\"x\":1}"),
                key_of("app", "user", "{\"sessionId\":\"s2\",\"userId\":\"user\",\"x\":1}"));
    assert_other(key_of("app", "user", "{\"x\":{\"sessionId\":\"s1\"}}"),
                 key_of("app", "user", "{\"x\":{\"sessionId\":\"s2\"}}"));
    settings.adapter = &adapter_sse;
    assert_other(key_of("app", "user", "{\"sessionId\":\"s1\"}"),
                 key_of("app", "user", "{\"sessionId\":\"s2\"}"));
}

static void user_counts_if_the_cache_is_per_user(void **state) {
    (void)state;
    static const char one[] = "{\"userId\":\"u1\",\"x\":1}", other[] = "{\"userId\":\"u2\",\"x\":1}";
    assert_other(key_of("app", "u1", one), key_of("app", "u2", other));
    settings.cache.per_user = false;
    assert_same(key_of("app", "u1", one), key_of("app", "u2", other));
    const char *anyone = key_of("app", "", one);
    settings.cache.per_user = true;
    assert_other(anyone, key_of("app", "", one));
}

static void app_upstream_address_and_kind_count(void **state) {
    (void)state;
    char before[CACHE_KEY_SIZE];
    strcpy(before, key_of("app", "user", "{}"));
    assert_other(before, key_of("app2", "user", "{}"));
    settings.name = (char[]){"other"};
    assert_other(before, key_of("app", "user", "{}"));
    set_up(NULL);
    settings.headers = (char[]){"api-key: 1"};
    assert_other(before, key_of("app", "user", "{}"));
    settings.headers = NULL;
    settings.base_url = (char[]){"http://127.0.0.1:8001"};
    assert_other(before, key_of("app", "user", "{}"));
    set_up(NULL);
    settings.adapter = &adapter_openai;
    assert_other(before, key_of("app", "user", "{}"));
    set_up(NULL);
    assert_same(before, key_of("app", "user", "{}"));
}

static void who_the_gateway_is_to_the_upstream_counts(void **state) {
    (void)state;
    char anonymous[CACHE_KEY_SIZE];
    strcpy(anonymous, key_of("app", "user", "{}"));
    settings.authorization = (char[]){"Bearer one"};
    const char *one = key_of("app", "user", "{}");
    assert_other(anonymous, one);
    settings.authorization = (char[]){"Bearer other"};
    assert_other(one, key_of("app", "user", "{}"));
}

static void parts_do_not_run_into_each_other(void **state) {
    (void)state;
    assert_other(key_of("ab", "c", "{}"), key_of("a", "bc", "{}"));
    assert_other(key_of("a4:user", "b", "{}"), key_of("a", "b", "{}"));
}

static void ignored_members_do_not_count(void **state) {
    (void)state;
    settings.cache.ignore = (char[]){"request_id, now"};
    assert_same(key_of("app", "user", "{\"x\":{\"now\":1,\"y\":2},\"request_id\":\"a\"}"),
                key_of("app", "user", "{\"x\":{\"y\":2}}"));
    assert_other(key_of("app", "user", "{\"x\":1}"), key_of("app", "user", "{}"));
}

static void body_that_is_no_json_counts_as_it_is(void **state) {
    (void)state;
    assert_same(key_of("app", "user", "{hello"), key_of("app", "user", "{hello"));
    assert_other(key_of("app", "user", "{hello"), key_of("app", "user", "{hello "));
    assert_other(key_of("app", "user", ""), key_of("app", "user", "{}"));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup(name, set_up)
    const struct CMUnitTest tests[] = {
        TEST(key_has_a_version_and_a_digest),       TEST(order_and_white_space_do_not_count),
        TEST(session_of_an_adk_body_never_counts),  TEST(user_counts_if_the_cache_is_per_user),
        TEST(app_upstream_address_and_kind_count),  TEST(who_the_gateway_is_to_the_upstream_counts),
        TEST(parts_do_not_run_into_each_other),     TEST(ignored_members_do_not_count),
        TEST(body_that_is_no_json_counts_as_it_is),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
