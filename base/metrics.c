/* Counters of the whole process: see metrics.h. */
#include "base/metrics.h"

#include <stdatomic.h>

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
