/* routes/sessions: an app of two upstreams, one of which keeps sessions. Whether that one is chosen may
 * change at any moment, by other threads or with time; here it does at each look. The Makefile links calls of
 * upstreams_choose() to the one below. */
#include "tests/support/unit_routes.h"
#include "upstream/prospect.h"

#define ROUNDS 4

static struct routes_fixture fixture;
static struct upstream_settings both[2];
static size_t choices;

struct upstream_choice __wrap_upstreams_choose(const struct upstreams *upstreams,
                                               const struct upstreams_settings *settings, const char *app,
                                               uint64_t affinity);

/* NOLINTNEXTLINE(bugprone-reserved-identifier) ; the linker's name for it */
struct upstream_choice __wrap_upstreams_choose(const struct upstreams *upstreams,
                                               const struct upstreams_settings *settings, const char *app,
                                               uint64_t affinity) {
    (void)upstreams, (void)settings, (void)app, (void)affinity;
    return (struct upstream_choice){.index = choices++ % 2, .can_take = true};
}

static void serve_json(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    while (raw_server_read(server, fd))
        raw_server_write(fd, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
                             "10\r\n\r\n{\"id\":\"c\"}");
    raw_server_hold(fd);
}

static int set_up(void **state) {
    (void)state;
    static char other_name[] = "other";
    routes_begin(&fixture, serve_json);
    upstreams_finish(&fixture.upstreams);
    both[0] = both[1] = fixture.upstream.settings;
    both[1].name = other_name;
    both[1].adapter = &adapter_sse;
    fixture.upstream_worker.settings = (struct upstreams_settings){.count = 2, .items = both};
    assert_true(upstreams_init(&fixture.upstreams, &fixture.upstream_worker.settings));
    choices = 0;
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    routes_end(&fixture);
    return 0;
}

/* Each answer is one that one of the two alone would give: the keeper 200, the other one `other_status`. */
static void ask_often(enum request_method method, const char *path, const char *body, int other_status) {
    for (int i = 0; i < ROUNDS; i++) {
        struct asked asked = {.headers = {{"Content-Type", "application/json"}}};
        ask(&fixture, &asked, method, path, body);
        await_answer(&fixture, &asked);
        assert_int_equal(asked.request.reply.status, i % 2 == 0 ? 200 : other_status);
        if (asked.request.reply.kind == REPLY_SOURCE) {
            struct buffer text;
            buffer_init(&text, 1000);
            assert_int_equal(read_source(&fixture, &asked, &text), -1);
            buffer_finish(&text);
        }
        let_go(&asked);
    }
}

static void session_is_deleted_at_one_upstream(void **state) {
    (void)state;
    ask_often(METHOD_DELETE, "/apps/a/users/b/sessions/c", NULL, 404);
}

static void session_is_created_at_one_upstream(void **state) {
    (void)state;
    ask_often(METHOD_POST, "/apps/a/users/b/sessions/c", "{}", 200);
}

static void session_is_named_by_one_upstream(void **state) {
    (void)state;
    ask_often(METHOD_POST, "/apps/a/users/b/sessions", "{}", 200);
}

static void session_is_shown_by_one_upstream(void **state) {
    (void)state;
    ask_often(METHOD_GET, "/apps/a/users/b/sessions/c", NULL, 404);
}

static void sessions_are_listed_by_one_upstream(void **state) {
    (void)state;
    ask_often(METHOD_GET, "/apps/a/users/b/sessions", NULL, 200);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(session_is_deleted_at_one_upstream, set_up, tear_down),
        cmocka_unit_test_setup_teardown(session_is_created_at_one_upstream, set_up, tear_down),
        cmocka_unit_test_setup_teardown(session_is_named_by_one_upstream, set_up, tear_down),
        cmocka_unit_test_setup_teardown(session_is_shown_by_one_upstream, set_up, tear_down),
        cmocka_unit_test_setup_teardown(sessions_are_listed_by_one_upstream, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
