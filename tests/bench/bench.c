/* What all programs of the benchmarks share: see bench.h. */
#include "tests/bench/bench.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- clock and end --------------------------------------------------------------------------------- */

static int64_t ns_of(struct timespec time) {
    return time.tv_sec * NS_PER_S + time.tv_nsec;
}

int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return ns_of(now);
}

static void complain(const char *format, va_list arguments) {
    fflush(stdout);
    fprintf(stderr, "%s: ", program_invocation_short_name);
    vfprintf(stderr, format, arguments);
}

void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    complain(format, arguments);
    fprintf(stderr, "\n");
    exit(1);
}

void die_errno(const char *format, ...) {
    int error = errno;
    va_list arguments;
    va_start(arguments, format);
    complain(format, arguments);
    fprintf(stderr, ": %s\n", strerror(error));
    exit(1);
}

void *must_calloc(size_t count, size_t size) {
    void *memory = calloc(count, size);
    if (memory == NULL)
        die("out of memory");
    return memory;
}

/* ---- flags ----------------------------------------------------------------------------------------- */

static _Noreturn void refuse(const char *flag, const char *why) {
    fprintf(stderr, "%s: %s %s; see --help\n", program_invocation_short_name, flag, why);
    exit(2);
}

static _Noreturn void print_help(const char *usage, const struct option_spec *options) {
    printf("%s\n", usage);
    for (const struct option_spec *option = options; option->name != NULL; option++) {
        int width = printf("  --%s %s", option->name, option->value);
        printf("%*s %s%s\n", width < 28 ? 28 - width : 0, "", option->help,
               option->required ? " (required)" : "");
    }
    exit(0);
}

bool number_read(const char **text, const char *ends, int64_t min, int64_t max, int64_t *ret_number) {
    char *end;
    errno = 0;
    long long number = strtoll(*text, &end, 10);
    if (end == *text || errno != 0 || number < min || number > max)
        return false;
    if (*end != '\0' && strchr(ends, *end) == NULL)
        return false;
    *text = end;
    *ret_number = number;
    return true;
}

static void take_value(const struct option_spec *option, const char *flag, const char *value) {
    if (option->take != NULL) {
        option->take(value);
    } else if (option->text != NULL) {
        *option->text = value;
    } else if (!number_read(&value, "", option->min, option->max, option->number)) {
        char why[96];
        snprintf(why, sizeof why, "wants a whole number from %lld to %lld", (long long)option->min,
                 (long long)option->max);
        refuse(flag, why);
    }
}

#define OPTIONS_MAX 64

void options_read(int argc, char **argv, const char *usage, const struct option_spec *options) {
    bool given[OPTIONS_MAX] = {false};
    for (int i = 1; i < argc; i += 2) {
        if (strcmp(argv[i], "--help") == 0)
            print_help(usage, options);
        const struct option_spec *option = options;
        while (option->name != NULL &&
               (strncmp(argv[i], "--", 2) != 0 || strcmp(argv[i] + 2, option->name) != 0))
            option++;
        if (option->name == NULL)
            refuse(argv[i], "is not a flag of this program");
        if (i + 1 == argc)
            refuse(argv[i], "wants a value");
        given[option - options] = true;
        take_value(option, argv[i], argv[i + 1]);
    }
    for (size_t i = 0; options[i].name != NULL; i++) {
        if (options[i].required && !given[i])
            refuse(options[i].name, "is required");
    }
}

struct url url_read(const char *text) {
    static const char start[] = "http://127.0.0.1:";
    const char *at = text + strlen(start);
    int64_t port;
    if (strncmp(text, start, strlen(start)) != 0 || !number_read(&at, "/", 1, 65535, &port))
        die("%s is not a URL such as http://127.0.0.1:8080/path", text);
    return (struct url){.port = (uint16_t)port, .path = *at != '\0' ? at : "/"};
}

/* ---- histogram ------------------------------------------------------------------------------------- */

/* Values below 64 have a bucket each; above, the six bits behind the highest one choose the step. */
static size_t bucket_of(int64_t value) {
    if (value < HISTOGRAM_STEPS)
        return value < 0 ? 0 : (size_t)value;
    int shift = 57 - __builtin_clzll((unsigned long long)value);
    return (size_t)shift * HISTOGRAM_STEPS + (size_t)(value >> shift);
}

/* The largest value of a bucket. */
static int64_t value_of(size_t bucket) {
    if (bucket < 2 * HISTOGRAM_STEPS)
        return (int64_t)bucket;
    size_t shift = bucket / HISTOGRAM_STEPS - 1;
    return (((int64_t)(bucket % HISTOGRAM_STEPS) + HISTOGRAM_STEPS + 1) << shift) - 1;
}

void histogram_add(struct histogram *histogram, int64_t value) {
    histogram->count++;
    histogram->sum += (double)value;
    histogram->buckets[bucket_of(value)]++;
    if (value > histogram->max)
        histogram->max = value;
}

int64_t histogram_at(const struct histogram *histogram, double share) {
    double wanted = share * (double)histogram->count;
    uint64_t seen = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen > 0 && (double)seen >= wanted)
            return value_of(i) < histogram->max ? value_of(i) : histogram->max;
    }
    return histogram->max;
}

static double us(int64_t ns) {
    return (double)ns / 1e3;
}

void histogram_print_us(const struct histogram *histogram) {
    double count = histogram->count > 0 ? (double)histogram->count : 1;
    printf("{\"p50\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f,\"mean\":%.1f,\"count\":%llu}",
           us(histogram_at(histogram, 0.5)), us(histogram_at(histogram, 0.99)),
           us(histogram_at(histogram, 0.999)), us(histogram->max), histogram->sum / count / 1e3,
           (unsigned long long)histogram->count);
}

/* ---- processes ------------------------------------------------------------------------------------- */

void pids_add(struct pids *pids, const char *text) {
    int64_t pid;
    for (const char *at = text;; at++) {
        if (pids->count == PIDS_MAX || !number_read(&at, ",", 1, INT32_MAX, &pid))
            die("%s is not a list of at most %d process ids", text, PIDS_MAX);
        pids->pid[pids->count++] = (pid_t)pid;
        if (*at == '\0')
            return;
    }
}

static int64_t cpu_ns(pid_t pid) {
    clockid_t clock;
    struct timespec used;
    /* /proc/PID/stat counts in steps of 10 ms; this clock counts what the scheduler does. */
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) < 0)
        die("process %d has gone", (int)pid);
    return ns_of(used);
}

int64_t pids_cpu_ns(const struct pids *pids) {
    int64_t total = 0;
    for (size_t i = 0; i < pids->count; i++)
        total += cpu_ns(pids->pid[i]);
    return total;
}

int64_t own_cpu_ns(void) {
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return ns_of(used);
}

/* The first number behind `key` in a file of the kernel's. */
static int64_t number_of(const char *path, const char *key) {
    FILE *file = fopen(path, "re");
    char line[512];
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        const char *at = strstr(line, key);
        if (at == NULL)
            continue;
        fclose(file);
        return strtoll(at + strlen(key), NULL, 10);
    }
    die("there is no \"%s\" in %s", key, path);
}

int64_t pids_rss_bytes(const struct pids *pids) {
    int64_t total = 0;
    for (size_t i = 0; i < pids->count; i++) {
        char path[64];
        /* statm is late by what each processor has not added up yet; this counts pages. */
        snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pids->pid[i]);
        total += number_of(path, "Rss:") * 1024;
    }
    return total;
}

int64_t tcp_buffer_bytes(void) {
    FILE *file = fopen("/proc/net/sockstat", "re");
    char line[256];
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        const char *at = strncmp(line, "TCP:", 4) == 0 ? strstr(line, " mem ") : NULL;
        if (at == NULL)
            continue;
        fclose(file);
        return strtoll(at + 5, NULL, 10) * sysconf(_SC_PAGESIZE);
    }
    die("/proc/net/sockstat does not tell TCP's memory");
}

int64_t kernel_slab_bytes(void) {
    return number_of("/proc/meminfo", "Slab:") * 1024;
}
