/* What the tests of the limiter share: callers on one loop, a fake clock, and what they do in a line each. */
#ifndef SLUICE_TESTS_UNIT_LIMITER_CALLERS_H
#define SLUICE_TESTS_UNIT_LIMITER_CALLERS_H

#include "base/clock.h"
#include "tests/support/unit.h"
#include "upstream/limiter.h"

#define CALLERS 32

/* One that wants to call. */
struct caller {
    struct limiter_ticket ticket;
    int served_as;    /* the how many-th its item was handled for; 0: not yet */
    bool was_left;    /* its item came after it had left */
    bool was_refused; /* its item came and said no */
};

static const struct limiter_report good = {.completed = true, .latency_ms = 10};
static const struct limiter_report overloaded = {.overloaded = true, .latency_ms = -1};
static const struct limiter_report unused = {.unused = true};

static uv_loop_t loop;
static struct inbox inbox;
static struct limiter *limiter;
static struct caller callers[CALLERS];
static int served;

static inline int set_up(void **state) {
    (void)state;
    clock_fake(1000000, 1700000000000);
    memset(callers, 0, sizeof(callers));
    served = 0;
    assert_int_equal(uv_loop_init(&loop), 0);
    return inbox_init(&inbox, &loop);
}

static inline int tear_down(void **state) {
    (void)state;
    limiter_destroy(limiter);
    limiter = NULL;
    clock_real();
    inbox_close(&inbox);
    uv_run(&loop, UV_RUN_DEFAULT);
    inbox_finish(&inbox);
    return uv_loop_close(&loop);
}

static inline void create(struct limiter_settings settings) {
    limiter = limiter_create(&settings);
    assert_non_null(limiter);
}

static inline void on_item(struct inbox_item *item) {
    struct caller *caller = CONTAINER_OF(item, struct caller, ticket.item);
    if (limiter_receive(limiter, &caller->ticket))
        caller->served_as = ++served;
    else if (caller->ticket.state == LIMITER_TICKET_REFUSED)
        caller->was_refused = true;
    else
        caller->was_left = true;
}

static inline enum limiter_result enter(int i) {
    callers[i].ticket.inbox = &inbox;
    callers[i].ticket.item.handle = on_item;
    callers[i].served_as = 0;
    return limiter_enter(limiter, &callers[i].ticket);
}

/* True: the ticket is free at once. */
static inline bool leave(int i, struct limiter_report report) {
    return limiter_leave(limiter, &callers[i].ticket, &report);
}

static inline void turn(void) {
    uv_run(&loop, UV_RUN_NOWAIT);
}

static inline void wait_ms(int64_t ms) {
    clock_fake_advance(ms);
    limiter_poll(limiter);
    turn();
}

static inline void leave_those_in(enum limiter_ticket_state state) {
    for (int i = 0; i < CALLERS; i++) {
        if (callers[i].ticket.state == state)
            assert_true(leave(i, unused));
    }
}

/* Whoever is in it leaves, those first that wait. */
static inline void leave_all(void) {
    turn();
    leave_those_in(LIMITER_TICKET_WAITING);
    leave_those_in(LIMITER_TICKET_GRANTED);
}

/* Calls that go well, one after the other. */
static inline void call_well(int count) {
    for (int i = 0; i < count; i++) {
        assert_int_equal(enter(CALLERS - 1), LIMITER_GRANTED);
        assert_true(leave(CALLERS - 1, good));
    }
}

static inline void call(struct limiter_report report) {
    assert_int_equal(enter(CALLERS - 1), LIMITER_GRANTED);
    assert_true(leave(CALLERS - 1, report));
}

static inline struct limiter_info info_of(void) {
    struct limiter_info info;
    limiter_get_info(limiter, &info);
    return info;
}

#endif
