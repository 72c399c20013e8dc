/* Which parameters a query may have. */
#ifndef SLUICE_ROUTES_QUERY_NAMES_H
#define SLUICE_ROUTES_QUERY_NAMES_H

#include "routes/request.h"

/** Refuses a parameter of the query that has none of these names; a NULL ends them. NULL instead of names:
 * any is fine. False: the reply is decided. */
bool query_check_names(struct request *request, const char *const *names) MUST_CHECK;

#endif
