/* Writes to the log what there is to tell of the upstreams. */
#ifndef SLUICE_ROUTES_UPSTREAM_LOG_H
#define SLUICE_ROUTES_UPSTREAM_LOG_H

#include "upstream/notice.h"

/** One line. Any thread. */
void upstream_log(const struct upstream_notice *notice);

#endif
