/* Which parameters a query may have: see query_names.h. */
#include "routes/query_names.h"

#include <stdio.h>

static void list_names(const char *const *names, char *out, size_t size) {
    size_t length = 0;
    out[0] = '\0';
    for (size_t i = 0; names[i] != NULL && length < size; i++)
        length += (size_t)snprintf(out + length, size - length, "%s\"%s\"",
                                   i == 0                 ? ""
                                   : names[i + 1] != NULL ? ", "
                                                          : " and ",
                                   names[i]);
}

/* A parameter that nobody reads is a mistake that would go unseen: `until` with another spelling, say. */
bool query_check_names(struct request *request, const char *const *names) {
    const char *name;
    size_t length;
    char list[128];
    if (names == NULL || !request_query_find_other(request, names, &name, &length))
        return true;
    list_names(names, list, sizeof(list));
    int shown = length < 64 ? (int)length : 64;
    if (names[0] == NULL)
        reply_error(request, 400, "invalid_query",
                    "There is no query parameter \"%.*s\": this path takes none.", shown, name);
    else
        reply_error(request, 400, "invalid_query",
                    "There is no query parameter \"%.*s\" here. This path takes %s.", shown, name, list);
    return false;
}
