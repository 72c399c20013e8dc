/* The two clocks of the program, real or faked.
 *
 * Every module reads the time here, so that a test can set it. Usage in a test:
 *     clock_fake(1000, 1700000000000);
 *     clock_fake_advance(250);
 *     clock_real();
 */
#ifndef SLUICE_BASE_CLOCK_H
#define SLUICE_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

/** Milliseconds on CLOCK_MONOTONIC: for durations and deadlines. Any thread. */
int64_t clock_mono_ms(void);

/** Milliseconds since 1970 on CLOCK_REALTIME: for ids and for texts that people read. Any thread. */
int64_t clock_unix_ms(void);

/** Size of the text that clock_format_iso() writes, its NUL included. */
#define CLOCK_ISO_SIZE 32

/** Writes `unix_ms` as ISO 8601 in UTC with milliseconds, "2026-01-31T08:15:00.123Z". Any thread. */
void clock_format_iso(int64_t unix_ms, char out[CLOCK_ISO_SIZE]);

/** Tests only: stops both clocks at these values. */
void clock_fake(int64_t mono_ms, int64_t unix_ms);

/** Tests only: moves both faked clocks forward. */
void clock_fake_advance(int64_t ms);

/** Tests only: returns to the real clocks. */
void clock_real(void);

#endif
