/* Requests with a body that are passed on to an upstream of kind adk.
 *
 * A body is passed on byte for byte, after it was read as JSON: it may not name another app, user or session
 * than the path. POST /run has no names in its path; there the body says whose it is, as for /run_sse.
 */
#include "routes/access.h"
#include "routes/adk_body.h"
#include "routes/handlers.h"
#include "routes/json_body.h"
#include "routes/passthrough.h"
#include "routes/upstream_choice.h"

#include <stdlib.h>

static void pass_write_on(struct request *request) {
    const struct passing passing = {
        .upstream = passthrough_choose(request), .body = request->body, .body_length = request->body_length};
    if (passing.upstream != UPSTREAM_NONE)
        passthrough_to(request, &passing);
}

void handle_passed_write(struct request *request) {
    cJSON *body;
    if (!json_body_read(request, &body))
        return;
    if (!adk_body_refuse_identity(request, body, NULL))
        pass_write_on(request);
    cJSON_Delete(body);
}

void handle_passed_memory(struct request *request) {
    cJSON *body;
    if (!json_body_read(request, &body))
        return;
    if (adk_body_check_session(request, body))
        pass_write_on(request);
    cJSON_Delete(body);
}

/* ---- POST /run ----------------------------------------------------------------------------------- */

static void pass_run_on(struct request *request, const cJSON *body) {
    struct passing passing = {.upstream = passthrough_choose(request),
                              .body = request->body,
                              .body_length = request->body_length,
                              .first_byte_timeout_ms = request->context->relay.settings->run_timeout_ms,
                              .is_run = true};
    char *own = NULL;
    if (passing.upstream == UPSTREAM_NONE)
        return;
    if (!adk_body_make_text(request, body, request->app, false, &own, &passing.body_length)) {
        reply_no_memory(request);
        return;
    }
    if (own != NULL)
        passing.body = own;
    passthrough_to(request, &passing);
    free(own);
}

void handle_passed_run(struct request *request) {
    struct passed_owner owner;
    cJSON *body;
    if (broadcaster_is_draining(request->context->broadcaster)) {
        reply_error(request, 503, "draining", "The gateway is shutting down and starts no runs.");
        return;
    }
    if (!json_body_read(request, &body))
        return;
    if (adk_body_read_owner(request, body, &owner) && access_enter(request, &owner) &&
        !access_refuse_conflict(request))
        pass_run_on(request, body);
    cJSON_Delete(body);
}
