/* One HTTP request as the handlers see it: see request.h. */
#include "routes/request.h"

#include "base/broken_state.h"
#include "base/buffer.h"
#include "base/percent.h"
#include "base/utf8.h"

#include <errno.h>
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

static void join(void *context, const char *value) {
    struct joined *joined = context;
    joined->failed = joined->failed ||
                     (joined->text.length > 0 && !buffer_append_text(&joined->text, ", ")) ||
                     !buffer_append_text(&joined->text, value);
}

char *request_header_joined(const struct request *request, const char *name) {
    struct joined joined = {.failed = false};
    buffer_init(&joined.text, HEADERS_BYTES_MAX);
    request->operations->each_header(request, name, join, &joined);
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

int request_query(const struct request *request, const char *name, char **ret_value) {
    size_t name_length = strlen(name);
    *ret_value = NULL;
    for (const char *at = request->query; *at != '\0';) {
        size_t length = strcspn(at, "&");
        if (length > name_length && at[name_length] == '=' && memcmp(at, name, name_length) == 0)
            return decode_value(at + name_length + 1, length - name_length - 1, ret_value);
        at += length;
        at += *at == '&';
    }
    return 0;
}

bool request_query_has_only(const struct request *request, const char *const *names) {
    for (const char *at = request->query; *at != '\0';) {
        size_t length = strcspn(at, "&"), name_length = strcspn(at, "=&");
        const char *const *name = names;
        while (*name != NULL && (strlen(*name) != name_length || memcmp(*name, at, name_length) != 0))
            name++;
        if (*name == NULL && length > 0)
            return false;
        at += length;
        at += *at == '&';
    }
    return true;
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
