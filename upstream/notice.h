/* What the people who run the gateway are to be told of its upstreams and of Redis, once each time that it
 * changes. This room does not log: it tells whoever was named at its making. */
#ifndef SLUICE_UPSTREAM_NOTICE_H
#define SLUICE_UPSTREAM_NOTICE_H

#include <stdint.h>

enum upstream_notice_kind {
    NOTICE_BREAKER_OPENED, /* upstream, calls, failures, retry_after_ms */
    NOTICE_BREAKER_CLOSED, /* upstream */
    NOTICE_UNHEALTHY,      /* upstream, status, message: its health check failed */
    NOTICE_HEALTHY,        /* upstream */
    NOTICE_REDIS_AWAY,     /* message: no worker has a connection */
    NOTICE_REDIS_BACK,
};

/** What is not of its kind is 0. Valid in the call. */
struct upstream_notice {
    enum upstream_notice_kind kind;
    const char *upstream;
    uint64_t calls, failures; /* of the breaker's window */
    int64_t retry_after_ms;
    int status; /* of HTTP; 0: there was no answer */
    const char *message;
};

/** Called on any worker's thread, with no lock held. NULL stands for nobody. */
typedef void upstream_notify(const struct upstream_notice *notice);

#endif
