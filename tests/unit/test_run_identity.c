/* routes/run_request: the path says whose a run is, or the body of ADK's own, once; nothing else may. */
#include "tests/support/unit_routes.h"

#define RUN "/apps/a/users/b/sessions/c/run"

static struct routes_fixture fixture;

static void serve_silence(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    while (raw_server_read(server, fd))
        continue;
}

static int set_up(void **state) {
    (void)state;
    routes_begin(&fixture, serve_silence);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    routes_end(&fixture);
    return 0;
}

/* As JSON text. */
static const char *const own_spellings[] = {"appName", "app_name",  "userId",
                                            "user_id", "sessionId", "session_id"};
static const char *const other_spellings[] = {"APPNAME",
                                              "App_Name",
                                              "USERID",
                                              "u\\u017ferId",
                                              "u\xC5\xBF"
                                              "erId",
                                              "USER_\xC4\xB0"
                                              "D",
                                              "user__Id",
                                              "_userId",
                                              "userid",
                                              "SESSION_ID",
                                              "se\xC3\x9FionId",
                                              "SESS\xC4\xB1ON_\xC4\xB1"
                                              "D",
                                              "user\\u0131d"};

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

static void expect_refusal(const char *spelling) {
    char body[256];
    snprintf(body, sizeof(body), "{\"%s\":\"victim\",\"message\":\"hi\"}", spelling);
    expect(&fixture, METHOD_POST, RUN, body, 400, "identity_in_body");
    snprintf(body, sizeof(body), "{\"message\":\"hi\",\"gateway\":{\"priority\":5},\"%s\":null}", spelling);
    expect(&fixture, METHOD_POST, RUN, body, 400, "identity_in_body");
}

static void run_that_says_in_its_body_whose_it_is_is_refused_by_every_kind(void **state) {
    (void)state;
    static const struct adapter *const adapters[] = {&adapter_adk, &adapter_sse, &adapter_openai};
    for (size_t k = 0; k < COUNT(adapters); k++) {
        fixture.upstream.settings.adapter = adapters[k];
        for (size_t i = 0; i < COUNT(own_spellings); i++)
            expect_refusal(own_spellings[i]);
        for (size_t i = 0; i < COUNT(other_spellings); i++)
            expect_refusal(other_spellings[i]);
    }
    fixture.upstream.settings.adapter = &adapter_adk;
}

static void run_may_use_the_names_further_in(void **state) {
    (void)state;
    expect(&fixture, METHOD_POST, RUN,
           "{\"newMessage\":{\"userId\":\"x\",\"parts\":[{\"USERID\":1}]},\"stateDelta\":{\"user_id\":1}}",
           200, NULL);
    expect(&fixture, METHOD_POST, RUN, "{\"message\":\"hi\",\"gateway\":{\"userId\":\"x\"}}", 400,
           "unknown_option");
}

static void run_of_adk_s_own_names_its_session_once_and_in_adk_s_spelling(void **state) {
    (void)state;
    static const char format[] = "{\"appName\":\"a\",\"user_id\":\"b\",\"sessionId\":\"c\",\"newMessage\":{},"
                                 "\"%s\":\"b\"}";
    char body[256];
    for (size_t i = 0; i < COUNT(other_spellings); i++) {
        snprintf(body, sizeof(body), format, other_spellings[i]);
        expect(&fixture, METHOD_POST, "/run_sse", body, 400, "identity_in_body");
    }
    for (size_t i = 0; i < COUNT(own_spellings); i++) {
        snprintf(body, sizeof(body), format, own_spellings[i]);
        bool twice_the_same = strstr(format, own_spellings[i]) != NULL;
        expect(&fixture, METHOD_POST, "/run_sse", body, 400,
               twice_the_same ? "invalid_json" : "invalid_body");
    }
    snprintf(body, sizeof(body), format, "user\\u005fid");
    expect(&fixture, METHOD_POST, "/run_sse", body, 400, "invalid_json");
    expect(&fixture, METHOD_POST, "/run_sse", "{\"appName\":\"a\",\"USERID\":\"b\",\"sessionId\":\"c\"}", 400,
           "identity_in_body");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(run_that_says_in_its_body_whose_it_is_is_refused_by_every_kind,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(run_may_use_the_names_further_in, set_up, tear_down),
        cmocka_unit_test_setup_teardown(run_of_adk_s_own_names_its_session_once_and_in_adk_s_spelling, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
