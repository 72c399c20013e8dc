/* Counters and histograms of the whole process.
 *
 * Each is an array of atomics, made from the tables in metrics.h. Additions are relaxed: a reader wants a recent
 * number, not an order among them.
 */
#include "base/metrics.h"

#include <stdatomic.h>
#include <stddef.h>

static _Atomic uint64_t counters[METRIC_COUNT];

static const char *const names[METRIC_COUNT] = {
#define X(symbol, name, help) [METRIC_##symbol] = name,
    METRICS(X)
#undef X
};

static const char *const helps[METRIC_COUNT] = {
#define X(symbol, name, help) [METRIC_##symbol] = help,
    METRICS(X)
#undef X
};

void metrics_add(enum metric metric, uint64_t count) {
    atomic_fetch_add_explicit(&counters[metric], count, memory_order_relaxed);
}

uint64_t metrics_get(enum metric metric) {
    return atomic_load_explicit(&counters[metric], memory_order_relaxed);
}

const char *metrics_name(enum metric metric) {
    return names[metric];
}

const char *metrics_help(enum metric metric) {
    return helps[metric];
}

/* ---- histograms ---------------------------------------------------------------------------------- */

const int64_t histogram_bounds_ms[HISTOGRAM_BOUNDS] = {
    1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 120000, 300000, 600000};

static struct {
    _Atomic uint64_t buckets[HISTOGRAM_BOUNDS + 1]; /* each counts its own alone */
    _Atomic uint64_t sum_ms;
} histograms[HISTOGRAM_COUNT];

static const char *const histogram_names[HISTOGRAM_COUNT] = {
#define X(symbol, name, help) [HISTOGRAM_##symbol] = name,
    HISTOGRAMS(X)
#undef X
};

static const char *const histogram_helps[HISTOGRAM_COUNT] = {
#define X(symbol, name, help) [HISTOGRAM_##symbol] = help,
    HISTOGRAMS(X)
#undef X
};

void metrics_observe_ms(enum histogram histogram, int64_t ms) {
    if (ms < 0)
        return;
    size_t bucket = 0;
    while (bucket < HISTOGRAM_BOUNDS && ms > histogram_bounds_ms[bucket])
        bucket++;
    atomic_fetch_add_explicit(&histograms[histogram].buckets[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&histograms[histogram].sum_ms, (uint64_t)ms, memory_order_relaxed);
}

/* The count is made of the buckets, so that the two never contradict each other. */
void metrics_read_histogram(enum histogram histogram, struct histogram_reading *ret_reading) {
    *ret_reading = (struct histogram_reading){0};
    for (size_t i = 0; i <= HISTOGRAM_BOUNDS; i++) {
        ret_reading->count += atomic_load_explicit(&histograms[histogram].buckets[i], memory_order_relaxed);
        if (i < HISTOGRAM_BOUNDS)
            ret_reading->up_to[i] = ret_reading->count;
    }
    ret_reading->sum_ms = atomic_load_explicit(&histograms[histogram].sum_ms, memory_order_relaxed);
}

const char *histogram_name(enum histogram histogram) {
    return histogram_names[histogram];
}

const char *histogram_help(enum histogram histogram) {
    return histogram_helps[histogram];
}
