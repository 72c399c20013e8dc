/* Cross-origin requests (Fetch standard, "HTTP CORS protocol").
 *
 * An origin is allowed if cors_origins lists it exactly. The headers are added before a request is decided,
 * so that a page can read why its request was refused. `Vary: Origin` is also on answers to other origins:
 * without it, a cache would give the answer for one origin to another. */
#include "routes/cors.h"

#include "base/buffer.h"
#include "base/log.h"
#include "base/log_once.h"
#include "routes/site.h"

#include <string.h>

/* Of an origin that is refused, the log shows so much. */
#define ORIGIN_BYTES_MAX 256
/* The headers that are always allowed, and those of cors_headers. */
#define HEADERS_TEXT_MAX 2048

bool cors_allows_all(const struct routes_settings *settings) {
    return settings->cors_origins_count == 1 && strcmp(settings->cors_origins[0], "*") == 0;
}

/* What Access-Control-Allow-Origin says to this request; NULL: nothing. */
static const char *allowed_origin(const struct request *request) {
    const struct routes_settings *settings = request->context->settings;
    const char *origin = request_header(request, "Origin");
    if (origin == NULL)
        return NULL;
    if (cors_allows_all(settings))
        return "*";
    for (size_t i = 0; i < settings->cors_origins_count; i++) {
        if (strcmp(settings->cors_origins[i], origin) == 0)
            return settings->cors_origins[i];
    }
    return NULL;
}

bool cors_allows(const struct request *request) {
    return allowed_origin(request) != NULL;
}

void cors_add_headers(struct request *request) {
    const struct routes_settings *settings = request->context->settings;
    bool by_origin = settings->cors_origins_count > 0 && !cors_allows_all(settings);
    if (by_origin)
        reply_header(request, "Vary", "Origin"); /* also where it is refused: caches must tell them apart */
    const char *origin = allowed_origin(request);
    if (origin == NULL)
        return;
    reply_header(request, "Access-Control-Allow-Origin", origin);
    if (by_origin && settings->cors_credentials)
        reply_header(request, "Access-Control-Allow-Credentials", "true");
    reply_header(request, "Access-Control-Expose-Headers",
                 "Location, Retry-After, Idempotency-Replayed, Allow");
}

bool cors_is_preflight(const struct request *request) {
    return request_header(request, "Origin") != NULL &&
           request_header(request, "Access-Control-Request-Method") != NULL;
}

/* False: memory has run out. */
static bool list_headers(const struct routes_settings *settings, struct buffer *out) {
    if (!buffer_append_text(out,
                            "Content-Type, Accept, Last-Event-ID, Idempotency-Key, Authorization, "
                            "Cache-Control, X-Requested-With, Sluice-On-Disconnect, traceparent, tracestate"))
        return false;
    for (size_t i = 0; i < settings->cors_headers_count; i++) {
        if (!buffer_printf(out, ", %s", settings->cors_headers[i]))
            return false;
    }
    return true;
}

void cors_add_preflight_headers(struct request *request, const char *methods) {
    struct buffer headers;
    if (allowed_origin(request) == NULL)
        return;
    buffer_init(&headers, HEADERS_TEXT_MAX);
    if (list_headers(request->context->settings, &headers))
        reply_header(request, "Access-Control-Allow-Headers", headers.bytes);
    buffer_finish(&headers);
    reply_header(request, "Access-Control-Allow-Methods", methods);
    reply_header(request, "Access-Control-Max-Age", "600");
}

void cors_log_refused(const struct request *request) {
    static struct log_once lines; /* of all workers */
    const char *origin = request_header(request, "Origin");
    char shown[ORIGIN_BYTES_MAX + 1];
    uint64_t unwritten;
    if (origin == NULL || !log_enabled(LOG_LEVEL_INFO) || !site_is_foreign(request))
        return;
    size_t length = strnlen(origin, ORIGIN_BYTES_MAX);
    if (!log_once_take(&lines, origin, length, &unwritten))
        return;
    memcpy(shown, origin, length);
    shown[length] = '\0';
    log_info("origin_refused", LOG_STR("origin", shown), LOG_STR("path", request->path),
             LOG_INT("unwritten", unwritten));
}
