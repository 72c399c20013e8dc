/* A rate limiter with slots. See limiter.h for the contract.
 *
 * A call needs a token and a slot, and gets both in the order of coming: a ticket that is embedded in the call
 * waits in one queue, and nobody overtakes it. Tickets are granted under the lock, on the thread that releases
 * a slot or polls, and are posted to the inbox of the call's worker after that. There is no timer here: the
 * calls that wait poll.
 */
#include "upstream/limiter.h"

#include "base/broken_state.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/token_bucket.h"

#include <assert.h>
#include <stdlib.h>

/* A call changes the mean time of the calls by this part of the difference. */
#define HELD_MEAN_PART 8

/* cppcheck-suppress unusedStructMember ; the macros of sys/queue.h use them */
TAILQ_HEAD(ticket_line, limiter_ticket);

struct limiter {
    struct limiter_settings settings;
    struct lock lock;
    struct ticket_line line; /* those that wait, the longest first */
    uint64_t waiting;        /* in the line */
    uint64_t posted;         /* out of the line, not received yet */
    uint64_t slots;          /* that may be used now */
    uint64_t slots_used;     /* also counted if there is no limit */
    uint64_t good;           /* calls since the slots changed */
    int64_t settled_mono_ms; /* calls that were granted before it do not cut the slots */
    struct token_rate rate;
    struct token_bucket bucket;
    int64_t pause_until_mono_ms;
    int64_t held_mean_ms; /* how long calls keep their slots */
    uint64_t waited, refused, throttled;
};

static int64_t max_ms(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* a / b, b > 0, rounded up; 0 if a is not above 0. */
static int64_t divide_up(int64_t a, int64_t b) {
    return a <= 0 ? 0 : (a - 1) / b + 1;
}

/* ---- the slots ----------------------------------------------------------------------------------- */

static bool has_slots(const struct limiter *limiter) {
    return limiter->settings.concurrency_max > 0;
}

static void cut_slots_locked(struct limiter *limiter, int64_t now_ms) {
    lock_assert_held(&limiter->lock);
    uint64_t half = limiter->slots / 2;
    limiter->slots = half > limiter->settings.concurrency_min ? half : limiter->settings.concurrency_min;
    limiter->settled_mono_ms = now_ms + LIMITER_CUT_INTERVAL_MS;
    limiter->good = 0;
    limiter->throttled++;
}

static void add_good_locked(struct limiter *limiter) {
    lock_assert_held(&limiter->lock);
    if (limiter->slots == limiter->settings.concurrency_max || ++limiter->good < limiter->slots)
        return;
    limiter->slots++;
    limiter->good = 0;
}

static void add_held_locked(struct limiter *limiter, int64_t held_ms) {
    lock_assert_held(&limiter->lock);
    bool is_first = limiter->held_mean_ms == 0;
    limiter->held_mean_ms += is_first ? held_ms : (held_ms - limiter->held_mean_ms) / HELD_MEAN_PART;
}

/* Lets the slots follow what a call has told. */
static void adapt_locked(struct limiter *limiter, int64_t granted_mono_ms,
                         const struct limiter_report *report, int64_t now_ms) {
    lock_assert_held(&limiter->lock);
    int64_t target_ms = limiter->settings.latency_target_ms;
    bool is_late = target_ms > 0 && report->latency_ms > target_ms;
    if (!limiter->settings.adaptive)
        return;
    if (!report->overloaded && !is_late) {
        if (report->completed)
            add_good_locked(limiter);
    } else if (granted_mono_ms >= limiter->settled_mono_ms &&
               limiter->slots > limiter->settings.concurrency_min) {
        cut_slots_locked(limiter, now_ms);
    }
}

/* ---- the pause ----------------------------------------------------------------------------------- */

static int64_t paused_ms_locked(struct limiter *limiter, int64_t now_ms) {
    lock_assert_held(&limiter->lock);
    return max_ms(limiter->pause_until_mono_ms - now_ms, 0);
}

/* Whether it lasts for longer than anybody may wait. */
static bool is_shut_locked(struct limiter *limiter, int64_t now_ms) {
    lock_assert_held(&limiter->lock);
    int64_t wait_max_ms = limiter->settings.pause_wait_max_ms;
    return wait_max_ms > 0 && paused_ms_locked(limiter, now_ms) > wait_max_ms;
}

/* ---- the line ------------------------------------------------------------------------------------ */

static bool can_serve_locked(struct limiter *limiter, int64_t now_ms) {
    lock_assert_held(&limiter->lock);
    token_bucket_fill(&limiter->bucket, &limiter->rate, now_ms);
    return paused_ms_locked(limiter, now_ms) == 0 &&
           (!has_slots(limiter) || limiter->slots_used < limiter->slots) &&
           token_bucket_has(&limiter->bucket, &limiter->rate);
}

static void grant_locked(struct limiter *limiter, struct limiter_ticket *ticket, int64_t now_ms) {
    lock_assert_held(&limiter->lock);
    token_bucket_spend(&limiter->bucket, &limiter->rate);
    limiter->slots_used++;
    ticket->state = LIMITER_TICKET_GRANTED;
    ticket->granted_mono_ms = now_ms;
}

static void leave_line_locked(struct limiter *limiter, struct limiter_ticket *ticket) {
    lock_assert_held(&limiter->lock);
    TAILQ_REMOVE(&limiter->line, ticket, link);
    limiter->waiting--;
}

static void refuse_locked(struct limiter *limiter, struct limiter_ticket *ticket) {
    lock_assert_held(&limiter->lock);
    limiter->refused++;
    ticket->state = LIMITER_TICKET_REFUSED;
}

/* Moves those that need not wait any more to `settled`, which post_all() takes once the lock was released. */
static void serve_locked(struct limiter *limiter, int64_t now_ms, struct ticket_line *settled) {
    lock_assert_held(&limiter->lock);
    bool is_shut = is_shut_locked(limiter, now_ms);
    TAILQ_INIT(settled);
    while (!TAILQ_EMPTY(&limiter->line) && (is_shut || can_serve_locked(limiter, now_ms))) {
        struct limiter_ticket *ticket = TAILQ_FIRST(&limiter->line);
        leave_line_locked(limiter, ticket);
        if (is_shut)
            refuse_locked(limiter, ticket);
        else
            grant_locked(limiter, ticket, now_ms);
        ticket->posted = true;
        limiter->posted++;
        TAILQ_INSERT_TAIL(settled, ticket, link);
    }
}

/* Once a ticket is posted, its owner may free it. */
static void post_all(struct ticket_line *settled) {
    struct limiter_ticket *ticket;
    while ((ticket = TAILQ_FIRST(settled)) != NULL) {
        TAILQ_REMOVE(settled, ticket, link);
        inbox_post(ticket->inbox, &ticket->item);
    }
}

static enum limiter_result enter_locked(struct limiter *limiter, struct limiter_ticket *ticket,
                                        int64_t now_ms) {
    lock_assert_held(&limiter->lock);
    if (ticket->state != LIMITER_TICKET_OUT || ticket->posted) {
        broken_state_note("upstream/limiter.c: a ticket entered twice");
        return LIMITER_FULL;
    }
    if (can_serve_locked(limiter, now_ms)) {
        grant_locked(limiter, ticket, now_ms);
        return LIMITER_GRANTED;
    }
    if (limiter->waiting >= limiter->settings.waiting_max || is_shut_locked(limiter, now_ms)) {
        limiter->refused++;
        return LIMITER_FULL;
    }
    TAILQ_INSERT_TAIL(&limiter->line, ticket, link);
    ticket->state = LIMITER_TICKET_WAITING;
    limiter->waiting++;
    limiter->waited++;
    return LIMITER_WAITS;
}

enum limiter_result limiter_enter(struct limiter *limiter, struct limiter_ticket *ticket) {
    struct ticket_line settled;
    lock_acquire(&limiter->lock);
    int64_t now_ms = clock_mono_ms();
    serve_locked(limiter, now_ms, &settled); /* those before it: then it can be served only if none is left */
    enum limiter_result result = enter_locked(limiter, ticket, now_ms);
    lock_release(&limiter->lock);
    post_all(&settled);
    return result;
}

bool limiter_receive(struct limiter *limiter, struct limiter_ticket *ticket) {
    lock_acquire(&limiter->lock);
    assert(ticket->posted);
    ticket->posted = false;
    limiter->posted--;
    bool is_granted = ticket->state == LIMITER_TICKET_GRANTED;
    lock_release(&limiter->lock);
    return is_granted;
}

/* The end of a call that was granted. */
static void end_call_locked(struct limiter *limiter, const struct limiter_ticket *ticket,
                            const struct limiter_report *report, int64_t now_ms) {
    lock_assert_held(&limiter->lock);
    limiter->slots_used--;
    if (report->unused) {
        token_bucket_put_back(&limiter->bucket, &limiter->rate);
        return;
    }
    add_held_locked(limiter, now_ms - ticket->granted_mono_ms);
    int64_t pause_ms =
        report->retry_after_ms < LIMITER_PAUSE_MAX_MS ? report->retry_after_ms : LIMITER_PAUSE_MAX_MS;
    limiter->pause_until_mono_ms = max_ms(limiter->pause_until_mono_ms, now_ms + pause_ms);
    adapt_locked(limiter, ticket->granted_mono_ms, report, now_ms);
}

bool limiter_leave(struct limiter *limiter, struct limiter_ticket *ticket,
                   const struct limiter_report *report) {
    struct ticket_line settled;
    lock_acquire(&limiter->lock);
    int64_t now_ms = clock_mono_ms();
    if (ticket->state == LIMITER_TICKET_OUT)
        broken_state_note("upstream/limiter.c: a ticket left twice");
    token_bucket_fill(&limiter->bucket, &limiter->rate, now_ms);
    if (ticket->state == LIMITER_TICKET_WAITING)
        leave_line_locked(limiter, ticket);
    else if (ticket->state == LIMITER_TICKET_GRANTED)
        end_call_locked(limiter, ticket, report, now_ms);
    ticket->state = LIMITER_TICKET_OUT;
    bool is_free = !ticket->posted;
    serve_locked(limiter, now_ms, &settled);
    lock_release(&limiter->lock);
    post_all(&settled);
    return is_free;
}

/* ---- time ---------------------------------------------------------------------------------------- */

void limiter_poll(struct limiter *limiter) {
    struct ticket_line settled;
    lock_acquire(&limiter->lock);
    serve_locked(limiter, clock_mono_ms(), &settled);
    lock_release(&limiter->lock);
    post_all(&settled);
}

static int64_t poll_in_ms_locked(struct limiter *limiter, int64_t now_ms) {
    lock_assert_held(&limiter->lock);
    if (TAILQ_EMPTY(&limiter->line))
        return -1;
    if (can_serve_locked(limiter, now_ms)) /* time has passed since the last poll */
        return 1;
    int64_t in_ms =
        max_ms(paused_ms_locked(limiter, now_ms), token_bucket_in_ms(&limiter->bucket, &limiter->rate, 1));
    return in_ms > 0 && in_ms < LIMITER_POLL_MAX_MS ? in_ms : LIMITER_POLL_MAX_MS; /* 0: a slot is missing */
}

int64_t limiter_poll_in_ms(struct limiter *limiter) {
    lock_acquire(&limiter->lock);
    int64_t in_ms = poll_in_ms_locked(limiter, clock_mono_ms());
    lock_release(&limiter->lock);
    return in_ms;
}

/* How long those that wait, and one more, will need for their slots. */
static int64_t slots_in_ms_locked(struct limiter *limiter) {
    lock_assert_held(&limiter->lock);
    if (!has_slots(limiter) || (limiter->waiting == 0 && limiter->slots_used < limiter->slots))
        return 0;
    int64_t before = (int64_t)limiter->waiting + 1;
    return max_ms(divide_up(before * limiter->held_mean_ms, (int64_t)limiter->slots), 1);
}

int64_t limiter_retry_after_ms(struct limiter *limiter) {
    lock_acquire(&limiter->lock);
    int64_t now_ms = clock_mono_ms();
    token_bucket_fill(&limiter->bucket, &limiter->rate, now_ms);
    int64_t bucket_ms = token_bucket_in_ms(&limiter->bucket, &limiter->rate, limiter->waiting + 1);
    int64_t in_ms = max_ms(paused_ms_locked(limiter, now_ms), max_ms(bucket_ms, slots_in_ms_locked(limiter)));
    lock_release(&limiter->lock);
    return in_ms;
}

bool limiter_would_take(struct limiter *limiter, int64_t *ret_retry_after_ms) {
    lock_acquire(&limiter->lock);
    int64_t now_ms = clock_mono_ms();
    bool is_shut = is_shut_locked(limiter, now_ms);
    *ret_retry_after_ms = is_shut ? paused_ms_locked(limiter, now_ms) : 0;
    lock_release(&limiter->lock);
    return !is_shut;
}

/* ---- the rest ------------------------------------------------------------------------------------ */

void limiter_get_info(struct limiter *limiter, struct limiter_info *ret_info) {
    lock_acquire(&limiter->lock);
    int64_t now_ms = clock_mono_ms();
    token_bucket_fill(&limiter->bucket, &limiter->rate, now_ms);
    *ret_info = (struct limiter_info){
        .slots = limiter->slots,
        .slots_used = limiter->slots_used,
        .tokens = token_bucket_count(&limiter->bucket, &limiter->rate),
        .waiting = limiter->waiting,
        .waited = limiter->waited,
        .refused = limiter->refused,
        .throttled = limiter->throttled,
        .paused_ms = paused_ms_locked(limiter, now_ms),
    };
    lock_release(&limiter->lock);
}

struct limiter *limiter_create(const struct limiter_settings *settings) {
    int64_t per_ms = settings->rate_per_ms;
    assert(settings->rate_calls > 0 || settings->concurrency_max > 0);
    assert(settings->rate_calls == 0 ||
           (per_ms > 0 && settings->rate_calls <= (uint64_t)(INT64_MAX / per_ms)));
    struct limiter *limiter = calloc(1, sizeof(*limiter));
    if (limiter == NULL)
        return NULL;
    lock_init(&limiter->lock);
    TAILQ_INIT(&limiter->line);
    limiter->settings = *settings;
    uint64_t slots = settings->concurrency_max;
    uint64_t slots_min = settings->concurrency_min > 0 ? settings->concurrency_min : 1;
    limiter->settings.concurrency_min = slots_min < slots ? slots_min : slots;
    limiter->slots = slots;
    int64_t calls = (int64_t)settings->rate_calls;
    limiter->rate = (struct token_rate){.tokens = calls, .per_ms = per_ms, .burst = calls};
    return limiter;
}

void limiter_destroy(struct limiter *limiter) {
    if (limiter == NULL)
        return;
    assert(TAILQ_EMPTY(&limiter->line) && limiter->posted == 0 && limiter->slots_used == 0);
    lock_finish(&limiter->lock);
    free(limiter);
}
