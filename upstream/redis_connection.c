/* One connection to a Redis server. See redis_connection.h for the contract.
 *
 * hiredis writes the commands and reads the replies, libuv has the socket and the timer. Replies come in the
 * order of the commands, so the commands without one are a queue. `pending` counts the calls of libuv that are
 * still to come; the last of them frees the connection.
 */
#include "upstream/redis_connection.h"

#include "base/broken_state.h"
#include "base/clock.h"
#include "base/memory_budget.h"

#include <stdlib.h>
#include <sys/un.h>

#define READ_BYTES (64 * 1024)

/* cppcheck-suppress unusedStructMember ; the macros of sys/queue.h use them */
STAILQ_HEAD(redis_command_list, redis_command);

struct redis_connection {
    struct redis_connection_settings settings;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } socket;
    uv_timer_t timer;
    uv_connect_t connect;
    redisReader *reader;
    redisReplyObjectFunctions functions;
    struct redis_command_list commands; /* sent, without a reply yet */
    unsigned pending;                   /* calls of libuv that are still to come before it can be freed */
    bool is_closing;
    char bytes[READ_BYTES];
};

/** What is written, until it is. */
struct redis_write {
    uv_write_t request;
    struct redis_connection *connection;
    char *bytes;
    size_t length;
};

/* ---- the end ------------------------------------------------------------------------------------- */

static void forget_call(struct redis_connection *connection) {
    if (--connection->pending > 0)
        return;
    redisReaderFree(connection->reader);
    free(connection);
}

static void redis_on_socket_closed(uv_handle_t *handle) {
    forget_call(handle->data);
}

void redis_connection_close(struct redis_connection *connection) {
    struct redis_command *command;
    if (connection->is_closing) {
        broken_state_note("upstream/redis_connection.c: closed twice");
        return;
    }
    connection->is_closing = true;
    uv_close(&connection->socket.handle, redis_on_socket_closed);
    uv_close((uv_handle_t *)&connection->timer, redis_on_socket_closed);
    while ((command = STAILQ_FIRST(&connection->commands)) != NULL) {
        STAILQ_REMOVE_HEAD(&connection->commands, link);
        command->on_reply(command, NULL);
    }
}

static void lose_connection(struct redis_connection *connection) {
    if (connection->is_closing)
        return;
    struct redis_connection_settings settings = connection->settings;
    redis_connection_close(connection);
    settings.on_lost(settings.context);
}

/* ---- time ---------------------------------------------------------------------------------------- */

static void connection_on_timer(uv_timer_t *timer) {
    struct redis_connection *connection = timer->data;
    const struct redis_command *oldest = STAILQ_FIRST(&connection->commands);
    int64_t left_ms = oldest != NULL ? oldest->deadline_mono_ms - clock_mono_ms() : 0;
    if (left_ms > 0)
        uv_timer_start(timer, connection_on_timer, (uint64_t)left_ms, 0);
    else
        lose_connection(connection);
}

/** The timer runs while something is waited for. */
static void wait_for_oldest(struct redis_connection *connection) {
    if (STAILQ_EMPTY(&connection->commands))
        uv_timer_stop(&connection->timer);
    else if (!uv_is_active((uv_handle_t *)&connection->timer))
        uv_timer_start(&connection->timer, connection_on_timer, (uint64_t)connection->settings.timeout_ms, 0);
}

/* ---- replies ------------------------------------------------------------------------------------- */

/* No command that is sent here is answered by a list, and one of any size could be claimed. */
static void *refuse_array(const redisReadTask *task, int count) {
    (void)task, (void)count;
    return NULL;
}

/** Hands out the replies that are complete. False: what came is none, or was not asked for. */
static bool hand_out(struct redis_connection *connection) {
    redisReader *reader = connection->reader;
    while (!connection->is_closing) {
        void *reply = NULL;
        if (redisReaderGetReply(reader, &reply) != REDIS_OK)
            return false;
        if (reply == NULL)
            return reader->len - reader->pos <= connection->settings.reply_bytes_max;
        struct redis_command *command = STAILQ_FIRST(&connection->commands);
        if (command != NULL) {
            STAILQ_REMOVE_HEAD(&connection->commands, link);
            wait_for_oldest(connection);
            command->on_reply(command, reply);
        }
        freeReplyObject(reply);
        if (command == NULL)
            return false;
    }
    return true;
}

static void redis_on_room_wanted(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_room) {
    struct redis_connection *connection = handle->data;
    (void)suggested;
    *ret_room = uv_buf_init(connection->bytes, sizeof(connection->bytes));
}

static void redis_on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *room) {
    struct redis_connection *connection = stream->data;
    if (count == 0)
        return;
    if (count < 0 || redisReaderFeed(connection->reader, room->base, (size_t)count) != REDIS_OK ||
        !hand_out(connection))
        lose_connection(connection);
}

/* ---- commands ------------------------------------------------------------------------------------ */

static void redis_on_written(uv_write_t *request, int status) {
    struct redis_write *write = CONTAINER_OF(request, struct redis_write, request);
    struct redis_connection *connection = write->connection;
    memory_release(MEMORY_RECORDINGS, sizeof(*write) + write->length);
    redisFreeCommand(write->bytes);
    free(write);
    if (status < 0)
        lose_connection(connection);
    forget_call(connection);
}

bool redis_connection_send(struct redis_connection *connection, struct redis_command *command, int count,
                           const char **arguments, const size_t *lengths) {
    struct redis_write *write = !connection->is_closing ? malloc(sizeof(*write)) : NULL;
    if (write == NULL)
        return false;
    int length = redisFormatCommandArgv(&write->bytes, count, arguments, lengths);
    if (length < 0)
        goto no_bytes;
    write->connection = connection;
    write->length = (size_t)length;
    const uv_buf_t bytes = uv_buf_init(write->bytes, (unsigned)length);
    if (uv_write(&write->request, &connection->socket.stream, &bytes, 1, redis_on_written) < 0)
        goto no_write;
    memory_charge(MEMORY_RECORDINGS, sizeof(*write) + write->length);
    connection->pending++;
    command->deadline_mono_ms = clock_mono_ms() + connection->settings.timeout_ms;
    STAILQ_INSERT_TAIL(&connection->commands, command, link);
    wait_for_oldest(connection);
    return true;
no_write:
    redisFreeCommand(write->bytes);
no_bytes:
    free(write);
    return false;
}

/* ---- the beginning ------------------------------------------------------------------------------- */

static void redis_on_connected(uv_connect_t *request, int status) {
    struct redis_connection *connection = request->data;
    if (!connection->is_closing) {
        uv_timer_stop(&connection->timer);
        if (status < 0 || uv_read_start(&connection->socket.stream, redis_on_room_wanted, redis_on_read) < 0)
            lose_connection(connection);
        else
            connection->settings.on_open(connection->settings.context);
    }
    forget_call(connection);
}

/** Begins to connect. False: it cannot. */
static bool begin_to_connect(struct redis_connection *connection) {
    const struct sockaddr_storage *place = &connection->settings.place;
    uv_tcp_t *tcp = &connection->socket.tcp;
    if (place->ss_family == AF_UNIX) {
        const char *path = ((const struct sockaddr_un *)place)->sun_path;
        uv_pipe_connect(&connection->connect, &connection->socket.pipe, path, redis_on_connected);
    } else if (uv_tcp_connect(&connection->connect, tcp, (const struct sockaddr *)place,
                              redis_on_connected) == 0) {
        uv_tcp_nodelay(tcp, 1);
    } else {
        return false;
    }
    connection->pending++;
    return true;
}

struct redis_connection *redis_connection_open(uv_loop_t *loop,
                                               const struct redis_connection_settings *settings) {
    struct redis_connection *connection = calloc(1, sizeof(*connection));
    if (connection == NULL)
        return NULL;
    connection->reader = redisReaderCreate();
    if (connection->reader == NULL) {
        free(connection);
        return NULL;
    }
    connection->functions = *connection->reader->fn;
    connection->functions.createArray = refuse_array;
    connection->reader->fn = &connection->functions;
    connection->settings = *settings;
    STAILQ_INIT(&connection->commands);
    uv_timer_init(loop, &connection->timer);
    if (settings->place.ss_family == AF_UNIX)
        uv_pipe_init(loop, &connection->socket.pipe, 0);
    else
        uv_tcp_init(loop, &connection->socket.tcp); /* without a family it makes no socket, and cannot fail */
    connection->pending = 2;
    connection->socket.handle.data = connection->timer.data = connection;
    connection->connect.data = connection;
    uint64_t timeout_ms = begin_to_connect(connection) ? (uint64_t)settings->timeout_ms : 0;
    uv_timer_start(&connection->timer, connection_on_timer, timeout_ms, 0);
    return connection;
}
