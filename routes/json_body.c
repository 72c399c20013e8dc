/* The JSON body of a request: see json_body.h. */
#include "routes/json_body.h"

#include "routes/json_input.h"

#include <errno.h>

bool json_body_read(struct request *request, cJSON **ret_object) {
    uint64_t values_max = request->context->settings->request_json_values_max;
    const char *error;
    int result = json_input_read(request->body, request->body_length, values_max, ret_object, &error);
    if (result == -EINVAL)
        reply_error(request, 400, "invalid_json", "%s", error);
    else if (result == -E2BIG)
        reply_limit(request, 413, "too_many_json_values", "The body contains too many JSON values",
                    "request_json_values_max", values_max, NULL);
    else if (result < 0)
        reply_no_memory(request);
    return result == 0;
}
