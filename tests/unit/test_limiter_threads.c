/* upstream/limiter with several threads, each with a loop and an inbox: whatever races, there are no more
 * calls than may be, nobody is forgotten, and in the end all slots and tokens are back. */
#include "base/clock.h"
#include "tests/support/unit.h"
#include "upstream/limiter.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define THREADS 4
#define CLIENTS 8
#define CALLS 2000 /* of each thread, at least */
#define SLOTS 6
#define TOKENS 20000

struct hammer;

struct client {
    struct limiter_ticket ticket;
    struct hammer *hammer;
    enum { CLIENT_OUT, CLIENT_WAITS, CLIENT_CALLS, CLIENT_LEFT } state;
};

/* One thread, and those that call on it. */
struct hammer {
    pthread_t thread;
    uv_loop_t loop;
    struct inbox inbox;
    unsigned seed;
    struct client clients[CLIENTS];
    uint64_t used; /* tokens */
    uint64_t left_late;
};

static const struct limiter_report unused = {.unused = true};

static struct limiter *limiter;
static struct hammer hammers[THREADS];
static pthread_barrier_t meeting;
static atomic_int calling;

static unsigned draw(struct hammer *hammer, unsigned below) {
    return (unsigned)rand_r(&hammer->seed) % below;
}

static void begin_call(struct client *client) {
    client->state = CLIENT_CALLS;
    assert_true(atomic_fetch_add(&calling, 1) < SLOTS);
}

static void end_call(struct client *client) {
    struct limiter_report report = {
        .unused = draw(client->hammer, 8) == 0,
        .overloaded = draw(client->hammer, 50) == 0,
        .completed = true,
        .latency_ms = 1,
        .retry_after_ms = draw(client->hammer, 100) == 0 ? 3 : 0,
    };
    atomic_fetch_sub(&calling, 1);
    assert_true(limiter_leave(limiter, &client->ticket, &report));
    client->hammer->used += !report.unused;
    client->state = CLIENT_OUT;
}

static void stop_waiting(struct client *client) {
    bool is_free = limiter_leave(limiter, &client->ticket, &unused);
    client->state = is_free ? CLIENT_OUT : CLIENT_LEFT;
    client->hammer->left_late += !is_free;
}

static void on_client_item(struct inbox_item *item) {
    struct client *client = CONTAINER_OF(item, struct client, ticket.item);
    bool is_granted = limiter_receive(limiter, &client->ticket);
    assert_int_equal(client->state, is_granted ? CLIENT_WAITS : CLIENT_LEFT);
    if (is_granted)
        begin_call(client);
    else
        client->state = CLIENT_OUT;
}

static void ask(struct client *client) {
    switch (limiter_enter(limiter, &client->ticket)) {
    case LIMITER_GRANTED:
        begin_call(client);
        break;
    case LIMITER_WAITS:
        client->state = CLIENT_WAITS;
        break;
    case LIMITER_FULL:
        break;
    }
}

static void step(struct hammer *hammer) {
    struct client *client = &hammer->clients[draw(hammer, CLIENTS)];
    if (client->state == CLIENT_OUT)
        ask(client);
    else if (client->state == CLIENT_CALLS)
        end_call(client);
    else if (client->state == CLIENT_WAITS && draw(hammer, 4) == 0)
        stop_waiting(client);
    if (draw(hammer, 16) == 0)
        clock_fake_advance(1);
    if (draw(hammer, 8) == 0)
        limiter_poll(limiter);
    if (draw(hammer, 4) == 0)
        uv_run(&hammer->loop, UV_RUN_NOWAIT);
}

static void leave_each(struct hammer *hammer) {
    for (int i = 0; i < CLIENTS; i++) {
        struct client *client = &hammer->clients[i];
        if (client->state == CLIENT_WAITS)
            stop_waiting(client);
        else if (client->state == CLIENT_CALLS)
            end_call(client);
        while (client->state == CLIENT_LEFT) /* a lost item would wait here for ever */
            uv_run(&hammer->loop, UV_RUN_ONCE);
    }
}

static void *run_hammer(void *argument) {
    struct hammer *hammer = argument;
    inbox_adopt(&hammer->inbox);
    pthread_barrier_wait(&meeting);
    while (hammer->used < CALLS)
        step(hammer);
    leave_each(hammer);
    pthread_barrier_wait(&meeting); /* nobody posts any more */
    inbox_close(&hammer->inbox);
    uv_run(&hammer->loop, UV_RUN_DEFAULT);
    inbox_finish(&hammer->inbox);
    assert_int_equal(uv_loop_close(&hammer->loop), 0);
    return NULL;
}

static void start(struct hammer *hammer, unsigned seed) {
    memset(hammer, 0, sizeof(*hammer));
    hammer->seed = seed;
    assert_int_equal(uv_loop_init(&hammer->loop), 0);
    assert_int_equal(inbox_init(&hammer->inbox, &hammer->loop), 0);
    for (int i = 0; i < CLIENTS; i++) {
        struct client *client = &hammer->clients[i];
        client->hammer = hammer;
        client->ticket.inbox = &hammer->inbox;
        client->ticket.item.handle = on_client_item;
    }
}

static void limiter_has_all_slots_and_tokens_back_whatever_threads_do(void **state) {
    (void)state;
    uint64_t used = 0, left_late = 0;
    static const struct limiter_settings settings = {
        .rate_calls = TOKENS,
        .rate_per_ms = 1000000000000, /* time brings none */
        .concurrency_max = SLOTS,
        .adaptive = true,
        .waiting_max = CLIENTS / 2,
    };
    clock_fake(1000000, 1700000000000);
    limiter = limiter_create(&settings);
    assert_non_null(limiter);
    assert_int_equal(pthread_barrier_init(&meeting, NULL, THREADS), 0);
    for (unsigned i = 0; i < THREADS; i++)
        start(&hammers[i], i + 1);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&hammers[i].thread, NULL, run_hammer, &hammers[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(hammers[i].thread, NULL);
        used += hammers[i].used;
        left_late += hammers[i].left_late;
    }
    pthread_barrier_destroy(&meeting);
    struct limiter_info info;
    limiter_get_info(limiter, &info);
    assert_int_equal(info.slots_used, 0);
    assert_int_equal(info.waiting, 0);
    assert_int_equal(info.tokens, TOKENS - used);
    assert_int_equal(atomic_load(&calling), 0);
    /* It has come to all that it is about. */
    assert_true(info.waited > 0 && info.refused > 0 && info.throttled > 0 && left_late > 0);
    limiter_destroy(limiter);
    clock_real();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limiter_has_all_slots_and_tokens_back_whatever_threads_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
