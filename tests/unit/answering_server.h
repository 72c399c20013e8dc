/* A raw server that goes through a list of answers. */
#ifndef SLUICE_TESTS_UNIT_ANSWERING_SERVER_H
#define SLUICE_TESTS_UNIT_ANSWERING_SERVER_H

#include "tests/unit/raw_server.h"

/** Answers the n-th request by the n-th text, as often as there are some; then holds. NULL ends the list. */
static const char *const *answers;

static inline void serve_answers(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    while (raw_server_read(server, fd)) {
        const char *const *next = answers;
        for (size_t i = 1; i < raw_server_requests(server) && *next != NULL; i++)
            next++;
        if (*next == NULL)
            break;
        raw_server_write(fd, *next);
    }
    raw_server_hold(fd);
}

#endif
