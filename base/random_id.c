/* Random ids.
 *
 * The kernel's generator is asked each time: an id must not be guessed from others, also not after a fork or from
 * a snapshot of the machine. An id of zeros alone is never made, because it means "none" in a traceparent.
 */
#include "base/random_id.h"

#include <stdint.h>
#include <string.h>
#include <sys/random.h>

bool random_id(char *out, size_t length) {
    uint8_t bytes[RANDOM_ID_MAX / 2];
    if (getrandom(bytes, length / 2, 0) != (ssize_t)(length / 2))
        return false;
    for (size_t i = 0; i < length; i++)
        out[i] = "0123456789abcdef"[i % 2 == 0 ? bytes[i / 2] >> 4 : bytes[i / 2] & 15];
    out[length] = '\0';
    if (strspn(out, "0") == length)
        out[length - 1] = '1';
    return true;
}
