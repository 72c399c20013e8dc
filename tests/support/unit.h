/* What every unit test includes: cmocka and what it asks for. */
#ifndef SLUICE_TESTS_UNIT_H
#define SLUICE_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory_budget.h"

#include <stdio.h>
#include <unistd.h>

/* Whatever a test program has charged it has released when it ends. */
static __attribute__((destructor)) void unit_assert_nothing_is_charged(void) {
    uint64_t bytes = memory_total();
    if (bytes == 0)
        return;
    fprintf(stderr, "%llu bytes are still charged:", (unsigned long long)bytes);
    for (int kind = MEMORY_UNCOUNTED + 1; kind < MEMORY_KIND_COUNT; kind++)
        fprintf(stderr, " %s %llu", memory_kind_name((enum memory_kind)kind),
                (unsigned long long)memory_used((enum memory_kind)kind));
    fputs("\n", stderr);
    _exit(99);
}

#define TEXT_AND_LENGTH(text) (text), (sizeof(text) - 1)

#endif
