/* How much memory there is for this process: the machine's, or what its control groups leave of it. */
#ifndef SLUICE_BASE_MACHINE_MEMORY_H
#define SLUICE_BASE_MACHINE_MEMORY_H

#include <stdint.h>

/** The smallest of: the machine's memory, and the limits of the process's control group and of all groups
 * above it (version 1: memory.limit_in_bytes; version 2: memory.max and memory.high). Reads files, so it may
 * wait: not on a worker's thread. `root` stands in front of every path that is read: "", except in tests. */
uint64_t machine_memory_bytes(const char *root);

#endif
