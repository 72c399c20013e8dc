/* Requests that make a tunnel of their connection, as a WebSocket's handshake does.
 *
 * To libcurl it is an upload of unknown length: what follows the head of an answer with status 101 is its
 * body, and the upload, which has no framing, is what goes the other way. libcurl 7.88 does not end such a
 * request when the upstream has ended its side while the upload waits: it only ceases to wait for bytes. So
 * that is what is looked for.
 */
#include "upstream/client_internal.h"

#include <sys/socket.h>

static void end_tunnel(struct transfer *transfer) {
    transfer->is_over = true;
    transfer_resume(transfer);
}

/* All is sent. Through TLS only the end of both directions can be said. */
static void end_sending(struct transfer *transfer) {
    if (transfer->ca != NULL || shutdown(transfer->tunnel_fd, SHUT_WR) < 0)
        end_tunnel(transfer);
}

/* cppcheck-suppress constParameter ; libcurl says what the parameters are */
static size_t transfer_on_upload(char *bytes, size_t size, size_t count, void *context) {
    struct transfer *transfer = context;
    if (transfer->is_released)
        return CURL_READFUNC_ABORT;
    if (transfer->status == 0)
        return CURL_READFUNC_PAUSE;
    if (transfer->status != STATUS_SWITCHING)
        return 0;
    ssize_t length = transfer->role->on_upload(transfer, bytes, size * count);
    if (length == 0)
        return CURL_READFUNC_PAUSE;
    if (length < 0)
        end_sending(transfer);
    return length > 0 ? (size_t)length : 0;
}

bool tunnel_set_options(struct transfer *transfer) {
    CURL *easy = transfer->easy;
    return curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, "GET") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_READFUNCTION, transfer_on_upload) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_READDATA, transfer) == CURLE_OK;
}

void tunnel_note_wait(struct transfer *transfer, int fd, int what) {
    if (transfer == NULL || !transfer->is_tunnel || !transfer->is_added || transfer->is_released)
        return;
    if (what != CURL_POLL_REMOVE)
        transfer->tunnel_fd = fd;
    bool reads_on = transfer->is_held || (what != CURL_POLL_REMOVE && (what & CURL_POLL_IN) != 0);
    if (transfer->status == STATUS_SWITCHING && !reads_on && !transfer->is_over)
        end_tunnel(transfer);
}
