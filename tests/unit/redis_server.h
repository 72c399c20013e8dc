/* A real redis-server for tests: its own port and directory, nothing is written to disk. */
#ifndef SLUICE_TESTS_UNIT_REDIS_SERVER_H
#define SLUICE_TESTS_UNIT_REDIS_SERVER_H

#include "tests/unit/raw_server.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

struct redis_server {
    pid_t pid; /* 0: it does not run */
    int port;
    const char *password; /* NULL: none */
    char directory[64];
    char socket_path[80];
};

static inline void redis_server_exec(const struct redis_server *server) {
    char port[16];
    snprintf(port, sizeof port, "%d", server->port);
    const char *arguments[] = {"redis-server",
                               "--port",
                               port,
                               "--bind",
                               "127.0.0.1",
                               "--save",
                               "",
                               "--appendonly",
                               "no",
                               "--dir",
                               server->directory,
                               "--logfile",
                               "log",
                               "--unixsocket",
                               server->socket_path,
                               server->password != NULL ? "--requirepass" : NULL,
                               server->password,
                               NULL};
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* it does not outlive the test, however that ends */
    execvp(arguments[0], (char *const *)(uintptr_t)arguments);
    _exit(127);
}

/** Starts it, again on the same port if it ran before. It may not answer yet. */
static inline void redis_server_start(struct redis_server *server) {
    server->pid = fork();
    assert(server->pid >= 0);
    if (server->pid == 0)
        redis_server_exec(server);
}

/** At once, as if the machine had failed. */
static inline void redis_server_kill(struct redis_server *server) {
    if (server->pid > 0) {
        kill(server->pid, SIGKILL);
        waitpid(server->pid, NULL, 0);
    }
    server->pid = 0;
}

static inline void redis_server_begin(struct redis_server *server, const char *password) {
    *server = (struct redis_server){.password = password};
    strcpy(server->directory, "/tmp/sluice-redis-XXXXXX");
    char *made = mkdtemp(server->directory);
    assert(made != NULL);
    (void)made;
    snprintf(server->socket_path, sizeof server->socket_path, "%s/socket", server->directory);
    int fd = raw_server_bind(&server->port);
    close(fd);
    redis_server_start(server);
}

static inline void redis_server_end(struct redis_server *server) {
    char path[96];
    redis_server_kill(server);
    unlink(server->socket_path);
    snprintf(path, sizeof path, "%s/log", server->directory);
    unlink(path);
    rmdir(server->directory);
}

#endif
