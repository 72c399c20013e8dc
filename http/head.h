/* The head of a request: what libmicrohttpd lets through and RFC 9112 does not, or what leaves open what is
 * asked, of whom, or where it ends. Private to the listener.
 *
 * What the library itself refuses never comes here. What neither sees is told in docs/security.md.
 */
#ifndef SLUICE_HTTP_HEAD_H
#define SLUICE_HTTP_HEAD_H

#include "http/exchange.h"

/** Drops white space after the values of headers, and answers the request if its head is not in order, and
 * returns the error's code. NULL: it is, and its path is that of the target, whichever form that has; or
 * there is no memory to tell, which is answered as well.
 */
const char *http_head_check(struct http_exchange *exchange, const char *method, const char *version);

/** Whether the library has the room to note the parameters of a target. If it has none, version 0.9.75
 * answers nothing, and reports neither an error nor the end of the request. */
bool http_head_parameters_fit(const char *uri, uint64_t request_header_bytes_max);

#endif
