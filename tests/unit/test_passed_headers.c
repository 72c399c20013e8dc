/* routes/passed_headers: what an upstream says to its client reaches neither the browser's origin nor the
 * proxy. */
#include "routes/passed_headers.h"

#include "base/clock.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define BYTES_MAX 8192
#define BASE_URL "http://agent:8000/adk"
#define POLICY "default-src 'none'; frame-ancestors 'none'; sandbox"

static struct request request;
static enum passed_trust trust = PASSED_AS_DATA;
static int asked_status;

/* "/own/..." is the gateway's. */
static bool leads_on(const void *context, int status, const char *path) {
    (void)context;
    assert_int_equal(status, asked_status);
    assert_null(strpbrk(path, "?#"));
    return strncmp(path, "/own/", 5) != 0;
}

static void pass(int status, const struct upstream_header *headers) {
    size_t count = 0;
    while (headers[count].name != NULL)
        count++;
    reply_finish(&request.reply);
    request = (struct request){0};
    asked_status = status;
    const struct passed_rules rules = {
        .trust = trust, .base_url = BASE_URL, .bytes_max = BYTES_MAX, .leads_on = leads_on};
    passed_headers_reply(&request, status, &rules, headers, count);
}

static const char *header(const char *name) {
    const struct reply *reply = &request.reply;
    for (size_t i = 0; i < reply->header_count; i++) {
        if (strcasecmp(reply->headers[i].name, name) == 0)
            return reply->headers[i].value;
    }
    return NULL;
}

static size_t count_of(const char *name) {
    size_t count = 0;
    for (size_t i = 0; i < request.reply.header_count; i++)
        count += strcasecmp(request.reply.headers[i].name, name) == 0;
    return count;
}

static int tear_down(void **state) {
    (void)state;
    reply_finish(&request.reply);
    request = (struct request){0};
    trust = PASSED_AS_DATA;
    return 0;
}

static void pass_one(const char *name, const char *value) {
    pass(200, (const struct upstream_header[]){{name, value}, {NULL, NULL}});
}

static void no_header_passes_that_speaks_to_a_browser_or_a_proxy(void **state) {
    (void)state;
    static const char *const names[] = {"X-Accel-Redirect",
                                        "X-Accel-Buffering",
                                        "X-Accel-Expires",
                                        "X-Sendfile",
                                        "X-Lighttpd-Send-File",
                                        "X-Reproxy-URL",
                                        "Set-Cookie",
                                        "Set-Cookie2",
                                        "Refresh",
                                        "Link",
                                        "Clear-Site-Data",
                                        "Alt-Svc",
                                        "Service-Worker-Allowed",
                                        "SourceMap",
                                        "X-SourceMap",
                                        "Access-Control-Allow-Origin",
                                        "Access-Control-Allow-Credentials",
                                        "Strict-Transport-Security",
                                        "Public-Key-Pins",
                                        "WWW-Authenticate",
                                        "Authentication-Info",
                                        "Content-Location",
                                        "Expires",
                                        "Pragma",
                                        "Server",
                                        "Date",
                                        "Via",
                                        "X-Frame-Options",
                                        "Content-Security-Policy-Report-Only",
                                        "Report-To",
                                        "NEL",
                                        "Reporting-Endpoints",
                                        "Permissions-Policy",
                                        "Cross-Origin-Opener-Policy",
                                        "Origin-Agent-Cluster",
                                        "Timing-Allow-Origin",
                                        "X-Robots-Tag",
                                        "Connection",
                                        "Transfer-Encoding",
                                        "Content-Length",
                                        "X-Whatever",
                                        "",
                                        NULL};
    for (size_t i = 0; names[i] != NULL; i++) {
        pass_one(names[i], "x");
        assert_null(header(names[i]));
        assert_int_equal(request.reply.header_count, 5); /* those that are always sent, of a type unknown */
    }
}

static void what_a_client_needs_passes(void **state) {
    (void)state;
    static const char *const names[] = {"Content-Encoding",
                                        "Content-Language",
                                        "Content-Range",
                                        "Accept-Ranges",
                                        "ETag",
                                        "Last-Modified",
                                        "Age",
                                        "Allow",
                                        "Cache-Control",
                                        "Vary",
                                        "Retry-After",
                                        NULL};
    for (size_t i = 0; names[i] != NULL; i++) {
        pass_one(names[i], "x");
        assert_string_equal(header(names[i]), "x");
        assert_int_equal(count_of(names[i]), 1);
    }
}

static void what_guards_the_origin_is_always_sent(void **state) {
    (void)state;
    static const int statuses[] = {200, 204, 304, 307, 404, 500};
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        pass(statuses[i], (const struct upstream_header[]){{"X-Content-Type-Options", "none"},
                                                           {"Content-Security-Policy", "script-src *"},
                                                           {NULL, NULL}});
        assert_string_equal(header("X-Content-Type-Options"), "nosniff");
        assert_string_equal(header("Content-Security-Policy"), POLICY);
        assert_string_equal(header("Cache-Control"), "no-store");
        assert_int_equal(count_of("X-Content-Type-Options"), 1);
        assert_int_equal(count_of("Content-Security-Policy"), 1);
    }
}

static void check_type(const char *type, const char *expected) {
    pass_one("content-type", type);
    bool is_download = strcmp(expected, "download") == 0;
    assert_string_equal(header("Content-Type"), is_download ? "application/octet-stream" : expected);
    assert_int_equal(count_of("Content-Type"), 1);
    if (is_download)
        assert_string_equal(header("Content-Disposition"), "attachment");
    else
        assert_null(header("Content-Disposition"));
}

static void nothing_is_served_that_a_browser_would_run(void **state) {
    (void)state;
    static const char text[] = "text/plain; charset=utf-8";
    static const char *const texts[] = {"text/html",
                                        "Text/HTML; charset=utf-8",
                                        "text/html;",
                                        "application/xhtml+xml",
                                        "image/svg+xml",
                                        "text/xml",
                                        "application/xml; charset=x",
                                        "application/rss+xml",
                                        "application/xslt+xml",
                                        "text/javascript",
                                        "application/javascript",
                                        "application/x-javascript",
                                        "application/ecmascript",
                                        "text/css",
                                        "text/vbscript",
                                        "text/cache-manifest",
                                        "text/x-component",
                                        NULL};
    static const char *const downloads[] = {"application/x-shockwave-flash",
                                            "multipart/x-mixed-replace; boundary=a",
                                            "message/rfc822",
                                            "application/odd",
                                            "application/wasm",
                                            "*/*",
                                            "unknown/unknown",
                                            "",
                                            " ",
                                            "html",
                                            "text/",
                                            "/html",
                                            "text /html",
                                            "application/json, text/html",
                                            "text/plain,text/html",
                                            "text/plain; charset=x, text/html",
                                            "text/plain; charset=\"x, text/html\"",
                                            "text/plain; charset=\"x",
                                            "text/plain text/html",
                                            "text/plain; =x",
                                            "text/plain; charset",
                                            "text/plain; charset=",
                                            "text/html\x01",
                                            "text/plain\xc2\xa0",
                                            NULL};
    for (size_t i = 0; texts[i] != NULL; i++)
        check_type(texts[i], text);
    for (size_t i = 0; downloads[i] != NULL; i++)
        check_type(downloads[i], "download");
}

static void harmless_types_are_served_as_they_are(void **state) {
    (void)state;
    static const char *const types[] = {"application/json",
                                        "Application/JSON;charset=UTF-8",
                                        "application/problem+json",
                                        "text/plain",
                                        "text/plain; charset=\"utf-8\"",
                                        "text/event-stream",
                                        "text/csv; header=present",
                                        "image/png",
                                        "audio/mpeg",
                                        "video/mp4",
                                        "application/octet-stream",
                                        "application/x-ndjson",
                                        NULL};
    for (size_t i = 0; types[i] != NULL; i++)
        check_type(types[i], types[i]);
}

static void a_type_is_told_once_or_not_at_all(void **state) {
    (void)state;
    pass(200, (const struct upstream_header[]){{NULL, NULL}});
    assert_string_equal(header("Content-Type"), "application/octet-stream");
    assert_string_equal(header("Content-Disposition"), "attachment");
    pass(200, (const struct upstream_header[]){
                  {"Content-Type", "text/plain"}, {"Content-Type", "text/html"}, {NULL, NULL}});
    assert_string_equal(header("Content-Type"), "application/octet-stream");
    assert_int_equal(count_of("Content-Type"), 1);
    pass(304, (const struct upstream_header[]){{NULL, NULL}});
    assert_null(header("Content-Type"));
    assert_null(header("Content-Disposition"));
}

static void a_disposition_is_the_upstreams_if_its_type_is(void **state) {
    (void)state;
    pass(200, (const struct upstream_header[]){{"Content-Type", "image/png"},
                                               {"Content-Disposition", "inline; filename=a.png"},
                                               {NULL, NULL}});
    assert_string_equal(header("Content-Disposition"), "inline; filename=a.png");
    pass(200, (const struct upstream_header[]){
                  {"Content-Type", "x/y"}, {"Content-Disposition", "inline; filename=a.html"}, {NULL, NULL}});
    assert_string_equal(header("Content-Disposition"), "attachment");
    assert_int_equal(count_of("Content-Disposition"), 1);
}

static void the_type_is_kept_whatever_comes_before_it(void **state) {
    (void)state;
    enum { COUNT = 500 };
    static struct upstream_header headers[COUNT + 2];
    static char names[COUNT][16];
    for (size_t i = 0; i < COUNT; i++) {
        snprintf(names[i], sizeof(names[i]), "X-Fill-%zu", i);
        headers[i] = (struct upstream_header){i % 3 == 0   ? "Vary"
                                              : i % 3 == 1 ? "Cache-Control"
                                                           : names[i],
                                              "x"};
    }
    headers[COUNT] = (struct upstream_header){"Content-Type", "application/json"};
    pass(200, headers);
    assert_string_equal(header("Content-Type"), "application/json");
    assert_string_equal(header("Vary"), "*");
    assert_string_equal(header("Cache-Control"), "no-store");
    assert_string_equal(header("X-Content-Type-Options"), "nosniff");
    assert_int_equal(request.reply.header_count, 5);
}

static void lists_are_passed_line_by_line(void **state) {
    (void)state;
    pass(200, (const struct upstream_header[]){{"Vary", "Accept"},
                                               {"Cache-Control", "private"},
                                               {"Vary", "Cookie"},
                                               {"Cache-Control", "max-age=1"},
                                               {"ETag", "a"},
                                               {"ETag", "b"},
                                               {NULL, NULL}});
    assert_int_equal(count_of("Vary"), 2);
    assert_int_equal(count_of("Cache-Control"), 2);
    assert_int_equal(count_of("ETag"), 1);
    assert_string_equal(header("ETag"), "a");
}

static void check_location(const char *location, const char *expected) {
    pass(307, (const struct upstream_header[]){{"Location", location}, {NULL, NULL}});
    if (expected == NULL)
        assert_null(header("Location"));
    else
        assert_string_equal(header("Location"), expected);
}

static void a_location_leads_to_the_upstream_or_nowhere(void **state) {
    (void)state;
    check_location(BASE_URL "/list-apps", "/list-apps");
    check_location(BASE_URL "/list-apps?a=b#c", "/list-apps?a=b#c");
    check_location("/adk/list-apps", "/list-apps");
    check_location("/adkx/list-apps", NULL);
    check_location("/adk/own/tasks?all=true", NULL);
    check_location(BASE_URL "/own/", NULL);
    check_location("/list-apps", NULL); /* outside of what the gateway shows */
    check_location(BASE_URL, NULL);
    check_location(BASE_URL "evil", NULL);
    check_location(BASE_URL "//evil/", NULL);
    check_location("/adk//evil/", NULL);
    check_location("/adk/\\evil/", NULL);
    check_location("/adk/\t/evil/", NULL);
    check_location("http://elsewhere/adk/x", NULL);
    check_location("https://agent:8000/adk/x", NULL);
    check_location("//evil/adk/x", NULL);
    check_location("javascript:alert(1)", NULL);
    check_location("list-apps", NULL);
    check_location("", NULL);
    check_location("/", NULL);
}

/* The library has a bounded room for the head of an answer, and sends none that does not fit. */
static void what_is_too_long_does_not_pass(void **state) {
    (void)state;
    static char half[5000], whole[10000], type[10000];
    memset(half, 'x', sizeof(half) - 1);
    memset(whole, 'x', sizeof(whole) - 1);
    snprintf(type, sizeof(type), "text/plain; a=%.9000s", whole);
    pass(200, (const struct upstream_header[]){
                  {"ETag", half}, {"Last-Modified", half}, {"Age", "1"}, {NULL, NULL}});
    assert_string_equal(header("ETag"), half);
    assert_null(header("Last-Modified"));
    assert_string_equal(header("Age"), "1");
    pass(200, (const struct upstream_header[]){{"Content-Type", type},
                                               {"Cache-Control", whole},
                                               {"Vary", whole},
                                               {"ETag", whole},
                                               {NULL, NULL}});
    assert_string_equal(header("Content-Type"), "application/octet-stream");
    assert_string_equal(header("Cache-Control"), "no-store");
    assert_string_equal(header("Vary"), "*");
    assert_null(header("ETag"));
    assert_int_equal(count_of("Vary"), 1);
    pass(200,
         (const struct upstream_header[]){
             {"Cache-Control", half}, {"Cache-Control", half}, {"Content-Type", "text/csv"}, {NULL, NULL}});
    assert_string_equal(header("Cache-Control"), "no-store");
    assert_int_equal(count_of("Cache-Control"), 1);
    pass(200, (const struct upstream_header[]){
                  {"Content-Type", "image/png"}, {"Content-Disposition", whole}, {NULL, NULL}});
    assert_string_equal(header("Content-Type"), "image/png");
    assert_string_equal(header("Content-Disposition"), "attachment"); /* it may have said that */
}

/* A reply of 429 or 503 gets its Retry-After when it is decided. */
static void a_refusal_has_one_retry_after(void **state) {
    (void)state;
    clock_fake(1000, 1700000000000);
    pass(503, (const struct upstream_header[]){{"Retry-After", "7"}, {NULL, NULL}});
    assert_null(header("Retry-After"));
    assert_int_equal(request.reply.retry_after_ms, 7000);
    pass(429, (const struct upstream_header[]){{"Retry-After", "never"}, {NULL, NULL}});
    assert_null(header("Retry-After"));
    assert_int_equal(request.reply.retry_after_ms, 0); /* the usual */
    pass(301, (const struct upstream_header[]){{"Retry-After", "7"}, {NULL, NULL}});
    assert_string_equal(header("Retry-After"), "7");
    clock_real();
}

#define TEST(name) cmocka_unit_test_teardown(name, tear_down)

static void the_agents_own_pages_keep_their_type_and_policy(void **state) {
    (void)state;
    static const char *const types[] = {"text/html; charset=utf-8", "text/javascript", "image/svg+xml",
                                        "text/css", "font/woff2"};
    trust = PASSED_AS_UI;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        pass_one("Content-Type", types[i]);
        assert_string_equal(header("Content-Type"), types[i]);
        assert_string_equal(header("Content-Security-Policy"), "frame-ancestors 'self'");
        assert_string_equal(header("X-Content-Type-Options"), "nosniff");
    }
    pass_one("Content-Security-Policy", "default-src 'self'");
    assert_string_equal(header("Content-Security-Policy"), "default-src 'self'");
    assert_int_equal(count_of("Content-Security-Policy"), 1);
    assert_string_equal(header("Content-Type"), "application/octet-stream");
    pass_one("Content-Type", "text/html, text/plain");
    assert_string_equal(header("Content-Type"), "application/octet-stream");
    pass_one("Set-Cookie", "a=b");
    assert_null(header("Set-Cookie"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(no_header_passes_that_speaks_to_a_browser_or_a_proxy),
        TEST(what_a_client_needs_passes),
        TEST(what_guards_the_origin_is_always_sent),
        TEST(nothing_is_served_that_a_browser_would_run),
        TEST(harmless_types_are_served_as_they_are),
        TEST(a_type_is_told_once_or_not_at_all),
        TEST(a_disposition_is_the_upstreams_if_its_type_is),
        TEST(the_type_is_kept_whatever_comes_before_it),
        TEST(lists_are_passed_line_by_line),
        TEST(a_location_leads_to_the_upstream_or_nowhere),
        TEST(what_is_too_long_does_not_pass),
        TEST(a_refusal_has_one_retry_after),
        TEST(the_agents_own_pages_keep_their_type_and_policy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
