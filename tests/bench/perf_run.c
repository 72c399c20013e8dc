/* Instructions a run: accepted, posted upstream, answered with one event, ended; one subscriber sees it. */
#include "tests/bench/perf.h"

#define RUNS_BEFORE 100
#define RUNS 200

static const char path[] = "/apps/a/users/u/sessions/s/run";

struct parties {
    int client, subscriber, upstream;
};

/* The stream of an answer: one event, then its end. */
static void answer(int upstream) {
    char text[1024];
    int length = snprintf(text, sizeof(text), "%s%s0\r\n\r\n", PERF_ANSWER_STREAM, perf_event_chunk());
    perf_send(upstream, text, (size_t)length);
}

static void run(const struct parties *parties, int count) {
    for (int i = 0; i < count; i++) {
        perf_post(parties->client, path, "{\"message\":\"go\"}");
        perf_await_text(parties->client, "\"task_url\"");
        perf_take_request(parties->upstream, "/run_sse ");
        answer(parties->upstream);
        perf_await_text(parties->subscriber, "event: run.end");
    }
}

int main(void) {
    static const char request[] = "GET /apps/a/users/u/sessions/s/run HTTP/1.1\r\nHost: localhost\r\n\r\n";
    uint16_t upstream_port;
    int listener = perf_listen(&upstream_port);
    uint16_t port = perf_start_worker(upstream_port);
    struct parties parties = {.client = perf_connect(port), .subscriber = perf_connect(port)};
    perf_send(parties.subscriber, request, strlen(request));
    perf_await_text(parties.subscriber, "retry: ");
    perf_post(parties.client, path, "{\"message\":\"go\"}");
    perf_await_text(parties.client, "\"task_url\"");
    parties.upstream = perf_accept_stream(listener);
    perf_send(parties.upstream, perf_event_chunk(), strlen(perf_event_chunk()));
    perf_send(parties.upstream, "0\r\n\r\n", 5);
    perf_await_text(parties.subscriber, "event: run.end");
    run(&parties, RUNS_BEFORE);
    perf_begin();
    run(&parties, RUNS);
    perf_end(RUNS, "run, from its POST to its end");
}
