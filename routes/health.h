/* How well the gateway does, and what is wrong with it. */
#ifndef SLUICE_ROUTES_HEALTH_H
#define SLUICE_ROUTES_HEALTH_H

#include "routes/context.h"

struct json_writer;

enum health_status { HEALTH_HEALTHY, HEALTH_DEGRADED, HEALTH_CRITICAL };

struct health_reason {
    const char *code;
    const char *message;
    const char *upstream;  /* that it is about; NULL: none */
    uint64_t value, limit; /* what is above what; both 0: it is about no number */
};

/** Maximum of listed reasons; the status counts all of them. */
#define HEALTH_REASONS_MAX 64

/** The strings of a report last as long as the context's settings. */
struct health_report {
    enum health_status status; /* the worst that one of the reasons makes of it */
    struct health_reason reasons[HEALTH_REASONS_MAX];
    size_t count;
};

void health_report_make(const struct routes_context *context, struct health_report *ret_report);

/** "healthy", "degraded", "critical" */
const char *health_status_name(enum health_status status);

/** Writes members of an object that is open: what there is of the main things, in a few numbers. */
void health_write_summary(struct json_writer *json, const struct routes_context *context,
                          const struct broadcaster_stats *stats);

#endif
