/* Finding and opening the session that a request speaks of. */
#ifndef SLUICE_ROUTES_ACCESS_H
#define SLUICE_ROUTES_ACCESS_H

#include "routes/passed_path.h"
#include "routes/request.h"

/** The session of that key, opened if need be, referenced. NULL: the reply is decided. */
struct session *session_open(struct request *request, const char *key) MUST_CHECK;

/** The open session that the path names, referenced. NULL: there is none; no reply is decided. */
struct session *session_find(struct request *request) MUST_CHECK;

/** Whether a run is under way in the session of `owner`; then the reply says so. */
bool session_refuse_conflict(struct request *request, const struct passed_owner *owner);

#endif
