/* What the files of a passed request share. */
#ifndef SLUICE_ROUTES_PASSTHROUGH_INTERNAL_H
#define SLUICE_ROUTES_PASSTHROUGH_INTERNAL_H

#include "base/buffer.h"
#include "routes/passthrough.h"
#include "routes/tunnels.h"
#include "upstream/query.h"

#define HELD_HIGH (64u * 1024u)
#define HELD_LOW (HELD_HIGH / 2)
#define HELD_MAX (HELD_HIGH + 1024u * 1024u) /* libcurl never gives a larger piece at once */

enum end { END_OPEN, END_CLEAN, END_BROKEN };

struct passthrough {
    struct request *request;
    size_t upstream;
    enum passed_trust trust;
    struct upstream_query *query; /* NULL once it has ended */
    struct buffer held;
    struct buffer up;  /* of a tunnel: the client's bytes */
    bool up_ended;     /* no more of them come */
    bool up_is_full;   /* the client waits for us */
    struct live *live; /* of a tunnel; else NULL */
    enum end end;
    bool answered; /* its head is the client's */
    bool paused;   /* the upstream waits for us */
    bool starved;  /* the client waits for us */
    bool is_done;  /* the client has its whole answer, and the request may be gone */
    bool has_slot; /* it is a run */
    struct scheduler_guest guest;
    struct broadcaster *broadcaster;
};

/* ---- passthrough.c ------------------------------------------------------------------------------- */

/** Frees it, and all that it holds; `context` is the passthrough, as in the next one. */
void passthrough_destroy(void *context);

/** Bytes for the client: a reply source's read(). */
ssize_t passthrough_read(void *context, char *bytes, size_t size);

/** Has the client read on, if it waits. */
void passthrough_wake(struct passthrough *passthrough);

/** Ends an answer in its middle, on both sides. */
void passthrough_break_off(struct passthrough *passthrough);

/* ---- tunnels.c ----------------------------------------------------------------------------------- */

#define HANDSHAKE_HEADERS_MAX 4

/** Adds the headers of a WebSocket's handshake, which the last call frees. False: out of memory. */
bool handshake_collect(const struct request *request, struct upstream_header *headers,
                       size_t *count) MUST_CHECK;
void handshake_free(struct upstream_header *headers, size_t count);

/** The upstream has answered 101: so does the gateway. */
void passthrough_open_tunnel(struct passthrough *passthrough, const struct upstream_header *headers,
                             size_t count);

/** Bytes for the upstream: see struct upstream_passage_callbacks. */
ssize_t passthrough_upload(void *context, char *bytes, size_t size);

/** Ends a tunnel, as a client or the gateway's shutdown has asked. */
void passthrough_cancel(void *context);

#endif
