/* The JSON body of a request, read, or refused in the contract's words. */
#ifndef SLUICE_ROUTES_JSON_BODY_H
#define SLUICE_ROUTES_JSON_BODY_H

#include "routes/request.h"

#include <cjson/cJSON.h>

/** Reads the request's body as json_input_read() does. The object is the caller's to delete. False: the reply
 * is decided. */
bool json_body_read(struct request *request, cJSON **ret_object) MUST_CHECK;

#endif
