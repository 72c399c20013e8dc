/* The hand-over of an event stream's connection: see handover.h. */
#include "http/handover.h"

#include "base/memory_budget.h"
#include "base/metrics.h"
#include "http/socket_sink.h"

#include <stdlib.h>
#include <unistd.h>

static _Atomic uint64_t on_their_way;

uint64_t handed_over_open(void) {
    return atomic_load(&on_their_way) + socket_sinks_open();
}

/* One that is on its way to another worker. */
struct parcel {
    struct inbox_item item;
    struct routes_context *to;
    struct handover handover;
};

static void connect_subscriber(struct routes_context *context, const struct handover *handover) {
    struct sink *sink = socket_sink_create(context->relay.loop, handover->fd, handover->send_buffer_bytes,
                                           fanout_peer_timeout_ms(context->relay.fanout), handover->limits,
                                           handover->address);
    if (sink != NULL) {
        subscriber_connect(handover->subscriber, context->relay.fanout, sink, handover->chunked);
        return;
    }
    close(handover->fd);
    address_limits_leave(handover->limits, handover->address);
    subscriber_destroy(handover->subscriber);
}

static void on_parcel(struct inbox_item *item) {
    struct parcel *parcel = CONTAINER_OF(item, struct parcel, item);
    connect_subscriber(parcel->to, &parcel->handover);
    atomic_fetch_sub(&on_their_way, 1);
    fanout_received(parcel->to->relay.fanout);
    memory_release(MEMORY_SUBSCRIBERS, sizeof(*parcel));
    free(parcel);
}

/* False: it must be connected here. */
static bool send_to(struct routes_context *to, const struct handover *handover) {
    struct parcel *parcel = malloc(sizeof(*parcel));
    if (parcel == NULL || !fanout_expect(to->relay.fanout)) {
        free(parcel);
        return false;
    }
    *parcel = (struct parcel){.item.handle = on_parcel, .to = to, .handover = *handover};
    memory_charge(MEMORY_SUBSCRIBERS, sizeof(*parcel));
    metrics_add(METRIC_SUBSCRIBERS_GATHERED, 1);
    atomic_fetch_add(&on_their_way, 1);
    inbox_post(to->relay.inbox, &parcel->item);
    return true;
}

void hand_over(struct routes_context *context, const struct handover *handover) {
    struct routes_context *home = context_home(context, subscriber_session(handover->subscriber));
    if (home == context || !subscriber_is_gathered(handover->subscriber) || !send_to(home, handover))
        connect_subscriber(context, handover);
}
