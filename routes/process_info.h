/* What the kernel counts of this process. */
#ifndef SLUICE_ROUTES_PROCESS_INFO_H
#define SLUICE_ROUTES_PROCESS_INFO_H

#include <stdint.h>

/** 0: the kernel does not tell. */
struct process_info {
    uint64_t cpu_ms; /* of all its threads, in user and in kernel mode */
    uint64_t resident_bytes;
    uint64_t virtual_bytes;
    uint64_t threads;
    uint64_t descriptors; /* since Linux 6.2 */
    uint64_t descriptors_max;
};

void process_info_get(struct process_info *ret_info);

#endif
