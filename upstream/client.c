/* The upstream client: libcurl's multi handle on a libuv loop. See client.h and client_internal.h.
 *
 * libcurl says which sockets it watches and when its timer is due; both become handles of the loop, and each
 * event is driven into curl_multi_socket_action(). Transfers are removed after libcurl has returned, never in
 * its callbacks.
 */
#include "upstream/client_internal.h"

#include <assert.h>
#include <stdlib.h>

/** A socket that curl wants watched. */
struct client_socket {
    uv_poll_t poll;
    struct upstream_client *client;
    curl_socket_t socket;
    int events; /* that curl waits for */
};

static void client_drive(struct upstream_client *client, curl_socket_t socket, int flags);

void client_forget_handle(struct upstream_client *client) {
    if (--client->handles > 0)
        return;
    client->on_closed(client->context);
    free(client);
    curl_global_cleanup();
}

/* Of the queue, in one turn of the loop. */
#define SETTLED_MAX 32

/* ---- sockets -------------------------------------------------------------------------------------- */

static void client_on_socket_ready(uv_poll_t *poll, int status, int events);

/** The flags that curl gets for a socket with an error. libuv has stopped watching that socket, but bytes
 * that arrived before the error are still to be read; curl meets the error itself after them. curl must not
 * write before: its write would fail, and it would drop what it has not read. */
static int flags_of_broken(struct client_socket *socket) {
    if (uv_poll_start(&socket->poll, socket->events, client_on_socket_ready) != 0)
        return CURL_CSELECT_ERR;
    return (socket->events & UV_READABLE) != 0 ? CURL_CSELECT_IN : CURL_CSELECT_OUT;
}

/** The flags that curl gets for a socket without an error. Whenever curl waits for bytes, it tries to read
 *  before it writes: an answer and a reset may have come since the loop looked, and then a write fails. */
static int flags_of(const struct client_socket *socket, int events) {
    int flags = (socket->events & UV_READABLE) != 0 ? CURL_CSELECT_IN : 0;
    return flags | ((events & UV_WRITABLE) != 0 ? CURL_CSELECT_OUT : 0);
}

static void client_on_socket_ready(uv_poll_t *poll, int status, int events) {
    struct client_socket *socket = CONTAINER_OF(poll, struct client_socket, poll);
    int flags = status < 0 ? flags_of_broken(socket) : flags_of(socket, events);
    client_drive(socket->client, socket->socket, flags);
}

static void client_on_socket_closed(uv_handle_t *handle) {
    struct client_socket *socket = CONTAINER_OF(handle, struct client_socket, poll);
    struct upstream_client *client = socket->client;
    free(socket);
    client_forget_handle(client);
}

static struct client_socket *socket_create(struct upstream_client *client, curl_socket_t fd) {
    struct client_socket *socket = malloc(sizeof *socket);
    if (socket == NULL)
        return NULL;
    *socket = (struct client_socket){.client = client, .socket = fd};
    if (uv_poll_init_socket(client->loop, &socket->poll, fd) != 0) {
        free(socket);
        return NULL;
    }
    client->handles++;
    curl_multi_assign(client->multi, fd, socket);
    return socket;
}

/** curl's CURLMOPT_SOCKETFUNCTION. An error returned here would end every transfer, so a socket that cannot
 *  be watched fails its own transfer alone. */
static int client_on_socket_wanted(CURL *easy, curl_socket_t fd, int what, void *context, void *assigned) {
    struct upstream_client *client = context;
    struct client_socket *socket = assigned;
    struct transfer *transfer = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &transfer);
    tunnel_note_wait(transfer, fd, what);
    if (what == CURL_POLL_REMOVE) {
        if (socket != NULL)
            uv_close((uv_handle_t *)&socket->poll, client_on_socket_closed);
        return 0;
    }
    transfer->is_awaited = transfer->is_sent;
    if (socket == NULL)
        socket = socket_create(client, fd);
    int events = (what & CURL_POLL_IN) != 0 ? UV_READABLE : 0;
    events |= (what & CURL_POLL_OUT) != 0 ? UV_WRITABLE : 0;
    if (socket != NULL)
        socket->events = events;
    if (socket == NULL || uv_poll_start(&socket->poll, events, client_on_socket_ready) != 0)
        transfer_fail(transfer, CURLE_OUT_OF_MEMORY);
    return 0;
}

/* ---- timer and queue ------------------------------------------------------------------------------ */

/** Tells of the requests that curl has done with. */
static void reap_transfers(struct upstream_client *client) {
    int left;
    CURLMsg *message;
    if (client->multi == NULL)
        return;
    while ((message = curl_multi_info_read(client->multi, &left)) != NULL) {
        if (message->msg != CURLMSG_DONE)
            continue;
        struct transfer *transfer;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
        CURLcode code = transfer->failure != CURLE_OK ? transfer->failure : message->data.result;
        if (code == CURLE_SEND_ERROR)
            rest_tell(transfer);
        transfer_detach(transfer);
        if (transfer->is_released)
            continue;
        if (transfer->is_stale && code == CURLE_ABORTED_BY_CALLBACK)
            transfer_send_on_new_connection(transfer);
        else
            transfer->role->on_done(transfer, code);
    }
}

static void client_on_timer_closed(uv_handle_t *handle) {
    client_forget_handle(CONTAINER_OF(handle, struct upstream_client, timer));
}

static void client_on_idle_closed(uv_handle_t *handle) {
    client_forget_handle(CONTAINER_OF(handle, struct upstream_client, idle));
}

static void client_shut(struct upstream_client *client) {
    curl_multi_cleanup(client->multi);
    client->multi = NULL;
    connections_finish(&client->connections);
    client->is_shut = true;
    uv_close((uv_handle_t *)&client->timer, client_on_timer_closed);
    uv_close((uv_handle_t *)&client->idle, client_on_idle_closed);
}

/* A request that begins costs some 0.1 ms, most of it in the kernel: a thousand runs that become due together
 * would hold the loop. All are settled when the client closes. */
static void settle_queue(struct upstream_client *client) {
    struct transfer *transfer;
    for (int i = 0; (transfer = TAILQ_FIRST(&client->queue)) != NULL; i++) {
        client->queue_rests = (client->queue_rests || i == SETTLED_MAX) && !client->closing;
        if (client->queue_rests) {
            client_wake_resting(client);
            return;
        }
        TAILQ_REMOVE(&client->queue, transfer, queue_link);
        transfer->is_queued = false;
        transfer_settle(transfer);
    }
}

static void client_settle(struct upstream_client *client) {
    if (client->is_shut)
        return;
    reap_transfers(client);
    settle_queue(client);
    if (client->closing)
        client_shut(client);
}

/* Memory ran out while curl noted which sockets to watch, and it does not say for which transfer. That one
 * may never be looked at again, and in curl 7.88 what was noted makes the next one on a socket of that number
 * divide by zero. So all that are under way end, and the handle with its notes goes. */
static void client_give_up(struct upstream_client *client) {
    struct transfer *transfer;
    reap_transfers(client);
    TAILQ_FOREACH(transfer, &client->queue, queue_link) {
        if (transfer->is_released)
            transfer_detach(transfer);
    }
    TAILQ_FOREACH(transfer, &client->transfers, link) {
        if (!transfer->is_added)
            continue;
        transfer_detach(transfer);
        transfer_fail(transfer, CURLE_OUT_OF_MEMORY);
    }
    curl_multi_cleanup(client->multi);
    client->multi = NULL;
}

static void client_drive(struct upstream_client *client, curl_socket_t socket, int flags) {
    int running;
    if (curl_multi_socket_action(client->multi, socket, flags, &running) != CURLM_OK)
        client_give_up(client);
    client_settle(client);
    if (client->on_turn != NULL)
        client->on_turn(client->turn_context);
}

static void client_on_timer(uv_timer_t *timer) {
    struct upstream_client *client = CONTAINER_OF(timer, struct upstream_client, timer);
    client->in_timer = true;
    client_settle(client);
    if (client->multi != NULL)
        client_drive(client, CURL_SOCKET_TIMEOUT, 0);
    client->in_timer = false;
}

/* libuv 1.44 calls a timer that its own callback starts anew with 0 again in the same turn: an upstream that
 * always has more would have the loop to itself. Its socket wakes the loop sooner than this. */
static uint64_t soonest_ms(const struct upstream_client *client, uint64_t timeout_ms) {
    return timeout_ms == 0 && client->in_timer ? 1 : timeout_ms;
}

/** curl's CURLMOPT_TIMERFUNCTION. It may put off a client_wake(), which is no loss: whoever is in curl
 * settles the queue on the way out. */
static int client_on_timer_wanted(CURLM *multi, long timeout_ms, void *context) {
    struct upstream_client *client = context;
    (void)multi;
    if (timeout_ms < 0)
        uv_timer_stop(&client->timer);
    else
        uv_timer_start(&client->timer, client_on_timer, soonest_ms(client, (uint64_t)timeout_ms), 0);
    return 0;
}

void client_wake(struct upstream_client *client) {
    uv_timer_start(&client->timer, client_on_timer, 0, 0);
}

static void client_on_idle(uv_idle_t *idle) {
    struct upstream_client *client = CONTAINER_OF(idle, struct upstream_client, idle);
    uv_idle_stop(idle);
    client->queue_rests = false;
    transfers_go_on(client);
    client_settle(client);
    if (client->on_turn != NULL)
        client->on_turn(client->turn_context);
}

void client_wake_resting(struct upstream_client *client) {
    if (!client->is_shut)
        uv_idle_start(&client->idle, client_on_idle);
}

/* ---- the multi handle ----------------------------------------------------------------------------- */

static void apply_connections_max(struct upstream_client *client) {
    long connections_max = client->connections_max > 0 ? (long)client->connections_max : 1; /* 0: no limit */
    curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, connections_max);
}

bool client_open(struct upstream_client *client) {
    if (client->multi != NULL)
        return true;
    client->multi = curl_multi_init();
    if (client->multi == NULL)
        return false;
    apply_connections_max(client);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, client_on_socket_wanted);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, client_on_timer_wanted);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    return true;
}

/* ---- the public half ------------------------------------------------------------------------------ */

void upstream_client_set_connections_max(struct upstream_client *client, uint64_t connections_max) {
    client->connections_max = connections_max;
    if (client->multi != NULL)
        apply_connections_max(client);
}

struct upstream_client *upstream_client_create(uv_loop_t *loop, uint64_t connections_max) {
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return NULL;
    struct upstream_client *client = calloc(1, sizeof *client);
    if (client == NULL)
        goto no_client;
    client->loop = loop;
    client->connections_max = connections_max;
    TAILQ_INIT(&client->transfers);
    TAILQ_INIT(&client->queue);
    TAILQ_INIT(&client->resting);
    if (!client_open(client))
        goto no_multi;
    uv_timer_init(loop, &client->timer);
    uv_idle_init(loop, &client->idle);
    client->handles = 2;
    return client;
no_multi:
    free(client);
no_client:
    curl_global_cleanup();
    return NULL;
}

void upstream_client_on_turn(struct upstream_client *client, void (*on_turn)(void *context), void *context) {
    client->on_turn = on_turn;
    client->turn_context = context;
}

void upstream_client_close(struct upstream_client *client, void (*on_closed)(void *context), void *context) {
    assert(!client->closing);
    client->closing = true;
    client->on_closed = on_closed;
    client->context = context;
    client->active = 0;
    struct transfer *transfer;
    while ((transfer = TAILQ_FIRST(&client->transfers)) != NULL)
        transfer_release(transfer);
    client_wake(client);
}

size_t upstream_client_active(const struct upstream_client *client) {
    return client->active;
}
