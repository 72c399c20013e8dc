/* Would this upstream take a call now? See prospect.h.
 *
 * judge_chain() is the only walk that asks this of a chain of fallbacks. It stops at the first upstream if
 * that one is good, which is the rule; otherwise it looks at all of them, so that one look gives the best of
 * the chain, whether the canned answer is all that is left, and the shortest time until one may take a call.
 */
#include "upstream/prospect.h"

#include <assert.h>
#include <math.h>

/* ---- one upstream -------------------------------------------------------------------------------- */

struct upstream_prospect upstream_prospect(const struct upstreams *upstreams,
                                           const struct upstreams_settings *settings, size_t index) {
    struct upstream *upstream = &upstreams->items[index];
    int64_t open_ms = 0, paused_ms = 0;
    bool would_pass = upstream->breaker == NULL || breaker_would_pass(upstream->breaker, &open_ms);
    bool would_take = upstream->limiter == NULL || limiter_would_take(upstream->limiter, &paused_ms);
    if (!would_pass || !would_take)
        return (struct upstream_prospect){.prospect = PROSPECT_REFUSED,
                                          .by_breaker = !would_pass,
                                          .retry_after_ms = open_ms > paused_ms ? open_ms : paused_ms};
    bool is_doubtful = settings->items[index].health_path != NULL &&
                       atomic_load_explicit(&upstream->is_unhealthy, memory_order_relaxed);
    return (struct upstream_prospect){.prospect = is_doubtful ? PROSPECT_DOUBTFUL : PROSPECT_GOOD};
}

/* ---- a chain of fallbacks ------------------------------------------------------------------------ */

struct chain_prospect {
    enum prospect prospect;
    bool is_canned;     /* all refuse, and there is a canned answer */
    bool by_breaker;    /* of the first one */
    int64_t soonest_ms; /* the first of those that refuse will not then; INT64_MAX: none refuses */
};

static struct chain_prospect judge_chain(const struct upstreams *upstreams,
                                         const struct upstreams_settings *settings, size_t first) {
    struct upstream_prospect one = upstream_prospect(upstreams, settings, first);
    struct chain_prospect chain = {.by_breaker = one.by_breaker, .soonest_ms = INT64_MAX};
    if (one.prospect == PROSPECT_GOOD) {
        chain.prospect = PROSPECT_GOOD;
        return chain;
    }
    enum prospect best = one.prospect;
    for (struct upstream_chain at = upstream_chain_begin(first);;) {
        if (one.prospect == PROSPECT_REFUSED && one.retry_after_ms < chain.soonest_ms)
            chain.soonest_ms = one.retry_after_ms;
        if (one.prospect > best)
            best = one.prospect;
        upstream_chain_advance(&at, settings);
        if (at.index == UPSTREAM_NONE)
            break;
        one = upstream_prospect(upstreams, settings, at.index);
    }
    bool has_canned = upstream_chain_canned(settings, first) != UPSTREAM_NONE;
    chain.is_canned = has_canned && best == PROSPECT_REFUSED;
    chain.prospect = has_canned || best == PROSPECT_GOOD ? PROSPECT_FALLBACK : best;
    return chain;
}

/* ---- the choice ---------------------------------------------------------------------------------- */

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

struct upstream_choice upstreams_choose(const struct upstreams *upstreams,
                                        const struct upstreams_settings *settings, const char *app,
                                        uint64_t affinity) {
    struct upstream_choice choice = {.index = UPSTREAM_NONE};
    enum prospect best = PROSPECT_REFUSED;
    double best_score = 0;
    int64_t soonest_ms = INT64_MAX;
    assert(settings->count == upstreams->count);
    for (size_t i = 0; i < settings->count; i++) {
        const struct upstream_settings *one = &settings->items[i];
        if (one->weight == 0 || !upstreams_app_fits(one->apps, app))
            continue;
        struct chain_prospect chain = judge_chain(upstreams, settings, i);
        double score = score_of(one, affinity);
        if (chain.soonest_ms < soonest_ms)
            soonest_ms = chain.soonest_ms;
        bool is_better = chain.prospect > best || (chain.prospect == best && score > best_score);
        if (choice.index != UPSTREAM_NONE && !is_better)
            continue;
        best = chain.prospect;
        best_score = score;
        choice = (struct upstream_choice){
            .index = i, .is_canned = chain.is_canned, .by_breaker = chain.by_breaker};
    }
    choice.can_take = best != PROSPECT_REFUSED;
    choice.retry_after_ms = choice.can_take || choice.index == UPSTREAM_NONE ? 0 : soonest_ms;
    return choice;
}
