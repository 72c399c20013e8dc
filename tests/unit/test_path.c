/* routes/path: what may be named in a path, and what may be passed on. */
#include "routes/path.h"

#include "tests/support/unit.h"

static void path_is_cut_at_slashes(void **state) {
    (void)state;
    struct path path;
    assert_true(path_split("/apps/a%2Fb/x", &path));
    assert_int_equal(path.count, 3);
    assert_int_equal(path.segments[1].length, strlen("a%2Fb"));
    assert_memory_equal(path.segments[1].text, "a%2Fb", strlen("a%2Fb"));
}

static void path_without_a_first_slash_or_with_an_empty_segment_is_none(void **state) {
    (void)state;
    static const char *const bad[] = {"", "a", "/", "//", "/a/", "/a//b", "*", "http://host/a"};
    struct path path;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(path_split(bad[i], &path));
}

static void path_with_too_many_segments_is_none(void **state) {
    (void)state;
    char raw[2 * PATH_SEGMENTS_MAX + 3] = "";
    struct path path;
    for (size_t i = 0; i < PATH_SEGMENTS_MAX; i++)
        strcat(raw, "/a");
    assert_true(path_split(raw, &path));
    strcat(raw, "/a");
    assert_false(path_split(raw, &path));
}

static void path_words_are_decoded_once(void **state) {
    (void)state;
    const struct path_segment encoded = {TEXT_AND_LENGTH("r%75n")}, twice = {TEXT_AND_LENGTH("r%2575n")};
    assert_true(path_segment_is(&encoded, "run/more", 3));
    assert_false(path_segment_is(&twice, "run", 3));
    assert_false(path_segment_is(&encoded, "runs", 4));
}

/* "" for a segment that names nothing. */
static const char *name_of(const char *segment) {
    static char name[SESSION_PART_MAX + 1];
    const struct path_segment piece = {segment, strlen(segment)};
    return path_decode_name(&piece, SESSION_PART_MAX, name) ? name : "";
}

static void path_names_are_decoded_once_and_checked(void **state) {
    (void)state;
    assert_string_equal(name_of("azAZ09._~@:+-"), "azAZ09._~@:+-");
    assert_string_equal(name_of("me%40example.org"), "me@example.org");
    assert_string_equal(name_of("..."), "...");
    assert_string_equal(name_of("auth0%7C64ab"), "auth0|64ab");
    assert_string_equal(name_of("DOMAIN%5Cuser"), "DOMAIN\\user");
    assert_string_equal(name_of("%20a%20"), " a ");
    assert_string_equal(name_of("%C3%A9"), "\xC3\xA9");
    assert_string_equal(name_of("e%CC%81"), "e\xCC\x81"); /* not composed */
    assert_string_equal(name_of("100%25"), "100%");
    assert_string_equal(name_of("a%2541"), "a%41");
    assert_string_equal(name_of("a%252Fb"), "a%2Fb");
    assert_string_equal(name_of("a;b*%3F%23"), "a;b*?#");
    assert_string_equal(name_of("%C2%A0%E2%80%AE%EF%BB%BF"), "\xC2\xA0\xE2\x80\xAE\xEF\xBB\xBF");
    static const char *const bad[] = {
        "",         ".",        "..",       "%2e",      "%2E.",      "a%2Fb",     "a%00",
        "a%",       "a%4",      "a%zz",     "a/b",      "a%0Ab",     "a%7F",      "%1f",
        "%C2%80",   "%C2%9F",   "%ff",      "%C3",      "%C0%AF",    "%ED%A0%80", "..%3Ba",
        "..;a",     "a%5C..",   "..%5C",    ".%20",     "..%3F",     "%252e",     "%252e%252e",
        "%25252e.", "..%252fa", "..%255ca", "a%255c..", "%EF%BC%8E", "%E2%80%A5", "%25EF%25BC%258E."};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_string_equal(name_of(bad[i]), "");
}

static void path_ids_are_plain(void **state) {
    (void)state;
    char id[SESSION_PART_MAX + 1];
    static const char *const bad[] = {"", "a%20b", "%C3%A9", "a%7Cb", "a;b", "a%25", "..", "a%00"};
    const struct path_segment good = {TEXT_AND_LENGTH("0a%40-")};
    assert_true(path_decode_id(&good, id));
    assert_string_equal(id, "0a@-");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const struct path_segment segment = {bad[i], strlen(bad[i])};
        assert_false(path_decode_id(&segment, id));
    }
}

static void path_names_have_at_most_128_bytes_decoded(void **state) {
    (void)state;
    char plain[SESSION_PART_MAX + 2], encoded[3 * SESSION_PART_MAX + 4] = "";
    memset(plain, 'a', sizeof(plain));
    plain[SESSION_PART_MAX] = '\0';
    assert_int_equal(strlen(name_of(plain)), SESSION_PART_MAX);
    for (size_t i = 0; i < SESSION_PART_MAX; i++)
        strcat(encoded, "%61");
    assert_string_equal(name_of(encoded), plain);
    strcat(encoded, "a");
    assert_string_equal(name_of(encoded), "");
    plain[SESSION_PART_MAX] = 'a';
    plain[SESSION_PART_MAX + 1] = '\0';
    assert_string_equal(name_of(plain), "");
}

static bool is_safe(const char *raw) {
    struct path path;
    bool is_one = path_split(raw, &path);
    for (size_t i = 0; is_one && i < path.count; i++)
        is_one = path_segment_is_safe(&path.segments[i]);
    return is_one;
}

static void path_that_would_mean_something_else_upstream_is_not_safe(void **state) {
    (void)state;
    assert_true(is_safe("/apps/a/users/b/sessions/c/artifacts/photo%20of%20me.png/versions/3"));
    assert_true(is_safe("/debug/trace/session/a:b@c"));
    assert_true(is_safe("/apps/a/artifacts/one%3Btwo"));
    static const char *const bad[] = {"/apps/..",         "/apps/../x",
                                      "/apps/%2e%2e/x",   "/apps/.%2E",
                                      "/apps/.",          "/apps/%2e",
                                      "/apps/a%2fb",      "/apps/a%2Fb",
                                      "/apps/a\\b",       "/apps/a%5Cb",
                                      "/apps/%252e%252e", "/apps/a%0d%0ab",
                                      "/apps/a%7f",       "/apps/a b",
                                      "/apps/a#b",        "/apps/a%",
                                      "/apps/a%00",       "/apps/a\xFF",
                                      "/apps/a\"b",       "/apps/a\x7f",
                                      "/apps/..;/admin",  "/apps/%2e%2e%3b/admin",
                                      "/apps/.;a=b/x",    "/apps/..%20/x",
                                      "/apps/%61dmin",    "/apps/a%2Db",
                                      "/apps/a%7Eb",      "/apps/%ef%bc%8e%ef%bc%8e/x",
                                      "/apps/a;b=c/x",    "/apps/a/users;/b"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(is_safe(bad[i]));
}

static void path_query_that_would_change_is_not_safe(void **state) {
    (void)state;
    assert_true(path_query_is_safe(""));
    assert_true(path_query_is_safe("a=1&b=%20..%2f&c[]='x'"));
    static const char *const bad[] = {"a b", "a#b", "a\r\nb", "a\x7f", "\xC3\xA9"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(path_query_is_safe(bad[i]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(path_is_cut_at_slashes),
        cmocka_unit_test(path_without_a_first_slash_or_with_an_empty_segment_is_none),
        cmocka_unit_test(path_with_too_many_segments_is_none),
        cmocka_unit_test(path_words_are_decoded_once),
        cmocka_unit_test(path_names_are_decoded_once_and_checked),
        cmocka_unit_test(path_ids_are_plain),
        cmocka_unit_test(path_names_have_at_most_128_bytes_decoded),
        cmocka_unit_test(path_that_would_mean_something_else_upstream_is_not_safe),
        cmocka_unit_test(path_query_that_would_change_is_not_safe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
