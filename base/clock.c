/* The two clocks of the program, real or faked.
 *
 * A faked clock is a number that only tests set. Faking is a flag of the process, so that code on any thread sees
 * the same time.
 */
#include "base/clock.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>

static atomic_bool faked;
static _Atomic int64_t fake_mono_ms;
static _Atomic int64_t fake_unix_ms;

static int64_t read_ms(clockid_t id) {
    struct timespec now;
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t clock_mono_ms(void) {
    return atomic_load(&faked) ? atomic_load(&fake_mono_ms) : read_ms(CLOCK_MONOTONIC);
}

int64_t clock_unix_ms(void) {
    return atomic_load(&faked) ? atomic_load(&fake_unix_ms) : read_ms(CLOCK_REALTIME);
}

void clock_format_iso(int64_t unix_ms, char out[CLOCK_ISO_SIZE]) {
    time_t seconds = (time_t)(unix_ms / 1000);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    size_t length = strftime(out, CLOCK_ISO_SIZE, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(out + length, CLOCK_ISO_SIZE - length, ".%03dZ", (int)(unix_ms % 1000));
}

void clock_fake(int64_t mono_ms, int64_t unix_ms) {
    atomic_store(&fake_mono_ms, mono_ms);
    atomic_store(&fake_unix_ms, unix_ms);
    atomic_store(&faked, true);
}

void clock_fake_advance(int64_t ms) {
    atomic_fetch_add(&fake_mono_ms, ms);
    atomic_fetch_add(&fake_unix_ms, ms);
}

void clock_real(void) {
    atomic_store(&faked, false);
}
