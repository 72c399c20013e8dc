/* Events that a call holds back.
 *
 * A stream may fail right after it began: its first event is an error, or one that only opens the answer and
 * shows nothing to a person comes before the error. As long as nothing visible was delivered, such a run may
 * be tried again or go to the fallback, as if the upstream had answered 503. So these first events wait here:
 * they are delivered before the next visible event or before the end, and dropped if another attempt is made.
 */
#include "base/memory_budget.h"
#include "upstream/call_internal.h"

#include <stdlib.h>
#include <string.h>

/** Whether the event may still be taken back: nobody has seen anything of the run, and of this event nothing
 * is to be seen but that the run has failed. */
static bool may_be_held(const struct upstream_call *call, const struct sse_event *event,
                        enum adapter_verdict verdict) {
    const struct adapter *adapter = call_settings(call)->adapter;
    if (call->has_event || call->held_count == CALL_HELD_MAX)
        return false;
    return verdict == ADAPTER_FAILED || (adapter->is_visible != NULL && !adapter->is_visible(event));
}

static void free_held(struct held_event *held) {
    memory_release(MEMORY_STREAMS, held->size);
    free(held->bytes);
}

bool call_hold(struct upstream_call *call, const struct sse_event *event, enum adapter_verdict verdict) {
    if (!may_be_held(call, event, verdict))
        return false;
    size_t id_length = event->last_event_id_length;
    size_t size = event->type_length + event->data_length + id_length + 1;
    char *bytes = memory_may_grow(size) ? malloc(size) : NULL;
    if (bytes == NULL)
        return false; /* then it is delivered at once */
    memory_charge(MEMORY_STREAMS, size);
    char *data = bytes + event->type_length, *id = data + event->data_length;
    memcpy(bytes, event->type, event->type_length);
    memcpy(data, event->data, event->data_length);
    memcpy(id, event->last_event_id, id_length);
    struct held_event *held = &call->held[call->held_count++];
    *held = (struct held_event){.bytes = bytes, .size = size, .event = *event};
    held->event.type = bytes;
    held->event.data = data;
    held->event.last_event_id = id;
    return true;
}

bool call_release_held(struct upstream_call *call) {
    struct held_event held[CALL_HELD_MAX];
    size_t count = call->held_count;
    memcpy(held, call->held, count * sizeof(*held));
    call->held_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (!call->has_ended)
            attempt_deliver(call, &held[i].event);
        free_held(&held[i]);
    }
    return !call->has_ended;
}

void call_drop_held(struct upstream_call *call) {
    for (size_t i = 0; i < call->held_count; i++)
        free_held(&call->held[i]);
    call->held_count = 0;
}
