/* routes/access: every route of the table passes the gate. Each is asked three times: with a judge that allows
 * everything and counts, with one that refuses everything, and with one that refuses what names a session.
 *
 * What is asked is found in the table itself, so a route that is added is asked, too. */
#include "base/metrics.h"
#include "routes/access.h"
#include "routes/tunnels.h"
#include "tests/support/unit_routes.h"

#define SESSION "/apps/a/users/b/sessions/c"
#define KEY "a/b/c"
#define ROUTES_MAX 100
#define BODY "{\"message\":\"hello\"}"
#define ADK_BODY                                                                                             \
    "{\"appName\":\"a\",\"userId\":\"b\",\"sessionId\":\"c\",\"newMessage\":{\"parts\":[{\"text\":\"x\"}]}}"

static struct routes_fixture fixture;
static size_t judged; /* how often the judge was asked */
static enum access_right judged_right;
static char judged_key[SESSION_KEY_SIZE];
static bool refuses, refuses_sessions;

static bool judge(const struct request *request, const char *app, const char *user, const char *session,
                  enum access_right right) {
    (void)request;
    judged++;
    judged_right = right;
    snprintf(judged_key, sizeof(judged_key), "%s/%s/%s", app, user, session);
    return !refuses && !(refuses_sessions && session[0] != '\0');
}

static void serve_json(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    while (raw_server_read(server, fd))
        raw_server_write(fd,
                         "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
}

static uint64_t broken_states(void) {
    return metrics_get(METRIC_BROKEN_STATES);
}

static int set_up(void **state) {
    (void)state;
    routes_begin(&fixture, serve_json);
    fixture.settings.tunnels_max = 2;
    fixture.settings.tunnel_timeout_ms = 300000;
    fixture.settings.passthrough_ui = true;
    fixture.context.allows = judge;
    refuses = refuses_sessions = false;
    judged = 0;
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    routes_end(&fixture);
    return 0;
}

/* ---- asking what the table has ------------------------------------------------------------------- */

/* Public routes, which need no gate, and why. */
static const struct {
    const char *pattern;
    const char *reason;
} public_routes[] = {
    {"/healthz", "says that the process lives, and nothing else"},
    {"/readyz", "says whether to send requests here, for load balancers that have no credential"},
    {"/demo", "a page of the program itself, without data"},
};

static bool is_public(const char *pattern) {
    for (size_t i = 0; i < sizeof(public_routes) / sizeof(public_routes[0]); i++) {
        if (strcmp(public_routes[i].pattern, pattern) == 0)
            return public_routes[i].reason[0] != '\0';
    }
    return false;
}

static bool has_part(const char *pattern, const char *part) {
    return strstr(pattern, part) != NULL;
}

/* A target for a pattern: the session a/b/c, the run or tunnel of this id, and something for a "*". */
static void make_target(const char *pattern, const char *id, char out[512]) {
    static const struct {
        const char *part, *value;
    } values[] = {{"{app}", "a"}, {"{user}", "b"}, {"{session}", "c"}, {"{id}", NULL}, {"*", NULL}};
    size_t length = 0;
    while (*pattern != '\0') {
        size_t i = 0, count = sizeof(values) / sizeof(values[0]);
        while (i < count && strncmp(pattern, values[i].part, strlen(values[i].part)) != 0)
            i++;
        const char *value = i < count ? values[i].value : NULL;
        if (i == count)
            out[length++] = *pattern++;
        else
            pattern += strlen(values[i].part);
        if (i == count)
            continue;
        if (value == NULL)
            value = values[i].part[0] == '*' ? "x/users/b/y" : id;
        length += (size_t)snprintf(out + length, 512 - length, "%s", value);
    }
    out[length] = '\0';
}

/* As a client would ask it, so that the request gets as far as it can. */
static void ask_route(struct asked *asked, const struct route_description *route, const char *id) {
    char target[512];
    const char *body = route->takes_body ? BODY : NULL;
    *asked = (struct asked){.headers = {{"Content-Type", "application/json"}}};
    make_target(route->pattern, id, target);
    if (strcmp(target, "/run_sse") == 0 || strcmp(target, "/run") == 0)
        body = ADK_BODY;
    else if (has_part(target, "/memory") || has_part(target, "/config/"))
        body = route->takes_body ? "{}" : NULL;
    if (route->method == METHOD_DELETE && strcmp(target, "/tasks") == 0)
        snprintf(target, sizeof(target), "/tasks?all=true");
    if (strcmp(target, "/run_live") == 0) {
        snprintf(target, sizeof(target), "/run_live?app_name=a&user_id=b&session_id=c");
        static const char *const handshake[][2] = {{"Connection", "Upgrade"},
                                                   {"Upgrade", "websocket"},
                                                   {"Sec-WebSocket-Version", "13"},
                                                   {"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="}};
        memcpy(asked->headers, handshake, sizeof(handshake));
    }
    ask(&fixture, asked, route->method, target, body);
}

static void start_run(char out_id[TASK_ID_SIZE]) {
    struct asked asked = {.headers = {{"Content-Type", "application/json"}}};
    ask(&fixture, &asked, METHOD_POST, SESSION "/run",
        "{\"message\":\"x\",\"gateway\":{\"delay_ms\":3600000}}");
    assert_int_equal(asked.request.reply.status, 200);
    cJSON *json = answer_json(&asked);
    snprintf(out_id, TASK_ID_SIZE, "%s",
             cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "task_id")));
    cJSON_Delete(json);
    let_go(&asked);
}

/* What a refused request may not have changed. */
struct world {
    uint64_t sessions, tasks, pending, upstream_requests, tunnels, broken;
};

static struct world look_around(void) {
    struct broadcaster_stats stats;
    broadcaster_get_stats(fixture.context.broadcaster, &stats);
    return (struct world){.sessions = stats.sessions,
                          .tasks = stats.tasks,
                          .pending = stats.runs_delayed,
                          .upstream_requests = raw_server_requests(&fixture.upstream.server),
                          .tunnels = live_count(),
                          .broken = broken_states()};
}

/* ---- the tests ----------------------------------------------------------------------------------- */

static void access_is_public_where_a_reason_is_given_and_nowhere_else(void **state) {
    (void)state;
    struct route_description route;
    size_t count = 0, public_count = 0;
    for (; router_describe(count, &route); count++) {
        assert_int_not_equal(route.right, ACCESS_UNSAID);
        assert_int_equal(route.right == ACCESS_PUBLIC, is_public(route.pattern));
        public_count += route.right == ACCESS_PUBLIC;
    }
    assert_int_equal(public_count, sizeof(public_routes) / sizeof(public_routes[0]));
    assert_true(count > 30 && count < ROUTES_MAX);
}

/* Every path that holds a name is judged by it, however the request has it. */
static void access_judges_every_route_by_its_right_and_its_names(void **state) {
    (void)state;
    struct route_description route;
    char id[TASK_ID_SIZE];
    start_run(id);
    for (size_t i = 0; router_describe(i, &route); i++) {
        if (route.right == ACCESS_PUBLIC || strcmp(route.pattern, "/tunnels/{id}") == 0)
            continue; /* a tunnel needs an upstream that opens one: see test_run_live */
        struct asked asked;
        judged = 0;
        refuses = true;
        ask_route(&asked, &route, id);
        await_answer(&fixture, &asked);
        let_go(&asked);
        assert_int_equal(judged, 1);
        assert_int_equal(judged_right, route.right);
        bool is_of_session = has_part(route.pattern, "{session}") || has_part(route.pattern, "/tasks/{id}") ||
                             strcmp(route.pattern, "/run_sse") == 0 || strcmp(route.pattern, "/run") == 0 ||
                             strcmp(route.pattern, "/run_live") == 0;
        if (is_of_session)
            assert_string_equal(judged_key, KEY);
        else if (has_part(route.pattern, "{user}"))
            assert_string_equal(judged_key, "a/b/");
    }
}

static void access_refused_answers_403_and_changes_nothing(void **state) {
    (void)state;
    struct route_description route;
    char id[TASK_ID_SIZE];
    start_run(id);
    const struct world before = look_around();
    refuses = true;
    for (size_t i = 0; router_describe(i, &route); i++) {
        struct asked asked;
        if (route.right == ACCESS_PUBLIC)
            continue;
        ask_route(&asked, &route, id);
        assert_int_not_equal(asked.request.reply.kind, REPLY_NONE); /* nothing was asked of the upstream */
        bool is_hidden = has_part(route.pattern, "{id}");
        assert_int_equal(asked.request.reply.status, is_hidden ? 404 : 403);
        assert_false(asked.request.let_in);
        let_go(&asked);
        const struct world after = look_around();
        assert_memory_equal(&after, &before, sizeof(after));
    }
    refuses = false;
    struct task *task = task_table_find(broadcaster_tasks(fixture.context.broadcaster), id);
    struct task_info info;
    task_get_info(task, &info);
    assert_int_equal(info.status, TASK_PENDING);
    task_unref(task);
}

/* The ids of others cannot be found by trying. */
static void access_hides_the_runs_of_others_byte_for_byte(void **state) {
    (void)state;
    static const char *const patterns[] = {"/tasks/%s", "/tasks/%s/result", "/tasks/%s/events"};
    char id[TASK_ID_SIZE], unknown[TASK_ID_SIZE], target[128];
    start_run(id);
    memset(unknown, '0', TASK_ID_SIZE - 1);
    unknown[TASK_ID_SIZE - 1] = '\0';
    refuses = true;
    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        struct asked of_others = {0}, of_nobody = {0};
        snprintf(target, sizeof(target), patterns[i], id);
        ask(&fixture, &of_others, METHOD_GET, target, NULL);
        snprintf(target, sizeof(target), patterns[i], unknown);
        ask(&fixture, &of_nobody, METHOD_GET, target, NULL);
        assert_int_equal(of_others.request.reply.status, 404);
        assert_int_equal(of_others.request.reply.body_length, of_nobody.request.reply.body_length);
        assert_memory_equal(of_others.request.reply.body, of_nobody.request.reply.body,
                            of_nobody.request.reply.body_length);
        assert_int_equal(of_others.request.reply.header_count, of_nobody.request.reply.header_count);
        let_go(&of_others);
        let_go(&of_nobody);
    }
}

static void expect_text(enum request_method method, const char *target, const char *text) {
    struct asked asked = {0};
    ask(&fixture, &asked, method, target, NULL);
    assert_int_equal(asked.request.reply.status, 200);
    if (strstr(asked.request.reply.body, text) == NULL)
        fail_msg("%s: %.*s", target, (int)asked.request.reply.body_length, asked.request.reply.body);
    let_go(&asked);
}

static void access_leaves_out_of_lists_what_belongs_to_others(void **state) {
    (void)state;
    char id[TASK_ID_SIZE];
    start_run(id);
    expect(&fixture, METHOD_POST, SESSION "/run", BODY, 200, NULL);
    fixture.upstream.settings.adapter = &adapter_sse; /* so that sessions are listed here */
    expect_text(METHOD_GET, "/tasks", id);
    expect_text(METHOD_GET, "/task-status", KEY);
    expect_text(METHOD_GET, "/apps/a/users/b/sessions", "\"id\":\"c\"");
    refuses_sessions = true;
    expect_text(METHOD_GET, "/tasks", "\"tasks\":[]");
    expect_text(METHOD_GET, "/task-status", "\"sessions\":{}");
    expect_text(METHOD_GET, "/apps/a/users/b/sessions", "\"sessions\":[]");
    expect_text(METHOD_DELETE, "/tasks?status=pending", "\"cancelled\":0");
    refuses_sessions = false;
    expect_text(METHOD_DELETE, "/tasks?status=pending", "\"cancelled\":1");
}

/* A handler that leaves the gate out finds no session, and its request gets no answer but a closed connection. */
static void access_gives_nothing_to_a_request_that_was_not_let_in(void **state) {
    (void)state;
    char id[TASK_ID_SIZE];
    start_run(id);
    uint64_t broken = broken_states();
    struct asked asked = {0};
    ask(&fixture, &asked, METHOD_GET, SESSION "/task-status", NULL);
    let_go(&asked);
    asked.request.let_in = false;
    asked.request.reply = (struct reply){0};
    assert_null(access_find_session(&asked.request));
    assert_null(access_try_open_session(&asked.request));
    assert_true(asked.request.reply.is_mutilated);
    reply_empty(&asked.request, 200);
    assert_int_equal(asked.request.reply.kind, REPLY_NONE);
    assert_int_equal(broken_states(), broken + 3);
    let_go(&asked);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(access_is_public_where_a_reason_is_given_and_nowhere_else),
        TEST(access_judges_every_route_by_its_right_and_its_names),
        TEST(access_refused_answers_403_and_changes_nothing),
        TEST(access_hides_the_runs_of_others_byte_for_byte),
        TEST(access_leaves_out_of_lists_what_belongs_to_others),
        TEST(access_gives_nothing_to_a_request_that_was_not_let_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
