/* Memory that is as full as a test wants it to be, of 16 MiB. */
#ifndef SLUICE_TESTS_SUPPORT_UNIT_MEMORY_H
#define SLUICE_TESTS_SUPPORT_UNIT_MEMORY_H

#include "base/memory_budget.h"
#include "tests/support/unit.h"

#define UNIT_MEMORY_STEP ((size_t)16 * 1024)
#define UNIT_MEMORY_MAX ((uint64_t)16 << 20)

static inline size_t *unit_memory_filler(void) {
    static size_t steps;
    return &steps;
}

/* From now on the sum is about so many sixteenths of the limit; 0: nothing is charged but what there really
 * is, and there is no limit. */
static inline enum memory_level unit_memory_at(unsigned sixteenths) {
    size_t *steps = unit_memory_filler();
    uint64_t wanted = UNIT_MEMORY_MAX / 16 * sixteenths;
    for (; *steps > 0 && memory_total() > wanted; --*steps)
        memory_release(MEMORY_BODIES, UNIT_MEMORY_STEP - 8);
    for (; memory_total() < wanted; ++*steps)
        memory_charge(MEMORY_BODIES, UNIT_MEMORY_STEP - 8);
    for (; sixteenths == 0 && *steps > 0; --*steps)
        memory_release(MEMORY_BODIES, UNIT_MEMORY_STEP - 8);
    memory_set_limit(sixteenths > 0 ? UNIT_MEMORY_MAX : 0);
    return memory_look();
}

#endif
