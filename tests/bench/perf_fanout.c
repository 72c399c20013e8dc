/* Instructions a delivered event: one session with 100 subscribers, one event at a time. */
#include "tests/bench/perf.h"

#define SUBSCRIBERS 100
#define EVENTS_BEFORE 100 /* the log is full then, and each event trims it */
#define EVENTS 200

static int subscribers[SUBSCRIBERS];

static void subscribe(uint16_t port) {
    static const char request[] = "GET /apps/a/users/u/sessions/s/run HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (int i = 0; i < SUBSCRIBERS; i++) {
        subscribers[i] = perf_connect(port);
        perf_send(subscribers[i], request, strlen(request));
        perf_await_text(subscribers[i], "retry: ");
    }
}

static void publish(int upstream, int count) {
    const char *chunk = perf_event_chunk();
    size_t length = strlen(chunk);
    for (int i = 0; i < count; i++) {
        perf_send(upstream, chunk, length);
        for (int j = 0; j < SUBSCRIBERS; j++)
            perf_await_event(subscribers[j]);
    }
}

int main(void) {
    uint16_t upstream_port;
    int listener = perf_listen(&upstream_port);
    uint16_t port = perf_start_worker(upstream_port);
    subscribe(port);
    perf_post(perf_connect(port), "/apps/a/users/u/sessions/s/run", "{\"message\":\"go\"}");
    int upstream = perf_accept_stream(listener);
    publish(upstream, EVENTS_BEFORE);
    perf_begin();
    publish(upstream, EVENTS);
    perf_end(SUBSCRIBERS * EVENTS, "event delivered to one of 100 subscribers");
}
