/* What makes two runs the same: the key under which one's recording serves the other. */
#ifndef SLUICE_UPSTREAM_CACHE_KEY_H
#define SLUICE_UPSTREAM_CACHE_KEY_H

#include "upstream/settings.h"

#define CACHE_KEY_PREFIX "sluice:1:"
#define CACHE_KEY_SIZE (sizeof(CACHE_KEY_PREFIX) + 64)

/** What of a run counts. */
struct cache_key_parts {
    const char *url; /* that it is posted to */
    const char *app, *user;
    const char *body; /* that is posted */
    size_t length;
};

/** Writes the key of a run at that upstream: a digest of all that its
 * answer may come from. The user counts if the upstream's cache is per user, the members that it ignores do
 * not count, nor does the session that an ADK body names. A body that is no JSON counts as it is. False: out
 * of memory. */
bool cache_key_make(const struct upstream_settings *settings, const struct cache_key_parts *parts,
                    char ret_key[CACHE_KEY_SIZE]) MUST_CHECK;

#endif
