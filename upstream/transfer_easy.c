/* A transfer's easy handle: its options, curl's callbacks, and what its answer says. */
#include "upstream/client_internal.h"

#include "base/buffer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What one read of a socket takes. A stream has 24 KB in all by this, most of them libcurl's; half of it
 * would make a flood of events of 2 KB cost 20 % more, twice of it saves nothing. */
#define RECEIVE_BYTES 6656
#define HEADER_BYTES_MAX (64 * 1024)
/* Interim answers and trailers included, for curl keeps them all. */
#define ANSWER_HEADER_BYTES_MAX (512 * 1024)
#define ANSWER_HEADER_LINES_MAX 1000

/* ---- headers of the request ------------------------------------------------------------------------- */

static bool add_line(struct transfer *transfer, const char *line) {
    struct curl_slist *headers = curl_slist_append(transfer->headers, line);
    if (headers == NULL)
        return false;
    transfer->headers = headers;
    return true;
}

bool transfer_add_header(struct transfer *transfer, const char *name, const char *value) {
    struct buffer line;
    buffer_init(&line, HEADER_BYTES_MAX);
    bool formatted = *value != '\0' ? buffer_printf(&line, "%s: %s", name, value)
                                    : buffer_printf(&line, "%s;", name); /* so an empty one is written */
    bool done = formatted && add_line(transfer, line.bytes);
    buffer_finish(&line);
    return done;
}

bool transfer_add_lines(struct transfer *transfer, const char *lines) {
    bool done = true;
    while (done && lines != NULL && *lines != '\0') {
        size_t length = strcspn(lines, "\n");
        char *line = strndup(lines, length);
        done = line != NULL && add_line(transfer, line);
        free(line);
        lines += length + (lines[length] == '\n');
    }
    return done;
}

bool transfer_omit_header(struct transfer *transfer, const char *name) {
    struct buffer line;
    buffer_init(&line, HEADER_BYTES_MAX);
    bool done = buffer_printf(&line, "%s:", name) && add_line(transfer, line.bytes);
    buffer_finish(&line);
    return done;
}

/* ---- curl's callbacks ------------------------------------------------------------------------------- */

/** Whether libcurl may send the request now. It sends one again by itself if a kept connection ends without
 * an answer: not if a byte of it may have been sent, unless that does no harm. It has not been, if libcurl
 * could not even begin and has not waited for the socket since. */
static bool may_be_sent(struct transfer *transfer) {
    long sent_bytes = 0;
    curl_easy_getinfo(transfer->easy, CURLINFO_REQUEST_SIZE, &sent_bytes);
    bool was_sent = transfer->is_sent && (sent_bytes > 0 || transfer->is_awaited);
    transfer->is_unanswered = was_sent && !transfer->is_repeatable;
    if (!transfer->is_unanswered)
        transfer->is_sent = transfer->is_awaited = false;
    return !transfer->is_unanswered;
}

static curl_socket_t transfer_on_socket_needed(void *context, curlsocktype purpose,
                                               struct curl_sockaddr *address) {
    struct transfer *transfer = context;
    (void)purpose;
    if (!may_be_sent(transfer))
        return CURL_SOCKET_BAD;
    int fd = connections_open(&transfer->client->connections, address);
    transfer->lacks_descriptor = fd < 0 && (errno == EMFILE || errno == ENFILE);
    return fd >= 0 ? fd : CURL_SOCKET_BAD;
}

static int transfer_on_socket_unused(void *context, curl_socket_t fd) {
    struct upstream_client *client = context;
    connections_close(&client->connections, fd);
    return 0;
}

static bool is_reused(const struct transfer *transfer) {
    long connects = 0;
    curl_easy_getinfo(transfer->easy, CURLINFO_NUM_CONNECTS, &connects);
    return connects == 0;
}

static int easy_on_request(void *context, char *remote, char *local, int remote_port, int local_port) {
    struct transfer *transfer = context;
    (void)remote, (void)local;
    if (transfer->is_released || !may_be_sent(transfer))
        return CURL_PREREQFUNC_ABORT;
    bool reused = is_reused(transfer);
    int fd = -1;
    if (reused || transfer->wants_rest)
        fd = connections_find(&transfer->client->connections, local_port, remote_port);
    transfer->is_stale = reused && (fd < 0 || !connection_is_quiet(fd));
    if (transfer->is_stale)
        return CURL_PREREQFUNC_ABORT;
    if (transfer->wants_rest)
        rest_begin(transfer, fd);
    transfer->is_sent = true;
    transfer->role->on_sent(transfer);
    return transfer->is_released ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

/* Of the head, trailers left out. */
static bool take_header_line(struct transfer *transfer, const char *line, size_t length) {
    if (transfer->status == 0)
        answer_length_take_line(&transfer->length, line, length);
    if (transfer->status != 0 || transfer->is_released || transfer->role->on_header_line == NULL ||
        transfer->role->on_header_line(transfer, line, length))
        return true;
    transfer_fail(transfer, CURLE_OUT_OF_MEMORY);
    return false;
}

/* After an answer that has no body by its nature (RFC 9112, section 6.3) a connection is not used again. Some
 * servers send a body all the same, and by a part that comes late they would answer somebody's next request,
 * with words that may be a client's. */
static bool forbid_reuse(CURL *easy) {
    return curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L) == CURLE_OK;
}

/* cppcheck-suppress constParameter ; libcurl says what the parameters are */
static size_t easy_on_header_line(char *bytes, size_t size, size_t count, void *context) {
    struct transfer *transfer = context;
    size_t length = size * count;
    transfer->header_bytes += length;
    transfer->header_lines++;
    if (transfer->header_bytes > ANSWER_HEADER_BYTES_MAX ||
        transfer->header_lines > ANSWER_HEADER_LINES_MAX) {
        transfer_fail(transfer, CURLE_WEIRD_SERVER_REPLY);
        return CURL_WRITEFUNC_ERROR;
    }
    if (!take_header_line(transfer, bytes, length))
        return CURL_WRITEFUNC_ERROR;
    bool is_blank = bytes[0] == '\r' || bytes[0] == '\n';
    if (!is_blank || transfer->status != 0 || transfer->is_released)
        return length; /* a header before the blank line, or a trailer */
    long status = 0;
    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200 && !(transfer->is_tunnel && status == STATUS_SWITCHING))
        return length; /* an interim answer */
    transfer->status = (int)status;
    if ((status == 204 || status == 304) && !forbid_reuse(transfer->easy)) {
        transfer_fail(transfer, CURLE_OUT_OF_MEMORY);
        return CURL_WRITEFUNC_ERROR;
    }
    rest_end(transfer);
    bool goes_on = transfer->role->on_head(transfer) && !transfer->is_released;
    return goes_on ? length : CURL_WRITEFUNC_ERROR;
}

static size_t transfer_on_body_bytes(char *bytes, size_t size, size_t count, void *context) {
    struct transfer *transfer = context;
    size_t length = size * count;
    enum transfer_taken taken = TRANSFER_ABORT;
    if (!transfer->is_released && transfer->status != 0)
        taken = transfer_take(transfer, bytes, length);
    if (taken == TRANSFER_ABORT || transfer->is_released)
        return CURL_WRITEFUNC_ERROR;
    transfer->is_held = taken == TRANSFER_PAUSE;
    return transfer->is_held ? CURL_WRITEFUNC_PAUSE : length;
}

/* ---- options ---------------------------------------------------------------------------------------- */

static const struct {
    CURLoption option;
    long value;
} fixed_options[] = {
    {CURLOPT_NOSIGNAL, 1},
    {CURLOPT_QUICK_EXIT, 1}, /* a cancelled look-up is left behind, not waited for */
    {CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1},
    {CURLOPT_FOLLOWLOCATION, 0},
    {CURLOPT_PATH_AS_IS, 1},
    {CURLOPT_TCP_NODELAY, 1},
    {CURLOPT_BUFFERSIZE, RECEIVE_BYTES},
    {CURLOPT_UPLOAD_BUFFERSIZE, RECEIVE_BYTES},
};

static bool set_limits(struct transfer *transfer) {
    CURL *easy = transfer->easy;
    /* curl compares whole seconds, rounded down, so one less never uses a connection that is too old. */
    long idle_seconds_max = (long)(transfer->keepalive_ms / 1000) - 1;
    if (idle_seconds_max < 0 && !forbid_reuse(easy))
        return false;
    if (idle_seconds_max >= 0 && curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, idle_seconds_max) != CURLE_OK)
        return false;
    return curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)transfer->connect_timeout_ms) == CURLE_OK;
}

/* libcurl uses a kept connection again only if the directory of authorities is the same by name. The label
 * stands there for the bundle: a connection that one bundle let pass is not used for another. Nothing is
 * looked up in that directory, since transfer_on_tls() sets the store that is asked. */
static bool set_authorities(const struct transfer *transfer) {
    CURL *easy = transfer->easy;
    if (transfer->ca == NULL)
        return true;
    return curl_easy_setopt(easy, CURLOPT_CAINFO, NULL) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_CAPATH, transfer->ca->label) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, transfer_on_tls) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, transfer->ca) == CURLE_OK;
}

static bool set_callbacks(struct transfer *transfer) {
    CURL *easy = transfer->easy;
    return curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, easy_on_request) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, transfer_on_socket_needed) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, transfer_on_socket_unused) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, transfer->client) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, easy_on_header_line) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, transfer_on_body_bytes) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer) == CURLE_OK;
}

static bool set_method(CURL *easy, const struct transfer_request *request) {
    const char *method = request->method;
    if (strcmp(method, "HEAD") == 0)
        return curl_easy_setopt(easy, CURLOPT_NOBODY, 1L) == CURLE_OK && forbid_reuse(easy);
    bool has_body = request->body != NULL || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 ||
                    strcmp(method, "PATCH") == 0; /* these say Content-Length: 0 */
    if (!has_body)
        return curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method) == CURLE_OK;
    const char *body = request->body != NULL ? request->body : "";
    return curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_length) ==
               CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method) == CURLE_OK;
}

bool transfer_set_options(struct transfer *transfer, const struct transfer_request *request) {
    CURL *easy = transfer->easy;
    curl_easy_reset(easy);
    transfer->error[0] = '\0';
    for (size_t i = 0; i < sizeof fixed_options / sizeof *fixed_options; i++) {
        if (curl_easy_setopt(easy, fixed_options[i].option, fixed_options[i].value) != CURLE_OK)
            return false;
    }
    return curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_NOPROXY, "*") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_URL, request->url) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers) == CURLE_OK &&
           set_method(easy, request) && set_limits(transfer) && set_authorities(transfer) &&
           set_callbacks(transfer) && (!request->is_tunnel || tunnel_set_options(transfer));
}

/* ---- the answer ------------------------------------------------------------------------------------- */

const char *transfer_header_at(const struct transfer *transfer, const char *name, size_t index) {
    struct curl_header *header;
    if (transfer->rest_headers != NULL)
        return index == 0 ? rest_header(transfer, name) : NULL;
    bool found = curl_easy_header(transfer->easy, name, index, CURLH_HEADER, -1, &header) == CURLHE_OK;
    if (!found)
        return NULL;
    return header->value[0] != '\r' ? header->value : ""; /* libcurl 7.88 leaves the CR in an empty value */
}

const char *transfer_header(const struct transfer *transfer, const char *name) {
    return transfer_header_at(transfer, name, 0);
}

bool header_list_has(const char *list, const char *name) {
    static const char separators[] = ", \t";
    size_t length = strlen(name);
    for (list += strspn(list, separators); *list != '\0'; list += strspn(list, separators)) {
        size_t token_length = strcspn(list, separators);
        if (token_length == length && strncasecmp(list, name, length) == 0)
            return true;
        list += token_length;
    }
    return false;
}

static bool is_chunked(const struct transfer *transfer) {
    const char *codings = transfer_header(transfer, "Transfer-Encoding");
    return codings != NULL && header_list_has(codings, "chunked");
}

int64_t transfer_content_length(const struct transfer *transfer) {
    curl_off_t length = -1;
    curl_easy_getinfo(transfer->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    return is_chunked(transfer) ? -1 : length;
}

bool transfer_is_framed(const struct transfer *transfer) {
    return is_chunked(transfer) || transfer_content_length(transfer) >= 0;
}
