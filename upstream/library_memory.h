/* The memory that libcurl and OpenSSL take, counted to the block: connections to upstreams, those that are
 * kept included, the headers of their answers, and the authorities that their certificates are checked
 * against. */
#ifndef SLUICE_UPSTREAM_LIBRARY_MEMORY_H
#define SLUICE_UPSTREAM_LIBRARY_MEMORY_H

#include "base/attributes.h"

#include <stdbool.h>

/** Sets both libraries up, and charges all that they allocate from now on as MEMORY_UPSTREAM_CONNECTIONS.
 * Once, at start, before anything else uses either. False: out of memory, or they have been used. */
bool library_memory_begin(void) MUST_CHECK;

#endif
