/* The events of sse_source: ADK-shaped JSON of an exact size that begins with its number and the time it was
 * sent.
 *
 *     {"stamp":"NNNNNNNNNN:TTTTTTTTTTTTTTTTTTT","author":"bench","partial":true,"content":{...}}
 *               number     monotonic ns
 */
#ifndef SLUICE_TESTS_BENCH_SOURCE_EVENT_H
#define SLUICE_TESTS_BENCH_SOURCE_EVENT_H

#include <stdint.h>

#define EVENT_OPENING "{\"stamp\":\""
#define EVENT_OPENING_BYTES (sizeof EVENT_OPENING - 1)
#define EVENT_NUMBER_DIGITS 10
#define EVENT_TIME_DIGITS 19
#define EVENT_NUMBER_AT EVENT_OPENING_BYTES
#define EVENT_TIME_AT (EVENT_NUMBER_AT + EVENT_NUMBER_DIGITS + 1)
#define EVENT_STAMP_END (EVENT_TIME_AT + EVENT_TIME_DIGITS)

static inline void event_write_digits(char *out, int digits, uint64_t value) {
    while (digits-- > 0) {
        out[digits] = (char)('0' + value % 10);
        value /= 10;
    }
}

static inline uint64_t event_read_digits(const char *text, int digits) {
    uint64_t value = 0;
    for (int i = 0; i < digits; i++)
        value = value * 10 + (uint64_t)(text[i] - '0');
    return value;
}

#endif
