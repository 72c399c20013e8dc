/* What a run asks of one upstream: see request.h. Its memory is charged once, however many attempts share it.
 */
#include "upstream/request.h"

#include "base/memory_budget.h"
#include "base/refcount.h"

#include <stdlib.h>
#include <string.h>

static size_t text_memory(const char *text) {
    return text != NULL ? strlen(text) + 1 : 0;
}

static void request_free(struct upstream_request *request) {
    free(request->url);
    free(request->session_url);
    free(request->body);
    free(request);
}

struct upstream_request *upstream_request_create(const struct adapter *adapter, char *url, char *session_url,
                                                 char *body, size_t body_length) {
    struct upstream_request *request = malloc(sizeof(*request));
    if (request == NULL) {
        free(url);
        free(session_url);
        free(body);
        return NULL;
    }
    *request = (struct upstream_request){.adapter = adapter,
                                         .url = url,
                                         .session_url = session_url,
                                         .body = body,
                                         .body_length = body_length,
                                         .memory = sizeof(*request) + text_memory(url) +
                                                   text_memory(session_url) + body_length + 1};
    atomic_init(&request->references, 1);
    memory_charge(MEMORY_REQUESTS, request->memory);
    return request;
}

struct upstream_request *upstream_request_ref(struct upstream_request *request) {
    refcount_add(&request->references);
    return request;
}

void upstream_request_unref(struct upstream_request *request) {
    if (request == NULL || !refcount_drop(&request->references))
        return;
    memory_release(MEMORY_REQUESTS, request->memory);
    request_free(request);
}
