/* server/address_limits: connections and requests of one address, and what happens when the table is full. */
#include "http/address_limits.h"

#include "base/clock.h"
#include "tests/support/unit.h"

#include <arpa/inet.h>
#include <pthread.h>

static struct address_limits *create(uint64_t connections_max, uint64_t rate, uint64_t burst) {
    const struct address_limits_settings settings = {
        .connections_max = connections_max, .requests_per_second = rate, .requests_burst = burst};
    struct address_limits *limits = address_limits_create(&settings);
    assert_non_null(limits);
    return limits;
}

static struct peer v4(uint32_t number) {
    const struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(number)};
    return peer_of((const struct sockaddr *)&address);
}

static struct peer v6(const char *text) {
    struct sockaddr_in6 address = {.sin6_family = AF_INET6};
    assert_int_equal(inet_pton(AF_INET6, text, &address.sin6_addr), 1);
    return peer_of((const struct sockaddr *)&address);
}

static struct address *enter(struct address_limits *limits, struct peer peer) {
    struct address *address = NULL;
    assert_true(address_limits_enter(limits, &peer, &address));
    assert_non_null(address);
    return address;
}

static bool may_enter(struct address_limits *limits, struct peer peer) {
    struct address *address = NULL;
    bool entered = address_limits_enter(limits, &peer, &address);
    if (entered)
        address_limits_leave(limits, address);
    return entered;
}

static int real_clock(void **state) {
    (void)state;
    clock_real();
    return 0;
}

static void peers_are_written_as_people_know_them(void **state) {
    (void)state;
    char text[INET6_ADDRSTRLEN];
    struct peer peer = v4(0x7f000001);
    peer_format(&peer, text);
    assert_string_equal(text, "127.0.0.1");
    peer = v6("2001:db8::1");
    peer_format(&peer, text);
    assert_string_equal(text, "2001:db8::1");
    peer = v6("::ffff:10.1.2.3");
    peer_format(&peer, text);
    assert_string_equal(text, "10.1.2.3");
}

static void without_limits_nothing_is_counted(void **state) {
    (void)state;
    struct address_limits *limits = create(0, 0, 1);
    struct peer peer = v4(1);
    for (int i = 0; i < 1000; i++) {
        struct address *address = (struct address *)limits;
        assert_true(address_limits_enter(limits, &peer, &address));
        assert_null(address);
        assert_true(address_take_request(limits, address));
        address_limits_leave(limits, address);
    }
    assert_int_equal(address_limits_count(limits), 0);
    address_limits_destroy(limits);
    address_limits_destroy(NULL);
}

static void connections_of_an_address_are_limited_and_given_back(void **state) {
    (void)state;
    struct address_limits *limits = create(2, 0, 1);
    for (int round = 0; round < 3; round++) {
        struct address *first = enter(limits, v4(1)), *second = enter(limits, v4(1));
        assert_ptr_equal(first, second);
        assert_false(may_enter(limits, v4(1)));
        assert_true(may_enter(limits, v4(2)));
        assert_true(address_take_request(limits, first)); /* there is no limit of these */
        address_limits_leave(limits, first);
        assert_true(may_enter(limits, v4(1)));
        address_limits_leave(limits, second);
    }
    address_limits_destroy(limits);
}

static void one_ipv6_network_is_one_address(void **state) {
    (void)state;
    struct address_limits *limits = create(1, 0, 1);
    struct address *address = enter(limits, v6("2001:db8:0:1::1"));
    assert_false(may_enter(limits, v6("2001:db8:0:1:ffff::2")));
    assert_true(may_enter(limits, v6("2001:db8:0:2::1")));
    address_limits_leave(limits, address);
    address = enter(limits, v4(0x0a010203)); /* the same one, whichever family the socket has */
    assert_false(may_enter(limits, v6("::ffff:10.1.2.3")));
    assert_true(may_enter(limits, v6("::ffff:10.1.2.4")));
    address_limits_leave(limits, address);
    address_limits_destroy(limits);
}

static unsigned take_all(struct address_limits *limits, struct address *address) {
    unsigned taken = 0;
    while (taken < 1000 && address_take_request(limits, address))
        taken++;
    return taken;
}

static void requests_come_in_a_burst_and_then_at_the_rate(void **state) {
    (void)state;
    clock_fake(1000, 0);
    struct address_limits *limits = create(0, 10, 20);
    struct address *address = enter(limits, v4(1)), *other = enter(limits, v4(2));
    assert_int_equal(take_all(limits, address), 20);
    clock_fake_advance(99);
    assert_int_equal(take_all(limits, address), 0);
    clock_fake_advance(1);
    assert_int_equal(take_all(limits, address), 1);
    clock_fake_advance(1000); /* which is what Retry-After says */
    assert_int_equal(take_all(limits, address), 10);
    assert_int_equal(take_all(limits, other), 20);
    address_limits_leave(limits, address);
    address_limits_leave(limits, other);
    address_limits_destroy(limits);
}

static void a_pause_gives_back_a_burst_and_no_more(void **state) {
    (void)state;
    clock_fake(1000, 0);
    struct address_limits *limits = create(0, 1000000, 1000);
    struct address *address = enter(limits, v4(1));
    assert_int_equal(take_all(limits, address), 1000);
    clock_fake_advance(INT64_MAX / 2);
    assert_int_equal(take_all(limits, address), 1000);
    assert_false(address_take_request(limits, address));
    address_limits_leave(limits, address);
    address_limits_destroy(limits);
}

static void a_new_connection_brings_no_new_burst(void **state) {
    (void)state;
    clock_fake(1000, 0);
    struct address_limits *limits = create(0, 1, 5);
    struct address *address = enter(limits, v4(1));
    assert_int_equal(take_all(limits, address), 5);
    address_limits_leave(limits, address);
    address = enter(limits, v4(1));
    assert_int_equal(take_all(limits, address), 0);
    address_limits_leave(limits, address);
    address_limits_destroy(limits);
}

static void full_table_forgets_who_was_away_the_longest(void **state) {
    (void)state;
    clock_fake(1000, 0);
    struct address_limits *limits = create(0, 1, 5);
    struct address *stays = enter(limits, v4(0));
    assert_int_equal(take_all(limits, stays), 5);
    for (uint32_t i = 1; i < ADDRESSES_MAX; i++) {
        struct address *address = enter(limits, v4(i));
        assert_int_equal(take_all(limits, address), 5);
        address_limits_leave(limits, address);
    }
    assert_true(may_enter(limits, v4(1))); /* now 2 is the one that was away the longest */
    assert_int_equal(address_limits_count(limits), ADDRESSES_MAX);
    assert_true(may_enter(limits, v4(ADDRESSES_MAX)));
    assert_int_equal(address_limits_count(limits), ADDRESSES_MAX);
    struct address *kept = enter(limits, v4(1));
    assert_int_equal(take_all(limits, kept), 0);
    struct address *forgotten = enter(limits, v4(2));
    assert_int_equal(take_all(limits, forgotten), 5);
    assert_int_equal(take_all(limits, stays), 0);
    address_limits_leave(limits, kept);
    address_limits_leave(limits, forgotten);
    address_limits_leave(limits, stays);
    address_limits_destroy(limits);
}

static void full_table_of_connected_addresses_refuses_one_more(void **state) {
    (void)state;
    static struct address *addresses[ADDRESSES_MAX];
    struct address_limits *limits = create(2, 0, 1);
    for (uint32_t i = 0; i < ADDRESSES_MAX; i++)
        addresses[i] = enter(limits, v4(i));
    assert_false(may_enter(limits, v4(ADDRESSES_MAX)));
    assert_true(may_enter(limits, v4(7)));
    address_limits_leave(limits, addresses[7]);
    assert_true(may_enter(limits, v4(ADDRESSES_MAX)));
    for (uint32_t i = 0; i < ADDRESSES_MAX; i++) {
        if (i != 7)
            address_limits_leave(limits, addresses[i]);
    }
    address_limits_destroy(limits);
}

#define ROUNDS 20000

static void *come_and_go(void *context) {
    struct address_limits *limits = context;
    for (int i = 0; i < ROUNDS; i++) {
        struct peer peer = v4((uint32_t)i % 5);
        struct address *address;
        if (!address_limits_enter(limits, &peer, &address))
            continue;
        (void)!address_take_request(limits, address);
        address_limits_leave(limits, address);
    }
    return NULL;
}

static void workers_count_together(void **state) {
    (void)state;
    pthread_t threads[3];
    struct address_limits *limits = create(3, 100, 100);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, limits), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(address_limits_count(limits), 5);
    for (uint32_t i = 0; i < 5; i++)
        assert_true(may_enter(limits, v4(i)));
    address_limits_destroy(limits);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(peers_are_written_as_people_know_them),
        cmocka_unit_test(without_limits_nothing_is_counted),
        cmocka_unit_test(connections_of_an_address_are_limited_and_given_back),
        cmocka_unit_test(one_ipv6_network_is_one_address),
        cmocka_unit_test_teardown(requests_come_in_a_burst_and_then_at_the_rate, real_clock),
        cmocka_unit_test_teardown(a_pause_gives_back_a_burst_and_no_more, real_clock),
        cmocka_unit_test_teardown(a_new_connection_brings_no_new_burst, real_clock),
        cmocka_unit_test_teardown(full_table_forgets_who_was_away_the_longest, real_clock),
        cmocka_unit_test(full_table_of_connected_addresses_refuses_one_more),
        cmocka_unit_test(workers_count_together),
    };
    return cmocka_run_group_tests_name("address_limits", tests, NULL, NULL);
}
