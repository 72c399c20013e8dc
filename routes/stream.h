/* Answers that are event streams. */
#ifndef SLUICE_ROUTES_STREAM_H
#define SLUICE_ROUTES_STREAM_H

#include "broadcaster/subscriber.h"
#include "routes/request.h"

enum stream_kind {
    STREAM_FROM_START, /* all events of the run, lifecycle too */
    STREAM_RESUMED,    /* the events after the id that the client names, if it names one */
};

/** The form of a stream, which the parameters of the query choose. */
struct stream_form {
    bool agent_only; /* the agent's events alone, under the names that the agent gave them */
    bool pings;      /* heartbeats are events */
    bool is_bare;    /* it begins without the greeting, as the agent would send it */
};

/** Reads the form of a stream. False: the reply is decided. */
bool stream_read_form(struct request *request, struct stream_form *ret_form) MUST_CHECK;

/** Takes a place among the session's subscribers for the stream of a run that is registered afterwards.
 * False: there is no place, and the reply is decided. */
bool stream_take_place(struct request *request, struct session *session,
                       struct subscriber **ret_subscriber) MUST_CHECK;

/** Answers with the stream of this run. Takes over `subscriber`, which has a place; for NULL it takes a place
 * now. False: there is no place, and another reply is decided. */
bool stream_reply_run(struct request *request, struct task *task, enum stream_kind kind,
                      const struct stream_form *form, struct subscriber *subscriber);

/** Answers that the events of the run are no longer retained. */
void stream_refuse_gone(struct request *request);

#endif
