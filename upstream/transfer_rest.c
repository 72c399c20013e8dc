/* What is left unread on a connection that libcurl has given up.
 *
 * An upstream may refuse a request before it has read all of it, and then closes the connection over bytes
 * that it has not read, which resets it. libcurl reads before it writes; but if the refusal and the reset
 * come in between, its write fails, and it closes the connection with the refusal unread. So a stream whose
 * request does not go out at once has a descriptor of the connection of its own until the head of an answer
 * is there, and reads the answer by that, unless it is chunked: then its head alone. Not over TLS: what is
 * left there cannot be read. */
#include "upstream/client_internal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* libcurl writes no piece of a request that is larger, but by chance a first one. */
#define REQUEST_AT_ONCE_MAX ((size_t)16 * 1024)
#define REST_BYTES_MAX ((size_t)16 * 1024)

void rest_reset(struct transfer *transfer, const struct transfer_request *request) {
    bool is_plain = strncasecmp(request->url, "http:", strlen("http:")) == 0;
    rest_end(transfer);
    buffer_finish(&transfer->rest);
    buffer_init(&transfer->rest, REST_BYTES_MAX);
    transfer->rest_headers = transfer->rest_body = NULL;
    transfer->wants_rest =
        transfer->role->takes_rest && is_plain && request->body_length > REQUEST_AT_ONCE_MAX;
}

void rest_begin(struct transfer *transfer, int fd) {
    rest_end(transfer);
    transfer->spare_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

void rest_end(struct transfer *transfer) {
    if (transfer->spare_fd >= 0)
        close(transfer->spare_fd);
    transfer->spare_fd = -1;
}

static void read_rest(struct transfer *transfer) {
    char bytes[4096];
    ssize_t count;
    while ((count = recv(transfer->spare_fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
        if (!buffer_append(&transfer->rest, bytes, (size_t)count))
            break;
    }
}

/** Finds the final head, after interim ones. Returns its status, and sets where its headers and its body
 * begin; 0: there is no whole head. */
static int find_head(const struct buffer *rest, char **ret_headers, char **ret_body) {
    static const char version[] = "HTTP/1.", head_end[] = "\r\n\r\n";
    long status = 0;
    for (char *at = rest->bytes; at != NULL && status < 200;) {
        char *end = strstr(at, head_end);
        if (end == NULL || strncmp(at, version, strlen(version)) != 0)
            return 0;
        status = strtol(at + strcspn(at, " \r"), ret_headers, 10);
        *ret_body = at = end + strlen(head_end);
    }
    return status < 600 ? (int)status : 0;
}

const char *rest_header(const struct transfer *transfer, const char *name) {
    size_t length = strlen(name);
    for (char *line = transfer->rest_headers; line < transfer->rest_body; line += strlen(line) + 1) {
        if (strncasecmp(line, name, length) == 0 && line[length] == ':')
            return line + length + 1 + strspn(line + length + 1, " \t");
    }
    return NULL;
}

/** Ends each of its lines by NUL. */
static void cut_lines(char *bytes, const char *end) {
    for (; bytes < end; bytes++) {
        if (*bytes == '\r' || *bytes == '\n')
            *bytes = '\0';
    }
}

void rest_tell(struct transfer *transfer) {
    char *headers = NULL, *body = NULL;
    if (transfer->spare_fd < 0 || transfer->status != 0 || transfer->is_released)
        return;
    read_rest(transfer);
    transfer->header_bytes += transfer->rest.length; /* whatever it is, it is an answer */
    int status = find_head(&transfer->rest, &headers, &body);
    if (status == 0)
        return;
    cut_lines(headers, body);
    transfer->rest_headers = headers;
    transfer->rest_body = body;
    transfer->status = status;
    size_t length = transfer->rest.length - (size_t)(body - transfer->rest.bytes);
    bool is_plain = rest_header(transfer, "Transfer-Encoding") == NULL;
    if (transfer->role->on_head(transfer) && !transfer->is_released && is_plain && length > 0)
        (void)transfer->role->on_body(transfer, body, length);
}
