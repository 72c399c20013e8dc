/* GET /run_live, ADK's WebSocket: after the upstream's own 101 it is a tunnel of bytes (passthrough.c). It
 * holds what a run that is passed on holds, and a place among tunnels_max.
 *
 * A WebSocket is under no rule of CORS: a page of another origin may open one to any server. So the router
 * refuses it as it refuses a foreign write.
 */
#include "routes/access.h"
#include "routes/handlers.h"
#include "routes/passthrough.h"
#include "routes/request.h"
#include "routes/upstream_choice.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const query_names[] = {"app_name",
                                          "user_id",
                                          "session_id",
                                          "modalities",
                                          "proactive_audio",
                                          "enable_affective_dialog",
                                          "enable_session_resumption",
                                          "save_live_blob",
                                          "explicit_vad_signal",
                                          NULL};

static bool read_live_name(struct request *request, const char *name, size_t bytes_max, char *out) {
    char *value = NULL;
    int result = request_query(request, name, &value);
    if (result == -ENOMEM)
        reply_no_memory(request);
    else if (result < 0 || value == NULL || !path_name_is_valid(value, bytes_max))
        reply_error(request, 400, "invalid_query", "\"%s\" must be 1 to %zu " PATH_NAME_IS ".", name,
                    bytes_max);
    else
        snprintf(out, bytes_max + 1, "%s", value);
    free(value);
    return request->reply.kind == REPLY_NONE;
}

static bool read_live_owner(struct request *request, struct passed_owner *ret_owner) {
    if (strchr(request->query, ';') != NULL) { /* which ends a parameter for some servers */
        reply_error(request, 400, "invalid_query", "The query must not contain a semicolon.");
        return false;
    }
    return query_check_names(request, query_names) &&
           read_live_name(request, "app_name", SESSION_PART_MAX, ret_owner->app) &&
           read_live_name(request, "user_id", SESSION_USER_MAX, ret_owner->user) &&
           read_live_name(request, "session_id", SESSION_PART_MAX, ret_owner->session);
}

static bool has_value(const struct request *request, const char *name, const char *wanted) {
    const char *value = request_header(request, name);
    return value != NULL && strcasecmp(value, wanted) == 0;
}

/* RFC 6455, section 4.2.1. */
static bool check_handshake(struct request *request) {
    const char *option = request_header(request, "Connection");
    bool is_asked = !request->http_1_0 && !request->head && !request->has_body && option != NULL &&
                    strcasestr(option, "upgrade") != NULL && has_value(request, "Upgrade", "websocket");
    if (!is_asked) {
        reply_header(request, "Upgrade", "websocket");
        reply_error(request, 426, "upgrade_required",
                    "This path needs a WebSocket handshake over HTTP/1.1 with Upgrade: websocket.");
        return false;
    }
    if (!has_value(request, "Sec-WebSocket-Version", "13")) {
        reply_header(request, "Sec-WebSocket-Version", "13");
        reply_error(request, 426, "websocket_version", "The Sec-WebSocket-Version must be 13.");
    } else if (request_header(request, "Sec-WebSocket-Key") == NULL) {
        reply_error(request, 400, "invalid_header", "A WebSocket handshake needs a Sec-WebSocket-Key.");
    }
    return request->reply.kind == REPLY_NONE;
}

void handle_run_live(struct request *request) {
    struct passed_owner owner = {.app = ""};
    if (broadcaster_is_draining(request->context->broadcaster)) {
        reply_error(request, 503, "draining", "The gateway is shutting down and starts no runs.");
        return;
    }
    if (!check_handshake(request) || !read_live_owner(request, &owner) || !access_enter(request, &owner) ||
        access_refuse_conflict(request))
        return;
    const struct passing passing = {
        .upstream = passthrough_choose(request), .is_run = true, .is_tunnel = true};
    if (passing.upstream != UPSTREAM_NONE)
        passthrough_to(request, &passing);
}
