/* Which pages may use the gateway through a user's browser. A browser runs pages of strangers inside the
 * user's own network, and sends the requests that they ask for. There are two ways from such a page to here:
 *
 *   - DNS rebinding: the page's own name is made to lead here, and then the page may read every answer. The
 *     Host header says that name: a request for a name that is not ours is refused, whatever it asks.
 *   - Requests across sites: the page asks for our name. It cannot read the answer, but a request that opens
 *     or changes something has done so by then. Origin, or Sec-Fetch-Site, says which page sent it.
 *
 * Both headers are the browser's: a page cannot choose them, and a client that is no browser may say
 * anything, as it may do anything.
 */
#ifndef SLUICE_ROUTES_SITE_H
#define SLUICE_ROUTES_SITE_H

#include "routes/request.h"

/** Whether a host is an address of this machine alone or a name that always leads there: "localhost" and
 * names below it, 127.0.0.0/8, ::1. */
bool site_is_loopback(const char *host, size_t length);

/** Whether the gateway is to be asked by the name that the Host header has, which is an authority (see
 * http/head.h) or NULL. On a loopback listener: by a loopback name, the listener's address, or one
 * that `allowed_hosts` has; on others by any name, unless `allowed_hosts` has some. */
bool site_serves(const struct routes_settings *settings, const char *host);

/** Whether a page of another origin has, or may have, sent the request: its Origin is neither that of the
 * Host header nor listed (`cors_origins`, `allowed_hosts`), or Sec-Fetch-Site says "cross-site" or
 * "same-site". The latter is another port of this machine, too: to browsers, all of "localhost" is one site.
 */
bool site_is_foreign(const struct request *request);

#endif
