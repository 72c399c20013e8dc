/* What is said to one subscriber alone: a gap, and what is not in the log. */
#include "broadcaster/subscriber_internal.h"

#include "broadcaster/fanout_internal.h"

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
    struct frame *frame = frame_create(FRAME_EVENT, 0, form->type, strlen(form->type), data, length);
    if (frame != NULL)
        frame_stamp(frame, id);
    return frame;
}

struct frame *subscriber_make_gap(const struct subscriber *subscriber, const struct error_form *form) {
    if (subscriber->agent_framing)
        return make_agent_gap(form, subscriber->gap_to);
    char from[EVENT_ID_SIZE], to[EVENT_ID_SIZE], data[2 * EVENT_ID_SIZE + 64];
    bool fresh = subscriber->position.ms == 0 && subscriber->position.n == 0;
    bool trimmed = event_id_compare(subscriber->position, subscriber->gap_to) < 0;
    event_id_format(subscriber->position, from);
    event_id_format(subscriber->gap_to, to);
    const char *quote = fresh ? "" : "\"";
    int length = snprintf(data, sizeof(data), "{\"from\":%s%s%s,\"to\":\"%s\",\"reason\":\"%s\"}", quote,
                          fresh ? "null" : from, quote, to, trimmed ? "trimmed" : "unknown_id");
    struct frame *frame = frame_create(FRAME_GAP, 0, "gap", strlen("gap"), data, (size_t)length);
    if (frame != NULL)
        frame_stamp(frame, subscriber->gap_to);
    return frame;
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

/* Events of one connection have no id: nobody can go on after them. */
#define DRAIN "event: server.drain\ndata: {\"reason\":\"shutdown\"}\n\n"
#define PING "event: ping\ndata: {}\n\n"
static const char drain_chunk[] = "31\r\n" DRAIN "\r\n";
static const char ping_chunk[] = "16\r\n" PING "\r\n";
_Static_assert(sizeof(DRAIN) - 1 == 0x31 && sizeof(PING) - 1 == 0x16, "the lengths of their chunks");

static struct frame_span drain_event(const struct subscriber *subscriber) {
    return subscriber->chunked ? (struct frame_span){drain_chunk, sizeof(drain_chunk) - 1}
                               : (struct frame_span){DRAIN, sizeof(DRAIN) - 1};
}

static struct frame_span ping_event(const struct subscriber *subscriber) {
    return subscriber->chunked ? (struct frame_span){ping_chunk, sizeof(ping_chunk) - 1}
                               : (struct frame_span){PING, sizeof(PING) - 1};
}

struct frame_span subscriber_take_notice(struct subscriber *subscriber) {
    if ((subscriber->notices & NOTICE_HEARTBEAT) != 0) {
        subscriber->notices &= (uint8_t)~NOTICE_HEARTBEAT;
        return subscriber->pings ? ping_event(subscriber) : write_notice(subscriber, ":\n");
    }
    if ((subscriber->notices & NOTICE_RETRY) != 0) {
        subscriber->notices &= (uint8_t)~NOTICE_RETRY;
        return write_retry(subscriber);
    }
    subscriber->notices &= (uint8_t)~NOTICE_DRAIN;
    return drain_event(subscriber);
}
