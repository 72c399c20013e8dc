/* Fan-out: N subscribers of one stream, and the source of its events, on one loop and one clock.
 *
 *     sse_load --subscribe http://127.0.0.1:8080/path --subscribers 1000 --source-port 9000
 *              --server-pid 4711 --phase 150,1,3 --phase 150,16,3
 *
 * The events come from here: the server reads them from --source-port, or gets them posted (--publish). So
 * many are in flight: event k + WINDOW is published when each subscriber has event k. Each must get each
 * event once, in order and byte for byte (delivery.h); else there is no number, but a complaint. Before that
 * the subscribers are idle, and their memory is taken.
 */
#include "tests/bench/bench.h"
#include "tests/bench/delivery.h"
#include "tests/bench/event_feed.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define SUBSCRIBERS_MAX 65536
#define PHASES_MAX 32
#define HEAD_BYTES_MAX 16384
#define EVENTS_AT_ONCE 512
#define ARRIVING_MAX 128 /* subscribers that have no answer yet */
#define PATIENCE_NS (60 * NS_PER_S)
#define SETTLE_NS (500 * NS_PER_MS)
#define STRAGGLERS_NS (200 * NS_PER_MS) /* in which nothing more may come at the end */
#define EVENTS_MIN 3
#define PHASE_MAX_NS(wanted_ns) ((wanted_ns) > NS_PER_S ? 10 * (wanted_ns) : 10 * NS_PER_S)

struct subscriber {
    int fd;
    bool prepared, answered;
    struct reader reader;
    struct buffer head;
};

struct phase {
    size_t event_bytes, window;
    int64_t duration_ns;
};

static struct {
    const char *subscribe, *first_path, *publish, *publish_body, *run, *run_body;
    int64_t subscribers, source_port;
    struct phase phases[PHASES_MAX];
    size_t phase_count;
    struct pids server;
    struct buffer publish_headers;
} options = {.run_body = "{\"message\":\"go\"}"};

static struct subscriber *subscribers;
static uint32_t answered;
static struct ledger ledger;
static struct feed feed;
static int poll_fd;
static struct url subscribe_url;
static struct {
    int fd;
    bool answered;
} run;

/* ---- the loop ------------------------------------------------------------------------------------ */

static void ask(const struct subscriber *subscriber, const char *path, uint16_t port) {
    char request[4096];
    int length =
        snprintf(request, sizeof request,
                 "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nAccept: text/event-stream\r\n\r\n", path, port);
    if (send(subscriber->fd, request, (size_t)length, MSG_NOSIGNAL) != length)
        die_errno("send");
}

static void ask_for_stream(struct subscriber *subscriber) {
    subscriber->prepared = true;
    ask(subscriber, subscribe_url.path, subscribe_url.port);
}

/* The answer to --first-path: a head and nothing behind it. */
static void on_first_answer(struct subscriber *subscriber, size_t head_length) {
    struct buffer *head = &subscriber->head;
    if (http_status(head->bytes, head_length) != 204 || head->length != head_length)
        die("subscriber %u: --first-path was not answered by a bare 204", subscriber->reader.index);
    buffer_clear(head);
    ask_for_stream(subscriber);
}

static void on_head(struct subscriber *subscriber, const char *bytes, size_t length) {
    struct buffer *head = &subscriber->head;
    if (!buffer_append(head, bytes, length))
        die("the head of an answer is larger than %d bytes", HEAD_BYTES_MAX);
    size_t head_length = http_head_length(head->bytes, head->length);
    if (head_length == 0)
        return;
    if (!subscriber->prepared) {
        on_first_answer(subscriber, head_length);
        return;
    }
    if (http_status(head->bytes, head_length) != 200)
        die("subscriber %u was answered %d", subscriber->reader.index, http_status(head->bytes, head_length));
    subscriber->answered = true;
    answered++;
    subscriber->reader.is_chunked = http_field_is(head->bytes, head_length, "transfer-encoding", "chunked");
    reader_feed(&subscriber->reader, head->bytes + head_length, head->length - head_length);
    buffer_finish(head);
}

static void on_subscriber(struct subscriber *subscriber) {
    static char bytes[256 * 1024];
    ssize_t length = recv(subscriber->fd, bytes, sizeof bytes, 0);
    if (length < 0 && errno == EAGAIN)
        return;
    ledger.now_ns = now_ns();
    if (length < 0)
        die_errno("subscriber %u", subscriber->reader.index);
    if (length == 0 || subscriber->reader.ended)
        die("the server ended the stream of subscriber %u", subscriber->reader.index);
    if (subscriber->answered)
        reader_feed(&subscriber->reader, bytes, (size_t)length);
    else
        on_head(subscriber, bytes, (size_t)length);
}

static void on_run(void) {
    char bytes[4096];
    ssize_t length = recv(run.fd, bytes, sizeof bytes, 0);
    if (length <= 0 && !run.answered)
        die("the request to run was not answered");
    if (length <= 0)
        poll_remove(poll_fd, run.fd);
    else if (!run.answered && http_status(bytes, (size_t)length) / 100 != 2)
        die("the request to run was answered %.*s", (int)length, bytes);
    run.answered = true;
}

static void turn(int timeout_ms) {
    struct epoll_event events[EVENTS_AT_ONCE];
    int ready = poll_wait(poll_fd, events, EVENTS_AT_ONCE, timeout_ms);
    for (int i = 0; i < ready; i++) {
        void *owner = events[i].data.ptr;
        if (owner == &run)
            on_run();
        else if (feed_owns(&feed, owner))
            feed_on_ready(&feed, owner, events[i].events);
        else
            on_subscriber(owner);
    }
}

static void turn_for(int64_t duration_ns) {
    for (int64_t until_ns = now_ns() + duration_ns; now_ns() < until_ns;)
        turn(20);
}

/* ---- before the phases --------------------------------------------------------------------------- */

static void subscriber_join(uint32_t index) {
    struct subscriber *subscriber = &subscribers[index];
    subscriber->reader = (struct reader){.ledger = &ledger, .index = index};
    subscriber->fd = tcp_connect(subscribe_url.port);
    buffer_init(&subscriber->head, HEAD_BYTES_MAX);
    if (options.first_path != NULL)
        ask(subscriber, options.first_path, subscribe_url.port);
    else
        ask_for_stream(subscriber);
    poll_add(poll_fd, subscriber->fd, EPOLLIN, subscriber);
}

static void all_join(void) {
    uint32_t joined = 0, all = (uint32_t)options.subscribers;
    for (int64_t until_ns = now_ns() + PATIENCE_NS; answered < all;) {
        while (joined < all && joined - answered < ARRIVING_MAX)
            subscriber_join(joined++);
        turn(100);
        if (now_ns() > until_ns)
            die("%u of %u subscribers had no answer", all - answered, all);
    }
}

/* The subscribers come, and what they take while nothing happens is told. */
static void join_and_tell_memory(void) {
    int64_t rss = pids_rss_bytes(&options.server), buffers = tcp_buffer_bytes(), slab = kernel_slab_bytes();
    all_join();
    turn_for(SETTLE_NS);
    double count = (double)options.subscribers;
    printf("{\"idle\":{\"subscribers\":%lld,\"rss_bytes\":%lld,\"rss_bytes_each\":%.1f,"
           "\"kernel_bytes_each\":%.1f,\"kernel_slab_bytes_each\":%.1f}}\n",
           (long long)options.subscribers, (long long)pids_rss_bytes(&options.server),
           (double)(pids_rss_bytes(&options.server) - rss) / count,
           (double)(tcp_buffer_bytes() - buffers) / count, (double)(kernel_slab_bytes() - slab) / count);
    fflush(stdout);
}

static void request_run(void) {
    struct url url = url_read(options.run);
    char request[8192];
    int length = snprintf(request, sizeof request,
                          "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nContent-Type: application/json\r\n"
                          "Content-Length: %zu\r\n\r\n%s",
                          url.path, url.port, strlen(options.run_body), options.run_body);
    run.fd = tcp_connect(url.port);
    if (send(run.fd, request, (size_t)length, MSG_NOSIGNAL) != length)
        die_errno("send");
    poll_add(poll_fd, run.fd, EPOLLIN, &run);
}

static void await_stream(void) {
    if (options.run != NULL)
        request_run();
    for (int64_t until_ns = now_ns() + PATIENCE_NS;
         feed.stream == NULL || (options.run != NULL && !run.answered);) {
        turn(20);
        if (now_ns() > until_ns)
            die("the server did not ask for the events");
    }
    turn_for(SETTLE_NS);
}

/* ---- phases -------------------------------------------------------------------------------------- */

/* Keeps the window full for the time, and until EVENTS_MIN were published; then lets all of them arrive. */
static void pump(const struct phase *phase, int64_t duration_ns) {
    uint64_t enough = ledger.published + EVENTS_MIN;
    int64_t start_ns = now_ns(), now = start_ns;
    while (true) {
        bool goes_on = now - start_ns < duration_ns || ledger.published < enough;
        while (goes_on && ledger.published - ledger.completed < phase->window)
            feed_event(&feed, ledger_publish(&ledger), phase->event_bytes);
        feed_flush(&feed);
        if (!goes_on && ledger.completed == ledger.published)
            return;
        turn(100);
        now = now_ns();
        if (now - start_ns > PHASE_MAX_NS(phase->duration_ns))
            die("event %llu has not reached all %u subscribers in ten times the phase's time",
                (unsigned long long)ledger.completed, ledger.readers);
    }
}

static void print_phase(const struct phase *phase, double seconds, double server_s, double client_s) {
    double deliveries = (double)ledger.deliveries;
    printf("{\"phase\":{\"size\":%zu,\"window\":%zu},\"subscribers\":%u,\"events\":%llu,\"deliveries\":%llu,"
           "\"seconds\":%.3f,\"deliveries_per_s\":%.0f,\"latency_us\":",
           phase->event_bytes, phase->window, ledger.readers, (unsigned long long)ledger.last_latency.count,
           (unsigned long long)ledger.deliveries, seconds, deliveries / seconds);
    histogram_print_us(&ledger.latency);
    printf(",\"last_us\":");
    histogram_print_us(&ledger.last_latency);
    printf(",\"server_cpu_s_per_million\":%.4f,\"server_cpu_share\":%.3f,\"client_cpu_share\":%.3f}\n",
           server_s / deliveries * 1e6, server_s / seconds, client_s / seconds);
    fflush(stdout);
}

static void run_phase(const struct phase *phase) {
    ledger_begin(&ledger, phase->event_bytes, phase->window, (uint32_t)options.subscribers);
    pump(phase, phase->duration_ns / 5);
    ledger_clear_counts(&ledger);
    int64_t start_ns = now_ns(), server_ns = pids_cpu_ns(&options.server), client_ns = own_cpu_ns();
    pump(phase, phase->duration_ns);
    print_phase(phase, (double)(now_ns() - start_ns) / 1e9,
                (double)(pids_cpu_ns(&options.server) - server_ns) / 1e9,
                (double)(own_cpu_ns() - client_ns) / 1e9);
}

/* ---- flags --------------------------------------------------------------------------------------- */

static void take_pids(const char *value) {
    pids_add(&options.server, value);
}

static void take_header(const char *value) {
    if (!buffer_printf(&options.publish_headers, "%s\r\n", value))
        die("the headers are too long");
}

static void take_phase(const char *value) {
    const char *at = value;
    char *end;
    int64_t size, window;
    if (options.phase_count == PHASES_MAX)
        die("more than %d phases", PHASES_MAX);
    if (!number_read(&at, ",", EVENT_BYTES_MIN, EVENT_BYTES_MAX, &size) || *at != ',')
        die("--phase %s: SIZE is a number from %d to %d", value, EVENT_BYTES_MIN, EVENT_BYTES_MAX);
    at++;
    if (!number_read(&at, ",", 1, WINDOW_MAX, &window) || *at != ',')
        die("--phase %s: WINDOW is a number from 1 to %d", value, WINDOW_MAX);
    double seconds = strtod(at + 1, &end);
    if (end == at + 1 || *end != '\0' || !(seconds >= 0.01 && seconds <= 600))
        die("--phase %s: SECONDS is a number from 0.01 to 600", value);
    options.phases[options.phase_count++] = (struct phase){
        .event_bytes = (size_t)size, .window = (size_t)window, .duration_ns = (int64_t)(seconds * 1e9)};
}

static void read_options(int argc, char **argv) {
    const struct option_spec specs[] = {
        {.name = "subscribe",
         .value = "URL",
         .help = "of the stream",
         .text = &options.subscribe,
         .required = true},
        {.name = "subscribers",
         .value = "N",
         .help = "at once",
         .number = &options.subscribers,
         .min = 1,
         .max = SUBSCRIBERS_MAX,
         .required = true},
        {.name = "server-pid",
         .value = "PID[,PID]",
         .help = "whose time and memory count",
         .take = take_pids,
         .required = true},
        {.name = "phase",
         .value = "SIZE,WINDOW,SECONDS",
         .help = "bytes of an event, events in flight; repeatable",
         .take = take_phase},
        {.name = "source-port",
         .value = "Q",
         .help = "where the server fetches the events",
         .number = &options.source_port,
         .min = 1,
         .max = 65535},
        {.name = "run", .value = "URL", .help = "to POST to when all have subscribed", .text = &options.run},
        {.name = "run-body", .value = "JSON", .help = "of that request", .text = &options.run_body},
        {.name = "first-path",
         .value = "PATH",
         .help = "that each connection GETs first, answered 204: for servers that set a socket up then",
         .text = &options.first_path},
        {.name = "publish",
         .value = "URL",
         .help = "to POST events to, instead of --source-port",
         .text = &options.publish},
        {.name = "publish-body",
         .value = "TEXT",
         .help = "with %s for the event",
         .text = &options.publish_body},
        {.name = "publish-header",
         .value = "LINE",
         .help = "of those requests; repeatable",
         .take = take_header},
        {0},
    };
    options_read(argc, argv,
                 "usage: sse_load --subscribe URL --subscribers N --source-port Q|--publish URL ...", specs);
    if ((options.source_port == 0) == (options.publish == NULL))
        die("either --source-port or --publish");
}

int main(int argc, char **argv) {
    buffer_init(&options.publish_headers, 8192);
    read_options(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    if (options.subscribers + FEED_CONNECTIONS_MAX + 16 > descriptors_raise())
        die("there are not descriptors enough for %lld subscribers", (long long)options.subscribers);
    poll_fd = poll_create();
    subscribe_url = url_read(options.subscribe);
    subscribers = must_calloc((size_t)options.subscribers, sizeof *subscribers);
    ledger_begin(&ledger, EVENT_BYTES_MIN, 1, (uint32_t)options.subscribers);
    if (options.publish == NULL)
        feed_listen(&feed, poll_fd, (uint16_t)options.source_port);
    else
        feed_publish_to(&feed, poll_fd, options.publish,
                        options.publish_headers.length > 0 ? options.publish_headers.bytes : "",
                        options.publish_body);
    join_and_tell_memory();
    await_stream();
    for (size_t i = 0; i < options.phase_count; i++)
        run_phase(&options.phases[i]);
    turn_for(STRAGGLERS_NS);
    if (feed.unanswered > 0)
        die("%llu requests to publish were not answered", (unsigned long long)feed.unanswered);
    feed_finish(&feed);
    for (int64_t i = 0; i < options.subscribers; i++)
        tcp_close_hard(subscribers[i].fd);
    ledger_finish(&ledger);
    return 0;
}
