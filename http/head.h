/* Checks the head of a request for errors that libmicrohttpd accepts and RFC 9112 forbids. It also refuses
 * heads that leave the request, its host or its end ambiguous. Private to the listener.
 *
 * Requests that the library itself refuses never come here. docs/security.md lists the errors that neither
 * finds.
 */
#ifndef SLUICE_HTTP_HEAD_H
#define SLUICE_HTTP_HEAD_H

#include "http/exchange.h"

/** Drops white space after the values of headers and checks the head. For an invalid head it answers the
 * request and returns the error's code. NULL: the head is valid, and request.path is the path of the target,
 * whatever form the target has. NULL also if memory ran out; that is answered, too. */
const char *http_head_check(struct http_exchange *exchange, const char *method, const char *version);

/** Returns whether the library has room to note the parameters of a target. Without room, version 0.9.75 does
 * not answer, and reports neither an error nor the end of the request. */
bool http_head_parameters_fit(const char *uri, uint64_t request_header_bytes_max);

#endif
