/* server/http_target: hosts, absolute targets, and paths that mean the same to everybody. */
#include "http/head.h"

#include "tests/support/unit.h"

static void assert_each(bool (*judge)(const char *text), const char *const *texts, bool wanted) {
    for (; *texts != NULL; texts++) {
        if (judge(*texts) != wanted)
            fail_msg("\"%s\" is %s", *texts, wanted ? "refused" : "taken");
    }
}

static bool is_authority(const char *text) {
    return http_authority_is_valid(text, strlen(text));
}

static bool is_path(const char *text) {
    return http_path_check(text) == 0;
}

static bool is_query(const char *text) {
    return http_query_check(text) == 0;
}

static void hosts_with_and_without_a_port_are_taken(void **state) {
    (void)state;
    static const char *const good[] = {"x",
                                       "gateway.example",
                                       "gateway.example:8080",
                                       "10.0.0.1:80",
                                       "[::1]",
                                       "[::1]:80",
                                       "a_b-c~d",
                                       "x:",
                                       "[::ffff:1.2.3.4]",
                                       "!$&'()*+,;=",
                                       "%41%c3%a4.example:80",
                                       "[v1F.a-b:c!$&'()*+,;=~_]:80",
                                       "[V1.x]",
                                       NULL};
    static const char *const bad[] = {
        "",       ":80",      "u@x",     "x/y",  "x\"y",      "x y",  "x:80a", "x:80:80",  "[::1",
        "[]",     "::1",      "[::1]x",  "x?y",  "x#y",       "x\\y", "x\t",   "\xc3\xa4", "%4",
        "%zz",    "x%",       "a|b",     "<x>",  "x^",        "`",    "[v.x]", "[v1x]",    "[v1.]",
        "[vg.x]", "[v1.a/b]", "[g::1/]", "x:-1", "[::1%25a]", "[!]",  NULL};
    assert_each(is_authority, good, true);
    assert_each(is_authority, bad, false);
    assert_false(http_authority_is_valid("x\0y", 3));
}

static void absolute_targets_give_their_path(void **state) {
    (void)state;
    assert_string_equal(http_target_path("/a/b", "x"), "/a/b");
    assert_string_equal(http_target_path("*", NULL), "*");
    assert_string_equal(http_target_path("http://x/a/b", "x"), "/a/b");
    assert_string_equal(http_target_path("HTTP://X:80/a", "x:80"), "/a");
    assert_string_equal(http_target_path("http://x", "x"), "/");
    assert_string_equal(http_target_path("http://x/a", NULL), "/a");
    assert_string_equal(http_target_path("http://x/a", "X:80"), "/a");
    assert_string_equal(http_target_path("http://x:80/a", "x"), "/a");
    assert_string_equal(http_target_path("http://x:/a", "x:080"), "/a");
    assert_string_equal(http_target_path("http://[::1]:80/a", "[::1]"), "/a");
    assert_null(http_target_path("http://x/a", "y"));
    assert_null(http_target_path("http://x/a", "x:8080"));
    assert_null(http_target_path("http://x:8080/a", "x"));
    assert_null(http_target_path("http://x:443/a", "x"));
    assert_null(http_target_path("http://x:18446744073709551696/a", "x")); /* 80, if it were cut to 64 bits */
    assert_null(http_target_path("http://[::1]/a", "[::2]"));
    assert_null(http_target_path("http://x/a", "xy"));
    assert_null(http_target_path("http:///a", ""));
    assert_null(http_target_path("http://u@x/a", "u@x"));
    assert_null(http_target_path("https://x/a", "x"));
    assert_null(http_target_path("a", "x"));
    assert_null(http_target_path("", "x"));
    assert_null(http_target_path("x:80", "x:80"));
}

static void paths_that_lead_elsewhere_are_refused(void **state) {
    (void)state;
    static const char *const good[] = {"/",
                                       "/a/b",
                                       "/a..b",
                                       "/...",
                                       "/a%20b",
                                       "/%C3%A4",
                                       "/a%2fb",
                                       "/.a/..b",
                                       "/a.",
                                       "//",
                                       "/~:@+",
                                       "/a;b/;c",
                                       "/..a;b",
                                       "/a%20",
                                       "/.%20a",
                                       "/%e2%80%a6",
                                       "/a%ef%bc%8e%ef%bc%8e",
                                       NULL};
    static const char *const bad[] = {"/..",
                                      "/.",
                                      "/../a",
                                      "/a/..",
                                      "/a/./b",
                                      "/%2e%2e",
                                      "/%2E.",
                                      "/.%2e/a",
                                      "/..%2fa",
                                      "/a%2f..",
                                      "/a%2F%2e%2e%2Fb",
                                      "/..\\a",
                                      "/a\\..",
                                      "/..%5ca",
                                      "/a%5C..%5Cb",
                                      "/%252e%252e",
                                      "/..;/a",
                                      "/apps/..;/admin/x",
                                      "/.;",
                                      "/...;a",
                                      "/a/..;b=c",
                                      "/..%3b",
                                      "/%2e%2e%3Bx/a",
                                      "/.%2e;/a",
                                      "/..%3fa",
                                      "/..%23a",
                                      "/..%20",
                                      "/.%20%20/a",
                                      "/..%c2%a0/a",
                                      "/%ef%bc%8e%ef%bc%8e/a",
                                      "/.%ef%bc%8e/a",
                                      "/%e2%80%a5/a",
                                      "/%e2%80%a4%e2%80%a4/a",
                                      "/..%ef%bc%8fa",
                                      "/a%ef%bc%8f..",
                                      "/a%ef%bc%bc..",
                                      "/a%e2%88%95../b",
                                      "/..%ef%bc%9b/a",
                                      "/..%cd%be/a",
                                      "/%25252e%2525252e",
                                      "/a%252f..",
                                      "/%",
                                      "/%4",
                                      "/%zz",
                                      "/%00",
                                      "/a%00",
                                      "/%0a",
                                      "/%7f",
                                      "/%1f",
                                      "/%c0%af",
                                      "/%c0%ae%c0%ae",
                                      "/%e0%80%ae",
                                      "/%ed%a0%80",
                                      "/%ff",
                                      "/%c3",
                                      "/ ",
                                      "/\x01",
                                      "/\x7f",
                                      "/\xc3\xa4",
                                      "/a#b",
                                      "/%f4%90%80%80",
                                      "/%-1",
                                      "/% 1",
                                      NULL};
    assert_each(is_path, good, true);
    assert_each(is_path, bad, false);
}

static void queries_are_whole_and_utf_8(void **state) {
    (void)state;
    static const char *const good[] = {"",  "a=b&c", "a=%20%25&b=%C3%A4", "a=../b", "%0a", "a={\"b\":[1]}",
                                       NULL};
    static const char *const bad[] = {"%",   "a=%4", "%zz",  "a=%00",    "%c0%80", "%ff",
                                      "a b", "a#b",  "\x01", "\xc3\xa4", NULL};
    assert_each(is_query, good, true);
    assert_each(is_query, bad, false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_with_and_without_a_port_are_taken),
        cmocka_unit_test(absolute_targets_give_their_path),
        cmocka_unit_test(paths_that_lead_elsewhere_are_refused),
        cmocka_unit_test(queries_are_whole_and_utf_8),
    };
    return cmocka_run_group_tests_name("http_target", tests, NULL, NULL);
}
