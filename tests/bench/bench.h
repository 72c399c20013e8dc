/* What all programs of the benchmarks share: a clock, their end when something is wrong, flags, a histogram,
 * what the kernel says of a process, sockets, the heads of HTTP messages.
 *
 * A program prints JSON on standard output, one object a line. If the work was not done as asked it says so
 * in one line on standard error and exits with status 1: a number is never printed for work that was not
 * done.
 */
#ifndef SLUICE_TESTS_BENCH_BENCH_H
#define SLUICE_TESTS_BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/types.h>

/* ---- clock and end --------------------------------------------------------------------------------- */

#define NS_PER_S INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)

/** Nanoseconds on CLOCK_MONOTONIC, which all processes of a machine share. */
int64_t now_ns(void);

/** Prints "PROGRAM: message" on standard error and exits with status 1. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** The same, with what errno says behind it. */
_Noreturn void die_errno(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** Memory or the end; zeroed. */
void *must_calloc(size_t count, size_t size);

/* ---- flags ----------------------------------------------------------------------------------------- */

/** One flag, `--name VALUE`. Exactly one of `number`, `text` and `take` is set: where the value goes. */
struct option_spec {
    const char *name;  /* without the dashes */
    const char *value; /* what --help calls it, such as "PORT" */
    const char *help;
    int64_t *number; /* must lie from `min` to `max` */
    int64_t min, max;
    const char **text;
    void (*take)(const char *value); /* called each time the flag is given; ends the program if it is bad */
    bool required;
};

/** Reads the flags; `options` ends with one that has no name. --help prints `usage` and the list and exits
 * with status 0; an unknown flag, a bad or a missing value: one line, status 2. Anything not given stays as
 * it was. */
void options_read(int argc, char **argv, const char *usage, const struct option_spec *options);

/** Reads a whole number up to a character of `ends` or the end of the text. False: there is none, or it is
 * not from `min` to `max`. `*text` is moved to where it ended. */
bool number_read(const char **text, const char *ends, int64_t min, int64_t max, int64_t *ret_number);

/** http://127.0.0.1:PORT/path, nothing else. */
struct url {
    uint16_t port;
    const char *path; /* within the text that was read; with the query */
};

/** Reads a URL, or ends the program. */
struct url url_read(const char *text);

/* ---- histogram ------------------------------------------------------------------------------------- */

/* 64 steps between two powers of two: a value is known to 1.6 %. */
#define HISTOGRAM_STEPS 64
#define HISTOGRAM_BUCKETS (58 * HISTOGRAM_STEPS)

struct histogram {
    uint64_t count;
    int64_t max;
    double sum;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

/** Counts `value`; below 0 is 0. A zeroed histogram is an empty one. */
void histogram_add(struct histogram *histogram, int64_t value);

/** The value that `share` (0.99) of all values do not exceed; 0 if there are none. */
int64_t histogram_at(const struct histogram *histogram, double share);

/** Prints {"p50":..,"p99":..,"p999":..,"max":..,"mean":..,"count":..} of nanoseconds as microseconds. */
void histogram_print_us(const struct histogram *histogram);

/* ---- processes ------------------------------------------------------------------------------------- */

#define PIDS_MAX 64

/** Processes that are watched: a server and its helpers. */
struct pids {
    pid_t pid[PIDS_MAX];
    size_t count;
};

/** Adds "PID[,PID...]", or ends the program. */
void pids_add(struct pids *pids, const char *text);

/** Processor time that they used so far, all threads, user and kernel. Ends the program if one has gone. */
int64_t pids_cpu_ns(const struct pids *pids);

/** Their resident memory. Ends the program if one has gone. */
int64_t pids_rss_bytes(const struct pids *pids);

/** Processor time of this program so far. */
int64_t own_cpu_ns(void);

/** What the kernel has in the buffers of all TCP sockets of the machine (/proc/net/sockstat). */
int64_t tcp_buffer_bytes(void);

/** What the kernel has in its own objects (Slab in /proc/meminfo): sockets, files, epoll items and all else.
 */
int64_t kernel_slab_bytes(void);

/* ---- sockets --------------------------------------------------------------------------------------- */

/** As many descriptors as the machine allows; returns how many. */
int64_t descriptors_raise(void);

/** Listens on 127.0.0.1, non-blocking; port 0 takes a free one. */
int tcp_listen(uint16_t port);

/** The same on a port that others listen on in this way, too: the kernel spreads the connections over them.
 */
int tcp_listen_shared(uint16_t port);

/** The port that a socket has on this side. */
uint16_t tcp_port(int fd);

/** Connects to 127.0.0.1, and makes the socket non-blocking, without Nagle's delay. -1 with errno: nobody
 * there. */
int tcp_try_connect(uint16_t port);

/** The same, or ends the program. */
int tcp_connect(uint16_t port);

/** Takes a connection, non-blocking, without Nagle's delay; -1 if there is none. */
int tcp_accept(int listener);

/** Closes by a reset, so that thousands of ports do not stay in TIME_WAIT. */
void tcp_close_hard(int fd);

/** An epoll instance. */
int poll_create(void);

/** Watches `fd` for `events` (EPOLLIN ...); `owner` comes back in `data.ptr`. */
void poll_add(int poll_fd, int fd, uint32_t events, void *owner);
void poll_change(int poll_fd, int fd, uint32_t events, void *owner);
void poll_remove(int poll_fd, int fd);

/** epoll_wait that is not interrupted: how many are ready, 0 after the time. */
int poll_wait(int poll_fd, struct epoll_event *events, int events_max, int timeout_ms);

/* ---- heads of HTTP messages ------------------------------------------------------------------------ */

/** The length of a head with its empty line, or 0 if it has not come whole. */
size_t http_head_length(const char *bytes, size_t length);

/** The value of a header field of a whole head, without blanks around it; NULL if there is none. The name is
 * compared without case. */
const char *http_field(const char *head, size_t head_length, const char *name, size_t *ret_length);

/** Whether a field has exactly this value, without case. */
bool http_field_is(const char *head, size_t head_length, const char *name, const char *value);

/** Content-Length, or `otherwise`. */
int64_t http_content_length(const char *head, size_t head_length, int64_t otherwise);

/** The status of an answer's head; 0 if it is none. */
int http_status(const char *head, size_t head_length);

#endif
