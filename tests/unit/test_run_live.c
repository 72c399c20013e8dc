/* routes/run_live, live and passthrough_tunnel: what opens a tunnel, what ends it, and that nothing of it is
 * left. The listener's half is played by the test, which takes from the tunnel as it likes. */
#include "base/metrics.h"
#include "routes/tunnels.h"
#include "tests/support/unit_routes.h"
#include "upstream/query.h"

#include <sched.h>

#define TIME_MS 1000 /* a tunnel is open before it is up, on slow tools too */
#define TARGET "/run_live?app_name=a&user_id=b&session_id=c"
#define HANDSHAKE                                                                                            \
    {                                                                                                        \
        {"Connection", "Upgrade"}, {"Upgrade", "websocket"}, {"Sec-WebSocket-Version", "13"}, {              \
            "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="                                                  \
        }                                                                                                    \
    }
#define SWITCHING "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"

static struct routes_fixture fixture;
/* How the upstream answers; set before a request is asked. The threads of the upstream take a copy. */
struct script {
    char answer[128 * 1024];
    bool resets; /* after its answer, once it was let */
    bool waits;  /* with its answer, for the same */
};

static struct script script;
static pthread_mutex_t script_mutex = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool is_let, was_answered;

static void serve(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    if (!raw_server_read(server, fd))
        return;
    pthread_mutex_lock(&script_mutex);
    struct script own = script;
    pthread_mutex_unlock(&script_mutex);
    while (own.waits && !atomic_load(&is_let))
        sched_yield();
    raw_server_write(fd, own.answer);
    atomic_store(&was_answered, true);
    if (!own.resets) {
        raw_server_hold(fd);
        return;
    }
    while (!atomic_load(&is_let))
        sched_yield();
    raw_server_reset(fd);
}

static void set_script(const char *answer, bool resets, bool waits) {
    pthread_mutex_lock(&script_mutex);
    snprintf(script.answer, sizeof(script.answer), "%s", answer);
    script.resets = resets;
    script.waits = waits;
    pthread_mutex_unlock(&script_mutex);
}

static int set_up(void **state) {
    (void)state;
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
    fixture.settings.tunnel_timeout_ms = TIME_MS;
    set_script(SWITCHING "\r\nheld", false, false);
    open_tunnel(&asked);
    await_break(&asked);
    let_go(&asked);
}

static void tunnel_whose_upstream_is_silent_waits_for_no_client(void **state) {
    (void)state;
    struct asked asked = {.headers = HANDSHAKE};
    fixture.upstream.settings.idle_timeout_ms = TIME_MS;
    set_script(SWITCHING "\r\nheld", false, false);
    open_tunnel(&asked);
    await_break(&asked);
    let_go(&asked);
}

static void tunnel_whose_upstream_breaks_off_waits_for_no_client(void **state) {
    (void)state;
    struct asked asked = {.headers = HANDSHAKE};
    set_script(SWITCHING "\r\nheld", true, false);
    open_tunnel(&asked);
    atomic_store(&is_let, true);
    await_break(&asked);
    let_go(&asked);
}

static void cancel_session(void) {
    assert_int_equal(live_cancel_session("a", "b", "c"), 1);
}

static void abort_queries(void) {
    upstream_queries_abort(&fixture.upstream_worker);
}

static void tunnel_that_is_cancelled_waits_for_no_client(void **state) {
    (void)state;
    static void (*const ways[])(void) = {cancel_session, live_cancel_all, abort_queries};
    set_script(SWITCHING "\r\nheld", false, false);
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

/* ---- answers that open none ---------------------------------------------------------------------- */

/* 101 with `count` headers of `length` bytes, asked and answered. */
static void expect_refused(size_t count, size_t length) {
    static char text[sizeof(script.answer)];
    struct asked asked = {.headers = HANDSHAKE};
    size_t used = (size_t)snprintf(text, sizeof(text), SWITCHING);
    for (size_t i = 0; i < count; i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "Sec-WebSocket-Protocol: %0*d\r\n",
                                 (int)length, 0);
    snprintf(text + used, sizeof(text) - used, "\r\n");
    set_script(text, false, false);
    uint64_t errors = metrics_get(METRIC_HTTP_ERRORS);
    ask(&fixture, &asked, METHOD_GET, TARGET, NULL);
    await_answer(&fixture, &asked);
    assert_int_equal(asked.request.reply.kind, REPLY_BODY);
    assert_int_equal(asked.request.reply.status, 503);
    assert_string_equal(asked.request.reply.code, "upstream_unavailable");
    assert_int_equal(metrics_get(METRIC_HTTP_ERRORS), errors + 1);
    assert_int_equal(live_count(), 0);
    let_go(&asked);
}

static void tunnel_whose_handshake_has_too_long_headers_is_refused(void **state) {
    (void)state;
    expect_refused(1, 60000);
    expect_refused(1, 9000); /* more than half of what a request may have */
    expect_refused(40, 10);
}

/* ---- an end and an answer in one turn ------------------------------------------------------------ */

static struct asked *raced;
static size_t cancelled;

static void cancel_at_answer(struct request *request) {
    cancelled = live_cancel_session("a", "b", "c");
    assert_ptr_equal(request, &raced->request);
    raced->answers++;
}

/* The client has its answer, and the request may go at once: nothing of it may be cancelled any more. */
static void tunnel_that_was_answered_otherwise_cannot_be_cancelled(void **state) {
    (void)state;
    static const char *const answers[] = {"HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 304 Same\r\n\r\n",
                                          "HTTP/1.1 600 Odd\r\nContent-Length: 9\r\n\r\n"};
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        struct asked asked = {.headers = HANDSHAKE};
        struct request_operations racing = asked_operations;
        racing.answer = cancel_at_answer;
        raced = &asked;
        cancelled = 1;
        set_script(answers[i], false, false);
        ask(&fixture, &asked, METHOD_GET, TARGET, NULL);
        asked.request.operations = &racing;
        await_answer(&fixture, &asked);
        assert_int_equal(cancelled, 0);
        assert_int_equal(live_count(), 0);
        inbox_drain(&fixture.inbox);
        let_go(&asked);
        memset(&asked, 0xa5, sizeof(asked)); /* whatever looks at it now is found */
        while (upstream_client_active(fixture.upstream_worker.client) > 0)
            routes_turn(&fixture);
    }
}

static void on_tick(uv_timer_t *timer) {
    (void)timer;
}

/* The end of it is asked for while the answer waits in the socket: the loop looks at that first, as it came
 * first. */
static void tunnel_that_is_cancelled_in_the_turn_of_its_answer_is_answered_once(void **state) {
    (void)state;
    struct asked asked = {.headers = HANDSHAKE};
    set_script("HTTP/1.1 204 No Content\r\n\r\n", false, true);
    ask(&fixture, &asked, METHOD_GET, TARGET, NULL);
    uv_timer_t tick; /* so that a turn ends though nothing comes */
    uv_timer_init(&fixture.upstream.loop, &tick);
    uv_timer_start(&tick, on_tick, 1, 1);
    while (raw_server_requests(&fixture.upstream.server) == 0)
        routes_turn(&fixture);
    uv_close((uv_handle_t *)&tick, NULL);
    atomic_store(&is_let, true);
    while (!atomic_load(&was_answered))
        sched_yield();
    cancel_session();
    await_answer(&fixture, &asked);
    assert_int_equal(asked.answers, 1);
    inbox_drain(&fixture.inbox);
    let_go(&asked);
}

/* ---- of others ----------------------------------------------------------------------------------- */

static bool allows_reading_of_a(const struct request *request, const char *app, const char *user,
                                const char *session, enum access_right right) {
    (void)request, (void)user, (void)session;
    return right == ACCESS_READ && (app[0] == '\0' || strcmp(app, "a") == 0);
}

static bool allows_other_apps(const struct request *request, const char *app, const char *user,
                              const char *session, enum access_right right) {
    (void)request, (void)user, (void)session, (void)right;
    return strcmp(app, "a") != 0;
}

/* Asks for the list, which holds the text; copies the id of its first tunnel, if it has one. */
static void read_list(const char *text, char ret_id[TASK_ID_SIZE]) {
    struct asked asked = {0};
    ask(&fixture, &asked, METHOD_GET, "/tunnels", NULL);
    assert_int_equal(asked.request.reply.status, 200);
    assert_non_null(strstr(asked.request.reply.body, text));
    const char *id = strstr(asked.request.reply.body, "\"id\":\"");
    if (id != NULL)
        snprintf(ret_id, TASK_ID_SIZE, "%s", id + strlen("\"id\":\""));
    let_go(&asked);
}

static void tunnel_of_others_is_neither_listed_nor_ended(void **state) {
    (void)state;
    struct asked asked = {.headers = HANDSHAKE};
    char id[TASK_ID_SIZE], target[128];
    set_script(SWITCHING "\r\nheld", false, false);
    open_tunnel(&asked);
    fixture.context.allows = allows_other_apps;
    read_list("\"tunnels\":[]", id);
    fixture.context.allows = allows_reading_of_a;
    read_list("\"app\":\"a\"", id);
    id[TASK_ID_SIZE - 1] = '\0';
    snprintf(target, sizeof(target), "/tunnels/%s", id);
    expect(&fixture, METHOD_DELETE, target, NULL, 404, "unknown_tunnel");
    routes_turn(&fixture);
    assert_true(goes_on(&asked));
    fixture.context.allows = NULL;
    expect(&fixture, METHOD_DELETE, target, NULL, 202, NULL);
    while (goes_on(&asked))
        routes_turn(&fixture);
    let_go(&asked);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(tunnel_that_lasts_too_long_waits_for_no_client, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tunnel_whose_upstream_is_silent_waits_for_no_client, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(tunnel_whose_upstream_breaks_off_waits_for_no_client, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(tunnel_that_is_cancelled_waits_for_no_client, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tunnel_whose_handshake_has_too_long_headers_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(tunnel_that_was_answered_otherwise_cannot_be_cancelled, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(tunnel_that_is_cancelled_in_the_turn_of_its_answer_is_answered_once,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(tunnel_of_others_is_neither_listed_nor_ended, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
