/* Cross-origin requests: see cors.h. */
#include "routes/cors.h"

#include <string.h>

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

void cors_add_preflight_headers(struct request *request, const char *methods) {
    if (allowed_origin(request) == NULL)
        return;
    reply_header(request, "Access-Control-Allow-Methods", methods);
    reply_header(request, "Access-Control-Allow-Headers",
                 "Content-Type, Accept, Last-Event-ID, Idempotency-Key, Authorization, Cache-Control");
    reply_header(request, "Access-Control-Max-Age", "600");
}
