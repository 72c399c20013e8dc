/* Where the answer to a passed request may send its client.
 *
 * A client follows a redirect by itself, with the method and the body of its request if the status says so.
 * It is its page of the gateway's own origin that asks then: so an upstream could have it cancel all runs,
 * delete a session or start a run for another app. It may send a client to what is passed on to that same
 * upstream alone.
 */
#include "routes/passthrough_internal.h"
#include "routes/router.h"
#include "routes/upstream_choice.h"

/* Of a path that is longer no Location passes. */
#define PATH_BYTES_MAX 8192

/* Whether the client may repeat its request there (RFC 9110, section 15.4); after all others it asks by GET.
 */
static bool may_be_repeated(int status) {
    return status >= 300 && status < 400 && status != 303;
}

/* Whether the gateway itself would ask for this path as it is written. A client resolves dots before it asks,
 * drops tabs, and so may come to another path than the one that was looked up. */
static bool is_passable(const struct path *path) {
    char storage[PATH_BYTES_MAX];
    struct buffer target;
    buffer_init_fixed(&target, storage, sizeof(storage));
    return passed_path_is_plain(path) && passed_path_append(path, &target) == 0;
}

/* What names no app is asked of the first upstream of its kind. */
static bool is_of_upstream(const struct passthrough *passthrough, const char *path) {
    const struct request *request = passthrough->request;
    struct path split;
    struct passed_owner owner = {.app = ""};
    if (path_split(path, &split) && (!is_passable(&split) || !passed_path_read_owner(&split, &owner)))
        return false;
    if (owner.app[0] == '\0')
        return upstream_choose_for_app(request, "", "") == passthrough->upstream;
    return upstreams_app_fits(upstream_at(request, passthrough->upstream)->apps, owner.app);
}

bool passthrough_leads_on(const void *context, int status, const char *path) {
    const struct passthrough *passthrough = context;
    const struct request *request = passthrough->request;
    return (!may_be_repeated(status) || router_passes_on(request, request->method, path)) &&
           router_passes_on(request, METHOD_GET, path) && is_of_upstream(passthrough, path);
}
