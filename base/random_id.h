/* Random ids, of sessions, tasks and traces. */
#ifndef SLUICE_BASE_RANDOM_ID_H
#define SLUICE_BASE_RANDOM_ID_H

#include "base/attributes.h"

#include <stdbool.h>
#include <stddef.h>

/** Maximum number of digits. */
#define RANDOM_ID_MAX 32

/** Writes `length` lower-case hexadecimal digits and a NUL. At least one digit is not 0. `length` is even and
 * at most RANDOM_ID_MAX. False: the kernel has no randomness, and `out` is untouched. Any thread. */
bool random_id(char *out, size_t length) MUST_CHECK;

#endif
