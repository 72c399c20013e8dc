/* A request whose body the library does not see the end of: its Transfer-Encoding has white space after
 * "chunked", which is not part of the value (RFC 9110, section 5.5), but which libmicrohttpd 0.9.75 takes for
 * that, so that it reads a body without end. We decode it ourselves. The library takes no answer while a body
 * comes: that is written by ourselves, too, and the connection is closed after it. POST alone. Private to the
 * listener.
 */
#ifndef SLUICE_HTTP_OWN_BODY_H
#define SLUICE_HTTP_OWN_BODY_H

#include "http/exchange.h"

/** More of the body has come, or the answer has, which was deferred. As libmicrohttpd's access handler: sets
 * *length to how many bytes were left. To shut the reading side down instead would have the library leave,
 * too. But then the kernel resets the connection for what still comes, and an event stream takes its client
 * for gone. */
enum MHD_Result http_own_body_take(struct http_exchange *exchange, const char *bytes,
                                   size_t *length) MUST_CHECK;

#endif
