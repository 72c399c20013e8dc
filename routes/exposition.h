/* Text in the Prometheus exposition format 0.0.4, written as it goes along. A failure (no memory, over the
 * maximum) sticks: it is asked for once, at the end.
 *
 *     exposition_family(&exposition, "sluice_upstream_calls_total", "counter", "Calls");
 *     exposition_sample(&exposition, (const struct exposition_label[]){{"upstream", name}, {0}}, 7);
 */
#ifndef SLUICE_ROUTES_EXPOSITION_H
#define SLUICE_ROUTES_EXPOSITION_H

#include "base/buffer.h"

#include <stdint.h>

struct histogram_reading;

struct exposition {
    struct buffer text;
    bool failed;
    const char *family; /* whose samples are written */
};

struct exposition_label {
    const char *name;  /* NULL ends a list */
    const char *value; /* any text */
};

void exposition_init(struct exposition *exposition, size_t bytes_max);
void exposition_finish(struct exposition *exposition);

/** Begins a family: what is said of it, once, before all its samples. `name` must last until the next one;
 * `help` holds no backslash and no line end. */
void exposition_family(struct exposition *exposition, const char *name, const char *type, const char *help);

/** A sample of the family; `labels` may be NULL. */
void exposition_sample(struct exposition *exposition, const struct exposition_label *labels, uint64_t value);

/** The same, a time in seconds. */
void exposition_sample_ms(struct exposition *exposition, const struct exposition_label *labels, uint64_t ms);

/** A family with one sample. */
void exposition_add(struct exposition *exposition, const char *name, const char *type, const char *help,
                    uint64_t value);

/** A family that is a histogram, in seconds. */
void exposition_add_histogram(struct exposition *exposition, const char *name, const char *help,
                              const struct histogram_reading *reading);

#endif
