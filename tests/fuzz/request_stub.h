/* A request that no listener knows: headers from a table, the answer kept. */
#ifndef SLUICE_TESTS_FUZZ_REQUEST_STUB_H
#define SLUICE_TESTS_FUZZ_REQUEST_STUB_H

#include "base/log.h"
#include "base/utf8.h"
#include "routes/request.h"
#include "tests/fuzz/fuzz.h"

#include <strings.h>

struct request_stub {
    struct request request;
    struct routes_context context;
    struct routes_context *peer;
    struct routes_settings settings;
    struct relay_settings relay;
    struct upstream_settings upstream;
    struct upstream shared;
    struct upstreams upstreams;
    struct upstream_worker upstream_worker;
    const char *headers[4][2]; /* name, value; NULL ends them */
};

static inline const char *stub_header(const struct request *request, const char *name) {
    const struct request_stub *stub =
        CONTAINER_OF((struct request *)(uintptr_t)request, struct request_stub, request);
    for (size_t i = 0; i < 4 && stub->headers[i][0] != NULL; i++) {
        if (strcasecmp(stub->headers[i][0], name) == 0)
            return stub->headers[i][1];
    }
    return NULL;
}

static inline void stub_each_header(const struct request *request, const char *name,
                                    void (*visit)(void *context, const char *value), void *context) {
    const struct request_stub *stub =
        CONTAINER_OF((struct request *)(uintptr_t)request, struct request_stub, request);
    for (size_t i = 0; i < 4 && stub->headers[i][0] != NULL; i++) {
        if (strcasecmp(stub->headers[i][0], name) == 0)
            visit(context, stub->headers[i][1]);
    }
}

static const struct request_operations stub_operations = {.header = stub_header,
                                                          .each_header = stub_each_header};

#define STUB_BASE_URL "http://agent.example:8000"
#define STUB_RUN_TIMEOUT_MS 300000
#define STUB_VALUES_MAX 200

static inline void stub_init(struct request_stub *stub, const struct adapter *adapter) {
    static char base_url[] = STUB_BASE_URL, model[] = "a model", name[] = "default", apps[] = "*";
    log_set_level(LOG_LEVEL_ERROR);
    *stub = (struct request_stub){
        .request =
            {.operations = &stub_operations, .path = "/", .query = "", .body = "", .content_length = -1},
        .settings = {.request_body_bytes_max = 1 << 20, .request_json_values_max = STUB_VALUES_MAX},
        .relay = {.run_timeout_ms = STUB_RUN_TIMEOUT_MS},
        .upstream = {.name = name,
                     .adapter = adapter,
                     .base_url = base_url,
                     .model = model,
                     .apps = apps,
                     .weight = 1},
        .upstreams = {.count = 1},
        .upstream_worker = {.settings = {.count = 1}}};
    stub->upstreams.items = &stub->shared;
    stub->upstream_worker.upstreams = &stub->upstreams;
    stub->upstream_worker.settings.items = &stub->upstream;
    stub->peer = &stub->context;
    stub->context.peers = &stub->peer;
    stub->context.workers = 1;
    stub->context.settings = &stub->settings;
    stub->context.relay.settings = &stub->relay;
    stub->context.relay.upstream_worker = &stub->upstream_worker;
    stub->request.context = &stub->context;
}

/** The answer is one of the contract's errors, with this status at least and that at most. */
static inline void stub_require_error(const struct request_stub *stub, int lowest, int highest) {
    const struct reply *reply = &stub->request.reply;
    REQUIRE(reply->kind == REPLY_BODY && reply->status >= lowest && reply->status <= highest);
    REQUIRE(utf8_is_valid(reply->body, reply->body_length));
    const char *end = NULL;
    cJSON *json = cJSON_ParseWithLengthOpts(reply->body, reply->body_length, &end, false);
    REQUIRE(json != NULL && end == reply->body + reply->body_length);
    const cJSON *error = cJSON_GetObjectItemCaseSensitive(json, "error");
    const char *code = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(error, "code"));
    const char *message = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(error, "message"));
    REQUIRE(code != NULL && *code != '\0' && code[strspn(code, "abcdefghijklmnopqrstuvwxyz_")] == '\0');
    REQUIRE(message != NULL && *message != '\0');
    cJSON_Delete(json);
}

#endif
