/* What was published, and who got it: each reader must get each event once, in order and byte for byte.
 *
 *     ledger_begin(&ledger, 150, 16, readers);
 *     const char *event = ledger_publish(&ledger);   // hand it to the server
 *     ledger.now_ns = now_ns();
 *     reader_feed(&reader, bytes, length);           // what a subscriber's socket gave
 *     ledger.completed == ledger.published           // all readers have all of it
 *
 * A reader knows the next event beforehand, so that it compares instead of parsing: whatever framing a server
 * puts around the events is skipped, what begins like an event of ours must be the one that is due. Otherwise
 * the program ends.
 */
#ifndef SLUICE_TESTS_BENCH_DELIVERY_H
#define SLUICE_TESTS_BENCH_DELIVERY_H

#include "tests/bench/bench.h"

#define WINDOW_MAX 1024
#define EVENT_BYTES_MIN 128
#define EVENT_BYTES_MAX (1 << 20)

struct ledger_entry {
    char *event;
    int64_t published_ns;
    uint32_t received; /* by how many readers */
};

struct ledger {
    struct ledger_entry *entries; /* of event n: entries[n % entry_count]; one more than may be in flight */
    size_t entry_count;
    size_t event_bytes;
    uint32_t readers;
    uint64_t published;            /* events 0 .. published - 1 */
    uint64_t completed;            /* of which all readers have 0 .. completed - 1 */
    uint64_t deliveries;           /* since ledger_clear_counts() */
    int64_t now_ns;                /* when what is being read was read */
    struct histogram latency;      /* of deliveries */
    struct histogram last_latency; /* from publishing to the last reader */
};

/** Events are of `event_bytes` from now on, at most `window` in flight, for `readers`. Nothing may be in
 * flight. */
void ledger_begin(struct ledger *ledger, size_t event_bytes, size_t window, uint32_t readers);

/** Deliveries and latencies count from here on. */
void ledger_clear_counts(struct ledger *ledger);

/** The next event: `event_bytes` of JSON without a line end, stamped with its number and the time. */
const char *ledger_publish(struct ledger *ledger);

void ledger_finish(struct ledger *ledger);

/** One subscriber's stream, behind the head of its answer. */
struct reader {
    struct ledger *ledger;
    uint64_t next;       /* the event that is due */
    uint32_t matched;    /* bytes of it that have come; 0: between events */
    uint32_t index;      /* what it is called in a complaint */
    uint64_t chunk_left; /* bytes of the chunk that is being read; 0: in a chunk's line */
    uint64_t chunk_size; /* as far as the line was read */
    uint8_t gap_matched; /* how much of a gap's line the text between events ends with */
    bool is_chunked;
    bool in_size; /* a chunk's line has begun */
    bool ended;   /* the last chunk has come */
};

/** Takes bytes of the stream. Ends the program if an event is lost, doubled, reordered or damaged, and if the
 * server tells of a gap. */
void reader_feed(struct reader *reader, const char *bytes, size_t length);

#endif
