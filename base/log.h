/* The structured log: one event a line on standard error, as JSON or as text. Only routes and server log.
 *
 *     log_info("run_ended", LOG_STR("task_id", id), LOG_STR("status", "failed"), LOG_INT("events", 12));
 *
 * A line is written at once and without waiting. If standard error takes no more, the line is dropped and
 * counted, and the next written line reports the number of lost lines.
 */
#ifndef SLUICE_BASE_LOG_H
#define SLUICE_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };
enum log_format { LOG_FORMAT_JSON, LOG_FORMAT_TEXT };

struct log_field {
    const char *key;  /* NULL ends a list */
    const char *text; /* NULL: the field is the number */
    int64_t number;
};

#define LOG_STR(k, v) ((struct log_field){.key = (k), .text = (v)})
#define LOG_INT(k, v) ((struct log_field){.key = (k), .number = (int64_t)(v)})

/** Opens the log. Once, before any thread starts. */
void log_init(enum log_level level, enum log_format format);

/** Changes the level. Any thread. */
void log_set_level(enum log_level level);

/** Returns whether lines of this level are written. Ask before making costly fields. Any thread. */
bool log_enabled(enum log_level level);

/** Number of lines lost because standard error took no more. Any thread. */
uint64_t log_dropped(void);

/** Writes one line whatever the level is. Any thread. */
void log_announce(const char *event, const struct log_field *fields);

/** Writes one line; `fields` ends with a field whose key is NULL. Any thread. */
void log_write(enum log_level level, const char *event, const struct log_field *fields);

/* At least one field each. */
#define log_debug(event, ...) log_write(LOG_LEVEL_DEBUG, event, (const struct log_field[]){__VA_ARGS__, {0}})
#define log_info(event, ...) log_write(LOG_LEVEL_INFO, event, (const struct log_field[]){__VA_ARGS__, {0}})
#define log_warn(event, ...) log_write(LOG_LEVEL_WARN, event, (const struct log_field[]){__VA_ARGS__, {0}})
#define log_error(event, ...) log_write(LOG_LEVEL_ERROR, event, (const struct log_field[]){__VA_ARGS__, {0}})

#endif
