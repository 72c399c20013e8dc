/* What is said to one subscriber alone: a gap, and what is not in the log. */
#include "broadcaster/subscriber_internal.h"

#include "broadcaster/fanout_internal.h"
#include "broadcaster/lifecycle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A notice that is written for one subscriber, without the chunk around it. */
#define NOTICE_SIZE 32

/* A loss, as an agent would report it. */
static struct frame *make_agent_gap(const struct error_form *form, struct event_id id) {
    char data[TASK_ERROR_DATA_MAX];
    size_t length = error_form_write(form, "Some events are no longer retained and were lost.", "events_lost",
                                     data, sizeof(data));
    struct frame *frame = lifecycle_make_agent_event(0, form->type, strlen(form->type), data, length);
    if (frame != NULL)
        frame_stamp(frame, id);
    return frame;
}

struct frame *subscriber_make_gap(const struct subscriber *subscriber, const struct error_form *form) {
    if (subscriber->agent_framing)
        return make_agent_gap(form, subscriber->gap_to);
    return lifecycle_make_gap(subscriber->position, subscriber->gap_to);
}

static struct frame_span write_notice(struct subscriber *subscriber, const char *said) {
    int length = subscriber->chunked ? snprintf(subscriber->text, sizeof(subscriber->text), "%zx\r\n%s\r\n",
                                                strlen(said), said)
                                     : snprintf(subscriber->text, sizeof(subscriber->text), "%s", said);
    return (struct frame_span){subscriber->text, (size_t)length};
}

/* When to come again, spread over three times as long as usual. */
static struct frame_span write_retry(struct subscriber *subscriber) {
    char line[NOTICE_SIZE];
    long retry_ms = (long)atomic_load(&subscriber->watch->fanout->settings->retry_ms);
    snprintf(line, NOTICE_SIZE, "retry: %ld\n", retry_ms + random() % (2 * retry_ms + 1));
    return write_notice(subscriber, line);
}

struct frame_span subscriber_take_notice(struct subscriber *subscriber) {
    if ((subscriber->notices & NOTICE_HEARTBEAT) != 0) {
        subscriber->notices &= (uint8_t)~NOTICE_HEARTBEAT;
        return subscriber->pings ? lifecycle_ping(subscriber->chunked) : write_notice(subscriber, ":\n");
    }
    if ((subscriber->notices & NOTICE_RETRY) != 0) {
        subscriber->notices &= (uint8_t)~NOTICE_RETRY;
        return write_retry(subscriber);
    }
    subscriber->notices &= (uint8_t)~NOTICE_DRAIN;
    return lifecycle_server_drain(subscriber->chunked);
}
