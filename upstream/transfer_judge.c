/* What libcurl's result of a request means. */
#include "upstream/client_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* libcurl does not say so: it cannot connect, or not resolve the name. */
static bool has_no_descriptor(void) {
    int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
    if (fd >= 0)
        close(fd);
    return fd < 0 && (errno == EMFILE || errno == ENFILE);
}

static enum upstream_end judge_unsent(CURLcode code, const char **ret_message) {
    bool is_ours = code != CURLE_OPERATION_TIMEDOUT && has_no_descriptor();
    if (is_ours) {
        *ret_message = "The gateway has no descriptor left for a connection to the upstream.";
        return UPSTREAM_CONNECT;
    }
    switch (code) {
    case CURLE_OUT_OF_MEMORY:
    case CURLE_FAILED_INIT:
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        *ret_message = "The request to the upstream could not be made.";
        return UPSTREAM_INTERNAL;
    case CURLE_COULDNT_RESOLVE_HOST:
        *ret_message = "The upstream's name could not be resolved.";
        return UPSTREAM_CONNECT;
    case CURLE_OPERATION_TIMEDOUT:
        *ret_message = "The upstream took no connection in time.";
        return UPSTREAM_CONNECT;
    default:
        *ret_message = "The upstream could not be reached.";
        return UPSTREAM_CONNECT;
    }
}

static bool is_about_certificate(CURLcode code) {
    return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_ISSUER_ERROR ||
           code == CURLE_SSL_INVALIDCERTSTATUS || code == CURLE_SSL_CACERT_BADFILE;
}

/* With libcurl's own sentence, which says why. */
static enum upstream_end judge_certificate(struct transfer *transfer, CURLcode code,
                                           const char **ret_message) {
    char why[CURL_ERROR_SIZE];
    const char *said = transfer->error[0] != '\0' ? transfer->error : curl_easy_strerror(code);
    snprintf(why, sizeof(why), "%.*s", CURL_ERROR_SIZE - 1, said);
    snprintf(transfer->error, sizeof(transfer->error), "The upstream's certificate was not accepted: %s.",
             why);
    *ret_message = transfer->error;
    return UPSTREAM_CONNECT;
}

bool transfer_is_unanswered(const struct transfer *transfer) {
    return transfer->is_sent && transfer->header_bytes == 0;
}

/* The same, whether the connection was closed in order or reset. */
static const char *message_of_break(const struct transfer *transfer) {
    if (transfer_is_unanswered(transfer))
        return "The upstream closed the connection without an answer; it may have received the request.";
    return transfer->status == 0 ? "The upstream broke off within its headers."
                                 : "The upstream broke off in the middle of its answer.";
}

/* What a code means once the request was sent. */
static enum upstream_end judge_sent(const struct transfer *transfer, CURLcode code,
                                    const char **ret_message) {
    bool has_status = transfer->status != 0;
    switch (code) {
    case CURLE_OK:
        *ret_message = has_status ? "" : message_of_break(transfer);
        return has_status ? UPSTREAM_COMPLETED : UPSTREAM_TRUNCATED;
    case CURLE_OPERATION_TIMEDOUT:
        *ret_message = has_status ? "The upstream fell silent." : "The upstream did not answer in time.";
        return UPSTREAM_IDLE;
    case CURLE_OUT_OF_MEMORY:
        /* curl has one code for both, and a line that does not end is shown to nobody. */
        *ret_message = has_status ? "Memory ran out."
                                  : "Memory ran out, or the upstream's answer has a header line without end.";
        return UPSTREAM_INTERNAL;
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_PARTIAL_FILE:
        *ret_message = message_of_break(transfer);
        return UPSTREAM_TRUNCATED;
    case CURLE_RECV_ERROR:
        /* Bad chunk framing and a broken connection have the same code; only the text tells them apart. */
        if (strstr(transfer->error, "chunk") == NULL) {
            *ret_message = message_of_break(transfer);
            return UPSTREAM_TRUNCATED;
        }
        break;
    default:
        break;
    }
    *ret_message = "The upstream's answer is not proper HTTP.";
    return UPSTREAM_PROTOCOL;
}

enum upstream_end transfer_judge(struct transfer *transfer, CURLcode code, const char **ret_message) {
    if (is_about_certificate(code))
        return judge_certificate(transfer, code, ret_message);
    bool would_connect = code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST;
    if (!transfer->is_sent)
        return judge_unsent(code, ret_message);
    /* libcurl wanted to send it again. */
    if (transfer->is_unanswered || would_connect)
        return judge_sent(transfer, CURLE_GOT_NOTHING, ret_message);
    return judge_sent(transfer, code, ret_message);
}
