/* A client's request to start a run: it is read, checked, and made into a request for the upstream. */
#ifndef SLUICE_ROUTES_RUN_REQUEST_H
#define SLUICE_ROUTES_RUN_REQUEST_H

#include "base/attributes.h"
#include "base/traceparent.h"
#include "broadcaster/task.h"
#include "relay/runner.h"
#include "routes/request.h"
#include "routes/stream.h"
#include "upstream/prospect.h"

#include <cjson/cJSON.h>

#define RUN_PRIORITY_DEFAULT 5

struct run_options_error {
    const char *code;
    char message[192];
};

/** The header that says what `on_disconnect` is, for clients that cannot put it into their body. */
#define RUN_ON_DISCONNECT_HEADER "Sluice-On-Disconnect"

/** Returns the options of a run that names none. */
struct task_options run_options_default(int64_t timeout_ms);

/** Reads the value of the header into *options. False: it is none, and *ret_error says so. */
bool run_options_read_header(const char *value, struct task_options *options,
                             struct run_options_error *ret_error) MUST_CHECK;

/** Reads the options, NULL for none, over what *options has. Its `timeout_ms` is also the most. False:
 * *ret_error says what is wrong, *options is of no use. */
bool run_options_read(const cJSON *gateway, struct task_options *options,
                      struct run_options_error *ret_error) MUST_CHECK;

/** Returns the name of an option that stands in the body next to "gateway", where it has no effect; NULL:
 * there is none. "on_disconnect", "priority" and "label" are the upstream's own there, unless it
 * `reads_no_options`: LangGraph has the first. */
const char *run_options_find_misplaced(const cJSON *body, bool reads_no_options);

/** The HTTP request has the names of its session. */
struct run_request {
    cJSON *body;                /* what is left of it for the upstream; owned */
    struct adapter_input input; /* points into the others, the HTTP request and its context */
    size_t upstream;            /* the one that was chosen for it: choice.index */
    struct upstream_choice choice;
    struct trace trace;
    struct task_options options;
    const char *idempotency_key; /* NULL: none */
    uint64_t body_hash;
    bool continues; /* Last-Event-ID says up to where the client has read the run's stream, if it is under way
                     */
    struct event_id last_id;
    bool unchanged;  /* the body is passed on byte for byte */
    bool has_stream; /* it is answered by its own stream */
    struct stream_form form;
    char task_id[TASK_ID_SIZE]; /* that the run will have */

    char *own_raw;         /* what `input.raw` is, if it is not the body as it came; else NULL. Owned */
    cJSON *taken_out[3];   /* what `input` and `options` came from; owned */
    struct buffer message; /* what options.input came from, if it was put together; owned */
};

/** Reads POST S/run. False: the reply is decided. Either way run_request_finish() is due. */
bool run_request_read(struct request *request, struct run_request *ret_run) MUST_CHECK;

/** Reads POST /run_sse, whose body names the session. */
bool run_request_read_adk(struct request *request, struct run_request *ret_run) MUST_CHECK;

/** The worker where the run is to be. Its session's; but a run that is answered by its own stream stays where
 * its connection is, and so does that stream: else the run could be ahead of it before it is there. */
struct routes_context *run_request_home(const struct request *request, const struct run_request *run,
                                        const struct session *session);

/** Makes what is asked of the upstream that was chosen, and of those that it falls back to; the caller's. An
 * answer that is at hand is only looked for if the run will start at once: else it could be too old by then.
 * One of the latter that the run cannot be made for is left out. NULL: the reply is decided. */
struct plan *run_request_plan(struct request *request, const struct run_request *run, struct session *session,
                              bool starts_at_once) MUST_CHECK;

void run_request_finish(struct run_request *run);

#endif
