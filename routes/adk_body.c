/* Bodies of ADK's own POST /run and /run_sse.
 *
 * Such a body says by itself whose it is, in either of the two spellings that ADK accepts. A third spelling
 * is refused: some server could read another owner from it than the gateway does. The text itself is passed
 * on. Only the app that it leaves out is added, and the member "gateway" is cut out. */
#include "routes/adk_body.h"

#include "base/buffer.h"
#include "base/json_writer.h"
#include "routes/identity.h"
#include "routes/json_body.h"

#include <stdio.h>
#include <string.h>

static const cJSON *member_of(const cJSON *body, const char *name) {
    return cJSON_GetObjectItemCaseSensitive(body, name);
}

/* One of the names that say whose it is. */
struct name {
    const char *camel, *snake;
    size_t bytes_max;
    char *out;
};

static bool read_body_name(struct request *request, const cJSON *body, const struct name *name) {
    const cJSON *one = member_of(body, name->camel), *other = member_of(body, name->snake);
    const char *text = cJSON_GetStringValue(one != NULL ? one : other);
    bool is_valid = text != NULL && path_name_is_valid(text, name->bytes_max);
    if (one != NULL && other != NULL)
        reply_error(request, 400, "invalid_body", "\"%s\" and \"%s\" cannot both be given.", name->camel,
                    name->snake);
    else if (!is_valid)
        reply_error(request, 400, "invalid_body", "\"%s\" must be 1 to %zu " PATH_NAME_IS ".", name->camel,
                    name->bytes_max);
    else
        snprintf(name->out, name->bytes_max + 1, "%s", text);
    return request->reply.kind == REPLY_NONE;
}

bool adk_body_refuse_identity(struct request *request, const cJSON *body, const char *const *but) {
    const char *name = identity_find(body, but);
    if (name != NULL)
        reply_error(
            request, 400, "identity_in_body",
            "The body must not have the member \"%.64s\": it could name another app, user or session.", name);
    return name != NULL;
}

static bool names_app(const cJSON *body) {
    return member_of(body, "appName") != NULL || member_of(body, "app_name") != NULL;
}

static bool read_app(struct request *request, const cJSON *body, struct session_names *owner) {
    const char *usual = request->context->settings->default_app;
    const struct name app = {"appName", "app_name", SESSION_PART_MAX, owner->app};
    if (usual == NULL || names_app(body))
        return read_body_name(request, body, &app);
    snprintf(owner->app, sizeof(owner->app), "%s", usual);
    return true;
}

bool adk_body_read_names(struct request *request, const cJSON *body, struct session_names *ret_owner) {
    static const char *const spellings[] = {"appName",   "app_name",   "userId", "user_id",
                                            "sessionId", "session_id", NULL};
    const struct name user = {"userId", "user_id", SESSION_USER_MAX, ret_owner->user};
    const struct name session = {"sessionId", "session_id", SESSION_PART_MAX, ret_owner->session};
    return !adk_body_refuse_identity(request, body, spellings) && read_app(request, body, ret_owner) &&
           read_body_name(request, body, &user) && read_body_name(request, body, &session);
}

bool adk_body_check_session(struct request *request, const cJSON *body) {
    static const char *const spellings[] = {"sessionId", "session_id", NULL};
    char text[SESSION_PART_MAX + 1] = "";
    const struct name session = {spellings[0], spellings[1], SESSION_PART_MAX, text};
    bool names_session = member_of(body, spellings[0]) != NULL || member_of(body, spellings[1]) != NULL;
    return !adk_body_refuse_identity(request, body, spellings) &&
           (!names_session || read_body_name(request, body, &session));
}

/* The number of the body's member "gateway"; -1: it has none. */
static int gateway_index(const cJSON *body) {
    int index = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, body) {
        if (strcmp(item->string, "gateway") == 0)
            return index;
        index++;
    }
    return -1;
}

/* Appends the request's text, without the member of that number unless it is -1. */
static bool append_request_text(struct buffer *text, const struct request *request, int cut) {
    if (!buffer_append(text, request->body, request->body_length))
        return false;
    if (cut >= 0)
        text->length = json_cut_member(request->body, request->body_length, (size_t)cut, text->bytes);
    return true;
}

/* Puts the app before the first of the object's members, of which there are some: the user is one. */
static bool append_with_app(struct buffer *text, const struct buffer *plain, const char *app) {
    const char *begin = memchr(plain->bytes, '{', plain->length); /* of the object, blanks before it */
    const char *end = plain->bytes + plain->length;
    return begin != NULL && buffer_append_text(text, "{\"appName\":") &&
           json_text_append_string(text, app, strlen(app)) && buffer_append_text(text, ",") &&
           buffer_append(text, begin + 1, (size_t)(end - begin) - 1);
}

bool adk_body_make_text(const struct request *request, const cJSON *body, const char *app, bool cuts_gateway,
                        char **ret_text, size_t *ret_length) {
    struct buffer plain, text;
    bool has_app = names_app(body);
    int cut = cuts_gateway ? gateway_index(body) : -1;
    *ret_text = NULL;
    if (has_app && cut < 0)
        return true;
    buffer_init(&plain, request->body_length + 1);
    buffer_init(&text, request->body_length + 2 * SESSION_PART_MAX + 64);
    struct buffer *made = has_app ? &plain : &text;
    bool done = append_request_text(&plain, request, cut) && (has_app || append_with_app(&text, &plain, app));
    if (done) {
        *ret_length = made->length;
        *ret_text = buffer_detach(made);
    }
    buffer_finish(&plain);
    buffer_finish(&text);
    return done && *ret_text != NULL;
}
