/* Whether it is alive and may take work: GET /healthz and /readyz. */
#include "base/json_writer.h"
#include "routes/handlers.h"

#define ANSWER_BYTES_MAX 4096

static void reply_status(struct request *request, const char *status) {
    struct json_writer json;
    json_writer_init(&json, ANSWER_BYTES_MAX);
    json_begin_object(&json, NULL);
    json_add_string(&json, "status", status);
    json_end_object(&json);
    reply_json(request, 200, &json);
}

void handle_healthz(struct request *request) {
    reply_status(request, "ok");
}

void handle_readyz(struct request *request) {
    if (broadcaster_is_draining(request->context->broadcaster))
        reply_error(request, 503, "draining", "The gateway is shutting down.");
    else
        reply_status(request, "ready");
}
