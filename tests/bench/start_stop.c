/* How long a server takes from exec to its first answered request, and from SIGTERM to its end.
 *
 *     start_stop PORT COMMAND [ARGUMENT ...]      // the command listens on 127.0.0.1:PORT and answers GET
 * /healthz
 *
 * One line of JSON: {"first_answer_us":..,"end_us":..}. It asks again every 100 us until the server listens.
 */
#include "tests/bench/bench.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_NS (20 * NS_PER_S)

static pid_t server;

/* The server never outlives the measurement. */
static void kill_server(void) {
    if (server > 0)
        kill(server, SIGKILL);
}

static void start(char **command) {
    server = fork();
    if (server < 0)
        die_errno("fork");
    if (server > 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int silence = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(silence, STDOUT_FILENO);
    dup2(silence, STDERR_FILENO);
    execvp(command[0], command);
    _exit(127);
}

static int connect_when_ready(uint16_t port, int64_t until_ns) {
    const struct timespec pause = {.tv_nsec = 100000};
    for (;;) {
        int fd = tcp_try_connect(port);
        if (fd >= 0)
            return fd;
        if (waitpid(server, NULL, WNOHANG) != 0 || now_ns() > until_ns) {
            kill_server();
            die("the server did not start to listen");
        }
        nanosleep(&pause, NULL);
    }
}

static void ask(int fd) {
    static const char request[] = "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    char answer[1024];
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    ssize_t length = -1;
    if (send(fd, request, strlen(request), MSG_NOSIGNAL) == (ssize_t)strlen(request) &&
        poll(&readable, 1, 10000) == 1)
        length = recv(fd, answer, sizeof answer, 0);
    if (length <= 0 || http_status(answer, (size_t)length) != 200) {
        kill_server();
        die("the first request was not answered by 200");
    }
    close(fd);
}

int main(int argc, char **argv) {
    int64_t port;
    const char *text = argc > 1 ? argv[1] : "";
    if (argc < 3 || !number_read(&text, "", 1, 65535, &port)) {
        bool asked = argc == 2 && strcmp(argv[1], "--help") == 0;
        fprintf(asked ? stdout : stderr, "usage: start_stop PORT COMMAND [ARGUMENT ...]\n");
        return asked ? 0 : 2;
    }
    int64_t begin_ns = now_ns();
    start(argv + 2);
    ask(connect_when_ready((uint16_t)port, begin_ns + PATIENCE_NS));
    int64_t answered_ns = now_ns();
    int status;
    kill(server, SIGTERM);
    if (waitpid(server, &status, 0) != server || status != 0)
        die("the server did not end with status 0");
    printf("{\"first_answer_us\":%.1f,\"end_us\":%.1f}\n", (double)(answered_ns - begin_ns) / 1e3,
           (double)(now_ns() - answered_ns) / 1e3);
    return 0;
}
