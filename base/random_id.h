/* Random ids, of sessions, tasks and traces. */
#ifndef SLUICE_BASE_RANDOM_ID_H
#define SLUICE_BASE_RANDOM_ID_H

#include "base/attributes.h"

#include <stdbool.h>
#include <stddef.h>

/** Digits at most. */
#define RANDOM_ID_MAX 32

/** Writes `length` hexadecimal digits in lower case, of which at least one is not 0, and a NUL. `length` is even and
 * at most RANDOM_ID_MAX. False: the kernel has no randomness; `out` is untouched. Any thread. */
bool random_id(char *out, size_t length) MUST_CHECK;

#endif
