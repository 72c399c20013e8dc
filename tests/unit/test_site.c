/* routes/site: names of the gateway, and pages of other origins. */
#include "routes/site.h"

#include "base/metrics.h"

#include "tests/support/unit_routes.h"

static struct routes_fixture fixture;

static void serve_nothing(struct raw_server *server, int fd, size_t connection) {
    (void)server;
    (void)connection;
    raw_server_hold(fd);
}

static int set_up(void **state) {
    (void)state;
    routes_begin(&fixture, serve_nothing);
    fixture.settings.listens_on_loopback = true;
    fixture.settings.listen_address = "127.0.0.1";
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    routes_end(&fixture);
    return 0;
}

#define COUNT(list) (sizeof(list) / sizeof(list[0]))

static void allow_hosts(const char *const *hosts, size_t count) {
    fixture.settings.allowed_hosts = hosts;
    fixture.settings.allowed_hosts_count = count;
}

static void assert_served(const char *const *hosts, size_t count, bool served) {
    for (size_t i = 0; i < count; i++) {
        if (site_serves(&fixture.settings, hosts[i]) != served)
            fail_msg("%s is %s", hosts[i], served ? "not served" : "served");
    }
}

/* ---- names --------------------------------------------------------------------------------------- */

static void loopback_listener_serves_loopback_names_alone(void **state) {
    (void)state;
    static const char *const own[] = {"localhost",         "localhost:8080",    "LocalHost:1",   "localhost.",
                                      "localhost.:8080",   "a.localhost",       "a.b.localhost", "127.0.0.1",
                                      "127.0.0.1:8080",    "127.255.3.4",       "[::1]",         "[::1]:8080",
                                      "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]"};
    static const char *const other[] = {
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "evillocalhost",
        ".localhost",
        "0.0.0.0",
        "0.0.0.0:8080",
        "128.0.0.1",
        "10.0.0.1",
        "127.0.0.1.evil.example",
        "127.1",
        "0x7f.0.0.1",
        "2130706433",
        "0177.0.0.1",
        "127.0.0.01",
        "[::]",
        "[::2]",
        "[::ffff:10.0.0.1]",
        "[127.0.0.1]",
        "localhost..",
        "gateway",
        "x",
        ".",
        "127.0.0.1..",
    };
    assert_served(own, COUNT(own), true);
    assert_served(other, COUNT(other), false);
    assert_true(site_serves(&fixture.settings, NULL)); /* HTTP/1.0: no browser */
}

static void allowed_hosts_are_served_besides(void **state) {
    (void)state;
    static const char *const hosts[] = {"gateway.example", "*.wild.example", "ported.example:8443",
                                        "[2001:db8::1]", "10.1.2.3"};
    static const char *const own[] = {
        "gateway.example", "GATEWAY.example:80",  "gateway.example.", "a.wild.example", "a.b.wild.example:1",
        "ported.example",  "ported.example:8443", "[2001:DB8::1]:80", "10.1.2.3:9",     "localhost"};
    static const char *const other[] = {"evil.example",
                                        "wild.example",
                                        "awild.example",
                                        "a.gateway.example",
                                        "ported.example:80",
                                        ".wild.example",
                                        "gateway.example.evil.example",
                                        "10.1.2.4",
                                        "xgateway.example"};
    allow_hosts(hosts, COUNT(hosts));
    assert_served(own, COUNT(own), true);
    assert_served(other, COUNT(other), false);
    fixture.settings.listens_on_loopback = false;
    fixture.settings.listen_address = "0.0.0.0";
    assert_served(own, COUNT(own), true);
    assert_served(other, COUNT(other), false);
}

static void other_listeners_serve_their_own_address_and_without_a_list_any_name(void **state) {
    (void)state;
    static const char *const hosts[] = {"gateway.example"}, *const all[] = {"*"};
    static const char *const any[] = {"evil.example", "10.0.0.5", "localhost"};
    fixture.settings.listens_on_loopback = false;
    fixture.settings.listen_address = "10.0.0.5";
    assert_served(any, COUNT(any), true);
    allow_hosts(hosts, 1);
    assert_served(any, 1, false);
    assert_served(any + 1, 2, true);
    fixture.settings.listens_on_loopback = true;
    allow_hosts(all, 1);
    assert_served(any, COUNT(any), true);
}

/* ---- origins ------------------------------------------------------------------------------------- */

static bool is_foreign(const char *host, const char *origin, const char *fetch_site) {
    struct asked asked = {.headers = {{"Host", host}}};
    size_t count = 1;
    if (origin != NULL)
        asked.headers[count++][0] = "Origin", asked.headers[count - 1][1] = origin;
    if (fetch_site != NULL)
        asked.headers[count++][0] = "Sec-Fetch-Site", asked.headers[count - 1][1] = fetch_site;
    asked.request = (struct request){.operations = &asked_operations, .context = &fixture.context};
    return site_is_foreign(&asked.request);
}

static void origin_of_the_host_is_our_own(void **state) {
    (void)state;
    static const char *const own[][2] = {
        {"localhost:8080", "http://localhost:8080"}, {"gw.example", "http://gw.example"},
        {"gw.example", "https://gw.example"},        {"gw.example", "https://GW.example"},
        {"GW.EXAMPLE.", "https://gw.example"},       {"gw.example:443", "https://gw.example"},
        {"gw.example:80", "http://gw.example"},      {"gw.example:8443", "https://gw.example:8443"},
        {"[::1]:8080", "http://[::1]:8080"},         {"gw.example", "https://gw.example:443"},
    };
    static const char *const foreign[][2] = {
        {"*:8080", "http://evil.example:8080"},
        {"*", "https://evil.example"},
        {"*.example:8080", "http://evil.example:8080"},
        {"localhost:8080", "http://localhost:3000"},
        {"localhost:8080", "http://127.0.0.1:8080"},
        {"localhost:8080", "http://localhost"},
        {"gw.example", "https://gw.example:8443"},
        {"gw.example", "http://evil.example"},
        {"gw.example", "null"},
        {"gw.example", ""},
        {"gw.example", "https://gw.example.evil.example"},
        {"gw.example", "https://a.gw.example"},
        {"gw.example", "ftp://gw.example"},
        {"gw.example", "chrome-extension://abc"},
        {"gw.example", "gw.example"},
        {"gw.example:80", "https://gw.example"},
        {"gw.example", "http://"},
        {"gw.example", "http://gw.example:443"},
        {"gw.example", "file://"},
        {"gw.example", "https://gw.example@evil.example"},
    };
    for (size_t i = 0; i < COUNT(own); i++)
        assert_false(is_foreign(own[i][0], own[i][1], NULL));
    for (size_t i = 0; i < COUNT(foreign); i++) {
        if (!is_foreign(foreign[i][0], foreign[i][1], NULL))
            fail_msg("%s at %s is our own", foreign[i][1], foreign[i][0]);
        assert_true(is_foreign(foreign[i][0], foreign[i][1], "same-origin"));
    }
}

static void listed_origins_and_names_are_not_foreign(void **state) {
    (void)state;
    static const char *const origins[] = {"https://app.example"}, *const star[] = {"*"};
    static const char *const hosts[] = {"gw.example", "ported.example:8443", "*.wild.example"};
    static const char *const own[] = {"https://app.example", "https://gw.example", "http://gw.example",
                                      "https://ported.example:8443", "https://a.wild.example"};
    static const char *const foreign[] = {"http://app.example", "https://gw.example:3000",
                                          "https://ported.example", "https://wild.example", "null"};
    fixture.settings.cors_origins = origins;
    fixture.settings.cors_origins_count = 1;
    allow_hosts(hosts, COUNT(hosts));
    for (size_t i = 0; i < COUNT(own); i++)
        assert_false(is_foreign("127.0.0.1:8080", own[i], "cross-site"));
    for (size_t i = 0; i < COUNT(foreign); i++)
        assert_true(is_foreign("127.0.0.1:8080", foreign[i], NULL));
    allow_hosts(star, 1); /* any name may be asked for, and no page is ours for it */
    assert_true(is_foreign("127.0.0.1:8080", "https://gw.example", NULL));
    fixture.settings.cors_origins = star;
    assert_false(is_foreign("127.0.0.1:8080", "https://gw.example", "cross-site"));
    assert_false(is_foreign("127.0.0.1:8080", "null", NULL));
}

static void without_an_origin_the_browser_says_whether_it_is_across_sites(void **state) {
    (void)state;
    assert_false(is_foreign("localhost", NULL, NULL)); /* no browser */
    assert_false(is_foreign("localhost", NULL, "same-origin"));
    assert_false(is_foreign("localhost", NULL, "none")); /* the user's own doing */
    assert_false(is_foreign("localhost", NULL, "something-new"));
    assert_true(is_foreign("localhost", NULL, "cross-site"));
    assert_true(is_foreign("localhost", NULL, "same-site"));
    assert_true(is_foreign("localhost", NULL, "Cross-Site"));
    assert_true(is_foreign("localhost", "http://localhost", "cross-site"));
}

/* ---- requests ------------------------------------------------------------------------------------ */

static int status_of(enum request_method method, const char *target, const char *body) {
    struct asked asked = {.headers = {{"Host", "localhost"},
                                      {"Origin", "https://evil.example"},
                                      {"Content-Type", "application/json"}}};
    ask(&fixture, &asked, method, target, body);
    int status = asked.request.reply.status;
    let_go(&asked);
    return status;
}

static void foreign_pages_open_and_change_nothing(void **state) {
    uint64_t opened = metrics_get(METRIC_SESSIONS_OPENED);
    (void)state;
    static const struct {
        enum request_method method;
        const char *target;
        int status;
    } cases[] = {
        {METHOD_POST, "/apps/a/users/u/sessions/s/run", 403},
        {METHOD_GET, "/apps/a/users/u/sessions/s/run", 403},
        {METHOD_HEAD, "/apps/a/users/u/sessions/s/run", 403},
        {METHOD_DELETE, "/apps/a/users/u/sessions/s/run", 403},
        {METHOD_POST, "/apps/a/users/u/sessions/s", 403},
        {METHOD_POST, "/apps/a/users/u/sessions", 403},
        {METHOD_DELETE, "/apps/a/users/u/sessions/s", 403},
        {METHOD_POST, "/run_sse", 403},
        {METHOD_DELETE, "/tasks", 403},
        {METHOD_DELETE, "/tasks/x", 403},
        {METHOD_GET, "/tasks/x/events", 403},
        {METHOD_GET, "/tasks/x", 404},
        {METHOD_GET, "/healthz", 200},
        {METHOD_GET, "/demo", 200},
        {METHOD_GET, "/stats", 200},
        {METHOD_OPTIONS, "/apps/a/users/u/sessions/s/run", 204},
        {METHOD_POST, "/nowhere", 404},
        {METHOD_PUT, "/tasks", 405},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        int status = status_of(cases[i].method, cases[i].target, NULL);
        if (status != cases[i].status)
            fail_msg("%s is answered %d", cases[i].target, status);
    }
    assert_int_equal(metrics_get(METRIC_SESSIONS_OPENED), opened);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(loopback_listener_serves_loopback_names_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(allowed_hosts_are_served_besides, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_listeners_serve_their_own_address_and_without_a_list_any_name,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(origin_of_the_host_is_our_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(listed_origins_and_names_are_not_foreign, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_an_origin_the_browser_says_whether_it_is_across_sites, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(foreign_pages_open_and_change_nothing, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("site", tests, NULL, NULL);
}
