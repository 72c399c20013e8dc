/* What the kernel counts as this process's memory: see process_memory.h. */
#include "routes/process_memory.h"

#include <stdio.h>
#include <unistd.h>

uint64_t process_memory_resident_bytes(void) {
    unsigned long long total, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL)
        return 0;
    /* The kernel writes numbers. NOLINTNEXTLINE(cert-err34-c) */
    if (fscanf(file, "%llu %llu", &total, &resident) != 2)
        resident = 0;
    fclose(file);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}
