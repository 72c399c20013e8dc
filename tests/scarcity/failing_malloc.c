/* Linked into the gateway, in front of the address sanitizer's allocator: allocations `fail_at` and those
 * behind it fail, whichever library they come from, as the file named by SCARCE_CONTROL says. Not
 * instrumented: it runs before the sanitizer is ready. */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define TRACE_MAX 32

/* The file, mapped: the driver (tests/scarcity/scarce.mjs) writes the first two and reads the others. */
struct control {
    _Atomic uint64_t fail_at; /* the first that fails, 1 is the next one; 0: none */
    _Atomic uint64_t width;   /* how many fail from there on */
    _Atomic uint64_t count;   /* allocations since `count` was set to 0 */
    _Atomic uint64_t reached; /* of these, how many were to fail */
};

static struct control *control;
static int trace_fd = -1;

void *__interceptor_malloc(size_t size);
void *__interceptor_calloc(size_t count, size_t size);
void *__interceptor_realloc(void *old, size_t size);
int __interceptor_posix_memalign(void **ret_memory, size_t alignment, size_t size);

__attribute__((constructor)) static void control_map(void) {
    const char *path = getenv("SCARCE_CONTROL"), *trace = getenv("SCARCE_TRACE");
    int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || trace == NULL)
        return;
    void *frames[1];
    backtrace(frames, 1); /* loads its library now */
    trace_fd = open(trace, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    void *memory = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (memory != MAP_FAILED)
        control = memory;
}

/* Who kills the process when it gets no memory, and is spared:
 * - libuv's uv_poll_start() aborts when its table of watchers cannot grow (maybe_resize() in
 * src/unix/core.c); it reallocates nothing else;
 * - the sanitizer, when it asks for the bounds of a new thread's stack, which nobody else does. */
static bool is_spared(const void *caller, bool reallocates, void *const *frames, int count) {
    Dl_info info;
    if (reallocates && dladdr(caller, &info) != 0 && strstr(info.dli_fname, "libuv.so") != NULL)
        return true;
    bool sanitizer = false;
    for (int i = 0; i < count; i++)
        sanitizer = sanitizer || (dladdr(frames[i], &info) != 0 && info.dli_sname != NULL &&
                                  strcmp(info.dli_sname, "pthread_getattr_np") == 0);
    return sanitizer;
}

/* Whether this allocation is one that fails. */
static bool fails(const void *caller, bool reallocates) {
    if (control == NULL)
        return false;
    uint64_t number = atomic_fetch_add(&control->count, 1) + 1, fail_at = atomic_load(&control->fail_at);
    if (fail_at == 0 || number < fail_at || number - fail_at >= atomic_load(&control->width))
        return false;
    void *frames[TRACE_MAX];
    int count = backtrace(frames, TRACE_MAX);
    if (atomic_fetch_add(&control->reached, 1) == 0 && ftruncate(trace_fd, 0) == 0)
        backtrace_symbols_fd(frames, count, trace_fd);
    errno = ENOMEM;
    return !is_spared(caller, reallocates, frames, count);
}

#define FAILS(reallocates) fails(__builtin_return_address(0), reallocates)

void *malloc(size_t size) {
    return FAILS(false) ? NULL : __interceptor_malloc(size);
}

void *calloc(size_t count, size_t size) {
    return FAILS(false) ? NULL : __interceptor_calloc(count, size);
}

void *realloc(void *old, size_t size) {
    return FAILS(true) ? NULL : __interceptor_realloc(old, size);
}

int posix_memalign(void **ret_memory, size_t alignment, size_t size) {
    return FAILS(false) ? ENOMEM : __interceptor_posix_memalign(ret_memory, alignment, size);
}

/* The sanitizer has its own of these two, which do not come by malloc(). */
static char *copy(const char *text, size_t length) {
    char *to = malloc(length + 1);
    if (to != NULL) {
        memcpy(to, text, length);
        to[length] = '\0';
    }
    return to;
}

char *strdup(const char *text) {
    return copy(text, strlen(text));
}

char *strndup(const char *text, size_t length_max) {
    return copy(text, strnlen(text, length_max));
}
