/* http/tunnel: bytes both ways between a client's socket and a source, and how each of the two may end. The
 * library's half is played by this test: it gives sockets away and takes them back. */
#include "base/inbox.h"
#include "http/exchange.h"
#include "tests/support/unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define TUNNELS 2
#define ROOM_BYTES (1 << 20)
#define TURN_BYTES ((size_t)4 * 16 * 1024) /* of one tunnel, each way */

/* One tunnel, its client, and the source behind it. */
struct side {
    struct http_exchange exchange;
    struct http_connection connection;
    int client, fd; /* the client's end and the library's; -1: closed */
    int closes;     /* how often the library was told that the tunnel has ended */
    char pending[ROOM_BYTES];
    size_t at, length;    /* of what the source has to say */
    bool ends, is_broken; /* after that; at once */
    int reads;            /* of one byte or more */
    size_t room;          /* what the source takes */
    char taken[ROOM_BYTES];
    size_t taken_length;
    int write_ends;
    char got[ROOM_BYTES]; /* by the client */
    size_t got_length;
    bool has_ended, was_reset; /* for the client */
};

static uv_loop_t loop;
static struct inbox inbox;
static struct fanout_settings fanout_settings = {.stall_timeout_ms = 600000};
static struct routes_context context;
static struct http_listener listener;
static struct side sides[TUNNELS];

/* ---- the library --------------------------------------------------------------------------------- */

static MHD_UpgradeHandler upgrade;
static int runs;

struct MHD_Response *MHD_create_response_for_upgrade(MHD_UpgradeHandler handler, void *unused) {
    (void)unused;
    upgrade = handler;
    return NULL;
}

enum MHD_Result MHD_upgrade_action(struct MHD_UpgradeResponseHandle *handle, enum MHD_UpgradeAction action,
                                   ...) {
    struct side *side = (struct side *)handle;
    assert_int_equal(action, MHD_UPGRADE_ACTION_CLOSE);
    side->closes++;
    close(side->fd);
    side->fd = -1;
    return MHD_YES;
}

enum MHD_Result MHD_run(struct MHD_Daemon *daemon) {
    (void)daemon;
    runs++;
    return MHD_YES;
}

enum MHD_Result MHD_get_timeout(struct MHD_Daemon *daemon, MHD_UNSIGNED_LONG_LONG *timeout_ms) {
    (void)daemon;
    (void)timeout_ms;
    return MHD_NO;
}

/* ---- the source ---------------------------------------------------------------------------------- */

static ssize_t source_read(void *of, char *bytes, size_t size) {
    struct side *side = of;
    size_t left = side->length - side->at, count = left < size ? left : size;
    if (side->is_broken)
        return -2;
    if (size == 0)
        return 0;
    side->reads++;
    if (left == 0)
        return side->ends ? -1 : 0;
    memcpy(bytes, side->pending + side->at, count);
    side->at += count;
    return (ssize_t)count;
}

static size_t source_write(void *of, const char *bytes, size_t length) {
    struct side *side = of;
    size_t count = length < side->room ? length : side->room;
    assert_int_equal(side->write_ends, 0);
    assert_true(side->taken_length + count <= ROOM_BYTES);
    memcpy(side->taken + side->taken_length, bytes, count);
    side->taken_length += count;
    side->room -= count;
    return count;
}

static void source_write_end(void *of) {
    struct side *side = of;
    side->write_ends++;
}

static void wake(struct side *side) {
    if (side->exchange.tunnel != NULL)
        tunnel_wake(side->exchange.tunnel);
}

static void say(struct side *side, const char *bytes, size_t length) {
    assert_true(side->length + length <= ROOM_BYTES);
    memcpy(side->pending + side->length, bytes, length);
    side->length += length;
    wake(side);
}

/* ---- the client ---------------------------------------------------------------------------------- */

static void connect_pair(int *ret_client, int *ret_server) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int size = 4096, listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(listening, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    assert_int_equal(bind(listening, (struct sockaddr *)&address, length), 0);
    assert_int_equal(listen(listening, 1), 0);
    assert_int_equal(getsockname(listening, (struct sockaddr *)&address, &length), 0);
    *ret_client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(*ret_client, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    assert_int_equal(connect(*ret_client, (struct sockaddr *)&address, length), 0);
    *ret_server = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    assert_true(*ret_server >= 0);
    close(listening);
}

static void client_take(struct side *side, size_t bytes_max) {
    while (bytes_max > 0 && !side->has_ended && !side->was_reset) {
        size_t room = ROOM_BYTES - side->got_length;
        ssize_t count = recv(side->client, side->got + side->got_length, room < bytes_max ? room : bytes_max,
                             MSG_DONTWAIT);
        if (count < 0 && errno == EAGAIN)
            return;
        side->has_ended = count == 0;
        side->was_reset = count < 0;
        side->got_length += count > 0 ? (size_t)count : 0;
        bytes_max -= count > 0 ? (size_t)count : 0;
    }
}

static void client_say(struct side *side, const char *bytes, size_t length) {
    assert_int_equal(send(side->client, bytes, length, MSG_NOSIGNAL), length);
}

static void client_break_off(struct side *side) {
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    setsockopt(side->client, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    close(side->client);
    side->client = -1;
}

/* ---- turns --------------------------------------------------------------------------------------- */

/* A turn of the loop, as a worker's. */
static void turn(void) {
    while (tunnels_turn(&listener.tunnels))
        continue;
    uv_run(&loop, UV_RUN_NOWAIT);
}

#define TURN_UNTIL(condition)                                                                                \
    do {                                                                                                     \
        turn();                                                                                              \
    } while (!(condition))

/* What a socket was sent takes a moment even on the way through the kernel: many turns. */
static void settle(void) {
    for (int i = 0; i < 50; i++)
        turn();
}

static void begin(struct side *side, const char *early) {
    connect_pair(&side->client, &side->fd);
    side->room = ROOM_BYTES;
    side->exchange.listener = &listener;
    side->exchange.connection = &side->connection;
    side->exchange.request.reply = (struct reply){
        .kind = REPLY_TUNNEL,
        .source = {
            .read = source_read, .write = source_write, .write_end = source_write_end, .context = side}};
    assert_null(tunnel_response(&side->exchange));
    upgrade(&side->exchange, NULL, NULL, early, strlen(early), side->fd, (void *)side);
    assert_true(listener.closing || side->exchange.tunnel != NULL);
}

static int set_up(void **state) {
    (void)state;
    memset(sides, 0, sizeof(sides));
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(inbox_init(&inbox, &loop), 0);
    context = (struct routes_context){.relay = {.loop = &loop, .inbox = &inbox}};
    context.relay.fanout = fanout_create(&inbox, &fanout_settings);
    assert_non_null(context.relay.fanout);
    memset(&listener, 0, sizeof(listener));
    listener.context = &context;
    TAILQ_INIT(&listener.awaited);
    tunnels_init(&listener.tunnels);
    lingering_init(&listener.lingering, &loop);
    uv_timer_init(&loop, &listener.timer);
    for (size_t i = 0; i < TUNNELS; i++)
        sides[i].client = sides[i].fd = -1;
    runs = 0;
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    tunnels_close(&listener.tunnels);
    lingering_finish(&listener.lingering);
    for (size_t i = 0; i < TUNNELS; i++) {
        assert_true(sides[i].closes <= 1);
        assert_int_equal(sides[i].fd, -1); /* the library has them all again */
        if (sides[i].client >= 0)
            close(sides[i].client);
    }
    uv_close((uv_handle_t *)&listener.timer, NULL);
    fanout_destroy(context.relay.fanout);
    inbox_close(&inbox);
    uv_run(&loop, UV_RUN_DEFAULT);
    inbox_finish(&inbox);
    assert_int_equal(uv_loop_close(&loop), 0);
    return 0;
}

/* ---- both ways ----------------------------------------------------------------------------------- */

static void tunnel_carries_bytes_both_ways(void **state) {
    (void)state;
    struct side *side = &sides[0];
    begin(side, "early ");
    client_say(side, "late", 4);
    say(side, "hello", 5);
    TURN_UNTIL(side->taken_length == 10);
    assert_memory_equal(side->taken, "early late", 10);
    while (side->got_length < 5)
        client_take(side, ROOM_BYTES);
    assert_memory_equal(side->got, "hello", 5);
    assert_true(side->connection.closing);
}

static void tunnel_reads_no_further_than_its_source_takes(void **state) {
    (void)state;
    struct side *side = &sides[0];
    begin(side, "");
    side->room = 3;
    client_say(side, "abcdef", 6);
    TURN_UNTIL(side->taken_length == 3);
    client_say(side, "ghi", 3);
    settle();
    assert_int_equal(side->taken_length, 3);
    side->room = ROOM_BYTES;
    wake(side);
    TURN_UNTIL(side->taken_length == 9);
    assert_memory_equal(side->taken, "abcdefghi", 9);
}

static void tunnel_tells_the_end_of_the_client_once_and_last(void **state) {
    (void)state;
    struct side *side = &sides[0];
    begin(side, "");
    side->room = 2;
    client_say(side, "abcd", 4);
    shutdown(side->client, SHUT_WR);
    TURN_UNTIL(side->taken_length == 2);
    settle();
    assert_int_equal(side->write_ends, 0);
    side->room = ROOM_BYTES;
    wake(side);
    TURN_UNTIL(side->write_ends == 1);
    assert_int_equal(side->taken_length, 4);
    say(side, "answer", 6); /* the other way is open still */
    settle();
    client_take(side, ROOM_BYTES);
    assert_int_equal(side->got_length, 6);
    assert_int_equal(side->write_ends, 1);
    assert_int_equal(side->closes, 0);
}

/* ---- a client that takes nothing ----------------------------------------------------------------- */

/* Until the socket takes no more. */
static void fill(struct side *side) {
    static char bytes[ROOM_BYTES / 2];
    size_t before;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(i * 7 + i / 256);
    say(side, bytes, sizeof(bytes));
    do {
        before = side->at;
        settle();
    } while (side->at != before);
    assert_true(side->at < side->length);
}

static void tunnel_asks_its_source_for_nothing_while_its_client_takes_nothing(void **state) {
    (void)state;
    struct side *side = &sides[0];
    begin(side, "");
    fill(side);
    int reads = side->reads;
    say(side, "more", 4);
    settle();
    assert_int_equal(side->reads, reads);
    TURN_UNTIL((client_take(side, ROOM_BYTES), side->got_length == side->length));
    assert_memory_equal(side->got, side->pending, side->length);
    assert_int_equal(side->closes, 0);
}

static void tunnel_that_breaks_off_waits_for_no_client(void **state) {
    (void)state;
    struct side *side = &sides[0];
    begin(side, "");
    fill(side);
    side->is_broken = true;
    wake(side);
    turn();
    assert_int_equal(side->closes, 1);
    assert_null(side->exchange.tunnel);
    TURN_UNTIL((client_take(side, ROOM_BYTES), side->was_reset));
}

static void tunnel_that_ended_waits_until_its_client_has_all(void **state) {
    (void)state;
    struct side *side = &sides[0];
    begin(side, "");
    fill(side);
    side->ends = true;
    wake(side);
    client_say(side, "unread", 6);
    settle();
    assert_int_equal(side->closes, 0);
    TURN_UNTIL((client_take(side, ROOM_BYTES), side->has_ended));
    assert_int_equal(side->closes, 1);
    assert_int_equal(side->got_length, side->length);
    assert_memory_equal(side->got, side->pending, side->length);
}

static void tunnel_ends_in_order_though_bytes_of_its_client_are_unread(void **state) {
    (void)state;
    struct side *side = &sides[0];
    begin(side, "");
    side->room = 0;
    client_say(side, "one", 3);
    settle();
    client_say(side, "two", 3);
    say(side, "the end", 7);
    side->ends = true;
    TURN_UNTIL(side->closes == 1);
    client_say(side, "three", 5);
    settle();
    client_take(side, ROOM_BYTES);
    assert_true(side->has_ended && !side->was_reset);
    assert_memory_equal(side->got, "the end", 7);
}

/* Without a descriptor the socket cannot linger, and what the client has sent is read before it is closed. */
static void tunnel_ends_in_order_without_a_descriptor(void **state) {
    (void)state;
    struct side *side = &sides[0];
    int fds[4096];
    size_t count = 0;
    begin(side, "");
    side->room = 0;
    client_say(side, "one", 3);
    settle();
    client_say(side, "two", 3);
    say(side, "the end", 7);
    side->ends = true;
    struct rlimit limit, few = {.rlim_cur = 64, .rlim_max = 64};
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    few.rlim_max = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    while (count < 4096 && (fds[count] = fcntl(side->client, F_DUPFD_CLOEXEC, 0)) >= 0)
        count++;
    TURN_UNTIL(side->closes == 1);
    while (count > 0)
        close(fds[--count]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    TURN_UNTIL((client_take(side, ROOM_BYTES), side->has_ended || side->was_reset));
    assert_false(side->was_reset);
    assert_memory_equal(side->got, "the end", 7);
}

/* ---- many in one turn ---------------------------------------------------------------------------- */

static void tunnels_take_turns(void **state) {
    (void)state;
    static char bytes[ROOM_BYTES / 2];
    for (size_t i = 0; i < TUNNELS; i++) {
        begin(&sides[i], "");
        int size = ROOM_BYTES;
        setsockopt(sides[i].fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    }
    settle();
    for (size_t i = 0; i < TUNNELS; i++)
        say(&sides[i], bytes, sizeof(bytes));
    assert_true(tunnels_turn(&listener.tunnels));
    for (size_t i = 0; i < TUNNELS; i++)
        assert_true(sides[i].at > 0 && sides[i].at <= TURN_BYTES);
}

/* The library runs in between, and takes `ready` for its own. */
static void listener_goes_on_while_a_tunnel_has_more(void **state) {
    (void)state;
    static char bytes[ROOM_BYTES / 2];
    struct side *side = &sides[0];
    int size = ROOM_BYTES;
    begin(side, "");
    setsockopt(side->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    settle();
    http_listener_turn(&listener);
    assert_false(http_listener_turn(&listener));
    say(side, bytes, 2 * TURN_BYTES);
    assert_true(http_listener_turn(&listener));
    assert_int_equal(side->at, TURN_BYTES);
    while (http_listener_turn(&listener))
        continue;
    assert_int_equal(side->at, 2 * TURN_BYTES);
    assert_true(runs > 0);
}

/* ---- ends ---------------------------------------------------------------------------------------- */

static void tunnel_ends_with_a_client_that_breaks_off(void **state) {
    (void)state;
    struct side *side = &sides[0];
    begin(side, "");
    settle();
    client_break_off(side);
    TURN_UNTIL(side->closes == 1);
    wake(side); /* the source may not know yet */
    settle();
    assert_int_equal(side->closes, 1);
    assert_true(listener.ready);
}

static void tunnel_whose_client_breaks_off_while_nothing_is_read_ends(void **state) {
    (void)state;
    struct side *side = &sides[0];
    begin(side, "");
    side->room = 0;
    client_say(side, "held", 4);
    settle();
    client_break_off(side);
    TURN_UNTIL(side->closes == 1);
}

/* What a client has ended is read once there is room, and keeps no loop busy until then. */
static void tunnel_whose_client_ends_while_nothing_is_read_rests(void **state) {
    (void)state;
    struct side *side = &sides[0];
    begin(side, "");
    side->room = 0;
    client_say(side, "held", 4);
    settle();
    client_say(side, " more", 5);
    shutdown(side->client, SHUT_WR);
    settle();
    listener.ready = false;
    settle();
    assert_false(listener.ready);
    side->room = ROOM_BYTES;
    wake(side);
    TURN_UNTIL(side->write_ends == 1);
    assert_memory_equal(side->taken, "held more", 9);
}

static void tunnels_are_broken_off_at_the_end(void **state) {
    (void)state;
    for (size_t i = 0; i < TUNNELS; i++)
        begin(&sides[i], "early");
    fill(&sides[0]);
    tunnels_close(&listener.tunnels);
    for (size_t i = 0; i < TUNNELS; i++) {
        assert_int_equal(sides[i].closes, 1);
        assert_null(sides[i].exchange.tunnel);
    }
    listener.closing = true;
    sides[1] = (struct side){.client = -1, .fd = -1};
    begin(&sides[1], ""); /* one more comes too late */
    assert_int_equal(sides[1].closes, 1);
    assert_null(sides[1].exchange.tunnel);
    settle();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(tunnel_carries_bytes_both_ways, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tunnel_reads_no_further_than_its_source_takes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tunnel_tells_the_end_of_the_client_once_and_last, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tunnel_asks_its_source_for_nothing_while_its_client_takes_nothing,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(tunnel_that_breaks_off_waits_for_no_client, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tunnel_that_ended_waits_until_its_client_has_all, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tunnel_ends_in_order_though_bytes_of_its_client_are_unread, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(tunnel_ends_in_order_without_a_descriptor, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tunnels_take_turns, set_up, tear_down),
        cmocka_unit_test_setup_teardown(listener_goes_on_while_a_tunnel_has_more, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tunnel_ends_with_a_client_that_breaks_off, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tunnel_whose_client_breaks_off_while_nothing_is_read_ends, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(tunnel_whose_client_ends_while_nothing_is_read_rests, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(tunnels_are_broken_off_at_the_end, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
