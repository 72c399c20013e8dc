/* Reading the values of request headers (RFC 9110, sections 5.6, 8.3 and 12.5.1). */
#ifndef SLUICE_ROUTES_HEADER_VALUE_H
#define SLUICE_ROUTES_HEADER_VALUE_H

#include <stdbool.h>

/** Whether a Content-Type says JSON in UTF-8. */
bool header_is_json(const char *content_type);

/** Whether an Accept header names this media type itself, with a quality above 0. Wildcards do not count.
 * NULL: there was no such header. */
bool header_accepts(const char *accept, const char *media_type);

#endif
