/* upstream/redis_address: a name is looked up by a thread that nobody waits for. Here, what looks it up is
 * the test's. */
#include "tests/unit/cache_fixture.h"
#include "tests/unit/redis_gateway.h"
#include "tests/unit/redis_server.h"
#include "upstream/redis_address.h"

#include <dirent.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <sys/un.h>

/* Nobody may wait for that long, and no thread does if the test fails. */
#define LOOK_UP_S 20

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool is_held;
static int answer; /* 0: it is 127.0.0.1 */
static unsigned begun, ended;

/* In the place of libc's. The port is at hand, the name is not looked at. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *wanted,
                struct addrinfo **ret_addresses) {
    struct timespec until;
    (void)name;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += LOOK_UP_S;
    pthread_mutex_lock(&lock);
    begun++;
    pthread_cond_broadcast(&changed);
    while (is_held && pthread_cond_timedwait(&changed, &lock, &until) == 0)
        ;
    int result = answer;
    ended++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    if (result != 0)
        return result;
    struct {
        struct addrinfo head;
        struct sockaddr_in address;
    } *found = calloc(1, sizeof(*found));
    assert(found != NULL);
    found->address = (struct sockaddr_in){.sin_family = AF_INET,
                                          .sin_port = htons((uint16_t)strtoul(service, NULL, 10)),
                                          .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    found->head = (struct addrinfo){.ai_family = AF_INET,
                                    .ai_socktype = wanted->ai_socktype,
                                    .ai_addrlen = sizeof(found->address),
                                    .ai_addr = (struct sockaddr *)&found->address};
    *ret_addresses = &found->head;
    return 0;
}

void freeaddrinfo(struct addrinfo *addresses) {
    free(addresses);
}

static void set_answer(int result) {
    pthread_mutex_lock(&lock);
    answer = result;
    pthread_mutex_unlock(&lock);
}

static void hold(bool holds) {
    pthread_mutex_lock(&lock);
    is_held = holds;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void await_begun(unsigned count) {
    pthread_mutex_lock(&lock);
    while (begun < count)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static unsigned begun_now(void) {
    pthread_mutex_lock(&lock);
    unsigned count = begun;
    pthread_mutex_unlock(&lock);
    return count;
}

static unsigned ended_now(void) {
    pthread_mutex_lock(&lock);
    unsigned count = ended;
    pthread_mutex_unlock(&lock);
    return count;
}

static void await_ended(unsigned count) {
    pthread_mutex_lock(&lock);
    while (ended < count)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static size_t threads_now(void) {
    size_t count = 0;
    DIR *threads = opendir("/proc/self/task");
    assert_non_null(threads);
    while (readdir(threads) != NULL)
        count++;
    closedir(threads);
    return count;
}

static size_t threads_before;

static int set_up(void **state) {
    (void)state;
    fixture_reset();
    threads_before = threads_now();
    pthread_mutex_lock(&lock);
    begun = ended = 0;
    is_held = false;
    answer = 0;
    pthread_mutex_unlock(&lock);
    return 0;
}

/* Valgrind takes the memory of a thread that is about to end for lost. */
static int tear_down(void **state) {
    (void)state;
    hold(false);
    while (threads_now() > threads_before)
        sched_yield();
    return 0;
}

/* ---- the resolver -------------------------------------------------------------------------------- */

static struct redis_resolver *resolver_of(const char *text) {
    struct redis_address address;
    assert_true(redis_address_parse(text, &address));
    struct redis_resolver *resolver = redis_resolver_create(&address);
    assert_non_null(resolver);
    return resolver;
}

static struct sockaddr_storage place_of(const char *text) {
    struct sockaddr_storage place;
    struct redis_resolver *resolver = resolver_of(text);
    assert_true(redis_resolver_get(resolver, &place));
    redis_resolver_destroy(resolver);
    return place;
}

static void numbers_and_paths_are_not_looked_up(void **state) {
    (void)state;
    struct sockaddr_storage place = place_of("127.0.0.1:7000");
    const struct sockaddr_in *four = (struct sockaddr_in *)&place;
    assert_int_equal(four->sin_family, AF_INET);
    assert_int_equal(ntohl(four->sin_addr.s_addr), INADDR_LOOPBACK);
    assert_int_equal(ntohs(four->sin_port), 7000);
    place = place_of("[::1]");
    const struct sockaddr_in6 *six = (struct sockaddr_in6 *)&place;
    assert_int_equal(six->sin6_family, AF_INET6);
    assert_memory_equal(&six->sin6_addr, &in6addr_loopback, sizeof(in6addr_loopback));
    assert_int_equal(ntohs(six->sin6_port), 6379);
    place = place_of("unix:/run/redis.sock");
    assert_int_equal(place.ss_family, AF_UNIX);
    assert_string_equal(((struct sockaddr_un *)&place)->sun_path, "/run/redis.sock");
    assert_int_equal(begun_now(), 0);
}

/* Asks until it is known. */
static struct sockaddr_in await_place(struct redis_resolver *resolver) {
    struct sockaddr_storage place;
    while (!redis_resolver_get(resolver, &place))
        sched_yield();
    assert_int_equal(place.ss_family, AF_INET);
    return *(struct sockaddr_in *)&place;
}

static void there_is_one_look_up_at_a_time(void **state) {
    (void)state;
    struct sockaddr_storage place;
    struct redis_resolver *resolver = resolver_of("redis.example:7000");
    hold(true);
    assert_false(redis_resolver_get(resolver, &place));
    await_begun(1);
    assert_false(redis_resolver_get(resolver, &place));
    hold(false);
    assert_int_equal(ntohs(await_place(resolver).sin_port), 7000);
    await_place(resolver);
    assert_int_equal(ended_now(), 1);
    redis_resolver_destroy(resolver);
}

static void what_was_not_found_is_looked_up_again(void **state) {
    (void)state;
    struct sockaddr_storage place;
    struct redis_resolver *resolver = resolver_of("redis.example");
    set_answer(EAI_AGAIN);
    assert_false(redis_resolver_get(resolver, &place));
    await_ended(1);
    hold(true);
    while (begun_now() < 2)
        assert_false(redis_resolver_get(resolver, &place));
    set_answer(0);
    hold(false);
    await_place(resolver);
    assert_int_equal(ended_now(), 2);
    redis_resolver_destroy(resolver);
}

static void what_was_found_is_looked_up_again_after_a_while(void **state) {
    (void)state;
    struct sockaddr_storage place;
    struct redis_resolver *resolver = resolver_of("redis.example");
    await_place(resolver);
    hold(true);
    clock_fake(clock_mono_ms() + 10000, clock_unix_ms());
    assert_false(redis_resolver_get(resolver, &place));
    await_begun(2);
    clock_real();
    redis_resolver_destroy(resolver); /* does not wait either */
    assert_int_equal(ended_now(), 1);
}

/* ---- the gateway --------------------------------------------------------------------------------- */

static void redis_is_found_by_its_name(void **state) {
    (void)state;
    struct redis_server server;
    struct gateway gateway;
    char address[64];
    redis_server_begin(&server, NULL);
    snprintf(address, sizeof(address), "redis.example:%d", server.port);
    gateway_open(&gateway, address, NULL, 5000);
    await_state(&gateway, REDIS_UP);
    gateway_end(&gateway);
    redis_server_end(&server);
}

static void redis_whose_name_nobody_knows_is_away(void **state) {
    (void)state;
    struct gateway gateway;
    set_answer(EAI_NONAME);
    gateway_open(&gateway, "redis.example", NULL, 5000);
    while (begun_now() < 2)
        worker_turn(&gateway.worker);
    ask_upstream(&gateway, "key");
    assert_int_equal(info_of(&gateway).redis_state, REDIS_AWAY);
    gateway_end(&gateway);
}

static void nobody_waits_for_a_look_up(void **state) {
    (void)state;
    struct gateway gateway;
    hold(true);
    gateway_open(&gateway, "redis.example", NULL, 5000);
    worker_turn(&gateway.worker);
    await_begun(1);
    ask_upstream(&gateway, "key");
    gateway_end(&gateway);
    assert_int_equal(ended_now(), 0);
}

static void *do_nothing(void *context) {
    return context;
}

/* A sanitizer begins a thread of its own beside the first one, which is none of those that are waited for. */
static int begin_threads(void **state) {
    pthread_t thread;
    (void)state;
    return pthread_create(&thread, NULL, do_nothing, NULL) != 0 || pthread_join(thread, NULL) != 0;
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(numbers_and_paths_are_not_looked_up),
        TEST(there_is_one_look_up_at_a_time),
        TEST(what_was_not_found_is_looked_up_again),
        TEST(what_was_found_is_looked_up_again_after_a_while),
        TEST(redis_is_found_by_its_name),
        TEST(redis_whose_name_nobody_knows_is_away),
        TEST(nobody_waits_for_a_look_up),
    };
#undef TEST
    signal(SIGPIPE, SIG_IGN); /* as the program does */
    return cmocka_run_group_tests(tests, begin_threads, NULL);
}
