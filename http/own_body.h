/* A request whose body has no end for the library, because its Transfer-Encoding has white space after
 * "chunked". The white space is not part of the value (RFC 9110, section 5.5), but libmicrohttpd 0.9.75
 * takes it for that. So this file decodes the body. The library accepts no answer while a body comes, so
 * this file also writes the answer, and the connection is closed afterwards. POST only. Private to the
 * listener. */
#ifndef SLUICE_HTTP_OWN_BODY_H
#define SLUICE_HTTP_OWN_BODY_H

#include "http/exchange.h"

/** Takes more of the body, or writes the answer that was deferred. Like libmicrohttpd's access handler it
 * sets *length to the number of bytes left. Shutting the reading side down would make the library leave as
 * well. But then the kernel resets the connection when further bytes come, and an event stream takes its
 * client for gone. */
enum MHD_Result http_own_body_take(struct http_exchange *exchange, const char *bytes,
                                   size_t *length) MUST_CHECK;

#endif
