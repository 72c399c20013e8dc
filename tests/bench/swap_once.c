/* One POST that replaces a run, until its answer and the start of its call to the upstream:
 * scripts/measure-house.py lists the sources that run for it. */
#include "tests/bench/perf.h"

static const char path[] = "/apps/a/users/u/sessions/s/run";

int main(void) {
    static const char request[] = "GET /apps/a/users/u/sessions/s/run HTTP/1.1\r\nHost: localhost\r\n\r\n";
    uint16_t upstream_port;
    int listener = perf_listen(&upstream_port);
    uint16_t port = perf_start_worker(upstream_port);
    int client = perf_connect(port), subscriber = perf_connect(port);
    perf_send(subscriber, request, strlen(request));
    perf_await_text(subscriber, "retry: ");
    perf_post(client, path, "{\"message\":\"go\"}");
    perf_await_text(client, "\"task_url\"");
    perf_send(perf_accept_stream(listener), perf_event_chunk(), strlen(perf_event_chunk()));
    perf_await_event(subscriber);
    perf_begin();
    perf_post(client, path, "{\"message\":\"go\"}");
    perf_await_text(client, "\"task_url\"");
    perf_take_request(perf_accept(listener), "/run_sse ");
    perf_end(1, "POST that replaces a run");
}
