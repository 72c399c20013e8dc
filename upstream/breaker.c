/* A circuit breaker. See breaker.h for the contract.
 *
 * Calls are counted as they end, in ten buckets of a tenth of the window each. Each change of state begins a
 * new epoch, and a pass carries the epoch it was given in: the outcome of an older call counts for nothing, so
 * what was under way when the breaker opened can neither close nor open it later. Probes belong to a round. A
 * round that has no outcome after the recovery time is given up, so a probe that hangs cannot hold the breaker
 * half-open for ever. There is no timer: advance_locked() does what time has brought when somebody asks.
 */
#include "upstream/breaker.h"

#include "base/clock.h"
#include "base/lock.h"

#include <assert.h>
#include <stdlib.h>

/* Parts of the window; it slides by one of them. */
#define BUCKETS 10

/* The calls that ended in one part of the window. */
struct bucket {
    int64_t number; /* of the part, counted from the clock's beginning */
    uint64_t calls, failures;
};

struct breaker {
    struct breaker_settings settings;
    struct lock lock;
    enum breaker_state state;
    uint64_t epoch; /* one more with each change of state */
    struct bucket buckets[BUCKETS];
    int64_t recovery_next_ms;    /* of the next opening, nothing left out */
    int64_t recovery_ms;         /* of the last opening */
    int64_t recovered_mono_ms;   /* open: until then */
    int64_t given_up_at_mono_ms; /* half-open: then the probes of this round are */
    uint64_t round;
    uint64_t probes; /* of this round, that are out */
    uint64_t probes_succeeded;
    uint64_t opened, refused;
};

static int64_t shorter_ms(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* ---- the window ---------------------------------------------------------------------------------- */

static int64_t bucket_number(const struct breaker *breaker, int64_t now_ms) {
    return now_ms / ((breaker->settings.window_ms + BUCKETS - 1) / BUCKETS);
}

static void window_add_locked(struct breaker *breaker, int64_t now_ms, bool failed) {
    lock_assert_held(&breaker->lock);
    int64_t number = bucket_number(breaker, now_ms);
    struct bucket *bucket = &breaker->buckets[number % BUCKETS];
    if (bucket->number != number)
        *bucket = (struct bucket){.number = number};
    bucket->calls++;
    bucket->failures += failed;
}

static struct bucket window_sum_locked(struct breaker *breaker, int64_t now_ms) {
    lock_assert_held(&breaker->lock);
    struct bucket sum = {.number = bucket_number(breaker, now_ms)};
    for (size_t i = 0; i < BUCKETS; i++) {
        if (breaker->buckets[i].number <= sum.number - BUCKETS)
            continue;
        sum.calls += breaker->buckets[i].calls;
        sum.failures += breaker->buckets[i].failures;
    }
    return sum;
}

static void window_empty_locked(struct breaker *breaker) {
    lock_assert_held(&breaker->lock);
    for (size_t i = 0; i < BUCKETS; i++)
        breaker->buckets[i] = (struct bucket){0};
}

/* ---- the states ---------------------------------------------------------------------------------- */

static void set_state_locked(struct breaker *breaker, enum breaker_state state) {
    lock_assert_held(&breaker->lock);
    breaker->state = state;
    breaker->epoch++;
}

static void open_breaker_locked(struct breaker *breaker, int64_t now_ms) {
    lock_assert_held(&breaker->lock);
    int64_t whole_ms = breaker->recovery_next_ms;
    set_state_locked(breaker, BREAKER_OPEN);
    breaker->opened++;
    breaker->recovery_ms = whole_ms - random() % (whole_ms / 5 + 1);
    breaker->recovered_mono_ms = now_ms + breaker->recovery_ms;
    breaker->recovery_next_ms = whole_ms + shorter_ms(whole_ms, breaker->settings.recovery_max_ms - whole_ms);
}

static void close_breaker_locked(struct breaker *breaker) {
    lock_assert_held(&breaker->lock);
    set_state_locked(breaker, BREAKER_CLOSED);
    breaker->recovery_next_ms = breaker->settings.recovery_ms;
    window_empty_locked(breaker);
}

/* Probes that are out from now on belong to a new round. */
static void begin_round_locked(struct breaker *breaker) {
    lock_assert_held(&breaker->lock);
    breaker->round++;
    breaker->probes = 0;
}

/* Does what time has brought. */
static void advance_locked(struct breaker *breaker, int64_t now_ms) {
    lock_assert_held(&breaker->lock);
    if (breaker->state == BREAKER_OPEN && now_ms >= breaker->recovered_mono_ms) {
        set_state_locked(breaker, BREAKER_HALF_OPEN);
        breaker->probes_succeeded = 0;
        begin_round_locked(breaker);
    } else if (breaker->state == BREAKER_HALF_OPEN && breaker->probes == breaker->settings.probes_max &&
               now_ms >= breaker->given_up_at_mono_ms) {
        begin_round_locked(breaker);
    }
}

/* How long a call must wait that wants to pass now. 0: it passes. */
static int64_t wait_ms_locked(struct breaker *breaker, int64_t now_ms) {
    lock_assert_held(&breaker->lock);
    if (breaker->state == BREAKER_OPEN)
        return breaker->recovered_mono_ms - now_ms;
    if (breaker->state == BREAKER_HALF_OPEN && breaker->probes == breaker->settings.probes_max)
        return shorter_ms(breaker->given_up_at_mono_ms - now_ms, breaker->settings.recovery_ms);
    return 0;
}

static struct breaker_pass pass_locked(struct breaker *breaker, int64_t now_ms) {
    lock_assert_held(&breaker->lock);
    bool is_probe = breaker->state == BREAKER_HALF_OPEN;
    if (is_probe) {
        breaker->probes++;
        breaker->given_up_at_mono_ms = now_ms + breaker->recovery_ms;
    }
    return (struct breaker_pass){.epoch = breaker->epoch, .round = breaker->round, .is_probe = is_probe};
}

static void judge_probe_locked(struct breaker *breaker, int64_t now_ms, bool failed) {
    lock_assert_held(&breaker->lock);
    if (failed)
        open_breaker_locked(breaker, now_ms);
    else if (++breaker->probes_succeeded == breaker->settings.probes_max)
        close_breaker_locked(breaker);
}

static void judge_window_locked(struct breaker *breaker, int64_t now_ms) {
    lock_assert_held(&breaker->lock);
    struct bucket sum = window_sum_locked(breaker, now_ms);
    if (sum.calls >= breaker->settings.calls_min &&
        sum.failures * 100 >= sum.calls * breaker->settings.failure_percent)
        open_breaker_locked(breaker, now_ms);
}

static void leave_breaker_locked(struct breaker *breaker, const struct breaker_pass *pass,
                                 enum breaker_outcome outcome) {
    lock_assert_held(&breaker->lock);
    int64_t now_ms = clock_mono_ms();
    bool failed = outcome == BREAKER_FAILURE;
    if (pass->epoch != breaker->epoch)
        return;
    if (pass->is_probe && pass->round == breaker->round)
        breaker->probes--;
    if (outcome == BREAKER_NEITHER)
        return;
    window_add_locked(breaker, now_ms, failed);
    if (pass->is_probe)
        judge_probe_locked(breaker, now_ms, failed);
    else
        judge_window_locked(breaker, now_ms);
}

/* ---- what others call ---------------------------------------------------------------------------- */

/* Whether a call passes now; it is one only if `ret_pass` is not NULL. */
static bool ask_breaker(struct breaker *breaker, struct breaker_pass *ret_pass, int64_t *ret_retry_after_ms) {
    lock_acquire(&breaker->lock);
    int64_t now_ms = clock_mono_ms();
    advance_locked(breaker, now_ms);
    int64_t wait_ms = wait_ms_locked(breaker, now_ms);
    if (ret_pass != NULL && wait_ms == 0)
        *ret_pass = pass_locked(breaker, now_ms);
    else if (ret_pass != NULL)
        breaker->refused++;
    lock_release(&breaker->lock);
    if (wait_ms > 0 && ret_retry_after_ms != NULL)
        *ret_retry_after_ms = wait_ms;
    return wait_ms == 0;
}

bool breaker_enter(struct breaker *breaker, struct breaker_pass *ret_pass, int64_t *ret_retry_after_ms) {
    return ask_breaker(breaker, ret_pass, ret_retry_after_ms);
}

bool breaker_would_pass(struct breaker *breaker, int64_t *ret_retry_after_ms) {
    return ask_breaker(breaker, NULL, ret_retry_after_ms);
}

void breaker_note_refused(struct breaker *breaker) {
    lock_acquire(&breaker->lock);
    breaker->refused++;
    lock_release(&breaker->lock);
}

enum breaker_change breaker_leave(struct breaker *breaker, const struct breaker_pass *pass,
                                  enum breaker_outcome outcome) {
    lock_acquire(&breaker->lock);
    uint64_t epoch = breaker->epoch;
    leave_breaker_locked(breaker, pass, outcome);
    bool has_changed = breaker->epoch != epoch, is_open = breaker->state == BREAKER_OPEN;
    lock_release(&breaker->lock);
    if (!has_changed)
        return BREAKER_UNCHANGED;
    return is_open ? BREAKER_HAS_OPENED : BREAKER_HAS_CLOSED;
}

static int score_of_state(enum breaker_state state, const struct bucket *sum) {
    int score = sum->calls == 0 ? 100 : (int)((sum->calls - sum->failures) * 100 / sum->calls);
    if (state == BREAKER_OPEN)
        return 0;
    return state == BREAKER_HALF_OPEN ? score / 2 : score;
}

void breaker_get_info(struct breaker *breaker, struct breaker_info *ret_info) {
    lock_acquire(&breaker->lock);
    int64_t now_ms = clock_mono_ms();
    advance_locked(breaker, now_ms);
    struct bucket sum = window_sum_locked(breaker, now_ms);
    *ret_info = (struct breaker_info){
        .state = breaker->state,
        .score = score_of_state(breaker->state, &sum),
        .calls = sum.calls,
        .failures = sum.failures,
        .opened = breaker->opened,
        .refused = breaker->refused,
        .retry_after_ms = wait_ms_locked(breaker, now_ms),
    };
    lock_release(&breaker->lock);
}

const char *breaker_state_name(enum breaker_state state) {
    static const char *const names[BREAKER_STATE_COUNT] = {
        [BREAKER_CLOSED] = "closed",
        [BREAKER_HALF_OPEN] = "half_open",
        [BREAKER_OPEN] = "open",
    };
    return names[state];
}

struct breaker *breaker_create(const struct breaker_settings *settings) {
    assert(settings->failure_percent > 0 && settings->window_ms > 0 && settings->probes_max > 0);
    assert(settings->recovery_ms > 0 && settings->recovery_max_ms > 0);
    struct breaker *breaker = calloc(1, sizeof(*breaker));
    if (breaker == NULL)
        return NULL;
    lock_init(&breaker->lock);
    breaker->settings = *settings;
    breaker->settings.recovery_ms = shorter_ms(settings->recovery_ms, settings->recovery_max_ms);
    breaker->recovery_next_ms = breaker->settings.recovery_ms;
    return breaker;
}

void breaker_destroy(struct breaker *breaker) {
    if (breaker == NULL)
        return;
    lock_finish(&breaker->lock);
    free(breaker);
}
