/* Log lines about requests that are refused. They name the client's address and are bounded
 * (base/log_limit.h), for all of them a client can cause as fast as it can send.
 *
 *     refusal_log(request, LOG_LEVEL_INFO, "run_refused", LOG_STR("session", key));
 *
 * What is refused without a line of its own gets one by refusal_log_reply().
 */
#ifndef SLUICE_ROUTES_REFUSAL_H
#define SLUICE_ROUTES_REFUSAL_H

#include "base/log.h"
#include "routes/request.h"

/** Writes one line with these fields, then `peer` and `unwritten`; `fields` ends with one whose key is NULL,
 * and has at most REFUSAL_FIELDS_MAX. */
#define REFUSAL_FIELDS_MAX 8
void refusal_write(struct request *request, enum log_level level, const char *event,
                   const struct log_field *fields);

/* At least one field. */
#define refusal_log(request, level, event, ...)                                                              \
    refusal_write(request, level, event, (const struct log_field[]){__VA_ARGS__, {0}})

/** The decided reply is about to be sent: logs it as `request_rejected`, if it refuses and has no line yet.
 * That something is not there, is going on already, or has no such method (404, 409, 405), is no refusal. */
void refusal_log_reply(struct request *request);

#endif
