/* The headers of an upstream's answer that are passed on.
 *
 * Only the headers of a list are, and each value is looked at before. A media type that a browser would run
 * is made harmless. A Location is translated into the path that leads to the same upstream through the
 * gateway. What is passed on has a limit in bytes: a head for which libmicrohttpd has no room would not be
 * sent at all. */
#include "routes/passed_headers.h"

#include "base/clock.h"
#include "base/http_token.h"
#include "upstream/retry.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Of a header that may stand several times; more lines are not read one by one. */
#define REPEATS_MAX 4

struct answer {
    struct request *request;
    int status;
    const struct passed_rules *rules;
    const struct upstream_header *headers;
    size_t count;
    size_t room; /* for what is passed on */
};

/* Passes a value on. False: it is too long, or no value of a header. */
static bool add_header(struct answer *answer, const char *name, const char *value) {
    size_t length = strlen(name) + strlen(value) + strlen(": \r\n");
    if (length > answer->room || !reply_header(answer->request, name, value))
        return false;
    answer->room -= length;
    return true;
}

/* The value of the `nth` header of that name, from 0; NULL: there are fewer. */
static const char *find_header(const struct answer *answer, const char *name, size_t nth) {
    for (size_t i = 0; i < answer->count; i++) {
        if (strcasecmp(answer->headers[i].name, name) == 0 && nth-- == 0)
            return answer->headers[i].value;
    }
    return NULL;
}

/* ---- media types --------------------------------------------------------------------------------- */

enum treatment { SERVE_AS_IS, SERVE_AS_TEXT, SERVE_AS_DOWNLOAD };

/* The length of a quoted string without the two bytes by which some would end it elsewhere; 0: it is none. */
static size_t quoted_length(const char *text) {
    if (*text != '"')
        return 0;
    size_t length = 1 + strcspn(text + 1, "\"\\,");
    return text[length] == '"' ? length + 1 : 0;
}

/* RFC 9110, section 8.3.1: whether nothing but parameters follows. A comma would be two values to a browser,
 * which takes the last. */
static bool has_only_parameters(const char *text) {
    for (;;) {
        text += strspn(text, " \t");
        if (*text == '\0')
            return true;
        if (*text++ != ';')
            return false;
        text += strspn(text, " \t");
        size_t name = http_token_length(text);
        text += name;
        if (name == 0)
            continue; /* an empty parameter is allowed */
        if (*text++ != '=')
            return false;
        size_t value = *text == '"' ? quoted_length(text) : http_token_length(text);
        if (value == 0)
            return false;
        text += value;
    }
}

static bool word_is_among(const char *text, size_t length, const char *const *words) {
    for (; *words != NULL; words++) {
        if (strlen(*words) == length && strncasecmp(text, *words, length) == 0)
            return true;
    }
    return false;
}

static bool begins_with(const char *text, size_t length, const char *prefix) {
    return length > strlen(prefix) && strncasecmp(text, prefix, strlen(prefix)) == 0;
}

static bool ends_with(const char *text, size_t length, const char *suffix) {
    size_t suffix_length = strlen(suffix);
    return length > suffix_length && strncasecmp(text + length - suffix_length, suffix, suffix_length) == 0;
}

static bool contains_word(const char *text, size_t length, const char *word) {
    for (size_t i = 0; i + strlen(word) <= length; i++) {
        if (strncasecmp(text + i, word, strlen(word)) == 0)
            return true;
    }
    return false;
}

/* Types that no browser runs, whoever asks for them. */
static bool is_harmless(const char *type, size_t length) {
    static const char *const harmless[] = {"application/json",
                                           "text/json",
                                           "application/x-ndjson",
                                           "application/jsonl",
                                           "application/json-seq",
                                           "text/plain",
                                           "text/csv",
                                           "text/markdown",
                                           "text/event-stream",
                                           "application/octet-stream",
                                           "application/pdf",
                                           "image/png",
                                           "image/jpeg",
                                           "image/gif",
                                           "image/webp",
                                           "image/avif",
                                           "image/bmp",
                                           "application/zip",
                                           "application/gzip",
                                           "application/x-protobuf",
                                           NULL};
    return word_is_among(type, length, harmless) || begins_with(type, length, "audio/") ||
           begins_with(type, length, "video/") ||
           (begins_with(type, length, "application/") && ends_with(type, length, "+json"));
}

static enum treatment judge_type(const char *value, enum passed_trust trust) {
    size_t type = http_token_length(value);
    if (type == 0 || value[type] != '/')
        return SERVE_AS_DOWNLOAD;
    size_t subtype = http_token_length(value + type + 1);
    size_t length = type + 1 + subtype;
    if (subtype == 0 || !has_only_parameters(value + length))
        return SERVE_AS_DOWNLOAD;
    if (trust == PASSED_AS_UI)
        return SERVE_AS_IS;
    if (contains_word(value, length, "xml") || contains_word(value, length, "html") ||
        contains_word(value, length, "script"))
        return SERVE_AS_TEXT;
    if (is_harmless(value, length))
        return SERVE_AS_IS;
    return begins_with(value, length, "text/") ? SERVE_AS_TEXT : SERVE_AS_DOWNLOAD;
}

static void add_type(struct answer *answer) {
    const char *value = find_header(answer, "Content-Type", 0);
    const char *disposition = find_header(answer, "Content-Disposition", 0);
    bool has_content = answer->status != 204 && answer->status != 304;
    if (value == NULL && !has_content)
        return;
    bool is_clear = value != NULL && find_header(answer, "Content-Type", 1) == NULL;
    enum treatment treatment = is_clear ? judge_type(value, answer->rules->trust) : SERVE_AS_DOWNLOAD;
    if (treatment == SERVE_AS_IS && !add_header(answer, "Content-Type", value))
        treatment = SERVE_AS_DOWNLOAD;
    if (treatment == SERVE_AS_TEXT)
        reply_header(answer->request, "Content-Type", "text/plain; charset=utf-8");
    if (treatment == SERVE_AS_DOWNLOAD) {
        reply_header(answer->request, "Content-Type", "application/octet-stream");
        disposition = "attachment";
    }
    if (disposition != NULL && !add_header(answer, "Content-Disposition", disposition))
        reply_header(answer->request, "Content-Disposition", "attachment");
}

/* ---- where it leads ------------------------------------------------------------------------------ */

/* The path of a URL that begins with "http://host", or ""; without a slash at its end. */
static const char *path_of(const char *url) {
    const char *scheme_end = strstr(url, "://");
    const char *authority = scheme_end != NULL ? scheme_end + strlen("://") : url;
    return authority + strcspn(authority, "/?#");
}

/* What follows `base`, if that is the beginning of `location` as a whole part of it; else NULL. */
static const char *rest_behind(const char *location, const char *base, size_t base_length) {
    bool fits = strncmp(location, base, base_length) == 0 && strchr("/?#", location[base_length]) != NULL;
    return fits ? location + base_length : NULL;
}

/* The path by which the gateway leads to where the upstream wants its client to go; NULL: it leads elsewhere.
 * Of a path that begins with two slashes or a backslash a browser would make another host. */
static const char *gateway_path(const char *location, const char *base_url) {
    const char *base_path = path_of(base_url);
    const char *path = location[0] == '/' ? rest_behind(location, base_path, strlen(base_path))
                                          : rest_behind(location, base_url, strlen(base_url));
    bool is_path = path != NULL && path[0] == '/' && path[1] != '/' && strchr(path, '\\') == NULL;
    return is_path ? path : NULL;
}

/* ---- the others ---------------------------------------------------------------------------------- */

static void add_first(struct answer *answer, const char *name) {
    const char *value = find_header(answer, name, 0);
    if (value != NULL)
        add_header(answer, name, value);
}

/* All lines of a header that is a list. `everything` stands for them if they are too many or too long. */
static void add_list(struct answer *answer, const char *name, const char *everything) {
    size_t length = 0;
    for (size_t i = 0; find_header(answer, name, i) != NULL; i++)
        length += strlen(name) + strlen(find_header(answer, name, i)) + strlen(": \r\n");
    if (find_header(answer, name, REPEATS_MAX) != NULL || length > answer->room) {
        reply_header(answer->request, name, everything);
        return;
    }
    for (size_t i = 0; find_header(answer, name, i) != NULL; i++)
        add_header(answer, name, find_header(answer, name, i));
}

/* Without memory for the path it leads nowhere. */
static bool leads_on(const struct answer *answer, const char *target) {
    char *path = strndup(target, strcspn(target, "?#"));
    bool leads = path != NULL && answer->rules->leads_on(answer->rules->context, answer->status, path);
    free(path);
    return leads;
}

static void add_location(struct answer *answer) {
    const char *location = find_header(answer, "Location", 0);
    const char *target = location != NULL ? gateway_path(location, answer->rules->base_url) : NULL;
    if (target != NULL && leads_on(answer, target))
        add_header(answer, "Location", target);
}

/* A reply of 429 or 503 has a Retry-After by itself. */
static void pass_retry_after(struct answer *answer) {
    if (answer->status != 429 && answer->status != 503) {
        add_first(answer, "Retry-After");
        return;
    }
    int64_t retry_after_ms = retry_after_parse(find_header(answer, "Retry-After", 0), clock_unix_ms());
    if (retry_after_ms > 0)
        reply_retry_after(answer->request, retry_after_ms);
}

/* Whoever is trusted to run here may say what it runs by itself; no other site may show it in a frame, unless
 * it says so. */
static void add_policy(struct answer *answer) {
    static const char name[] = "Content-Security-Policy";
    if (answer->rules->trust == PASSED_AS_DATA)
        reply_header(answer->request, name, "default-src 'none'; frame-ancestors 'none'; sandbox");
    else if (find_header(answer, name, 0) != NULL)
        add_list(answer, name, "default-src 'none'");
    else
        reply_header(answer->request, name, "frame-ancestors 'self'");
}

void passed_headers_reply(struct request *request, int status, const struct passed_rules *rules,
                          const struct upstream_header *headers, size_t count) {
    static const char *const once[] = {"Content-Encoding",
                                       "Content-Language",
                                       "Content-Range",
                                       "Accept-Ranges",
                                       "ETag",
                                       "Last-Modified",
                                       "Age",
                                       "Allow"};
    struct answer answer = {request, status, rules, headers, count, rules->bytes_max};
    add_type(&answer);
    reply_header(request, "X-Content-Type-Options", "nosniff");
    add_policy(&answer);
    if (find_header(&answer, "Cache-Control", 0) != NULL)
        add_list(&answer, "Cache-Control", "no-store");
    else
        reply_header(request, "Cache-Control", "no-store");
    for (size_t i = 0; i < sizeof(once) / sizeof(once[0]); i++)
        add_first(&answer, once[i]);
    add_list(&answer, "Vary", "*");
    add_location(&answer);
    pass_retry_after(&answer);
}
