/* Requests for unit tests of the routes: a context with a real broadcaster, runner and upstream client, a raw
 * server as the upstream, and a listener that only keeps what was answered. */
#ifndef SLUICE_TESTS_UNIT_ROUTES_H
#define SLUICE_TESTS_UNIT_ROUTES_H

#include "base/inbox.h"
#include "base/log.h"
#include "relay/runner.h"
#include "routes/router.h"
#include "tests/support/unit_broadcaster.h"
#include "tests/unit/upstream_fixture.h"

#include <cjson/cJSON.h>
#include <strings.h>

#define HEADERS_MAX 8

struct routes_fixture {
    struct fixture upstream;
    struct upstreams upstreams;
    struct upstream_worker upstream_worker;
    struct inbox inbox;
    struct routes_settings settings;
    struct relay_settings relay;
    struct routes_context context;
    struct routes_context *peer;
};

/* A request being asked: its headers, and whether its answer was given later. */
struct asked {
    struct request request;
    const char *headers[HEADERS_MAX][2];
    int answers;
    int wakes; /* of a source's reader */
};

static inline const char *asked_header(const struct request *request, const char *name) {
    const struct asked *asked = CONTAINER_OF((struct request *)(uintptr_t)request, struct asked, request);
    for (size_t i = 0; i < HEADERS_MAX && asked->headers[i][0] != NULL; i++) {
        if (strcasecmp(asked->headers[i][0], name) == 0)
            return asked->headers[i][1];
    }
    return NULL;
}

static inline void asked_each_header(const struct request *request, const char *name,
                                     void (*visit)(void *context, const char *value), void *context) {
    const struct asked *asked = CONTAINER_OF((struct request *)(uintptr_t)request, struct asked, request);
    for (size_t i = 0; i < HEADERS_MAX && asked->headers[i][0] != NULL; i++) {
        if (strcasecmp(asked->headers[i][0], name) == 0)
            visit(context, asked->headers[i][1]);
    }
}

static inline void asked_answer(struct request *request) {
    CONTAINER_OF(request, struct asked, request)->answers++;
}

static inline void asked_source_ready(struct request *request) {
    CONTAINER_OF(request, struct asked, request)->wakes++;
}

static const struct request_operations asked_operations = {.header = asked_header,
                                                           .each_header = asked_each_header,
                                                           .answer = asked_answer,
                                                           .source_ready = asked_source_ready};

static inline uint64_t no_connections(void) {
    return 0;
}

static inline void routes_begin(struct routes_fixture *fixture,
                                void (*serve)(struct raw_server *server, int fd, size_t connection)) {
    *fixture = (struct routes_fixture){0};
    log_set_level(LOG_LEVEL_ERROR);
    fixture_begin(&fixture->upstream, serve);
    assert_int_equal(inbox_init(&fixture->inbox, &fixture->upstream.loop), 0);
    inbox_adopt(&fixture->inbox);
    fixture->settings = (struct routes_settings){
        .demo = true, .request_body_bytes_max = 1 << 20, .request_json_values_max = 1000};
    fixture->relay = (struct relay_settings){.run_timeout_ms = 300000};
    static char all_apps[] = "*";
    fixture->upstream.settings.apps = all_apps;
    fixture->upstream.settings.weight = 1;
    fixture->upstream_worker = (struct upstream_worker){
        .client = fixture->upstream.client,
        .inbox = &fixture->inbox,
        .loop = &fixture->upstream.loop,
        .upstreams = &fixture->upstreams,
        .settings = {.count = 1, .items = &fixture->upstream.settings},
    };
    assert_true(upstreams_init(&fixture->upstreams, &fixture->upstream_worker.settings));
    fixture->context = (struct routes_context){
        .broadcaster = unit_broadcaster(),
        .relay = {.upstream_worker = &fixture->upstream_worker,
                  .inbox = &fixture->inbox,
                  .loop = &fixture->upstream.loop,
                  .settings = &fixture->relay},
        .settings = &fixture->settings,
        .request_header_bytes_max = 16 << 10,
        .version = "1.2.3",
        .peers = &fixture->peer,
        .workers = 1,
        .started_unix_ms = 1700000000000,
        .connections = no_connections,
    };
    turns_init(&fixture->context.turns, &fixture->inbox);
    turns_init(&fixture->context.long_lists, &fixture->inbox);
    turns_init(&fixture->context.long_bodies, &fixture->inbox);
    fixture->peer = &fixture->context;
    fixture->context.runner = runner_create(&fixture->context.relay);
    assert_non_null(fixture->context.runner);
}

static inline void routes_turn(struct routes_fixture *fixture) {
    fixture_turn(&fixture->upstream);
}

static inline void routes_end(struct routes_fixture *fixture) {
    broadcaster_cancel_all(fixture->context.broadcaster, REASON_SHUTDOWN);
    while (runner_active(fixture->context.runner) > 0 || fixture->upstream_worker.calls > 0)
        routes_turn(fixture);
    runner_destroy(fixture->context.runner);
    upstreams_finish(&fixture->upstreams);
    broadcaster_destroy(fixture->context.broadcaster);
    inbox_drain(&fixture->inbox);
    inbox_close(&fixture->inbox);
    fixture_end(&fixture->upstream);
    inbox_finish(&fixture->inbox);
}

/* Asks: `target` is path and query, `body` may be NULL. Headers were set before. */
static inline void ask(struct routes_fixture *fixture, struct asked *asked, enum request_method method,
                       const char *target, const char *body) {
    static char targets[4][4096]; /* as long-lived as a test needs them */
    static size_t next;
    char *path = targets[next++ % 4];
    snprintf(path, sizeof(targets[0]), "%s", target);
    char *mark = strchr(path, '?');
    if (mark != NULL)
        *mark = '\0';
    struct request *request = &asked->request;
    *request = (struct request){.operations = &asked_operations,
                                .context = &fixture->context,
                                .method = method == METHOD_HEAD ? METHOD_GET : method,
                                .head = method == METHOD_HEAD,
                                .path = path,
                                .query = mark != NULL ? mark + 1 : "",
                                .has_body = body != NULL && *body != '\0',
                                .content_length = body != NULL ? (int64_t)strlen(body) : -1,
                                .body = ""};
    router_begin(request);
    if (request->reply.kind != REPLY_NONE)
        return;
    request->body = body != NULL ? body : "";
    request->body_length = strlen(request->body);
    router_handle(request);
    while (request->turn.waits) /* a long one */
        routes_turn(fixture);
    assert_true(request->deferred || request->reply.kind != REPLY_NONE);
}

static inline void await_answer(struct routes_fixture *fixture, struct asked *asked) {
    while (asked->request.reply.kind == REPLY_NONE)
        routes_turn(fixture);
}

static inline const char *answer_header(const struct asked *asked, const char *name) {
    const struct reply *reply = &asked->request.reply;
    for (size_t i = 0; i < reply->header_count; i++) {
        if (strcasecmp(reply->headers[i].name, name) == 0)
            return reply->headers[i].value;
    }
    return NULL;
}

/* The answer's body; the caller deletes it. */
static inline cJSON *answer_json(const struct asked *asked) {
    assert_int_equal(asked->request.reply.kind, REPLY_BODY);
    assert_string_equal(answer_header(asked, "Content-Type"), "application/json");
    cJSON *json = cJSON_ParseWithLength(asked->request.reply.body, asked->request.reply.body_length);
    assert_non_null(json);
    return json;
}

/* Reads on until a source has ended, and returns how. */
static inline ssize_t read_source(struct routes_fixture *fixture, struct asked *asked, struct buffer *out) {
    const struct reply_source *source = &asked->request.reply.source;
    char bytes[1000];
    assert_int_equal(asked->request.reply.kind, REPLY_SOURCE);
    for (;;) {
        ssize_t count = source->read(source->context, bytes, sizeof(bytes));
        if (count < 0)
            return count;
        assert_true(buffer_append(out, bytes, (size_t)count));
        for (int wakes = asked->wakes; count == 0 && asked->wakes == wakes;)
            routes_turn(fixture);
    }
}

static inline void let_go(struct asked *asked) {
    reply_finish(&asked->request.reply);
}

/* Asks and expects this status, and of an error this code. */
static inline void expect(struct routes_fixture *fixture, enum request_method method, const char *target,
                          const char *body, int status, const char *code) {
    struct asked asked = {.headers = {{"Content-Type", "application/json"}}};
    ask(fixture, &asked, method, target, body);
    await_answer(fixture, &asked);
    assert_int_equal(asked.request.reply.status, status);
    if (code != NULL) {
        cJSON *json = answer_json(&asked);
        const cJSON *error = cJSON_GetObjectItemCaseSensitive(json, "error");
        assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(error, "code")), code);
        assert_non_null(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(error, "message")));
        cJSON_Delete(json);
    }
    let_go(&asked);
}

#endif
