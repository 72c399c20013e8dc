/* The upstreams in force: made of the keys outside of the list, and of the list if the file has one. */
#ifndef SLUICE_CONFIG_UPSTREAMS_H
#define SLUICE_CONFIG_UPSTREAMS_H

#include "config/config.h"

struct config_key;

/** Makes config->upstreams anew: without a list one named "default". False: refused, or out of memory;
 * `error` says why, and config_upstreams_finish() is still due. */
bool config_upstreams_build(struct config *config, struct config_error *error) MUST_CHECK;

/** Checks what no key can judge alone. */
bool config_upstreams_check(const struct config *config, struct config_error *error) MUST_CHECK;

/** Frees what was built. */
void config_upstreams_finish(struct config *config);

/** Where the value of the key is, which is one of an upstream. */
const void *config_upstream_field(const struct config *config, size_t upstream, const struct config_key *key);

#endif
