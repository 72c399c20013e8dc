/* The names under which a request could say whose it is: appName, userId, sessionId, and whatever a server
 * behind the gateway may take for one of them.
 *
 * Servers read names in different ways: Go's JSON decoder takes USERID and uſerId for userId, other ones drop
 * underscores. So a name counts as one of the three if it is the same after Unicode case folding and without
 * underscores.
 */
#ifndef SLUICE_ROUTES_IDENTITY_H
#define SLUICE_ROUTES_IDENTITY_H

#include "base/attributes.h"

#include <cjson/cJSON.h>
#include <stdbool.h>

enum identity { IDENTITY_APP, IDENTITY_USER, IDENTITY_SESSION, IDENTITY_NONE };

/** What a name stands for. `name` is valid UTF-8. */
enum identity identity_of_name(const char *name);

/** The first member of an object whose name stands for one of them; `but` names, exactly, those that may
 * (NULL ends them). NULL: there is none. */
const char *identity_find(const cJSON *object, const char *const *but);

/** Whether a query has a parameter whose name stands for one of them. 1, 0, or -ENOMEM. */
int identity_is_in_query(const char *query) MUST_CHECK;

#endif
