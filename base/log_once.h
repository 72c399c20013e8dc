/* Limits repeated log lines: each subject gets one line a minute. The table has a fixed size, so subjects
 * that clients invent can grow neither the table nor the log. While the table is full, further subjects get
 * no line in that minute and are counted. Any thread, without a lock.
 *
 *     uint64_t unwritten;
 *     if (log_once_take(&once, origin, strlen(origin), &unwritten))
 *         log_info("origin_refused", ..., LOG_INT("unwritten", unwritten));
 */
#ifndef SLUICE_BASE_LOG_ONCE_H
#define SLUICE_BASE_LOG_ONCE_H

#include "base/attributes.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_ONCE_SUBJECTS_MAX 64

/** All zeros at the beginning. */
struct log_once {
    _Atomic uint64_t
        slots[LOG_ONCE_SUBJECTS_MAX]; /* half of the subject's hash, and the minute of its line */
    _Atomic uint64_t unwritten;       /* lines without a slot since the last line */
};

/** Returns whether a line about this subject may be written now. *ret_unwritten is the number of lines that
 * found no slot. */
bool log_once_take(struct log_once *once, const char *subject, size_t length,
                   uint64_t *ret_unwritten) MUST_CHECK;

#endif
