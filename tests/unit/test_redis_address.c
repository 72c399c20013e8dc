/* upstream/redis_address: the ways to say where Redis is. */
#include "upstream/redis_address.h"

#include "tests/support/unit.h"

#include <stdio.h>

static void check(const char *text, const char *host, const char *path, uint16_t port, uint32_t database) {
    struct redis_address address;
    assert_true(redis_address_parse(text, &address));
    assert_string_equal(address.host, host);
    assert_string_equal(address.path, path);
    assert_int_equal(address.port, port);
    assert_int_equal(address.database, database);
}

static void address_is_a_host_with_what_is_given_besides(void **state) {
    (void)state;
    check("localhost", "localhost", "", 6379, 0);
    check("127.0.0.1:7000", "127.0.0.1", "", 7000, 0);
    check("[::1]:7000", "::1", "", 7000, 0);
    check("[::1]", "::1", "", 6379, 0);
    check("redis://cache.example", "cache.example", "", 6379, 0);
    check("redis://cache.example:1/15", "cache.example", "", 1, 15);
    check("redis://cache.example/", "cache.example", "", 6379, 0);
    check("cache.example/3", "cache.example", "", 6379, 3);
}

static void address_is_a_socket_of_this_machine(void **state) {
    (void)state;
    check("unix:/run/redis.sock", "", "/run/redis.sock", 6379, 0);
}

static void anything_else_is_none(void **state) {
    (void)state;
    static const char *const texts[] = {
        "",           "redis://", ":6379",  "host:",      "host:0",           "host:65536",
        "host:6379x", "host:-1",  "host/x", "host/65536", "host/1/2",         "[::1",
        "[::1]x",     "[]:1",     "unix:",  "unix:run",   "user:secret@host", "redis://:secret@host",
        "a b",        "::1"};
    struct redis_address address;
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        if (redis_address_parse(texts[i], &address))
            fail_msg("taken for an address: %s", texts[i]);
    }
}

static void what_is_too_long_is_none(void **state) {
    (void)state;
    char text[400];
    struct redis_address address;
    memset(text, 'a', sizeof(text));
    text[256] = '\0';
    assert_false(redis_address_parse(text, &address));
    text[255] = '\0';
    assert_true(redis_address_parse(text, &address));
    memset(text, 'a', sizeof(text));
    memcpy(text, "unix:/", 6);
    text[5 + 108] = '\0';
    assert_false(redis_address_parse(text, &address));
    text[5 + 107] = '\0';
    assert_true(redis_address_parse(text, &address));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(address_is_a_host_with_what_is_given_besides),
        cmocka_unit_test(address_is_a_socket_of_this_machine),
        cmocka_unit_test(anything_else_is_none),
        cmocka_unit_test(what_is_too_long_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
