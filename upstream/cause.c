/* The words of causes: see cause.h. */
#include "upstream/cause.h"

#include <stddef.h>

const char *upstream_cause_word(enum upstream_cause cause) {
    static const char *const words[CAUSE_COUNT] = {
#define X(name, word) [name] = (word),
        UPSTREAM_CAUSES(X)
#undef X
    };
    return words[cause];
}
