/* upstream: whichever of libcurl's allocations fails, a stream ends at once and truthfully, and the next one
 * is well. Its memory functions are ours, so that no other allocation is counted. */
#include "tests/unit/held_stream.h"

#include <curl/curl.h>
#include <stdatomic.h>

/* Also used by the thread in which libcurl looks up a host's name. */
static atomic_size_t fail_at; /* the n-th allocation from now on fails; 0: none does */
static atomic_size_t asked;

static bool fails(void) {
    return atomic_fetch_add(&asked, 1) + 1 == atomic_load(&fail_at);
}

static void *scarce_malloc(size_t size) {
    return fails() ? NULL : malloc(size);
}

static void *scarce_calloc(size_t count, size_t size) {
    return fails() ? NULL : calloc(count, size);
}

static void *scarce_realloc(void *old, size_t size) {
    return fails() ? NULL : realloc(old, size);
}

static char *scarce_strdup(const char *text) {
    return fails() ? NULL : strdup(text);
}

/** Two pieces, so that the stream can be held before each. */
static void serve_two_events(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    while (raw_server_read(server, fd) && raw_server_write(fd, HEAD_CHUNKED CHUNK_A)) {
        usleep(1000);
        raw_server_write(fd, CHUNK_A LAST_CHUNK);
    }
}

#define ALL_TOLD "sent|message:a|message:a|end|"

/** curl takes an address that it has no memory for as one that it cannot reach. */
static void check_end(const struct recorder *recorder, size_t n) {
    enum upstream_end end = recorder->result.end;
    bool is_whole = strcmp(recorder->told, ALL_TOLD) == 0;
    bool is_unsent = strcmp(recorder->told, "end|") == 0;
    bool is_true = end == UPSTREAM_COMPLETED
                       ? is_whole
                       : end == UPSTREAM_INTERNAL || (end == UPSTREAM_CONNECT && is_unsent);
    if (!is_true)
        fail_msg("allocation %zu: end %d, %s, %s", n, (int)end, recorder->message, recorder->told);
}

/** Runs a stream while allocation `n` fails, and another one. Whether there were as many as `n`. */
static bool try_allocation(size_t n) {
    struct fixture fixture;
    struct held_recorder held;
    fixture_begin(&fixture, serve_two_events);
    fixture.settings.first_byte_timeout_ms = fixture.settings.idle_timeout_ms = 3LL * PATIENCE_MS;
    held_begin(&held, &fixture);
    asked = 0;
    fail_at = n;
    if (held_do(&held))
        check_end(&held.recorder, n);
    bool failed = asked >= n;
    fail_at = 0;
    assert_true(held_do(&held));
    assert_int_equal(held.recorder.result.end, UPSTREAM_COMPLETED);
    assert_string_equal(held.recorder.told, ALL_TOLD);
    held_end(&held);
    return failed;
}

static void stream_ends_truthfully_whichever_allocation_of_curl_fails(void **state) {
    (void)state;
    size_t n = 1;
    while (try_allocation(n))
        n++;
    assert_true(n > 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stream_ends_truthfully_whichever_allocation_of_curl_fails),
    };
    if (curl_global_init_mem(CURL_GLOBAL_DEFAULT, scarce_malloc, free, scarce_realloc, scarce_strdup,
                             scarce_calloc) != CURLE_OK)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    curl_global_cleanup();
    return failed;
}
