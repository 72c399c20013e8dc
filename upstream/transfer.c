/* The life of a transfer: request, deadline, end. See client_internal.h. */
#include "upstream/client_internal.h"

#include "base/broken_state.h"
#include "base/clock.h"

bool transfer_init(struct transfer *transfer, struct upstream_client *client,
                   const struct upstream_settings *settings, const struct transfer_role *role) {
    if (client->closing) {
        broken_state_note("upstream/transfer.c: begun while the client closes");
        return false;
    }
    CURL *easy = curl_easy_init();
    if (easy == NULL)
        return false;
    transfer->role = role;
    transfer->client = client;
    transfer->easy = easy;
    transfer->deadline_ms = UINT64_MAX;
    transfer->spare_fd = -1;
    transfer->connect_timeout_ms = settings->connect_timeout_ms;
    transfer->first_byte_timeout_ms = settings->first_byte_timeout_ms;
    transfer->idle_timeout_ms = settings->idle_timeout_ms;
    transfer->keepalive_ms = settings->keepalive_ms;
    transfer->ca = ca_bundle_ref(settings->ca);
    uv_timer_init(client->loop, &transfer->timer);
    client->handles++;
    TAILQ_INSERT_TAIL(&client->transfers, transfer, link);
    return true;
}

static void touch_transfer(struct transfer *transfer) {
    struct upstream_client *client = transfer->client;
    if (!transfer->is_queued)
        TAILQ_INSERT_TAIL(&client->queue, transfer, queue_link);
    transfer->is_queued = true;
    client_wake(client);
}

bool transfer_send(struct transfer *transfer, const struct transfer_request *request) {
    if (transfer->is_added || transfer->is_wanted) {
        broken_state_note("upstream/transfer.c: sent while a request is under way");
        return false;
    }
    transfer->status = 0;
    transfer->header_bytes = 0;
    transfer->header_lines = 0;
    transfer->length = (struct answer_length){0};
    transfer->is_repeatable = request->is_repeatable;
    transfer->is_sent = transfer->is_awaited = transfer->is_unanswered = transfer->is_stale = false;
    transfer->lacks_descriptor = false;
    transfer->is_tunnel = request->is_tunnel;
    transfer->is_held = transfer->is_over = false;
    transfer->tunnel_fd = -1;
    rest_reset(transfer, request);
    transfer_clear_deadline(transfer);
    if (!transfer_set_options(transfer, request))
        return false;
    transfer->is_wanted = true;
    touch_transfer(transfer);
    return true;
}

void transfer_send_on_new_connection(struct transfer *transfer) {
    transfer->is_stale = false;
    curl_easy_setopt(transfer->easy, CURLOPT_FRESH_CONNECT, 1L);
    transfer->is_wanted = true;
    touch_transfer(transfer);
}

static void end_rest(struct transfer *transfer) {
    if (!transfer->is_resting)
        return;
    TAILQ_REMOVE(&transfer->client->resting, transfer, rest_link);
    transfer->client->resting_count--;
    transfer->is_resting = false;
}

/* The share of all answers together begins with the first piece of a turn, which is taken in any case. */
static bool begins_turn(struct upstream_client *client) {
    uint64_t now_ms = uv_now(client->loop);
    bool begins = !client->has_turn || client->turn_ms != now_ms;
    if (begins)
        client->until_mono_ms = clock_mono_ms() + TRANSFERS_TURN_MS;
    client->has_turn = true;
    client->turn_ms = now_ms;
    return begins;
}

static bool has_share(struct transfer *transfer) {
    struct upstream_client *client = transfer->client;
    bool begins = begins_turn(client);
    if (transfer->turn_ms != client->turn_ms)
        transfer->turn_bytes = 0;
    transfer->turn_ms = client->turn_ms;
    if (transfer->turn_bytes >= TRANSFER_TURN_BYTES)
        return false;
    return begins || clock_mono_ms() < client->until_mono_ms;
}

enum transfer_taken transfer_take(struct transfer *transfer, const char *bytes, size_t length) {
    struct upstream_client *client = transfer->client;
    if (has_share(transfer)) {
        transfer->turn_bytes += length;
        return transfer->role->on_body(transfer, bytes, length);
    }
    if (!transfer->is_resting) {
        TAILQ_INSERT_TAIL(&client->resting, transfer, rest_link);
        client->resting_count++;
    }
    transfer->is_resting = true;
    client_wake_resting(client);
    return TRANSFER_PAUSE;
}

static void unpause_transfer(struct transfer *transfer);

/* One that waits to be settled goes on then. The others do not stand in that line, so that no request that
 * begins or ends has to wait for all that rest. */
static void go_on(struct transfer *transfer) {
    end_rest(transfer);
    transfer->turn_bytes = 0;
    transfer->is_resumed = true;
    if (!transfer->is_queued)
        unpause_transfer(transfer);
}

void transfers_go_on(struct upstream_client *client) {
    client->has_turn = false;
    for (size_t count = client->resting_count; count > 0 && !TAILQ_EMPTY(&client->resting); count--) {
        if (client->has_turn && clock_mono_ms() >= client->until_mono_ms)
            break;
        go_on(TAILQ_FIRST(&client->resting));
    }
    if (!TAILQ_EMPTY(&client->resting))
        client_wake_resting(client);
}

void transfer_resume(struct transfer *transfer) {
    transfer->is_resumed = true;
    touch_transfer(transfer);
}

void transfer_fail(struct transfer *transfer, CURLcode code) {
    transfer->failure = code;
    touch_transfer(transfer);
}

void transfer_release(struct transfer *transfer) {
    if (transfer->is_released)
        return;
    transfer->is_released = true;
    end_rest(transfer);
    TAILQ_REMOVE(&transfer->client->transfers, transfer, link);
    uv_timer_stop(&transfer->timer);
    touch_transfer(transfer);
}

/* ---- deadline: the timer is left where it stands when the deadline moves away ------------------------ */

static void transfer_on_timer(uv_timer_t *timer);

static void arm_timer(struct transfer *transfer, uint64_t now_ms) {
    transfer->timer_due_ms = transfer->deadline_ms;
    uv_timer_start(&transfer->timer, transfer_on_timer, transfer->deadline_ms - now_ms, 0);
}

static void transfer_on_timer(uv_timer_t *timer) {
    struct transfer *transfer = CONTAINER_OF(timer, struct transfer, timer);
    uint64_t now_ms = uv_now(transfer->client->loop);
    if (transfer->deadline_ms == UINT64_MAX)
        return;
    if (now_ms < transfer->deadline_ms)
        arm_timer(transfer, now_ms);
    else
        transfer_fail(transfer, CURLE_OPERATION_TIMEDOUT);
}

void transfer_set_deadline(struct transfer *transfer, int64_t timeout_ms) {
    if (transfer->is_released)
        return;
    uint64_t now_ms = uv_now(transfer->client->loop);
    transfer->deadline_ms = now_ms + (uint64_t)timeout_ms;
    bool covered =
        uv_is_active((uv_handle_t *)&transfer->timer) && transfer->timer_due_ms <= transfer->deadline_ms;
    if (!covered)
        arm_timer(transfer, now_ms);
}

void transfer_clear_deadline(struct transfer *transfer) {
    transfer->deadline_ms = UINT64_MAX;
}

/* ---- what client_settle() does ---------------------------------------------------------------------- */

void transfer_detach(struct transfer *transfer) {
    transfer->failure = CURLE_OK;
    transfer->is_resumed = false;
    transfer->is_wanted = false;
    end_rest(transfer);
    rest_end(transfer);
    if (!transfer->is_added)
        return;
    curl_multi_remove_handle(transfer->client->multi, transfer->easy);
    transfer->is_added = false;
}

static void attach_transfer(struct transfer *transfer) {
    transfer->is_wanted = false;
    struct upstream_client *client = transfer->client;
    if (!client_open(client) || curl_multi_add_handle(client->multi, transfer->easy) != CURLM_OK) {
        transfer->role->on_done(transfer, CURLE_OUT_OF_MEMORY);
        return;
    }
    transfer->is_added = true;
}

static void transfer_on_timer_closed(uv_handle_t *handle) {
    struct transfer *transfer = CONTAINER_OF(handle, struct transfer, timer);
    struct upstream_client *client = transfer->client;
    transfer->role->destroy(transfer);
    client_forget_handle(client);
}

/* To go on may take memory: what curl kept is told now, and its socket is watched again. For the latter
 * it blames our callback, which never refuses. */
static void unpause_transfer(struct transfer *transfer) {
    transfer->is_resumed = false;
    if (!transfer->is_added)
        return;
    transfer->is_held = false;
    CURLcode code = curl_easy_pause(transfer->easy, CURLPAUSE_CONT);
    if (code != CURLE_OK)
        transfer_fail(transfer, code == CURLE_ABORTED_BY_CALLBACK ? CURLE_OUT_OF_MEMORY : code);
}

void transfer_settle(struct transfer *transfer) {
    if (transfer->is_released) {
        transfer_detach(transfer);
        curl_easy_cleanup(transfer->easy);
        buffer_finish(&transfer->rest);
        curl_slist_free_all(transfer->headers);
        ca_bundle_unref(transfer->ca);
        uv_close((uv_handle_t *)&transfer->timer, transfer_on_timer_closed);
    } else if (transfer->failure != CURLE_OK) {
        CURLcode failure = transfer->failure;
        transfer_detach(transfer);
        transfer->role->on_done(transfer, failure);
    } else if (transfer->is_over) {
        transfer->is_over = false;
        transfer_detach(transfer);
        transfer->role->on_done(transfer, CURLE_OK);
    } else if (transfer->is_wanted) {
        attach_transfer(transfer);
    } else if (transfer->is_resumed) {
        unpause_transfer(transfer);
    }
}
