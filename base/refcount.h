/* The references to an object that several threads share. */
#ifndef SLUICE_BASE_REFCOUNT_H
#define SLUICE_BASE_REFCOUNT_H

#include "base/attributes.h"
#include "base/helgrind.h"

#include <stdatomic.h>
#include <stdbool.h>

/** Adds a reference. The caller already has one. */
static inline void refcount_add(atomic_uint *count) {
    atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
}

/** Drops a reference. True: it was the last one, and all that other threads did with the object has happened.
 * The caller then frees the object. */
static inline bool MUST_CHECK refcount_drop(atomic_uint *count) {
    ANNOTATE_HAPPENS_BEFORE(count);
    if (atomic_fetch_sub_explicit(count, 1, memory_order_acq_rel) > 1)
        return false;
    ANNOTATE_HAPPENS_AFTER(count);
    ANNOTATE_HAPPENS_BEFORE_FORGET_ALL(count);
    return true;
}

#endif
