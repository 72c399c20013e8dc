/* The structured log.
 *
 * A line is put together on the stack and written by one call, so lines of threads do not mix, and a line can be
 * written when memory is out. Standard error must not block a loop: it is opened once more without blocking, and
 * a line that does not fit is dropped and counted.
 */
#include "base/log.h"

#include "base/buffer.h"
#include "base/clock.h"
#include "base/json_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define LINE_BYTES_MAX (16 * 1024)
#define VALUE_BYTES_MAX 4096

static const char *const level_names[] = {"debug", "info", "warn", "error"};

static _Atomic enum log_level minimum = LOG_LEVEL_INFO;
static enum log_format line_format = LOG_FORMAT_JSON;
static _Atomic uint64_t dropped;
static _Atomic uint64_t dropped_untold;
static atomic_bool last_is_torn;

void log_init(enum log_level level, enum log_format format) {
    atomic_store(&minimum, level);
    line_format = format;
    /* A pipe or a terminal gets an open file description of our own, so that O_NONBLOCK is not set for
     * other processes that share the inherited one. A file never makes us wait; a socket cannot be opened that
     * way. */
    struct stat about;
    if (fstat(STDERR_FILENO, &about) < 0 || !(S_ISFIFO(about.st_mode) || S_ISCHR(about.st_mode)))
        return;
    int own = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (own >= 0) {
        dup2(own, STDERR_FILENO);
        close(own);
    }
}

void log_set_level(enum log_level level) {
    atomic_store(&minimum, level);
}

bool log_enabled(enum log_level level) {
    return level >= atomic_load_explicit(&minimum, memory_order_relaxed);
}

uint64_t log_dropped(void) {
    return atomic_load(&dropped);
}

/* printf() would be half of what a line costs. */
static bool append_texts(struct buffer *line, const char *before, const char *text, const char *after) {
    return buffer_append_text(line, before) && buffer_append_text(line, text) &&
           buffer_append_text(line, after);
}

/* A long text is cut: a line that does not fit is lost. */
static bool append_value(struct buffer *line, const struct log_field *field) {
    if (field->text != NULL)
        return json_text_append_plainly(line, field->text, strnlen(field->text, VALUE_BYTES_MAX));
    return buffer_printf(line, "%lld", (long long)field->number);
}

static void add_field(struct json_writer *json, const struct log_field *field) {
    if (field->text != NULL)
        json_add_text(json, field->key, field->text, strnlen(field->text, VALUE_BYTES_MAX));
    else
        json_add_number(json, field->key, field->number);
}

static bool append_json(struct buffer *line, const char *time, enum log_level level, const char *event,
                        const struct log_field *fields) {
    struct json_writer json;
    json_writer_init_fixed(&json, line->bytes, line->capacity);
    json.is_plain = true;
    json_begin_object(&json, NULL);
    json_add_string(&json, "event", event);
    for (const struct log_field *field = fields; field->key != NULL; field++)
        add_field(&json, field);
    json_add_string(&json, "level", level_names[level]);
    json_add_string(&json, "time", time);
    json_end_object(&json);
    *line = json.text;
    return !json.failed && buffer_append(line, "\n", 1);
}

static bool append_line(struct buffer *line, const char *time, enum log_level level, const char *event,
                        const struct log_field *fields) {
    bool fits = buffer_printf(line, "%s %-5s %s", time, level_names[level], event);
    for (const struct log_field *field = fields; fits && field->key != NULL; field++)
        fits = append_texts(line, " ", field->key, "=") && append_value(line, field);
    return fits && buffer_append_text(line, "\n");
}

/* A pipe that is nearly full may take a part of a long line: the next line then begins with a line end, so
 * that only the torn one is lost. */
static bool write_once(const char *bytes, size_t length) {
    const struct iovec parts[] = {{.iov_base = (void *)(uintptr_t) "\n", .iov_len = 1},
                                  {.iov_base = (void *)(uintptr_t)bytes, .iov_len = length}};
    bool torn = atomic_exchange(&last_is_torn, false);
    size_t total = length + (torn ? 1 : 0);
    ssize_t count;
    do
        count = writev(STDERR_FILENO, parts + (torn ? 0 : 1), torn ? 2 : 1);
    while (count < 0 && errno == EINTR);
    if (count != (ssize_t)total && (count > 0 || torn))
        atomic_store(&last_is_torn, true);
    return count == (ssize_t)total;
}

static bool write_line(enum log_level level, const char *event, const struct log_field *fields) {
    char time[CLOCK_ISO_SIZE];
    clock_format_iso(clock_unix_ms(), time);
    char text[LINE_BYTES_MAX + 1]; /* on the stack: lines about a lack of memory are written, too */
    struct buffer line;
    buffer_init_fixed(&line, text, sizeof(text));
    bool written = line_format == LOG_FORMAT_JSON ? append_json(&line, time, level, event, fields)
                                                  : append_line(&line, time, level, event, fields);
    return written && write_once(line.bytes, line.length);
}

static void write_counted(enum log_level level, const char *event, const struct log_field *fields) {
    uint64_t untold = atomic_exchange(&dropped_untold, 0);
    if (untold > 0) {
        const struct log_field lost[] = {LOG_INT("lines", untold), {0}};
        if (!write_line(LOG_LEVEL_WARN, "log_lines_lost", lost))
            atomic_fetch_add(&dropped_untold, untold);
    }
    if (!write_line(level, event, fields)) {
        atomic_fetch_add(&dropped, 1);
        atomic_fetch_add(&dropped_untold, 1);
    }
}

void log_write(enum log_level level, const char *event, const struct log_field *fields) {
    if (log_enabled(level))
        write_counted(level, event, fields);
}

void log_announce(const char *event, const struct log_field *fields) {
    write_counted(LOG_LEVEL_INFO, event, fields);
}
