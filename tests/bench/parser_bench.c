/* How fast the SSE parser reads and the frame encoder writes, beside memchr over the same bytes.
 *
 *     parser_bench [--rounds N] [--round-ms MS]
 *
 * Parser, encoder and memchr take turns, round by round; what counts is processor time. One line of JSON for
 * each size of event, with medians, minima and maxima. An event that is lost, or whose data is not what it
 * was, ends the program.
 */
#include "tests/bench/bench.h"

#include "broadcaster/frame.h"
#include "broadcaster/lifecycle.h"
#include "upstream/sse_parser.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STREAM_BYTES (1024 * 1024) /* fits into the processor's cache, as what was just received does */
#define ROUNDS_MAX 100
#define EVENT_BYTES_MAX (1024 * 1024)

/* One size of event, and how its stream is cut: libcurl's buffer, as the gateway sets it, is 16 KiB. */
static const struct size_case {
    const char *name;
    size_t data_bytes;
    size_t feed_bytes;
} cases[] = {
    {"large, 64 KiB", 65536, 16384}, {"large, 64 KiB, fed whole", 65536, STREAM_BYTES},
    {"2 KiB", 2048, 16384},          {"150 B", 150, 16384},
    {"small, 16 B", 16, 16384},      {"smallest, 1 B", 1, 16384},
};

/** A stream of equal events, and what was seen of it. */
struct stream {
    const struct size_case *size;
    char *bytes;
    size_t length;
    size_t events;
    char *data; /* of each event */
    uint64_t events_seen;
};

struct figure {
    double values[ROUNDS_MAX]; /* streams a second */
    int count;
};

/* ADK-shaped, but for the smallest ones: text, and no line end in it. */
static void fill_data(char *data, size_t length) {
    static const char text[] = "{\"content\":{\"parts\":[{\"text\":\"The quick brown fox jumps over it. ";
    for (size_t i = 0; i < length; i++)
        data[i] = text[i % (sizeof(text) - 1)];
}

static void stream_init(struct stream *stream, const struct size_case *size) {
    size_t event_bytes = strlen("data: \n\n") + size->data_bytes;
    *stream = (struct stream){.size = size, .events = STREAM_BYTES / event_bytes};
    stream->bytes = malloc(STREAM_BYTES);
    stream->data = malloc(size->data_bytes);
    if (stream->bytes == NULL || stream->data == NULL)
        die("out of memory");
    fill_data(stream->data, size->data_bytes);
    for (size_t i = 0; i < stream->events; i++) {
        char *out = stream->bytes + stream->length;
        memcpy(out, "data: ", 6);
        memcpy(out + 6, stream->data, size->data_bytes);
        memcpy(out + 6 + size->data_bytes, "\n\n", 2);
        stream->length += event_bytes;
    }
}

static void stream_finish(struct stream *stream) {
    free(stream->bytes);
    free(stream->data);
}

/* ---- what takes turns: one pass over the stream each -------------------------------------------------- */

static int on_event(void *context, const struct sse_event *event) {
    struct stream *stream = context;
    size_t length = stream->size->data_bytes;
    stream->events_seen++;
    return event->data_length == length && event->data[length - 1] == stream->data[length - 1] ? 0 : 1;
}

static void pass_parser(struct stream *stream) {
    struct sse_parser *parser = sse_parser_create(EVENT_BYTES_MAX, EVENT_BYTES_MAX, on_event, stream);
    if (parser == NULL)
        die("out of memory");
    stream->events_seen = 0;
    for (size_t at = 0; at < stream->length; at += stream->size->feed_bytes) {
        size_t left = stream->length - at;
        size_t length = left < stream->size->feed_bytes ? left : stream->size->feed_bytes;
        if (sse_parser_feed(parser, stream->bytes + at, length) != 0)
            die("the parser refused an event, or changed it");
    }
    sse_parser_destroy(parser);
    if (stream->events_seen != stream->events)
        die("the parser lost events");
}

/* What happens to each event of a run: encoded, stamped, and in the end given back. */
static void pass_encoder(struct stream *stream) {
    struct event_id id = {.ms = 1700000000000};
    size_t least = strlen("data: ") + stream->size->data_bytes;
    for (size_t i = 0; i < stream->events; i++) {
        struct frame *frame =
            lifecycle_make_agent_event(1, "message", 7, stream->data, stream->size->data_bytes);
        if (frame == NULL)
            die("out of memory");
        id.n++;
        frame_stamp(frame, id);
        if (frame_chunked(frame).length < least)
            die("the encoder lost bytes");
        frame_unref(frame);
    }
}

/* The least that a look at each byte takes. */
static void pass_memchr(struct stream *stream) {
    if (memchr(stream->bytes, '\0', stream->length) != NULL)
        die("there is a NUL in the stream");
}

/* ---- rounds ------------------------------------------------------------------------------------------- */

static void measure(void (*pass)(struct stream *stream), struct stream *stream, int64_t round_ns,
                    struct figure *figure) {
    int64_t begin = own_cpu_ns(), now = begin, passes = 0;
    while (now - begin < round_ns) {
        pass(stream);
        passes++;
        now = own_cpu_ns();
    }
    figure->values[figure->count++] = (double)passes * (double)NS_PER_S / (double)(now - begin);
}

static int compare(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* `"name":{"median":..,"min":..,"max":..}`, each value times `scale`. */
static void print_figure(const char *name, struct figure *figure, double scale) {
    qsort(figure->values, (size_t)figure->count, sizeof(double), compare);
    printf(",\"%s\":{\"median\":%.4g,\"min\":%.4g,\"max\":%.4g}", name,
           figure->values[figure->count / 2] * scale, figure->values[0] * scale,
           figure->values[figure->count - 1] * scale);
}

static double median(const struct figure *sorted) {
    return sorted->values[sorted->count / 2];
}

static void run_case(const struct size_case *size, int rounds, int64_t round_ns) {
    struct stream stream;
    struct figure parser = {.count = 0}, encoder = {.count = 0}, search = {.count = 0};
    stream_init(&stream, size);
    for (int round = 0; round < rounds; round++) {
        measure(pass_parser, &stream, round_ns, &parser);
        measure(pass_encoder, &stream, round_ns, &encoder);
        measure(pass_memchr, &stream, round_ns, &search);
    }
    double gigabytes = (double)stream.length / 1e9, events = (double)stream.events;
    printf("{\"case\":\"%s\",\"data_bytes\":%zu,\"feed_bytes\":%zu,\"rounds\":%d", size->name,
           size->data_bytes, size->feed_bytes, rounds);
    print_figure("parser_gb_per_s", &parser, gigabytes);
    print_figure("parser_events_per_s", &parser, events);
    print_figure("encoder_gb_per_s", &encoder, gigabytes);
    print_figure("encoder_events_per_s", &encoder, events);
    print_figure("memchr_gb_per_s", &search, gigabytes);
    printf(",\"parser_to_memchr\":%.4g,\"encoder_to_memchr\":%.4g}\n", median(&parser) / median(&search),
           median(&encoder) / median(&search));
    fflush(stdout);
    stream_finish(&stream);
}

int main(int argc, char **argv) {
    int64_t rounds = 5, round_ms = 100;
    const struct option_spec options[] = {{.name = "rounds",
                                           .value = "N",
                                           .help = "of each size of event",
                                           .number = &rounds,
                                           .min = 1,
                                           .max = ROUNDS_MAX},
                                          {.name = "round-ms",
                                           .value = "MS",
                                           .help = "of each of the three, in a round",
                                           .number = &round_ms,
                                           .min = 1,
                                           .max = 10000},
                                          {0}};
    options_read(argc, argv, "parser_bench [--rounds N] [--round-ms MS]", options);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        run_case(&cases[i], (int)rounds, round_ms * NS_PER_MS);
    return 0;
}
