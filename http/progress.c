/* Detects that libmicrohttpd asks for turns and makes nothing of them.
 *
 * Turns without a call are counted, and at some counts the requests are looked at. A request whose buffer
 * is full can never go on, so it is ended. Its buffer is known to be full when the library refuses room in
 * the same memory. If the library asks on all the same, the loop rests between two turns. So a fault of the
 * library that is not known yet costs little time, too. */
#include "http/progress.h"

#include "base/clock.h"
#include "base/metrics.h"
#include "http/exchange.h"

#include <sys/ioctl.h>

/* A probe of a request whose buffer has room uses up 64 bytes of that. */
#define PROBES_MAX 16

/* Whether bytes wait in the socket, and waited when it was looked at before, 8 turns ago or more. */
static bool leaves_input(struct http_exchange *exchange) {
    bool left_before = exchange->leaves_input && exchange->listener->progress.turns > PROGRESS_TURNS_LOOK;
    int waiting = 0;
    exchange->leaves_input = ioctl(exchange->connection->fd, FIONREAD, &waiting) == 0 && waiting > 0;
    return left_before && exchange->leaves_input;
}

/* Whether the library can read nothing more of the request. It does not say so; but it takes room for a value
 * of ours, of a kind that nobody looks at, from the same memory. Bytes that it leaves in the socket would say
 * less: there are none if the buffer was just filled. */
static bool buffer_is_full(struct http_exchange *exchange) {
    if (exchange->probes == PROBES_MAX)
        return leaves_input(exchange);
    exchange->probes++;
    return MHD_set_connection_value(exchange->handle, MHD_POSTDATA_KIND, "", "") == MHD_NO;
}

/* The library removes one that was ended when it runs next, not before. */
static void end_stuck(struct http_listener *listener) {
    struct http_exchange *exchange;
    LIST_FOREACH(exchange, &listener->exchanges, entry) {
        if (exchange->begun && !exchange->arrived && buffer_is_full(exchange))
            http_exchange_end_stuck(exchange);
    }
}

/* At 8, 16, 32, 64, 128 and 256 turns: the library may be reading still, some bytes a turn. */
static bool is_time_to_look(unsigned turns) {
    return turns >= PROGRESS_TURNS_LOOK && (turns & (turns - 1)) == 0;
}

/* One that was ended and lives on is known to ask for nothing. */
static unsigned turns_max(const struct http_progress *progress) {
    return progress->stuck > 0 ? PROGRESS_TURNS_LOOK : PROGRESS_TURNS_MAX;
}

static void begin_pause(struct http_progress *progress) {
    metrics_add(METRIC_TURNS_WITHOUT_PROGRESS, progress->stuck == 0);
    progress->until_mono_ms = clock_mono_ms() + PROGRESS_PAUSE_MS;
}

void http_progress_after_turn(struct http_listener *listener, bool asks) {
    struct http_progress *progress = &listener->progress;
    bool goes_on = progress->was_called || !asks;
    progress->was_called = false;
    progress->turns = goes_on ? 0 : progress->turns + (progress->turns < PROGRESS_TURNS_MAX);
    if (is_time_to_look(progress->turns))
        end_stuck(listener);
    if (progress->turns >= turns_max(progress))
        begin_pause(progress);
}

int64_t http_progress_pause_ms(const struct http_listener *listener) {
    const struct http_progress *progress = &listener->progress;
    if (progress->turns < turns_max(progress))
        return 0;
    int64_t left_ms = progress->until_mono_ms - clock_mono_ms();
    return left_ms > 0 ? left_ms : 0;
}
