/* Instructions a relayed event: 100 streams one to one, one event at a time, the streams in turns. */
#include "tests/bench/perf.h"

#define STREAMS 100
#define ROUNDS_BEFORE 70 /* the logs are full then */
#define ROUNDS 20

static int clients[STREAMS], upstreams[STREAMS];

static void open_streams(uint16_t port, int listener) {
    char body[256];
    for (int i = 0; i < STREAMS; i++) {
        snprintf(
            body, sizeof(body),
            "{\"appName\":\"a\",\"userId\":\"u\",\"sessionId\":\"s%02d\",\"newMessage\":{\"role\":\"user\","
            "\"parts\":[{\"text\":\"go\"}]},\"streaming\":true}",
            i);
        clients[i] = perf_connect(port);
        perf_post(clients[i], "/run_sse", body);
        upstreams[i] = perf_accept_stream(listener);
        perf_await_text(clients[i], "\r\n\r\n");
    }
}

static void relay(int rounds) {
    const char *chunk = perf_event_chunk();
    size_t length = strlen(chunk);
    for (int i = 0; i < rounds * STREAMS; i++) {
        perf_send(upstreams[i % STREAMS], chunk, length);
        perf_await_event(clients[i % STREAMS]);
    }
}

int main(void) {
    uint16_t upstream_port;
    int listener = perf_listen(&upstream_port);
    uint16_t port = perf_start_worker(upstream_port);
    open_streams(port, listener);
    relay(ROUNDS_BEFORE);
    perf_begin();
    relay(ROUNDS);
    perf_end(STREAMS * ROUNDS, "event relayed one to one, 100 streams open");
}
