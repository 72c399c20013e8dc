/* The bodies of POST S/run and POST /run_sse: what is taken is JSON and reaches the upstream unharmed, what
 * is not is answered with an error.
 *
 * input: [kind, and which of the two paths: 1] [Idempotency-Key's length: 1] key body
 */
#include "routes/json_body.h"
#include "routes/path.h"
#include "routes/run_request.h"
#include "tests/fuzz/json_reference.h"
#include "tests/fuzz/request_stub.h"

#include <ctype.h>
#include <errno.h>

static const struct adapter *const adapters[] = {&adapter_adk, &adapter_sse, &adapter_openai};

/* ---- the body ------------------------------------------------------------------------------------- */

static bool has_one_of_each(const cJSON *object) {
    for (const cJSON *one = object->child; one != NULL; one = one->next) {
        for (const cJSON *other = one->next; other != NULL; other = other->next) {
            if (strcmp(one->string, other->string) == 0)
                return false;
        }
    }
    return true;
}

/* At most as deep as cJSON lets JSON be. NOLINTNEXTLINE(misc-no-recursion) */
static size_t count_values(const cJSON *value) {
    size_t count = 1;
    for (const cJSON *child = value->child; child != NULL; child = child->next)
        count += count_values(child);
    return count;
}

static bool exceeds(const char *body, size_t length) {
    cJSON *lenient = cJSON_ParseWithLength(body, length);
    bool has_more = lenient != NULL && count_values(lenient) > STUB_VALUES_MAX;
    cJSON_Delete(lenient);
    return has_more;
}

/* It is read exactly if it is JSON by the letter, within the gateway's own bounds. Returns what was read, for
 * the caller to delete, or NULL. */
static cJSON *check_reading(const char *body, size_t length) {
    const char *error = NULL;
    cJSON *object = NULL;
    unsigned deepest;
    bool is_json = utf8_is_valid(body, length) && json_reference_is_object(body, length, &deepest) &&
                   deepest <= JSON_INPUT_DEPTH_MAX;
    int result = json_input_read(body, length, STUB_VALUES_MAX, &object, &error);
    if (result == 0) {
        REQUIRE(is_json && has_one_of_each(object) && count_values(object) <= STUB_VALUES_MAX);
        return object;
    }
    if (result == -E2BIG) {
        REQUIRE(object == NULL && (!is_json || exceeds(body, length)));
        return NULL;
    }
    REQUIRE(object == NULL && error != NULL && *error != '\0');
    if (is_json) {
        cJSON *lenient = cJSON_ParseWithLength(body, length);
        REQUIRE(lenient != NULL && !has_one_of_each(lenient));
        cJSON_Delete(lenient);
    }
    return NULL;
}

static const cJSON *member(const cJSON *object, const char *name) {
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

/* ---- what was read -------------------------------------------------------------------------------- */

static void check_options(const struct task_options *options) {
    REQUIRE(options->on_conflict >= ON_CONFLICT_REPLACE && options->on_conflict <= ON_CONFLICT_ENQUEUE);
    REQUIRE(options->on_disconnect >= ON_DISCONNECT_CONTINUE &&
            options->on_disconnect <= ON_DISCONNECT_CANCEL);
    REQUIRE(options->cancel_after_idle_ms >= 0 && options->cancel_after_idle_ms <= 24 * 60 * 60 * 1000);
    REQUIRE(options->timeout_ms >= 1 && options->timeout_ms <= STUB_RUN_TIMEOUT_MS);
    REQUIRE(options->priority >= 1 && options->priority <= 10);
    size_t length = strnlen(options->label, TASK_LABEL_SIZE);
    REQUIRE(length < TASK_LABEL_SIZE && utf8_is_valid(options->label, length));
}

static void check_session(const struct request *request) {
    char key[SESSION_KEY_SIZE];
    REQUIRE(path_name_is_valid(request->app, SESSION_PART_MAX) &&
            path_name_is_valid(request->user, SESSION_USER_MAX) &&
            path_name_is_valid(request->session, SESSION_PART_MAX));
    snprintf(key, sizeof(key), "%s/%s/%s", request->app, request->user, request->session);
    REQUIRE(strcmp(key, request->session_key) == 0);
}

/* What servers of several languages do to a name before they compare it, a code point at a time. NULL: no
 * name of those that count has such a character. */
static const char *folded(unsigned long code, char own[2]) {
    switch (code) {
    case '_':
        return "";
    case 0x17F: /* Go, Python: long s */
        return "s";
    case 0xDF: /* Python: sharp s */
    case 0x1E9E:
        return "ss";
    case 0x130: /* Java, and whoever lives in Turkey */
    case 0x131:
        return "i";
    default:
        own[0] = (char)(code < 0x80 && isalpha((int)code) ? tolower((int)code) : '?');
        return own;
    }
}

/* Whether some server could take the name for one that says whose the run is. */
static bool could_be_identity(const char *name) {
    char text[64] = "";
    size_t length = 0;
    while (*name != '\0') {
        unsigned long code = (unsigned char)*name++;
        int more = code >= 0xF0 ? 3 : code >= 0xE0 ? 2 : code >= 0xC0 ? 1 : 0;
        code = more > 0 ? code & (0x3Fu >> more) : code;
        for (; more > 0; more--)
            code = code << 6 | ((unsigned char)*name++ & 0x3F);
        if (code == 0x307 && length > 0 && text[length - 1] == 'i')
            continue; /* in full folding, what is left of an I with a dot */
        char own[2] = "";
        const char *letters = folded(code, own);
        if (length + strlen(letters) >= sizeof(text))
            return false;
        strcpy(text + length, letters);
        length += strlen(letters);
    }
    return strcmp(text, "appname") == 0 || strcmp(text, "userid") == 0 || strcmp(text, "sessionid") == 0;
}

/* A body that was taken says nowhere whose the run is, or as ADK itself does, once. */
static void check_identity(const cJSON *body, bool is_adks_own) {
    static const char *const adks[][2] = {
        {"appName", "app_name"}, {"userId", "user_id"}, {"sessionId", "session_id"}};
    size_t count = 0;
    for (const cJSON *item = body->child; item != NULL; item = item->next)
        count += could_be_identity(item->string);
    REQUIRE(count == (is_adks_own ? 3 : 0));
    for (size_t i = 0; i < 3 && is_adks_own; i++)
        REQUIRE(member(body, adks[i][0]) != NULL || member(body, adks[i][1]) != NULL);
}

/* ---- what is sent --------------------------------------------------------------------------------- */

static bool is_one_of(const char *name, const char *const *names) {
    while (*names != NULL && strcmp(*names, name) != 0)
        names++;
    return *names != NULL;
}

/* cJSON_Compare() takes an object to differ from itself if a name repeats in it. */
static bool prints_same(const cJSON *one, const cJSON *other) {
    char *first = cJSON_PrintUnformatted(one), *second = cJSON_PrintUnformatted(other);
    bool same = first != NULL && second != NULL && strcmp(first, second) == 0;
    free(first);
    free(second);
    return same;
}

/* Each member of the client's body is in what is sent, as it was, but for those that the gateway takes. */
static void check_members(const cJSON *body, const cJSON *sent, const struct adapter *adapter) {
    static const char *const taken[] = {"message", "query", "gateway", NULL};
    static const char *const none[] = {NULL};
    static const char *const openais[] = {"stream", NULL};
    const char *const *own = adapter == &adapter_openai ? openais : none;
    for (const cJSON *item = body->child; item != NULL; item = item->next) {
        if (!is_one_of(item->string, taken) && !is_one_of(item->string, own))
            REQUIRE(prints_same(item, member(sent, item->string)));
    }
    REQUIRE(member(sent, "gateway") == NULL && has_one_of_each(sent));
}

static bool is_text(const cJSON *item, const char *text) {
    return cJSON_IsString(item) && strcmp(item->valuestring, text) == 0;
}

static void check_adk(const cJSON *sent, const struct request *request, const struct run_request *run) {
    REQUIRE(is_text(member(sent, "appName"), request->app) &&
            is_text(member(sent, "userId"), request->user) &&
            is_text(member(sent, "sessionId"), request->session));
    REQUIRE(member(sent, "app_name") == NULL && member(sent, "user_id") == NULL &&
            member(sent, "session_id") == NULL);
    REQUIRE(member(sent, "newMessage") != NULL && member(sent, "streaming") != NULL);
    if (run->input.text != NULL) {
        const cJSON *part = cJSON_GetArrayItem(member(member(sent, "newMessage"), "parts"), 0);
        REQUIRE(is_text(member(part, "text"), run->input.text));
    }
}

static void check_openai(const cJSON *sent, const struct run_request *run) {
    REQUIRE(cJSON_IsTrue(member(sent, "stream")) && member(sent, "messages") != NULL &&
            member(sent, "model") != NULL);
    if (run->input.text != NULL)
        REQUIRE(is_text(member(cJSON_GetArrayItem(member(sent, "messages"), 0), "content"), run->input.text));
}

static void check_sent(const struct request_stub *stub, const struct run_request *run, const cJSON *body,
                       const struct upstream_request *sent) {
    const struct request *request = &stub->request;
    const struct adapter *adapter = stub->upstream.adapter;
    REQUIRE(sent->adapter == adapter && strncmp(sent->url, STUB_BASE_URL, strlen(STUB_BASE_URL)) == 0);
    REQUIRE((sent->session_url != NULL) == (adapter->session_url != NULL));
    REQUIRE(sent->body[sent->body_length] == '\0');
    if (run->unchanged || (adapter == &adapter_sse && member(body, "gateway") == NULL)) {
        REQUIRE(sent->body_length == request->body_length &&
                memcmp(sent->body, request->body, sent->body_length) == 0);
        return;
    }
    unsigned deepest;
    REQUIRE(utf8_is_valid(sent->body, sent->body_length) &&
            json_reference_is_object(sent->body, sent->body_length, &deepest));
    cJSON *json = cJSON_ParseWithLength(sent->body, sent->body_length);
    REQUIRE(json != NULL);
    check_members(body, json, adapter);
    check_identity(json, adapter == &adapter_adk);
    if (adapter == &adapter_adk)
        check_adk(json, request, run);
    if (adapter == &adapter_openai)
        check_openai(json, run);
    cJSON_Delete(json);
}

/* ---- all of it ------------------------------------------------------------------------------------ */

static void check_request(struct request_stub *stub, const cJSON *body, bool is_adks_own) {
    struct request *request = &stub->request;
    struct run_request run;
    struct plan *plan = NULL;
    struct session *session = session_create(NULL, "app/user/session");
    REQUIRE(session != NULL);
    bool good = is_adks_own ? run_request_read_adk(request, &run) : run_request_read(request, &run);
    if (good) {
        REQUIRE(body != NULL && request->reply.kind == REPLY_NONE);
        check_options(&run.options);
        check_session(request);
        check_identity(body, is_adks_own);
        const char *key = stub_header(request, "Idempotency-Key");
        REQUIRE(key == NULL ? run.idempotency_key == NULL : strcmp(run.idempotency_key, key) == 0);
        plan = run_request_plan(request, &run, session, true);
    }
    if (plan != NULL) {
        REQUIRE(request->reply.kind == REPLY_NONE && plan->count == 1);
        check_sent(stub, &run, body, plan->steps[0].request);
    } else {
        bool is_of_another_kind = is_adks_own && stub->upstream.adapter != &adapter_adk;
        stub_require_error(stub, 400, 413);
        int status = request->reply.status;
        REQUIRE(status == 400 || (status == 413 && body == NULL) || (status == 404 && is_of_another_kind));
    }
    plan_destroy(plan);
    session_unref(session);
    run_request_finish(&run);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_input input = {data, size};
    uint8_t what = fuzz_take_byte(&input);
    size_t key_length = fuzz_take_byte(&input);
    key_length = key_length < input.length ? key_length : input.length;
    struct fuzz_input key_input = {input.bytes, key_length};
    input.bytes += key_length;
    input.length -= key_length;
    char *key = fuzz_take_text(&key_input);
    struct request_stub stub;
    stub_init(&stub, adapters[what % 3]);
    stub.headers[0][0] = key_length > 0 ? "Idempotency-Key" : NULL;
    stub.headers[0][1] = key;
    snprintf(stub.request.app, sizeof(stub.request.app), "app");
    snprintf(stub.request.user, sizeof(stub.request.user), "user");
    snprintf(stub.request.session, sizeof(stub.request.session), "session");
    request_note_session(&stub.request);
    stub.request.right = ACCESS_RUN;
    stub.request.body_length = input.length;
    char *text = fuzz_take_text(&input);
    stub.request.body = text;
    cJSON *body = check_reading(text, stub.request.body_length);
    check_request(&stub, body, (what & 0x80) != 0);
    cJSON_Delete(body);
    reply_finish(&stub.request.reply);
    free(text);
    free(key);
    return 0;
}
