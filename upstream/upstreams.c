/* The upstreams of the process, and which one a run gets: see upstreams.h. */
#include "upstream/upstreams.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- their life ---------------------------------------------------------------------------------- */

/* False: out of memory; what was made is found in `upstream`. */
static bool init_one(struct upstream *upstream, size_t index, const struct upstream_settings *settings) {
    upstream->index = index;
    if (settings->breaker.failure_percent > 0) {
        upstream->breaker = breaker_create(&settings->breaker);
        if (upstream->breaker == NULL)
            return false;
    }
    if (settings->limiter.rate_calls > 0 || settings->limiter.concurrency_max > 0) {
        struct limiter_settings limiter = settings->limiter;
        limiter.pause_wait_max_ms = settings->retry.total_ms;
        upstream->limiter = limiter_create(&limiter);
        if (upstream->limiter == NULL)
            return false;
    }
    return true;
}

bool upstreams_init(struct upstreams *upstreams, const struct upstreams_settings *settings) {
    assert(settings->count > 0);
    upstreams->count = settings->count;
    upstreams->items = calloc(settings->count, sizeof(*upstreams->items));
    if (upstreams->items == NULL)
        return false;
    for (size_t i = 0; i < settings->count; i++) {
        if (!init_one(&upstreams->items[i], i, &settings->items[i])) {
            upstreams_finish(upstreams);
            return false;
        }
    }
    return true;
}

void upstreams_finish(struct upstreams *upstreams) {
    for (size_t i = 0; i < upstreams->count; i++) {
        breaker_destroy(upstreams->items[i].breaker);
        limiter_destroy(upstreams->items[i].limiter);
    }
    free(upstreams->items);
}

/* ---- by name ------------------------------------------------------------------------------------- */

size_t upstreams_find(const struct upstreams_settings *settings, const char *name) {
    for (size_t i = 0; i < settings->count; i++) {
        if (strcmp(settings->items[i].name, name) == 0)
            return i;
    }
    return UPSTREAM_NONE;
}

size_t upstreams_fallback(const struct upstreams_settings *settings, size_t index) {
    const char *name = settings->items[index].fallback;
    return name == NULL ? UPSTREAM_NONE : upstreams_find(settings, name);
}

/* Whether the pattern, * for any text, fits all of `text`. A star is tried with ever more text; only the last
 * one that was met needs that. */
static bool pattern_fits(const char *pattern, const char *pattern_end, const char *text) {
    const char *behind_star = NULL, *starred = NULL;
    while (*text != '\0') {
        if (pattern < pattern_end && *pattern == '*') {
            behind_star = ++pattern;
            starred = text;
        } else if (pattern < pattern_end && *pattern == *text) {
            pattern++;
            text++;
        } else if (behind_star != NULL) {
            pattern = behind_star;
            text = ++starred;
        } else {
            return false;
        }
    }
    while (pattern < pattern_end && *pattern == '*')
        pattern++;
    return pattern == pattern_end;
}

bool upstreams_app_fits(const char *patterns, const char *app) {
    while (*patterns != '\0') {
        patterns += strspn(patterns, ", ");
        size_t length = strcspn(patterns, ", ");
        if (length > 0 && pattern_fits(patterns, patterns + length, app))
            return true;
        patterns += length;
    }
    return false;
}

/* ---- the choice ---------------------------------------------------------------------------------- */

/* What a run can hope for from an upstream, the better the greater. */
enum prospect {
    PROSPECT_NONE,     /* its whole chain refuses: by breakers, or by long pauses of limiters */
    PROSPECT_DOUBTFUL, /* one of its chain would let it pass, but that one's last health check failed */
    PROSPECT_FALLBACK, /* not from itself, but one of its chain can take it, or it has a canned answer */
    PROSPECT_GOOD,
};

struct choice {
    size_t index;
    enum prospect prospect;
    double score;
};

/* What one can do by itself. If it refuses, *soonest_ms becomes when it will not, if that is sooner. */
static enum prospect judge_one(struct upstream *upstream, int64_t *soonest_ms) {
    int64_t open_ms = 0, paused_ms = 0;
    bool would_pass = upstream->breaker == NULL || breaker_would_pass(upstream->breaker, &open_ms);
    bool would_take = upstream->limiter == NULL || limiter_would_take(upstream->limiter, &paused_ms);
    if (!would_pass || !would_take) {
        int64_t wait_ms = open_ms > paused_ms ? open_ms : paused_ms;
        if (wait_ms < *soonest_ms)
            *soonest_ms = wait_ms;
        return PROSPECT_NONE;
    }
    return atomic_load_explicit(&upstream->is_unhealthy, memory_order_relaxed) ? PROSPECT_DOUBTFUL
                                                                               : PROSPECT_GOOD;
}

/* The same with its chain; a chain that goes in a circle ends after as many steps as there are upstreams. */
static enum prospect judge_chain(const struct upstreams *upstreams, const struct upstreams_settings *settings,
                                 size_t index, int64_t *soonest_ms) {
    enum prospect best = judge_one(&upstreams->items[index], soonest_ms);
    for (size_t steps = 1; best < PROSPECT_FALLBACK && steps <= settings->count; steps++) {
        if (settings->items[index].canned_answer != NULL)
            return PROSPECT_FALLBACK;
        index = upstreams_fallback(settings, index);
        if (index == UPSTREAM_NONE)
            break;
        enum prospect next = judge_one(&upstreams->items[index], soonest_ms);
        if (next == PROSPECT_GOOD)
            return PROSPECT_FALLBACK;
        if (next > best)
            best = next;
    }
    return best;
}

/* Spreads the bits of what is nearly the same (the finalizer of splitmix64). */
static uint64_t mix_bits(uint64_t bits) {
    bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9u;
    bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebu;
    return bits ^ (bits >> 31);
}

/* How much this affinity likes this upstream: over many, each is liked most in proportion to its weight. What
 * it gets does not hang on the others, so that one which drops out or comes back moves nobody between them.
 */
static double score_of(const struct upstream_settings *settings, uint64_t affinity) {
    uint64_t bits = mix_bits(affinity);
    for (const char *c = settings->name; *c != '\0'; c++)
        bits = mix_bits(bits + (unsigned char)*c);
    double even = ((double)(bits >> 12) + 0.5) * 0x1p-52; /* above 0, below 1 */
    return (double)settings->weight / -log(even);
}

size_t upstreams_choose(const struct upstreams *upstreams, const struct upstreams_settings *settings,
                        const char *app, uint64_t affinity, bool *ret_can_take, int64_t *ret_retry_after_ms) {
    struct choice best = {.index = UPSTREAM_NONE};
    int64_t soonest_ms = INT64_MAX;
    assert(settings->count == upstreams->count);
    for (size_t i = 0; i < settings->count; i++) {
        const struct upstream_settings *one = &settings->items[i];
        if (one->weight == 0 || !upstreams_app_fits(one->apps, app))
            continue;
        struct choice next = {.index = i,
                              .prospect = judge_chain(upstreams, settings, i, &soonest_ms),
                              .score = score_of(one, affinity)};
        if (best.index == UPSTREAM_NONE || next.prospect > best.prospect ||
            (next.prospect == best.prospect && next.score > best.score))
            best = next;
    }
    *ret_can_take = best.prospect != PROSPECT_NONE;
    *ret_retry_after_ms = *ret_can_take || best.index == UPSTREAM_NONE ? 0 : soonest_ms;
    return best.index;
}

/* ---- names --------------------------------------------------------------------------------------- */

const char *upstream_phase_name(enum upstream_phase phase) {
    static const char *const names[UPSTREAM_PHASE_COUNT] = {
        [UPSTREAM_PHASE_LIMITER] = "limiter",       [UPSTREAM_PHASE_CONNECT] = "connect",
        [UPSTREAM_PHASE_FIRST_BYTE] = "first_byte", [UPSTREAM_PHASE_STREAMING] = "streaming",
        [UPSTREAM_PHASE_RETRY] = "retry",
    };
    return names[phase];
}
