/* What libcurl's result of a request means: how the request ended, its cause, and a sentence for people,
 * which keeps libcurl's own. */
#include "upstream/client_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What libcurl does not say: it cannot connect, or not resolve the name. Whether there was no descriptor for
 * a name is not seen, so one is asked for now. */
static bool has_no_descriptor(const struct transfer *transfer, CURLcode code) {
    if (code == CURLE_OPERATION_TIMEDOUT || code == CURLE_COULDNT_CONNECT)
        return transfer->lacks_descriptor;
    int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
    if (fd >= 0)
        close(fd);
    return fd < 0 && (errno == EMFILE || errno == ENFILE);
}

/* ---- the sentence ------------------------------------------------------------------------------------ */

/** What libcurl says of it, without a full stop at its end; "": nothing that is of use. */
static void copy_said(const struct transfer *transfer, CURLcode code, char out[CURL_ERROR_SIZE]) {
    bool is_ours = transfer->is_unanswered || code == CURLE_ABORTED_BY_CALLBACK ||
                   code == CURLE_WRITE_ERROR; /* the words are about our own callback then */
    const char *said = transfer->error[0] != '\0' ? transfer->error : curl_easy_strerror(code);
    bool is_silent = is_ours || (transfer->error[0] == '\0' && code == CURLE_OPERATION_TIMEDOUT);
    size_t length = is_silent ? 0 : strnlen(said, CURL_ERROR_SIZE - 1);
    while (length > 0 && (said[length - 1] == '.' || said[length - 1] == '\n'))
        length--;
    memcpy(out, said, length);
    out[length] = '\0';
}

static int os_error(const struct transfer *transfer) {
    long error = 0;
    curl_easy_getinfo(transfer->easy, CURLINFO_OS_ERRNO, &error);
    return (int)error;
}

/** Sets the sentence: `what` in our words, and libcurl's after it. */
static void PRINTF_LIKE(4, 5) explain_code(struct transfer *transfer, CURLcode code,
                                           struct transfer_fault *fault, const char *what, ...) {
    char said[CURL_ERROR_SIZE], message[TRANSFER_ERROR_SIZE], why[64] = "";
    va_list values;
    copy_said(transfer, code, said);
    if (code == CURLE_COULDNT_CONNECT && os_error(transfer) != 0) {
        char text[48];
        snprintf(why, sizeof(why), " (%s)", strerror_r(os_error(transfer), text, sizeof(text)));
    }
    va_start(values, what);
    int length = vsnprintf(message, sizeof(message), what, values);
    va_end(values);
    size_t used = length > 0 ? (size_t)length : 0;
    if (used < sizeof(message))
        snprintf(message + used, sizeof(message) - used, "%s%s%s.", said[0] != '\0' ? ": " : "", said, why);
    memcpy(transfer->error, message, sizeof(message));
    fault->message = transfer->error;
}

static enum upstream_end say_fault(struct transfer_fault *fault, enum upstream_end end,
                                   enum upstream_cause cause, const char *message) {
    *fault = (struct transfer_fault){cause, message};
    return end;
}

/* ---- before the request was sent --------------------------------------------------------------------- */

static bool is_past(const struct transfer *transfer, CURLINFO moment) {
    curl_off_t after_us = 0;
    curl_easy_getinfo(transfer->easy, moment, &after_us);
    return after_us > 0;
}

static enum upstream_end judge_late(struct transfer *transfer, struct transfer_fault *fault) {
    const char *what = "The upstream did not accept a connection in time";
    fault->cause = CAUSE_CONNECT_TIMEOUT;
    /* Version 7.88 of libcurl notes the time of a connection after its handshake alone. */
    if (is_past(transfer, CURLINFO_CONNECT_TIME_T) || strstr(transfer->error, "SSL") != NULL) {
        fault->cause = CAUSE_TLS_TIMEOUT;
        what = "The TLS handshake with the upstream did not complete in time";
    } else if (!is_past(transfer, CURLINFO_NAMELOOKUP_TIME_T)) {
        fault->cause = CAUSE_DNS;
        what = "The upstream's name could not be resolved in time";
    }
    explain_code(transfer, CURLE_OPERATION_TIMEDOUT, fault,
                 "%s: upstream_connect_timeout_ms (%" PRId64 " ms)", what, transfer->connect_timeout_ms);
    return UPSTREAM_CONNECT;
}

static enum upstream_cause cause_of_refusal(const struct transfer *transfer) {
    switch (os_error(transfer)) {
    case ECONNREFUSED:
        return CAUSE_REFUSED;
    case ETIMEDOUT:
        return CAUSE_CONNECT_TIMEOUT;
    case ECONNRESET:
        return CAUSE_RESET;
    default:
        return CAUSE_UNREACHABLE;
    }
}

static enum upstream_end judge_unsent(struct transfer *transfer, CURLcode code,
                                      struct transfer_fault *fault) {
    if (has_no_descriptor(transfer, code))
        return say_fault(fault, UPSTREAM_NO_DESCRIPTOR, CAUSE_NO_DESCRIPTORS,
                         "The gateway has no descriptor left for a connection to the upstream.");
    switch (code) {
    case CURLE_OUT_OF_MEMORY:
    case CURLE_FAILED_INIT:
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        fault->cause = code == CURLE_OUT_OF_MEMORY ? CAUSE_MEMORY : CAUSE_REQUEST;
        explain_code(transfer, code, fault, "The request to the upstream could not be made");
        return UPSTREAM_INTERNAL;
    case CURLE_COULDNT_RESOLVE_HOST:
        fault->cause = CAUSE_DNS;
        explain_code(transfer, code, fault, "The upstream's name could not be resolved");
        return UPSTREAM_CONNECT;
    case CURLE_OPERATION_TIMEDOUT:
        return judge_late(transfer, fault);
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CERTPROBLEM:
        fault->cause = CAUSE_TLS;
        explain_code(transfer, code, fault, "The TLS handshake with the upstream failed");
        return UPSTREAM_CONNECT;
    default:
        fault->cause = cause_of_refusal(transfer);
        explain_code(transfer, code, fault, "The upstream could not be reached");
        return UPSTREAM_CONNECT;
    }
}

static bool is_about_certificate(CURLcode code) {
    return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_ISSUER_ERROR ||
           code == CURLE_SSL_INVALIDCERTSTATUS || code == CURLE_SSL_CACERT_BADFILE;
}

/* ---- after it ---------------------------------------------------------------------------------------- */

bool transfer_is_unanswered(const struct transfer *transfer) {
    return transfer->is_sent && transfer->header_bytes == 0;
}

/* The same, whether the connection was closed in order or reset: only the cause differs. */
static const char *message_of_break(const struct transfer *transfer) {
    if (transfer_is_unanswered(transfer))
        return "The upstream closed the connection without an answer; it may have received the request";
    return transfer->status == 0 ? "The upstream broke off within its headers"
                                 : "The upstream broke off in the middle of its answer";
}

static enum upstream_end judge_break(struct transfer *transfer, CURLcode code, struct transfer_fault *fault) {
    int error = os_error(transfer);
    bool is_reset =
        error == ECONNRESET || error == EPIPE || strcasestr(transfer->error, "reset by peer") != NULL;
    fault->cause = is_reset ? CAUSE_RESET : CAUSE_CLOSED;
    explain_code(transfer, code, fault, "%s", message_of_break(transfer));
    return UPSTREAM_TRUNCATED;
}

static enum upstream_end judge_silence(struct transfer *transfer, struct transfer_fault *fault) {
    bool has_status = transfer->status != 0;
    const char *key = has_status ? "upstream_idle_timeout_ms" : "upstream_first_byte_timeout_ms";
    fault->cause = has_status ? CAUSE_IDLE_TIMEOUT : CAUSE_FIRST_BYTE_TIMEOUT;
    explain_code(transfer, CURLE_OPERATION_TIMEDOUT, fault, "%s: %s (%" PRId64 " ms)",
                 has_status ? "The upstream fell silent" : "The upstream did not answer in time", key,
                 has_status ? transfer->idle_timeout_ms : transfer->first_byte_timeout_ms);
    return UPSTREAM_IDLE;
}

/* What a code means once the request was sent. */
static enum upstream_end judge_sent(struct transfer *transfer, CURLcode code, struct transfer_fault *fault) {
    bool has_status = transfer->status != 0;
    switch (code) {
    case CURLE_OK:
        return has_status ? say_fault(fault, UPSTREAM_COMPLETED, CAUSE_NONE, "")
                          : judge_break(transfer, CURLE_GOT_NOTHING, fault);
    case CURLE_OPERATION_TIMEDOUT:
        return judge_silence(transfer, fault);
    case CURLE_OUT_OF_MEMORY:
        /* curl has one code for both, and a line that does not end is shown to nobody. */
        return say_fault(fault, UPSTREAM_INTERNAL, CAUSE_MEMORY,
                         has_status
                             ? "Memory ran out."
                             : "Memory ran out, or the upstream's answer has a header line that never ends.");
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_PARTIAL_FILE:
        return judge_break(transfer, code, fault);
    case CURLE_RECV_ERROR:
        /* Bad chunk framing and a broken connection have the same code; only the text tells them apart. */
        if (strstr(transfer->error, "chunk") == NULL)
            return judge_break(transfer, code, fault);
        break;
    default:
        break;
    }
    fault->cause = CAUSE_HTTP;
    explain_code(transfer, code, fault, "The upstream's answer is not valid HTTP");
    return UPSTREAM_PROTOCOL;
}

enum upstream_end transfer_judge(struct transfer *transfer, CURLcode code, struct transfer_fault *ret_fault) {
    bool would_connect = code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST;
    *ret_fault = (struct transfer_fault){.message = ""};
    if (is_about_certificate(code)) {
        ret_fault->cause = CAUSE_CERTIFICATE;
        explain_code(transfer, code, ret_fault, "The upstream's certificate was not accepted");
        return UPSTREAM_CONNECT;
    }
    if (!transfer->is_sent)
        return judge_unsent(transfer, code, ret_fault);
    /* libcurl wanted to send it again. */
    if (transfer->is_unanswered || would_connect)
        return judge_sent(transfer, CURLE_GOT_NOTHING, ret_fault);
    return judge_sent(transfer, code, ret_fault);
}
