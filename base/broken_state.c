/* States that cannot be.
 *
 * Each note is counted. One line a second reaches the log at most, since a state that a client can bring about
 * again and again would fill it; the next line says how many were left out.
 */
#include "base/broken_state.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"

#include <stdatomic.h>

#define LINE_INTERVAL_MS 1000

static _Atomic int64_t next_line_mono_ms;
static _Atomic uint64_t unwritten;

void broken_state_note(const char *what) {
    int64_t now_ms = clock_mono_ms(), due_ms = atomic_load(&next_line_mono_ms);
    metrics_add(METRIC_BROKEN_STATES, 1);
    bool is_mine = now_ms >= due_ms &&
                   atomic_compare_exchange_strong(&next_line_mono_ms, &due_ms, now_ms + LINE_INTERVAL_MS);
    if (is_mine)
        log_error("broken_state", LOG_STR("what", what),
                  LOG_INT("unwritten", atomic_exchange(&unwritten, 0)));
    else
        atomic_fetch_add(&unwritten, 1);
}
