/* What /metrics shows of the upstreams. The label `upstream` is a name of the configuration. */
#ifndef SLUICE_ROUTES_UPSTREAM_METRICS_H
#define SLUICE_ROUTES_UPSTREAM_METRICS_H

#include "upstream/call.h"

struct exposition;

void upstream_metrics_add(struct exposition *exposition, const struct upstream_caller *caller);

#endif
