/* upstream/redis_cache, upstream/redis_connection: gateways share what they know through a real Redis, and do
 * without one that is away or silent, or has something else under the key. */
#include "tests/unit/redis_gateway.h"
#include "tests/unit/redis_server.h"
#include "upstream/redis_connection.h"

#define TIMEOUT_MS 5000
#define SHORT_TIMEOUT_MS 300

static struct redis_server server;

static int set_up(void **state) {
    (void)state;
    fixture_reset();
    redis_server_begin(&server, NULL);
    return 0;
}

static int set_up_with_password(void **state) {
    (void)state;
    fixture_reset();
    redis_server_begin(&server, "secret");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    redis_server_end(&server);
    assert_int_equal(requests_destroyed, requests_made);
    return 0;
}

static void gateway_begin(struct gateway *gateway) {
    gateway_open(gateway, server_address(server.port), NULL, TIMEOUT_MS);
    await_state(gateway, REDIS_UP);
}

static void assert_from_redis(struct gateway *gateway, const char *key) {
    struct fake_run run = {0};
    size_t before = call_count;
    run_start(&run, &gateway->worker, key);
    run_await_end(&run);
    assert_string_equal(run.told, "one\ntwo||completed");
    assert_int_equal(run.source, FOLLOWER_REDIS);
    assert_int_equal(call_count, before);
}

/* ---- a connection of the test's own -------------------------------------------------------------- */

struct own_command {
    struct redis_command command;
    bool is_done;
    int type; /* 0: there was no reply */
};

static void on_own_reply(struct redis_command *command, const redisReply *reply) {
    struct own_command *own = CONTAINER_OF(command, struct own_command, command);
    own->is_done = true;
    own->type = reply != NULL ? reply->type : 0;
}

static void note_open(void *context) {
    *(bool *)context = true;
}

static void own_lost(void *context) {
    (void)context;
    fail_msg("the connection was lost");
}

/* Says one command to the server; gives the type of its reply. */
static int say(struct gateway *gateway, const char *word, const char *key, const char *value) {
    bool is_open = false;
    struct redis_connection_settings settings = {.timeout_ms = 5000,
                                                 .reply_bytes_max = 1000,
                                                 .on_open = note_open,
                                                 .on_lost = own_lost,
                                                 .context = &is_open};
    struct own_command own = {.command.on_reply = on_own_reply};
    const char *arguments[] = {word, key, value};
    const size_t lengths[] = {strlen(word), strlen(key), strlen(value)};
    assert_int_equal(uv_ip4_addr("127.0.0.1", server.port, (struct sockaddr_in *)&settings.place), 0);
    struct redis_connection *connection = redis_connection_open(&gateway->worker.loop, &settings);
    assert_non_null(connection);
    while (!is_open)
        worker_turn(&gateway->worker);
    assert_true(redis_connection_send(connection, &own.command, 3, arguments, lengths));
    while (!own.is_done)
        worker_turn(&gateway->worker);
    redis_connection_close(connection);
    return own.type;
}

/* ---- what is shared ------------------------------------------------------------------------------ */

static void gateways_share_what_one_of_them_has_asked(void **state) {
    (void)state;
    struct gateway one, other;
    gateway_begin(&one);
    gateway_begin(&other);
    ask_upstream(&one, "sluice:1:key");
    assert_int_equal(info_of(&one).redis_misses, 1);
    assert_from_redis(&other, "sluice:1:key");
    assert_int_equal(info_of(&other).redis_hits, 1);
    struct fake_run again = {0};
    run_start(&again, &other.worker, "sluice:1:key");
    run_await_end(&again);
    assert_int_equal(again.source, FOLLOWER_MEMORY); /* it keeps it, too */
    gateway_end(&one);
    gateway_end(&other);
}

static void runs_may_join_while_redis_is_asked(void **state) {
    (void)state;
    struct gateway one, other;
    struct fake_run first = {0}, second = {0}, third = {0};
    gateway_begin(&one);
    gateway_begin(&other);
    ask_upstream(&one, "key");
    run_start(&first, &other.worker, "key");
    run_start(&second, &other.worker, "key");
    run_start(&third, &other.worker, "key");
    run_cancel(&third);
    run_await_end(&first);
    run_await_end(&second);
    assert_string_equal(first.told, "one\ntwo||completed");
    assert_string_equal(second.told, first.told);
    assert_int_equal(first.source, FOLLOWER_REDIS);
    assert_int_equal(second.source, FOLLOWER_REDIS);
    gateway_end(&one);
    gateway_end(&other);
}

static void flight_that_all_have_left_while_redis_is_asked_makes_no_call(void **state) {
    (void)state;
    struct gateway gateway;
    struct fake_run run = {0};
    gateway_begin(&gateway);
    run_start(&run, &gateway.worker, "key");
    run_cancel(&run);
    while (cache_worker_active(gateway.worker.part) > 0)
        worker_turn(&gateway.worker);
    while (info_of(&gateway).redis_misses == 0)
        worker_turn(&gateway.worker);
    assert_int_equal(call_count, 0);
    gateway_end(&gateway);
}

static void answer_without_an_event_is_known_to_come_from_redis(void **state) {
    (void)state;
    struct gateway one, other;
    struct fake_run first = {0}, second = {0};
    gateway_begin(&one);
    gateway_begin(&other);
    run_start(&first, &one.worker, "key");
    while (call_count == 0)
        worker_turn(&one.worker);
    call_sent(0);
    call_end(0, UPSTREAM_COMPLETED);
    run_await_end(&first);
    while (info_of(&one).redis_stored == 0)
        worker_turn(&one.worker);
    run_start(&second, &other.worker, "key");
    run_await_end(&second);
    assert_string_equal(second.told, "completed");
    assert_int_equal(second.source, FOLLOWER_REDIS);
    gateway_end(&one);
    gateway_end(&other);
}

static void what_is_stored_has_a_time_to_live(void **state) {
    (void)state;
    struct gateway gateway;
    struct fake_run run = {.policy.ttl_ms = 20}, again = {0};
    gateway_begin(&gateway);
    run_start(&run, &gateway.worker, "key");
    while (call_count == 0)
        worker_turn(&gateway.worker);
    call_end(0, UPSTREAM_COMPLETED);
    run_await_end(&run);
    while (info_of(&gateway).redis_stored == 0)
        worker_turn(&gateway.worker);
    for (int64_t until_ms = clock_mono_ms() + 30; clock_mono_ms() < until_ms;)
        worker_settle(&gateway.worker);
    run_start(&again, &gateway.worker, "key");
    while (call_count == 1)
        worker_turn(&gateway.worker);
    run_cancel(&again);
    gateway_end(&gateway);
}

static void value_that_is_too_old_by_our_clock_is_asked_again(void **state) {
    (void)state;
    struct gateway one, other;
    struct fake_run run = {0};
    gateway_begin(&one);
    gateway_begin(&other);
    ask_upstream(&one, "key");
    clock_fake(clock_mono_ms(), clock_unix_ms() + 60001);
    run_start(&run, &other.worker, "key");
    while (call_count == 1)
        worker_turn(&other.worker);
    clock_real();
    run_cancel(&run);
    assert_int_equal(info_of(&other).redis_hits, 0);
    gateway_end(&one);
    gateway_end(&other);
}

static void redis_may_be_a_socket_of_this_machine_and_another_database(void **state) {
    (void)state;
    struct gateway by_socket, by_port, elsewhere;
    struct fake_run run = {0};
    char address[128];
    gateway_begin(&by_port);
    snprintf(address, sizeof(address), "unix:%s", server.socket_path);
    gateway_open(&by_socket, address, NULL, TIMEOUT_MS);
    await_state(&by_socket, REDIS_UP);
    snprintf(address, sizeof(address), "redis://localhost:%d/3", server.port);
    gateway_open(&elsewhere, address, NULL, TIMEOUT_MS);
    await_state(&elsewhere, REDIS_UP);
    ask_upstream(&by_socket, "key");
    assert_from_redis(&by_port, "key");
    run_start(&run, &elsewhere.worker, "key");
    while (call_count == 1)
        worker_turn(&elsewhere.worker); /* not there */
    run_cancel(&run);
    gateway_end(&by_socket);
    gateway_end(&by_port);
    gateway_end(&elsewhere);
}

/* ---- away and back ------------------------------------------------------------------------------- */

static void gateway_does_without_redis_while_it_is_away_and_uses_it_again(void **state) {
    (void)state;
    struct gateway one, other;
    gateway_begin(&one);
    gateway_begin(&other);
    redis_server_kill(&server);
    await_state(&one, REDIS_AWAY);
    await_state(&other, REDIS_AWAY);
    ask_upstream(&one, "key"); /* at once: nothing is waited for */
    struct fake_run again = {0};
    run_start(&again, &one.worker, "key");
    run_await_end(&again);
    assert_int_equal(again.source, FOLLOWER_MEMORY);
    redis_server_start(&server);
    await_state(&one, REDIS_UP);
    await_state(&other, REDIS_UP);
    ask_upstream(&one, "another key");
    assert_from_redis(&other, "another key");
    gateway_end(&one);
    gateway_end(&other);
}

static void redis_that_takes_nothing_any_more_is_still_read_from(void **state) {
    (void)state;
    static const char *const keys[] = {"a", "b", "c", "d"};
    struct gateway one, other;
    gateway_begin(&one);
    gateway_begin(&other);
    ask_upstream(&one, "known");
    assert_int_equal(say(&one, "REPLICAOF", "127.0.0.1", "1"), REDIS_REPLY_STATUS);
    for (size_t i = 0; i < 4; i++)
        ask_upstream_in_vain(&other, keys[i]);
    assert_from_redis(&other, "known");
    gateway_end(&one);
    gateway_end(&other);
}

static void run_goes_on_when_redis_dies_while_it_is_asked(void **state) {
    (void)state;
    struct gateway gateway;
    struct fake_run run = {0};
    gateway_begin(&gateway);
    kill(server.pid, SIGSTOP); /* so that there is no answer before it dies */
    run_start(&run, &gateway.worker, "key");
    worker_settle(&gateway.worker);
    assert_int_equal(call_count, 0);
    redis_server_kill(&server);
    while (call_count == 0)
        worker_turn(&gateway.worker);
    assert_int_equal(info_of(&gateway).redis_errors, 1);
    call_event(0, "x");
    call_end(0, UPSTREAM_COMPLETED);
    run_await_end(&run);
    assert_string_equal(run.told, "x|completed");
    gateway_end(&gateway);
}

static void silent_redis_costs_no_more_than_the_timeout(void **state) {
    (void)state;
    struct gateway gateway;
    struct fake_run run = {0};
    gateway_open(&gateway, server_address(server.port), NULL, SHORT_TIMEOUT_MS);
    await_state(&gateway, REDIS_UP);
    kill(server.pid, SIGSTOP);
    int64_t begun_ms = clock_mono_ms();
    run_start(&run, &gateway.worker, "key");
    while (call_count == 0)
        worker_turn(&gateway.worker);
    assert_in_range(clock_mono_ms() - begun_ms, SHORT_TIMEOUT_MS - 1, 30000);
    await_state(&gateway, REDIS_AWAY);
    run_cancel(&run);
    kill(server.pid, SIGCONT);
    await_state(&gateway, REDIS_UP); /* as soon as it talks again */
    gateway_end(&gateway);
}

static void redis_that_lets_nobody_in_is_away(void **state) {
    (void)state;
    struct gateway without, wrong, right;
    gateway_open(&without, server_address(server.port), NULL, TIMEOUT_MS);
    gateway_open(&wrong, server_address(server.port), "guess", TIMEOUT_MS);
    gateway_open(&right, server_address(server.port), "secret", TIMEOUT_MS);
    await_state(&right, REDIS_UP);
    while (info_of(&without).redis_errors == 0)
        worker_turn(&without.worker);
    while (info_of(&wrong).redis_errors == 0)
        worker_turn(&wrong.worker);
    assert_int_equal(info_of(&without).redis_state, REDIS_AWAY);
    assert_int_equal(info_of(&wrong).redis_state, REDIS_AWAY);
    ask_upstream(&wrong, "key");
    ask_upstream(&right, "key");
    gateway_end(&without);
    gateway_end(&wrong);
    gateway_end(&right);
}

/* ---- nonsense ------------------------------------------------------------------------------------ */

static void value_that_is_none_of_ours_is_asked_of_the_upstream_and_replaced(void **state) {
    (void)state;
    struct gateway gateway, other;
    gateway_begin(&gateway);
    gateway_begin(&other);
    assert_int_equal(say(&gateway, "SET", "garbage", "sluicer\1 and whatever else there may be"),
                     REDIS_REPLY_STATUS);
    assert_int_equal(say(&gateway, "LPUSH", "list", "x"), REDIS_REPLY_INTEGER);
    ask_upstream(&gateway, "garbage");
    assert_int_equal(info_of(&gateway).redis_errors, 1);
    assert_from_redis(&other, "garbage");
    ask_upstream(&gateway, "list"); /* SET replaces values of any type */
    assert_int_equal(info_of(&gateway).redis_errors, 2);
    assert_from_redis(&other, "list");
    assert_int_equal(info_of(&gateway).redis_state, REDIS_UP);
    gateway_end(&gateway);
    gateway_end(&other);
}

static void value_that_is_too_large_is_not_read(void **state) {
    (void)state;
    struct gateway gateway;
    char *large = malloc(1 << 20);
    assert_non_null(large);
    memset(large, 'x', (1 << 20) - 1);
    large[(1 << 20) - 1] = '\0';
    gateway_begin(&gateway);
    assert_int_equal(say(&gateway, "SET", "key", large), REDIS_REPLY_STATUS);
    ask_upstream(&gateway, "key");
    assert_int_equal(info_of(&gateway).redis_misses, 1);
    assert_int_equal(info_of(&gateway).redis_connections, 1);
    free(large);
    gateway_end(&gateway);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(gateways_share_what_one_of_them_has_asked),
        TEST(runs_may_join_while_redis_is_asked),
        TEST(flight_that_all_have_left_while_redis_is_asked_makes_no_call),
        TEST(answer_without_an_event_is_known_to_come_from_redis),
        TEST(what_is_stored_has_a_time_to_live),
        TEST(value_that_is_too_old_by_our_clock_is_asked_again),
        TEST(redis_may_be_a_socket_of_this_machine_and_another_database),
        TEST(gateway_does_without_redis_while_it_is_away_and_uses_it_again),
        TEST(redis_that_takes_nothing_any_more_is_still_read_from),
        TEST(run_goes_on_when_redis_dies_while_it_is_asked),
        TEST(silent_redis_costs_no_more_than_the_timeout),
        cmocka_unit_test_setup_teardown(redis_that_lets_nobody_in_is_away, set_up_with_password, tear_down),
        TEST(value_that_is_none_of_ours_is_asked_of_the_upstream_and_replaced),
        TEST(value_that_is_too_large_is_not_read),
    };
#undef TEST
    signal(SIGPIPE, SIG_IGN); /* as the program does */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
