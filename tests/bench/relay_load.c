/* One-to-one streams through a relay, from sse_source to here: latency, CPU an event, memory a stream.
 *
 *     relay_load --url http://127.0.0.1:P/path --body TEXT --streams N --size BYTES --events E --seconds S
 *                [--server-pid PID[,PID...]] [--source-pid PID]
 *
 * N streams at once, each a POST on a connection of its own; `%d` in the URL's path and in the body is the
 * stream's number. Once each has had an event, S seconds are measured; then all are read to their end. Each
 * must bring each of its E events exactly once, in order and of the right size, and its proper end: anything
 * else is a failure and no number. Lines of a stream that are not such an event (ids, lifecycle events) are
 * let be.
 */
#include "tests/bench/bench.h"
#include "tests/bench/source_event.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD_BYTES_MAX 4096
#define OPENING_MAX 64     /* requests without an answer yet */
#define EVENTS_AT_ONCE 256 /* of epoll */
#define RECEIVE_BYTES (256 * 1024)
#define SETTLE_NS (300 * NS_PER_MS)
#define GRACE_NS (20 * NS_PER_S) /* over the time that the streams should take */

enum place { IN_HEAD, IN_CHUNK_SIZE, IN_CHUNK, BEHIND_CHUNK, IN_TRAILER, AT_END };

struct stream {
    int fd;
    enum place place;
    size_t chunk_left;  /* IN_CHUNK_SIZE: as far as its digits have come */
    bool size_is_over;  /* a chunk extension or the CR has come */
    bool line_has_text; /* of the trailer */
    int64_t events;     /* that came */
    size_t line_length;
    char *line; /* the beginning of a line whose end has not come; the head, while in it */
};

static struct {
    const char *url, *body;
    int64_t streams, size, events, seconds;
    struct pids server, source;
} options = {.body = ""};

static struct stream *streams;
static size_t line_bytes_max;
static int64_t opened, begun, ended; /* how many streams */
static struct url url;
static int poll_fd;
static struct histogram latency;
static bool is_measuring;

/* ---- what comes ---------------------------------------------------------------------------------- */

static void check_event(struct stream *stream, const char *data, size_t length, int64_t at_ns) {
    size_t number = (size_t)(stream - streams);
    if (length != (size_t)options.size)
        die("stream %zu: an event of %zu bytes", number, length);
    int64_t came = (int64_t)event_read_digits(data + EVENT_NUMBER_AT, EVENT_NUMBER_DIGITS);
    if (came != stream->events)
        die("stream %zu: event %" PRId64 " in place of %" PRId64, number, came, stream->events);
    if (stream->events++ == 0)
        begun++;
    if (is_measuring)
        histogram_add(&latency, at_ns - (int64_t)event_read_digits(data + EVENT_TIME_AT, EVENT_TIME_DIGITS));
}

static void take_line(struct stream *stream, const char *line, size_t length, int64_t at_ns) {
    static const char data[] = "data: ", event[] = "data: " EVENT_OPENING, error[] = "data: {\"error\"";
    if (length >= strlen("data: ") + EVENT_STAMP_END && memcmp(line, event, strlen(event)) == 0)
        check_event(stream, line + strlen(data), length - strlen(data), at_ns);
    else if (length >= strlen(error) && memcmp(line, error, strlen(error)) == 0)
        die("stream %zu: %.*s", (size_t)(stream - streams), (int)length, line);
}

static void keep_line(struct stream *stream, const char *bytes, size_t length) {
    if (stream->line_length + length > line_bytes_max)
        die("stream %zu: a line that is too long", (size_t)(stream - streams));
    memcpy(stream->line + stream->line_length, bytes, length);
    stream->line_length += length;
}

static void take_body(struct stream *stream, const char *bytes, size_t length, int64_t at_ns) {
    const char *end = bytes + length, *feed;
    for (; (feed = memchr(bytes, '\n', (size_t)(end - bytes))) != NULL; bytes = feed + 1) {
        if (stream->line_length == 0) {
            take_line(stream, bytes, (size_t)(feed - bytes), at_ns);
            continue;
        }
        keep_line(stream, bytes, (size_t)(feed - bytes));
        take_line(stream, stream->line, stream->line_length, at_ns);
        stream->line_length = 0;
    }
    keep_line(stream, bytes, (size_t)(end - bytes));
}

/* How many of the bytes belong to the head. */
static size_t take_head(struct stream *stream, const char *bytes, size_t length) {
    size_t had = stream->line_length;
    keep_line(stream, bytes, length < HEAD_BYTES_MAX - had ? length : HEAD_BYTES_MAX - had);
    size_t head_length = http_head_length(stream->line, stream->line_length);
    if (head_length == 0 && stream->line_length == HEAD_BYTES_MAX)
        die("a head that is too long");
    if (head_length == 0)
        return length;
    if (http_status(stream->line, head_length) != 200 ||
        !http_field_is(stream->line, head_length, "Transfer-Encoding", "chunked"))
        die("not a chunked stream: %.*s", (int)stream->line_length, stream->line);
    stream->line_length = 0;
    stream->place = IN_CHUNK_SIZE;
    return head_length - had;
}

static void take_size_byte(struct stream *stream, char byte) {
    static const char digits[] = "0123456789abcdef";
    const char *digit = memchr(digits, byte | 0x20, 16);
    if (byte == '\n') {
        stream->place = stream->chunk_left > 0 ? IN_CHUNK : IN_TRAILER;
        stream->size_is_over = stream->line_has_text = false;
    } else if (!stream->size_is_over && digit != NULL) {
        stream->chunk_left = stream->chunk_left * 16 + (size_t)(digit - digits);
    } else {
        stream->size_is_over = true;
    }
}

/* The lines behind the last chunk, up to an empty one. */
static void take_trailer_byte(struct stream *stream, char byte) {
    if (byte == '\n' && !stream->line_has_text)
        stream->place = AT_END;
    else if (byte != '\r')
        stream->line_has_text = byte != '\n';
}

static void take_bytes(struct stream *stream, const char *bytes, size_t length, int64_t at_ns) {
    size_t taken = 0;
    for (; length > 0; bytes += taken, length -= taken) {
        taken = 1;
        switch (stream->place) {
        case IN_HEAD:
            taken = take_head(stream, bytes, length);
            break;
        case IN_CHUNK_SIZE:
            take_size_byte(stream, *bytes);
            break;
        case IN_CHUNK:
            taken = length < stream->chunk_left ? length : stream->chunk_left;
            take_body(stream, bytes, taken, at_ns);
            stream->chunk_left -= taken;
            stream->place = stream->chunk_left == 0 ? BEHIND_CHUNK : IN_CHUNK;
            break;
        case BEHIND_CHUNK: /* CR LF */
            stream->place = *bytes == '\n' ? IN_CHUNK_SIZE : BEHIND_CHUNK;
            break;
        case IN_TRAILER:
            take_trailer_byte(stream, *bytes);
            break;
        case AT_END:
            die("bytes behind the end of a stream");
        }
    }
}

/* ---- streams --------------------------------------------------------------------------------------- */

/* `text` with the number in place of the one %d it may hold. */
static size_t fill_in(char *out, size_t size, const char *text, int64_t number) {
    const char *mark = strstr(text, "%d");
    int length = mark == NULL ? snprintf(out, size, "%s", text)
                              : snprintf(out, size, "%.*s%" PRId64 "%s", (int)(mark - text), text, number,
                                         mark + strlen("%d"));
    if (length < 0 || (size_t)length >= size)
        die("a request is too long");
    return (size_t)length;
}

static void stream_open(struct stream *stream) {
    char path[512], body[2048], request[4096];
    fill_in(path, sizeof path, url.path, stream - streams);
    size_t body_length = fill_in(body, sizeof body, options.body, stream - streams);
    int length = snprintf(request, sizeof request,
                          "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n"
                          "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                          path, body_length, body);
    stream->line = must_calloc(1, line_bytes_max);
    stream->fd = tcp_connect(url.port);
    if (send(stream->fd, request, (size_t)length, MSG_NOSIGNAL) != length)
        die_errno("send");
    poll_add(poll_fd, stream->fd, EPOLLIN, stream);
    opened++;
}

static void stream_end(struct stream *stream) {
    size_t number = (size_t)(stream - streams);
    if (stream->events != options.events)
        die("stream %zu: %" PRId64 " events in place of %" PRId64, number, stream->events, options.events);
    if (is_measuring)
        die("stream %zu came to its end while it was measured: give it more events", number);
    tcp_close_hard(stream->fd);
    free(stream->line);
    ended++;
}

static void stream_read(struct stream *stream) {
    static char bytes[RECEIVE_BYTES];
    ssize_t length = recv(stream->fd, bytes, sizeof bytes, 0);
    if (length < 0 && errno == EAGAIN)
        return;
    if (length <= 0)
        die("stream %zu broke off after %" PRId64 " events", (size_t)(stream - streams), stream->events);
    take_bytes(stream, bytes, (size_t)length, now_ns());
    if (stream->place == AT_END)
        stream_end(stream);
}

/* ---- the measurement ------------------------------------------------------------------------------- */

static void serve(int timeout_ms) {
    struct epoll_event events[EVENTS_AT_ONCE];
    int ready = poll_wait(poll_fd, events, EVENTS_AT_ONCE, timeout_ms);
    for (int i = 0; i < ready; i++)
        stream_read(events[i].data.ptr);
}

static void serve_for(int64_t duration_ns) {
    int64_t until_ns = now_ns() + duration_ns, left_ns;
    while ((left_ns = until_ns - now_ns()) > 0)
        serve((int)(left_ns / NS_PER_MS) + 1);
}

static void open_all(int64_t deadline_ns) {
    while (begun < options.streams) {
        while (opened < options.streams && opened - begun < OPENING_MAX)
            stream_open(&streams[opened]);
        serve(100);
        if (now_ns() > deadline_ns)
            die("only %" PRId64 " streams brought an event in time", begun);
    }
}

static void read_to_the_end(int64_t deadline_ns) {
    while (ended < options.streams) {
        serve(100);
        if (now_ns() > deadline_ns)
            die("only %" PRId64 " streams ended in time", ended);
    }
}

struct result {
    double elapsed_ns, server_ns, client_ns, source_ns, rss_bytes, events_come;
};

/* All that the streams have brought, also before the measured seconds: what a server that keeps events has.
 */
static int64_t events_come(void) {
    int64_t sum = 0;
    for (int64_t i = 0; i < options.streams; i++)
        sum += streams[i].events;
    return sum;
}

static struct result measure(int64_t idle_rss_bytes) {
    int64_t server_ns = pids_cpu_ns(&options.server), source_ns = pids_cpu_ns(&options.source);
    int64_t client_ns = own_cpu_ns(), began_ns = now_ns();
    is_measuring = true;
    serve_for(options.seconds * NS_PER_S);
    is_measuring = false;
    if (latency.count == 0)
        die("no event came while it was measured");
    return (struct result){.elapsed_ns = (double)(now_ns() - began_ns),
                           .server_ns = (double)(pids_cpu_ns(&options.server) - server_ns),
                           .client_ns = (double)(own_cpu_ns() - client_ns),
                           .source_ns = (double)(pids_cpu_ns(&options.source) - source_ns),
                           .rss_bytes = (double)(pids_rss_bytes(&options.server) - idle_rss_bytes),
                           .events_come = (double)events_come()};
}

static void print(const struct result *result) {
    double elapsed_ns = result->elapsed_ns, events = (double)latency.count;
    printf("{\"streams\":%" PRId64 ",\"seconds\":%.3f,\"events\":%.0f,\"events_per_s\":%.0f,",
           options.streams, elapsed_ns / 1e9, events, events * 1e9 / elapsed_ns);
    printf("\"server_cpu_us_per_event\":%.3f,\"server_cpu_share\":%.3f,", result->server_ns / 1e3 / events,
           result->server_ns / elapsed_ns);
    printf("\"client_cpu_share\":%.3f,\"source_cpu_share\":%.3f,", result->client_ns / elapsed_ns,
           result->source_ns / elapsed_ns);
    printf("\"rss_at_end\":{\"bytes_each\":%.0f,\"events_each\":%.0f},\"latency_us\":",
           result->rss_bytes / (double)options.streams, result->events_come / (double)options.streams);
    histogram_print_us(&latency);
    printf("}\n");
}

static void take_server(const char *value) {
    pids_add(&options.server, value);
}

static void take_source(const char *value) {
    pids_add(&options.source, value);
}

static void read_options(int argc, char **argv) {
    /* clang-format off */
    const struct option_spec list[] = {
        {.name = "url", .value = "URL", .help = "of the relay", .text = &options.url, .required = true},
        {.name = "body", .value = "TEXT", .help = "of each request", .text = &options.body},
        {.name = "streams", .value = "N", .help = "at once",
         .number = &options.streams, .min = 1, .max = 20000, .required = true},
        {.name = "size", .value = "BYTES", .help = "of an event's data, as the source has it",
         .number = &options.size, .min = 1, .max = 1 << 24, .required = true},
        {.name = "events", .value = "E", .help = "of each stream, as the source has it",
         .number = &options.events, .min = 1, .max = 9999999999, .required = true},
        {.name = "seconds", .value = "S", .help = "that are measured",
         .number = &options.seconds, .min = 1, .max = 600, .required = true},
        {.name = "server-pid", .value = "PIDS", .help = "whose time and memory are told", .take = take_server},
        {.name = "source-pid", .value = "PIDS", .help = "whose share of a processor is told",
         .take = take_source},
        {0}};
    /* clang-format on */
    options_read(argc, argv, "relay_load --url URL --streams N --size BYTES --events E --seconds S", list);
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    url = url_read(options.url);
    descriptors_raise();
    line_bytes_max = HEAD_BYTES_MAX + (size_t)options.size;
    streams = must_calloc((size_t)options.streams, sizeof *streams);
    poll_fd = poll_create();
    int64_t idle_rss_bytes = pids_rss_bytes(&options.server);
    open_all(now_ns() + GRACE_NS);
    serve_for(SETTLE_NS);
    struct result result = measure(idle_rss_bytes);
    read_to_the_end(now_ns() + GRACE_NS);
    print(&result);
    return 0;
}
