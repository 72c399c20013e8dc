/* Answering with the stream of a run. */
#ifndef SLUICE_ROUTES_STREAM_H
#define SLUICE_ROUTES_STREAM_H

#include "broadcaster/subscriber.h"
#include "routes/request.h"

enum stream_kind {
    STREAM_FROM_START, /* all events of the run, lifecycle too */
    STREAM_RESUMED,    /* the same from where the client says that it left off, if it does */
};

/** What a stream holds, by the query's parameters. */
struct stream_form {
    bool agent_only; /* the agent's events alone, under the names that the agent gave them */
    bool pings;      /* heartbeats are events */
    bool is_bare;    /* it begins without the greeting, as the agent would send it */
};

/** Reads the form of a stream. False: the reply is decided. */
bool stream_read_form(struct request *request, struct stream_form *ret_form) MUST_CHECK;

/** Takes a place among the session's subscribers for the stream of a run that is still to be registered.
 * False: there is none; the reply says why. */
bool stream_take_place(struct request *request, struct session *session,
                       struct subscriber **ret_subscriber) MUST_CHECK;

/** Answers with the stream of this run. `subscriber`, which is taken over, has a place; NULL: one is taken
 * now. False: it could not be; the reply says why. */
bool stream_reply_run(struct request *request, struct task *task, enum stream_kind kind,
                      const struct stream_form *form, struct subscriber *subscriber);

/** Answers that the events of the run are no longer retained. */
void stream_refuse_gone(struct request *request);

#endif
