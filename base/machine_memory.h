/* The memory that this process may use: the machine's, or less if its control groups limit it. */
#ifndef SLUICE_BASE_MACHINE_MEMORY_H
#define SLUICE_BASE_MACHINE_MEMORY_H

#include <stdint.h>

/** Returns the smallest of the machine's memory and the limits of the process's control group and of all
 * groups above it. Version 1 limits by memory.limit_in_bytes, version 2 by memory.max and memory.high. The
 * function reads files and may wait, so it must not run on a worker's thread. `root` is put before every
 * path that is read; it is "" except in tests. */
uint64_t machine_memory_bytes(const char *root);

#endif
