/* routes/header_value: media types, their parameters and their qualities. */
#include "routes/header_value.h"

#include "tests/support/unit.h"

static void header_content_type_is_json(void **state) {
    (void)state;
    static const char *const good[] = {"application/json",
                                       "Application/JSON",
                                       " application/json ",
                                       "application/json; charset=utf-8",
                                       "application/json;charset=\"UTF-8\"",
                                       "application/json; profile=\"a;charset=latin1\"",
                                       "application/json;"};
    static const char *const bad[] = {"",
                                      "text/plain",
                                      "application/jsonp",
                                      "application/json+x",
                                      "json",
                                      "application/json; charset=latin1",
                                      "application/json; a=b; charset=utf-16",
                                      "text/plain; application/json",
                                      "application/json, text/plain"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_true(header_is_json(good[i]));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(header_is_json(bad[i]));
}

static void header_accepts_what_it_names(void **state) {
    (void)state;
    static const char *const good[] = {"text/event-stream",
                                       "TEXT/Event-Stream",
                                       "application/json, text/event-stream",
                                       "text/event-stream;q=0.5",
                                       "text/event-stream ; q=0.001, */*",
                                       "a/b;x=\",\", text/event-stream",
                                       "text/event-stream;v=1;q=1.000"};
    static const char *const bad[] = {"",
                                      "*/*",
                                      "text/*",
                                      "text/event-stream2",
                                      "text/event-stream;q=0",
                                      "text/event-stream; q=0.000",
                                      "text/event-stream;v=1;Q=0",
                                      "application/json;x=\"text/event-stream\""};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_true(header_accepts(good[i], "text/event-stream"));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(header_accepts(bad[i], "text/event-stream"));
    assert_false(header_accepts(NULL, "text/event-stream"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_content_type_is_json),
        cmocka_unit_test(header_accepts_what_it_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
