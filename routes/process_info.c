/* What the kernel counts of this process, read from /proc at each request.
 *
 * A file that cannot be read leaves its numbers at 0: without descriptors left, a process still has
 * metrics. */
#include "routes/process_info.h"

#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static uint64_t cpu_ms(void) {
    struct timespec used = {0};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000 + (uint64_t)used.tv_nsec / 1000000;
}

/* proc(5), /proc/pid/stat: what is wanted stands behind the program's name, which holds no bracket. */
static void read_stat(struct process_info *info) {
    unsigned long long threads, virtual_bytes, resident_pages;
    FILE *file = fopen("/proc/self/stat", "re");
    if (file == NULL)
        return;
    /* The kernel writes numbers. NOLINTNEXTLINE(cert-err34-c) */
    if (fscanf(
            file,
            "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %llu %*d %*u "
            "%llu %llu",
            &threads, &virtual_bytes, &resident_pages) == 3) {
        info->threads = threads;
        info->virtual_bytes = virtual_bytes;
        info->resident_bytes = resident_pages * (uint64_t)sysconf(_SC_PAGESIZE);
    }
    fclose(file);
}

/* Since Linux 6.2 the directory's size tells it. To count its entries would take 4 microseconds for each,
 * which with many subscribers is longer than a worker may be away. */
static uint64_t count_descriptors(void) {
    struct stat about;
    return stat("/proc/self/fd", &about) == 0 ? (uint64_t)about.st_size : 0;
}

void process_info_get(struct process_info *ret_info) {
    struct rlimit limit = {0};
    getrlimit(RLIMIT_NOFILE, &limit);
    *ret_info = (struct process_info){
        .cpu_ms = cpu_ms(), .descriptors = count_descriptors(), .descriptors_max = limit.rlim_cur};
    read_stat(ret_info);
}
