/* One line a minute for each subject.
 *
 * A slot belongs to a subject for one minute of the monotonic clock. The search begins at a place that the
 * hash chooses, and ends at the subject's own slot or at one of an earlier minute, which the subject then
 * takes. The hash has a secret key, so a client cannot choose names that share a slot. */
#include "base/log_once.h"

#include "base/clock.h"
#include "base/hash.h"

#define MINUTE_MS 60000

bool log_once_take(struct log_once *once, const char *subject, size_t length, uint64_t *ret_unwritten) {
    uint64_t hash = hash_seeded(subject, length);
    uint32_t minute = (uint32_t)(clock_mono_ms() / MINUTE_MS) + 1; /* an empty slot is of minute 0 */
    uint64_t own = (hash & 0xffffffff00000000) | minute;
    for (size_t i = 0; i < LOG_ONCE_SUBJECTS_MAX; i++) {
        _Atomic uint64_t *slot = &once->slots[(hash + i) % LOG_ONCE_SUBJECTS_MAX];
        uint64_t found = atomic_load(slot);
        while ((uint32_t)found != minute) {
            if (!atomic_compare_exchange_weak(slot, &found, own))
                continue; /* another thread was faster: look at what it wrote */
            *ret_unwritten = atomic_exchange(&once->unwritten, 0);
            return true;
        }
        if (found == own)
            return false;
    }
    atomic_fetch_add(&once->unwritten, 1);
    return false;
}
