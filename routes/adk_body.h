/* Bodies of ADK's own /run and /run_sse: they say by themselves whose they are. */
#ifndef SLUICE_ROUTES_ADK_BODY_H
#define SLUICE_ROUTES_ADK_BODY_H

#include "base/attributes.h"
#include "routes/passed_path.h"
#include "routes/request.h"

#include <cjson/cJSON.h>

/** Reads app, user and session, each named once, in either of the spellings that ADK takes and in no other
 * one. An app that is not named is `default_app` of the settings. False: the reply says what is wrong. */
bool adk_body_read_names(struct request *request, const cJSON *body,
                         struct session_names *ret_owner) MUST_CHECK;

/** Reads the session that a body may name, if its path names the rest. False: the reply says what is wrong.
 */
bool adk_body_check_session(struct request *request, const cJSON *body) MUST_CHECK;

/** Answers 400 if the body could name an app, a user or a session under another name than `but` lists
 * (exactly; NULL ends them, and NULL lists none). */
bool adk_body_refuse_identity(struct request *request, const cJSON *body, const char *const *but) MUST_CHECK;

/** What the upstream gets: the request's text, with the app in it if the body names none, and if
 * `cuts_gateway` without the member "gateway"; malloc'd in *ret_text. *ret_text is NULL if the text stays as
 * it came. `body` still has all its members. False: out of memory. */
bool adk_body_make_text(const struct request *request, const cJSON *body, const char *app, bool cuts_gateway,
                        char **ret_text, size_t *ret_length) MUST_CHECK;

#endif
