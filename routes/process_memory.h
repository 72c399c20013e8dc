/* What the kernel counts as this process's memory. */
#ifndef SLUICE_ROUTES_PROCESS_MEMORY_H
#define SLUICE_ROUTES_PROCESS_MEMORY_H

#include <stdint.h>

/** Resident bytes; 0: the kernel does not tell. */
uint64_t process_memory_resident_bytes(void);

#endif
