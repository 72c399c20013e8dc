/* Instructions a KiB parsed: a stream of small, usual and large events, fed as libcurl does. */
#include "tests/bench/perf.h"
#include "upstream/sse_parser.h"

#define FEED_BYTES (16 * 1024) /* of libcurl's buffer */
#define KIBIBYTES 1024

static char stream[KIBIBYTES * 1024];
static unsigned long events;

static int on_event(void *context, const struct sse_event *event) {
    (void)context;
    events += event->data_length > 0;
    return 0;
}

/* In turns: a token, an event of ADK, one with all fields and CRLF, a comment, two lines of text that is not
 * ASCII, and 500 bytes. The last one is cut off. */
static void fill(void) {
    static char large[501];
    memset(large, 'x', sizeof(large) - 1);
    for (size_t length = 0; length < sizeof(stream) - 1;)
        length += (size_t)snprintf(
            stream + length, sizeof(stream) - length,
            "data: a token\n\n"
            "data: {\"content\":{\"parts\":[{\"text\":\"some words that were said\"}],\"role\":\"model\"},"
            "\"partial\":true,\"invocationId\":\"e-0123456789abcdef\",\"author\":\"agent\"}\n\n"
            "id: 17\r\nevent: progress\r\nretry: 2000\r\ndata: {\"done\":17}\r\n\r\n"
            ": nothing to say\n\n"
            "data: gr\xc3\xbc\xc3\x9f Gott, \xe4\xbd\xa0\xe5\xa5\xbd\ndata: \xf0\x9f\x98\x80\n\n"
            "data: %s\n\n",
            large);
}

/* What is counted: scripts/check-perf.sh names it. */
static __attribute__((noinline)) void perf_parse(struct sse_parser *parser) {
    for (size_t at = 0; at < sizeof(stream); at += FEED_BYTES) {
        if (sse_parser_feed(parser, stream + at, FEED_BYTES) != 0)
            errx(1, "the parser refused the stream");
    }
}

int main(void) {
    struct sse_parser *parser = sse_parser_create(1 << 20, 1 << 20, on_event, NULL);
    if (parser == NULL)
        errx(1, "out of memory");
    fill();
    perf_parse(parser); /* its buffers have grown then */
    perf_begin();
    perf_parse(parser);
    if (events < 2 * sizeof(stream) / 200)
        errx(1, "the parser lost events");
    sse_parser_destroy(parser);
    perf_end(KIBIBYTES, "KiB parsed");
}
