/* A small agent that speaks ADK's HTTP and needs neither a model nor a network: it streams a made-up answer
 * word by word. `make run` shows the gateway with it, and tests use it as an upstream.
 *
 *     demo-agent [--listen 127.0.0.1:PORT]       prints "LISTEN http://127.0.0.1:NNNNN" when it is ready
 *
 * Words in the message control the answer:
 *
 *     steps=N   number of partial events (default: the whole answer, some 60)
 *     delay=MS  pause before each event (default 80)
 *     first=MS  pause before the first event (default: as `delay`)
 *     fail=K    the K-th event is an error instead
 *     size=N    each word is padded to N bytes
 *     hang=1    the last event never comes
 *
 * A thread a connection: see demo_answer.c.
 */
#include "tests/support/demo_answer.h"

#include <arpa/inet.h>
#include <cjson/cJSON.h>
#include <microhttpd.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <uthash.h>

enum { BODY_BYTES_MAX = 1 << 20, PATH_BYTES_MAX = 1024, SESSIONS_MAX = 100000, CONNECTIONS_MAX = 4000 };

struct session {
    char *key; /* app/user/id */
    UT_hash_handle hh;
};

static struct session *sessions;
static pthread_mutex_t sessions_lock = PTHREAD_MUTEX_INITIALIZER;
static int stopping; /* an eventfd, readable once the program ends */

struct request {
    char *body;
    size_t length;
    bool too_large;
};

/* ---- answers ------------------------------------------------------------------------------------- */

static enum MHD_Result reply_text(struct MHD_Connection *connection, unsigned status, const char *type,
                                  char *text) {
    struct MHD_Response *response =
        must(MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE));
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result reply_json(struct MHD_Connection *connection, unsigned status, cJSON *json) {
    char *text = must(cJSON_PrintUnformatted(json));
    cJSON_Delete(json);
    return reply_text(connection, status, "application/json; charset=utf-8", text);
}

static enum MHD_Result reply_error(struct MHD_Connection *connection, unsigned status, const char *message,
                                   const char *what) {
    char text[512];
    snprintf(text, sizeof text, "%s%s", message, what);
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "error", text);
    return reply_json(connection, status, json);
}

/* ---- sessions ------------------------------------------------------------------------------------ */

static struct session *session_find_locked(const char *key) {
    struct session *session = NULL;
    HASH_FIND_STR(sessions, key, session);
    return session;
}

static void session_add_locked(const char *key) {
    struct session *session = must(calloc(1, sizeof *session));
    session->key = must(strdup(key));
    HASH_ADD_KEYPTR(hh, sessions, session->key, strlen(session->key), session);
}

static void session_remove_locked(struct session *session) {
    HASH_DEL(sessions, session);
    free(session->key);
    free(session);
}

static cJSON *session_json(char *const *parts, const char *key) {
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "id", strrchr(key, '/') + 1);
    cJSON_AddStringToObject(json, "appName", parts[1]);
    cJSON_AddStringToObject(json, "userId", parts[3]);
    cJSON_AddObjectToObject(json, "state");
    cJSON_AddArrayToObject(json, "events");
    cJSON_AddNumberToObject(json, "lastUpdateTime", demo_now_ms());
    return json;
}

static cJSON *sessions_json_locked(char *const *parts, const char *prefix) {
    cJSON *json = cJSON_CreateObject();
    cJSON *list = cJSON_AddArrayToObject(json, "sessions");
    for (struct session *each = sessions; each; each = each->hh.next)
        if (strncmp(each->key, prefix, strlen(prefix)) == 0)
            cJSON_AddItemToArray(list, session_json(parts, each->key));
    return json;
}

/* apps/{app}/users/{user}/sessions[/{session}] */
static enum MHD_Result handle_sessions(struct MHD_Connection *connection, const char *method,
                                       char *const *parts, size_t count) {
    static unsigned generated;
    bool post = strcmp(method, MHD_HTTP_METHOD_POST) == 0, list = count == 5 && !post;
    bool remove = strcmp(method, MHD_HTTP_METHOD_DELETE) == 0;
    char key[PATH_BYTES_MAX + 32];
    pthread_mutex_lock(&sessions_lock);
    int length = snprintf(key, sizeof key, "%s/%s/", parts[1], parts[3]);
    if (count == 6)
        snprintf(key + length, sizeof key - (size_t)length, "%s", parts[5]);
    else if (post)
        snprintf(key + length, sizeof key - (size_t)length, "s-%u", ++generated);
    struct session *session = session_find_locked(key);
    bool fine = list || (post ? !session && HASH_COUNT(sessions) < SESSIONS_MAX : session != NULL);
    if (fine && post)
        session_add_locked(key);
    if (fine && remove)
        session_remove_locked(session);
    cJSON *json = list ? sessions_json_locked(parts, key) : session_json(parts, key);
    pthread_mutex_unlock(&sessions_lock);
    if (fine && !remove)
        return reply_json(connection, MHD_HTTP_OK, json);
    cJSON_Delete(json);
    if (fine)
        return reply_text(connection, MHD_HTTP_NO_CONTENT, "text/plain", must(strdup("")));
    return post ? reply_error(connection, MHD_HTTP_BAD_REQUEST,
                              "Session already exists: ", strrchr(key, '/') + 1)
                : reply_error(connection, MHD_HTTP_NOT_FOUND, "Session not found: ", strrchr(key, '/') + 1);
}

/* ---- runs ---------------------------------------------------------------------------------------- */

static enum MHD_Result run_start(struct MHD_Connection *connection, const char *message) {
    int socket = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    struct demo_answer *answer = demo_answer_create(socket, stopping, message);
    struct MHD_Response *response = must(MHD_create_response_from_callback(
        MHD_SIZE_UNKNOWN, 32 * 1024, demo_answer_read, answer, demo_answer_destroy));
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "text/event-stream");
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache");
    enum MHD_Result result = MHD_queue_response(connection, MHD_HTTP_OK, response);
    MHD_destroy_response(response);
    return result;
}

static const char *json_text(const cJSON *json, const char *name) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, name));
    return text ? text : "";
}

static enum MHD_Result handle_run(struct MHD_Connection *connection, const struct request *request) {
    cJSON *body = cJSON_ParseWithLength(request->body ? request->body : "", request->length);
    const cJSON *parts =
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(body, "newMessage"), "parts");
    char key[PATH_BYTES_MAX];
    snprintf(key, sizeof key, "%s/%s/%s", json_text(body, "appName"), json_text(body, "userId"),
             json_text(body, "sessionId"));
    pthread_mutex_lock(&sessions_lock);
    bool known = session_find_locked(key);
    pthread_mutex_unlock(&sessions_lock);
    enum MHD_Result result;
    if (!cJSON_IsArray(parts))
        result = reply_error(connection, MHD_HTTP_BAD_REQUEST, "newMessage with parts is needed", "");
    else if (!known)
        result =
            reply_error(connection, MHD_HTTP_NOT_FOUND, "Session not found: ", json_text(body, "sessionId"));
    else
        result = run_start(connection, json_text(cJSON_GetArrayItem(parts, 0), "text"));
    cJSON_Delete(body);
    return result;
}

/* ---- requests ------------------------------------------------------------------------------------ */

/* How many answers were begun, and are under way. */
static enum MHD_Result handle_debug(struct MHD_Connection *connection) {
    cJSON *json = cJSON_CreateObject();
    cJSON_AddNumberToObject(json, "started", demo_answers_started());
    cJSON_AddNumberToObject(json, "running", demo_answers_running());
    return reply_json(connection, MHD_HTTP_OK, json);
}

static enum MHD_Result route(struct MHD_Connection *connection, const char *url, const char *method,
                             const struct request *request) {
    char path[PATH_BYTES_MAX], *parts[7] = {0}, *rest = NULL;
    size_t count = 0;
    snprintf(path, sizeof path, "%s", url);
    for (char *part = strtok_r(path, "/", &rest); part && count < 7; part = strtok_r(NULL, "/", &rest))
        parts[count++] = part;

    if (request->too_large)
        return reply_error(connection, MHD_HTTP_CONTENT_TOO_LARGE, "The body is too large", "");
    if (strcmp(url, "/run_sse") == 0 && strcmp(method, MHD_HTTP_METHOD_POST) == 0)
        return handle_run(connection, request);
    if (strcmp(url, "/list-apps") == 0)
        return reply_text(connection, MHD_HTTP_OK, "application/json; charset=utf-8", strdup("[\"demo\"]"));
    if (strcmp(url, "/health") == 0)
        return reply_text(connection, MHD_HTTP_OK, "text/plain", strdup("OK"));
    if (strcmp(url, "/debug/runs") == 0)
        return handle_debug(connection);
    if ((count == 5 || count == 6) && strcmp(parts[0], "apps") == 0 && strcmp(parts[2], "users") == 0 &&
        strcmp(parts[4], "sessions") == 0)
        return handle_sessions(connection, method, parts, count);
    return reply_error(connection, MHD_HTTP_NOT_FOUND, "Not found: ", url);
}

static void request_collect(struct request *request, const char *bytes, size_t length) {
    char *body =
        request->length + length > BODY_BYTES_MAX ? NULL : realloc(request->body, request->length + length);
    if (!body) {
        request->too_large = true;
        return;
    }
    memcpy(body + request->length, bytes, length);
    request->body = body;
    request->length += length;
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *bytes, size_t *length,
                                  void **state) {
    (void)context;
    (void)version;
    struct request *request = *state;
    if (!request) {
        *state = calloc(1, sizeof *request);
        return *state ? MHD_YES : MHD_NO;
    }
    if (*length > 0) {
        request_collect(request, bytes, *length);
        *length = 0;
        return MHD_YES;
    }
    return route(connection, url, method, request);
}

static void on_completed(void *context, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code) {
    (void)context;
    (void)connection;
    (void)code;
    struct request *request = *state;
    if (request)
        free(request->body);
    free(request);
}

/* ---- the program --------------------------------------------------------------------------------- */

static bool parse_listen(char *text, struct sockaddr_in *ret_address) {
    char host[16];
    uint16_t port = 0;
    int length = 0;
    if (sscanf(text, "%15[0-9.]:%hu%n", host, &port, &length) != 2 || text[length])
        return false;
    *ret_address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
    return inet_pton(AF_INET, host, &ret_address->sin_addr) == 1;
}

static struct MHD_Daemon *daemon_start(const struct sockaddr_in *address) {
    return MHD_start_daemon(
        MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL, 0, NULL, NULL,
        on_request, NULL, MHD_OPTION_SOCK_ADDR, address, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)(64 * 1024), MHD_OPTION_THREAD_STACK_SIZE, (size_t)(256 * 1024), MHD_OPTION_END);
}

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (argc != 1 && (argc != 3 || strcmp(argv[1], "--listen") != 0 || !parse_listen(argv[2], &address))) {
        fprintf(stderr, "usage: demo-agent [--listen 127.0.0.1:PORT]\n");
        return 2;
    }
    sigset_t signals; /* blocked before any thread starts, so that sigwait() alone gets them */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    stopping = eventfd(0, EFD_CLOEXEC);
    struct MHD_Daemon *daemon = stopping < 0 ? NULL : daemon_start(&address);
    if (!daemon) {
        fprintf(stderr, "demo-agent: cannot listen on port %d\n", ntohs(address.sin_port));
        return 1;
    }
    printf("LISTEN http://%s:%d\n", inet_ntoa(address.sin_addr),
           MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
    fflush(stdout);

    int received;
    sigwait(&signals, &received);
    eventfd_write(stopping, 1);
    MHD_stop_daemon(daemon);
    struct session *session, *next;
    HASH_ITER(hh, sessions, session, next) {
        session_remove_locked(session);
    }
    close(stopping);
    return 0;
}
