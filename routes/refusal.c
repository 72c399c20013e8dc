/* Log lines about requests that are refused.
 *
 * A client can cause them as fast as it can send, so they have one limit a worker. A line that is written
 * says how many were not. A refusal that no caller has logged gets a line of the common form when its reply
 * is sent. */
#include "routes/refusal.h"

#include <netinet/in.h>

void refusal_write(struct request *request, enum log_level level, const char *event,
                   const struct log_field *fields) {
    struct log_field all[REFUSAL_FIELDS_MAX + 3];
    char peer[INET6_ADDRSTRLEN] = "";
    uint64_t unwritten;
    size_t count = 0;
    request->reply.is_logged = true;
    if (!log_enabled(level) || !log_limit_take(&request->context->refusals, &unwritten))
        return;
    for (; count < REFUSAL_FIELDS_MAX && fields[count].key != NULL; count++)
        all[count] = fields[count];
    if (request->operations->peer != NULL)
        request->operations->peer(request, peer);
    all[count++] = LOG_STR("peer", peer);
    all[count++] = LOG_INT("unwritten", unwritten);
    all[count] = (struct log_field){0};
    log_write(level, event, all);
}

void refusal_log_reply(struct request *request) {
    const struct reply *reply = &request->reply;
    bool refuses =
        reply->status >= 400 && reply->status != 404 && reply->status != 405 && reply->status != 409;
    if (refuses && !reply->is_logged)
        refusal_log(request, LOG_LEVEL_INFO, "request_rejected", LOG_STR("reason", reply->code),
                    LOG_STR("path", request->path), LOG_INT("status", reply->status));
}
