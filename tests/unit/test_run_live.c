/* routes/run_live, live and passthrough_tunnel: what opens a tunnel, what ends it, and that nothing of it is
 * left. The listener's half is played by the test, which takes from the tunnel as it likes. */
#include "routes/live.h"
#include "tests/support/unit_routes.h"
#include "upstream/query.h"

#include <sched.h>

#define TARGET "/run_live?app_name=a&user_id=b&session_id=c"
#define HANDSHAKE                                                                                            \
    {                                                                                                        \
        {"Connection", "Upgrade"}, {"Upgrade", "websocket"}, {"Sec-WebSocket-Version", "13"}, {              \
            "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="                                                  \
        }                                                                                                    \
    }
#define SWITCHING "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"

static struct routes_fixture fixture;
static const char *answer; /* set before a request is asked */
static bool resets;        /* the upstream does, after its answer, once it was let */
static atomic_bool is_let, was_answered;

static void serve(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    if (!raw_server_read(server, fd))
        return;
    raw_server_write(fd, answer);
    atomic_store(&was_answered, true);
    if (!resets) {
        raw_server_hold(fd);
        return;
    }
    while (!atomic_load(&is_let))
        sched_yield();
    raw_server_reset(fd);
}

static int set_up(void **state) {
    (void)state;
    resets = false;
    atomic_store(&is_let, false);
    atomic_store(&was_answered, false);
    routes_begin(&fixture, serve);
    fixture.settings.tunnels_max = 2;
    fixture.settings.tunnel_timeout_ms = 300000;
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    atomic_store(&is_let, true);
    routes_end(&fixture);
    assert_int_equal(live_count(), 0);
    return 0;
}

static void open_tunnel(struct asked *asked) {
    ask(&fixture, asked, METHOD_GET, TARGET, NULL);
    await_answer(&fixture, asked);
    assert_int_equal(asked->request.reply.kind, REPLY_TUNNEL);
    assert_int_equal(live_count(), 1);
}

/* Whether a client that takes nothing of the tunnel would be kept. */
static bool goes_on(const struct asked *asked) {
    const struct reply_source *source = &asked->request.reply.source;
    char byte;
    return source->read(source->context, &byte, 0) == 0;
}

/* Reads nothing: its listener has to be told of the end without that. */
static void await_break(struct asked *asked) {
    int wakes = asked->wakes;
    assert_true(goes_on(asked));
    while (goes_on(asked))
        routes_turn(&fixture);
    assert_int_equal(asked->wakes, wakes + 1);
}

/* ---- ends that a client does not see, since it takes nothing ------------------------------------- */

static void tunnel_that_lasts_too_long_waits_for_no_client(void **state) {
    (void)state;
    struct asked asked = {.headers = HANDSHAKE};
    fixture.settings.tunnel_timeout_ms = 50;
    answer = SWITCHING "\r\nheld";
    open_tunnel(&asked);
    await_break(&asked);
    let_go(&asked);
}

static void tunnel_whose_upstream_is_silent_waits_for_no_client(void **state) {
    (void)state;
    struct asked asked = {.headers = HANDSHAKE};
    fixture.upstream.settings.idle_timeout_ms = 50;
    answer = SWITCHING "\r\nheld";
    open_tunnel(&asked);
    await_break(&asked);
    let_go(&asked);
}

static void tunnel_whose_upstream_breaks_off_waits_for_no_client(void **state) {
    (void)state;
    struct asked asked = {.headers = HANDSHAKE};
    resets = true;
    answer = SWITCHING "\r\nheld";
    open_tunnel(&asked);
    atomic_store(&is_let, true);
    await_break(&asked);
    let_go(&asked);
}

static void cancel_session(void) {
    assert_int_equal(live_cancel_session("a", "b", "c"), 1);
}

static void abort_queries(void) {
    upstream_queries_abort(&fixture.caller);
}

static void tunnel_that_is_cancelled_waits_for_no_client(void **state) {
    (void)state;
    static void (*const ways[])(void) = {cancel_session, live_cancel_all, abort_queries};
    answer = SWITCHING "\r\nheld";
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        struct asked asked = {.headers = HANDSHAKE};
        open_tunnel(&asked);
        int wakes = asked.wakes;
        ways[i]();
        while (goes_on(&asked))
            routes_turn(&fixture);
        assert_int_equal(asked.wakes, wakes + 1);
        let_go(&asked);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(tunnel_that_lasts_too_long_waits_for_no_client, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tunnel_whose_upstream_is_silent_waits_for_no_client, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(tunnel_whose_upstream_breaks_off_waits_for_no_client, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(tunnel_that_is_cancelled_waits_for_no_client, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
