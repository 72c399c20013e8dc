/* The headers of an upstream's answer that is passed through.
 *
 * The answer is served on the gateway's own origin, and through the proxy in front: a header could speak to
 * either (Set-Cookie, X-Accel-Redirect, Clear-Site-Data, Link, Refresh, and those that will be invented). So
 * only the headers of a list are passed on, and of each that may stand once only the first. In addition
 *
 *   - no media type is served that a browser would run: HTML, XML, SVG, scripts and style sheets become plain
 * text, other types that are not known to be harmless, or are missing or malformed, a download;
 *   - `X-Content-Type-Options: nosniff` and a Content-Security-Policy that allows nothing are always sent;
 *   - `Cache-Control` is `no-store`, unless the upstream says otherwise;
 *   - a Location is passed on if it leads to this upstream, as the path that leads there through the gateway.
 * A path of the gateway's own would have the client cancel or delete there what the upstream likes.
 *
 * The upstream's own pages (`passthrough_ui`) are trusted to run: they keep their media type and their
 * policy.
 */
#ifndef SLUICE_ROUTES_PASSED_HEADERS_H
#define SLUICE_ROUTES_PASSED_HEADERS_H

#include "routes/request.h"

enum passed_trust { PASSED_AS_DATA, PASSED_AS_UI };

struct passed_rules {
    enum passed_trust trust;
    const char *base_url; /* the upstream's */
    /** What is passed on has at most so many bytes: an answer whose head has no room in libmicrohttpd's
     * memory for its connection is not sent at all. */
    size_t bytes_max;
    /** Whether an answer of this status may send its client to a path of the gateway's, without a query. */
    bool (*leads_on)(const void *context, int status, const char *path);
    const void *context;
};

/** Adds the headers of the reply. */
void passed_headers_reply(struct request *request, int status, const struct passed_rules *rules,
                          const struct upstream_header *headers, size_t count);

#endif
