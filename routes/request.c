/* One HTTP request as the handlers see it: its headers, its query, and its deferral.
 *
 * A query is read where it stands, a parameter at a time; only a value that is asked for is decoded and
 * copied. Of two parameters of one name the gateway might take one and a server behind it the other. So
 * that is refused, as is a parameter that the route does not have. */
#include "routes/request.h"

#include "base/broken_state.h"
#include "base/buffer.h"
#include "base/percent.h"
#include "base/utf8.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* More than a head may have. */
#define HEADERS_BYTES_MAX (1u << 20)

const char *request_header(const struct request *request, const char *name) {
    return request->operations->header(request, name);
}

struct joined {
    struct buffer text;
    bool failed;
};

static void join_values(void *context, const char *value) {
    struct joined *joined = context;
    joined->failed = joined->failed ||
                     (joined->text.length > 0 && !buffer_append_text(&joined->text, ", ")) ||
                     !buffer_append_text(&joined->text, value);
}

char *request_header_joined(const struct request *request, const char *name) {
    struct joined joined = {.failed = false};
    buffer_init(&joined.text, HEADERS_BYTES_MAX);
    request->operations->each_header(request, name, join_values, &joined);
    char *text = joined.failed ? NULL : buffer_detach(&joined.text);
    buffer_finish(&joined.text);
    return text;
}

/* Decodes one value as the URL standard's form parser does: a plus sign is a space. */
static int decode_value(const char *text, size_t length, char **ret_value) {
    char *plain = malloc(length + 1);
    char *value = malloc(length + 1);
    int result = plain == NULL || value == NULL ? -ENOMEM : 0;
    if (result == 0) {
        for (size_t i = 0; i < length; i++)
            plain[i] = text[i] == '+' ? ' ' : text[i];
        int decoded = percent_decode(plain, length, value, length + 1);
        if (decoded < 0 || !utf8_is_valid(value, (size_t)decoded))
            result = -EINVAL;
    }
    free(plain);
    if (result == 0)
        *ret_value = value;
    else
        free(value);
    return result;
}

/* One parameter of a query, not decoded. */
struct parameter {
    const char *name, *value;
    size_t name_length, value_length;
};

/* Steps to the next parameter that is not empty. False: there is none. */
static bool next_parameter(const char **query, struct parameter *ret_parameter) {
    const char *at = *query + strspn(*query, "&");
    size_t length = strcspn(at, "&"), name_length = strcspn(at, "=&");
    size_t mark = name_length < length ? 1 : 0;
    *query = at + length;
    *ret_parameter = (struct parameter){.name = at,
                                        .name_length = name_length,
                                        .value = at + name_length + mark,
                                        .value_length = length - name_length - mark};
    return length > 0;
}

/* A server in front may have decoded the name, so that its rule is about this parameter, too. */
static bool parameter_is(const struct parameter *parameter, const char *name) {
    char decoded[64];
    int length = percent_decode(parameter->name, parameter->name_length, decoded, sizeof(decoded));
    return length == (int)strlen(name) && memcmp(decoded, name, strlen(name)) == 0;
}

int request_query(const struct request *request, const char *name, char **ret_value) {
    const char *at = request->query;
    struct parameter parameter;
    int result = 0;
    *ret_value = NULL;
    while (result == 0 && next_parameter(&at, &parameter)) {
        if (!parameter_is(&parameter, name))
            continue;
        if (*ret_value != NULL) /* of two, somebody else might take the other one */
            result = -EINVAL;
        else
            result = decode_value(parameter.value, parameter.value_length, ret_value);
    }
    if (result < 0) {
        free(*ret_value);
        *ret_value = NULL;
    }
    return result;
}

bool request_query_find_other(const struct request *request, const char *const *names, const char **ret_name,
                              size_t *ret_length) {
    const char *at = request->query;
    struct parameter parameter;
    while (next_parameter(&at, &parameter)) {
        const char *const *name = names;
        while (*name != NULL && !parameter_is(&parameter, *name))
            name++;
        if (*name != NULL)
            continue;
        *ret_name = parameter.name;
        *ret_length = parameter.name_length;
        return true;
    }
    return false;
}

int request_query_number(const struct request *request, const char *name, int64_t minimum, int64_t maximum,
                         int64_t *value) {
    char *text;
    int result = request_query(request, name, &text);
    if (result < 0 || text == NULL)
        return result;
    errno = 0;
    char *end;
    long long number = strtoll(text, &end, 10);
    bool fits =
        *text >= '0' && *text <= '9' && *end == '\0' && errno == 0 && number >= minimum && number <= maximum;
    free(text);
    if (!fits)
        return -EINVAL;
    *value = number;
    return 0;
}

void request_note_session(struct request *request) {
    if (request->session[0] == '\0')
        return;
    snprintf(request->session_key, sizeof(request->session_key), "%s/%s/%s", request->app, request->user,
             request->session);
}

void request_break(struct request *request, const char *what) {
    broken_state_note(what);
    request->reply.is_mutilated = true;
}

void request_defer(struct request *request, void (*abandoned)(void *context), void *context) {
    if (request->deferred || request->reply.kind != REPLY_NONE) {
        request_break(request, "routes/request.c: deferred twice, or after its answer");
        abandoned(context);
        return;
    }
    request->deferred = true;
    request->abandoned = abandoned;
    request->deferred_context = context;
}

void request_answer(struct request *request) {
    if (!request->deferred) {
        request_break(request, "routes/request.c: answered without having been deferred");
        return;
    }
    if (request->reply.kind == REPLY_NONE) {
        request_break(request, "routes/request.c: answered with nothing");
        reply_error(request, 500, "internal", "The gateway has no answer to this request.");
    }
    request->deferred = false;
    request->operations->answer(request);
}

static void list_names(const char *const *names, char *out, size_t size) {
    size_t length = 0;
    out[0] = '\0';
    for (size_t i = 0; names[i] != NULL && length < size; i++)
        length += (size_t)snprintf(out + length, size - length, "%s\"%s\"",
                                   i == 0                 ? ""
                                   : names[i + 1] != NULL ? ", "
                                                          : " and ",
                                   names[i]);
}

/* A parameter that nobody reads is a mistake that would go unseen: `until` with another spelling, say. */
bool query_check_names(struct request *request, const char *const *names) {
    const char *name;
    size_t length;
    char list[128];
    if (names == NULL || !request_query_find_other(request, names, &name, &length))
        return true;
    list_names(names, list, sizeof(list));
    int shown = length < 64 ? (int)length : 64;
    if (names[0] == NULL)
        reply_error(request, 400, "invalid_query",
                    "There is no query parameter \"%.*s\": this path takes none.", shown, name);
    else
        reply_error(request, 400, "invalid_query",
                    "There is no query parameter \"%.*s\" here. This path takes %s.", shown, name, list);
    return false;
}
