/* The upstreams of the process. Their guards are made once at the start; names, patterns and chains of
 * fallbacks are read from the settings at each look, since a reload may bring other ones. Which upstream
 * takes a call: prospect.c. */
#include "upstream/upstreams.h"

#include <assert.h>
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

struct upstream_chain upstream_chain_begin(size_t first) {
    return (struct upstream_chain){.index = first, .steps = 1};
}

void upstream_chain_advance(struct upstream_chain *chain, const struct upstreams_settings *settings) {
    bool has_more = chain->steps++ < settings->count;
    chain->index = has_more ? upstreams_fallback(settings, chain->index) : UPSTREAM_NONE;
}

size_t upstream_chain_canned(const struct upstreams_settings *settings, size_t first) {
    struct upstream_chain chain = upstream_chain_begin(first);
    while (chain.index != UPSTREAM_NONE && settings->items[chain.index].canned_answer == NULL)
        upstream_chain_advance(&chain, settings);
    return chain.index;
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

/* ---- names --------------------------------------------------------------------------------------- */

const char *upstream_phase_name(enum upstream_phase phase) {
    static const char *const names[UPSTREAM_PHASE_COUNT] = {
        [UPSTREAM_PHASE_LIMITER] = "limiter",       [UPSTREAM_PHASE_CONNECT] = "connect",
        [UPSTREAM_PHASE_FIRST_BYTE] = "first_byte", [UPSTREAM_PHASE_STREAMING] = "streaming",
        [UPSTREAM_PHASE_RETRY] = "retry",
    };
    return names[phase];
}
