/* A crowd of subscribers for tests, faster than a script could be one.
 *
 *     crowd read  PORT PATH COUNT            // COUNT subscribers read to the end of the stream
 *     crowd churn PORT PATH COUNT DURATION_MS LIFE_MS  // COUNT at once come and go, in order or by a reset
 *
 * `read` prints "ready" when all have their first bytes, and at the end "read BYTES MS CLEAN": MS from the
 * first byte after "ready" to the end of the last one, CLEAN being how many saw a last chunk. `churn` prints
 * "ready" when COUNT have come, and at the end "churned CAME REFUSED": how many had an answer, and how many
 * none.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define COUNT_MAX 20000
#define TAIL_BYTES 5 /* "0\r\n\r\n" */

struct member {
    int fd;
    bool answered;
    int64_t leaves_ms; /* churn */
    char tail[TAIL_BYTES];
};

static struct member members[COUNT_MAX];
static struct sockaddr_in address = {.sin_family = AF_INET};
static char request[1024];
static int epoll_fd;
static char bytes[256 * 1024];

static _Noreturn void fail(const char *what) {
    perror(what);
    exit(1);
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void member_join(struct member *member) {
    member->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (member->fd < 0 || connect(member->fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("connect");
    if (send(member->fd, request, strlen(request), MSG_NOSIGNAL) < 0)
        fail("send");
    fcntl(member->fd, F_SETFL, O_NONBLOCK);
    member->answered = false;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = member};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, member->fd, &event) < 0)
        fail("epoll_ctl");
}

static void member_leave(struct member *member, bool rudely) {
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    if (rudely)
        setsockopt(member->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(member->fd);
    member->fd = -1;
}

/* The last bytes that came, for the last chunk may come in pieces. */
static void member_note_tail(struct member *member, const char *data, size_t length) {
    size_t fresh = length < TAIL_BYTES ? length : TAIL_BYTES;
    memmove(member->tail, member->tail + fresh, TAIL_BYTES - fresh);
    memcpy(member->tail + TAIL_BYTES - fresh, data + length - fresh, fresh);
}

/* How many bytes came; -1 at the end of the stream. */
static ssize_t member_read(struct member *member) {
    ssize_t length = recv(member->fd, bytes, sizeof bytes, 0);
    if (length > 0) {
        member->answered = true;
        member_note_tail(member, bytes, (size_t)length);
        return length;
    }
    return length < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

static int crowd_wait(struct epoll_event *events, int events_max, int timeout_ms) {
    int ready = epoll_wait(epoll_fd, events, events_max, timeout_ms);
    if (ready < 0 && errno != EINTR)
        fail("epoll_wait");
    return ready < 0 ? 0 : ready;
}

static void say(const char *line) {
    printf("%s\n", line);
    fflush(stdout);
}

static int crowd_read(size_t count) {
    size_t answered = 0, left = count, clean = 0;
    uint64_t total = 0;
    int64_t began_ms = 0;
    bool ready = false;
    for (size_t i = 0; i < count; i++)
        member_join(&members[i]);
    while (left > 0) {
        struct epoll_event events[256];
        int some = crowd_wait(events, 256, 1000);
        if (ready && began_ms == 0 && some > 0)
            began_ms = now_ms();
        for (int i = 0; i < some; i++) {
            struct member *member = events[i].data.ptr;
            bool had_answer = member->answered;
            ssize_t length = member_read(member);
            answered += !had_answer && member->answered;
            total += length > 0 ? (uint64_t)length : 0;
            bool last = memcmp(member->tail, "0\r\n\r\n", TAIL_BYTES) == 0;
            if (length >= 0 && !last)
                continue;
            clean += last;
            left--;
            member_leave(member, false);
        }
        if (!ready && answered == count) {
            ready = true;
            say("ready");
        }
    }
    printf("read %llu %lld %zu\n", (unsigned long long)total, (long long)(now_ms() - began_ms), clean);
    return 0;
}

static int64_t some_life(int64_t life_ms) {
    return now_ms() + 1 + random() % (2 * life_ms);
}

static int crowd_churn(size_t count, int64_t duration_ms, int64_t life_ms) {
    uint64_t came = 0, refused = 0;
    int64_t until_ms = now_ms() + duration_ms;
    for (size_t i = 0; i < count; i++) {
        member_join(&members[i]);
        members[i].leaves_ms = some_life(life_ms);
    }
    say("ready");
    while (now_ms() < until_ms) {
        struct epoll_event events[256];
        int some = crowd_wait(events, 256, 5);
        for (int i = 0; i < some; i++) {
            struct member *member = events[i].data.ptr;
            if (member_read(member) < 0)
                member->leaves_ms = 0;
        }
        int64_t now = now_ms();
        for (size_t i = 0; i < count; i++) {
            if (members[i].leaves_ms > now)
                continue;
            came += members[i].answered;
            refused += !members[i].answered && members[i].leaves_ms == 0;
            member_leave(&members[i], random() % 2);
            member_join(&members[i]);
            members[i].leaves_ms = some_life(life_ms);
        }
    }
    for (size_t i = 0; i < count; i++)
        member_leave(&members[i], random() % 2);
    printf("churned %llu %llu\n", (unsigned long long)came, (unsigned long long)refused);
    return 0;
}

int main(int argc, char **argv) {
    bool churns = argc == 7 && strcmp(argv[1], "churn") == 0;
    size_t count = argc >= 5 ? (size_t)atoi(argv[4]) : 0;
    if ((!churns && (argc != 5 || strcmp(argv[1], "read") != 0)) || count == 0 || count > COUNT_MAX) {
        fprintf(stderr,
                "usage: crowd read PORT PATH COUNT | crowd churn PORT PATH COUNT DURATION_MS LIFE_MS\n");
        return 2;
    }
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    address.sin_port = htons((uint16_t)atoi(argv[2]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    snprintf(request, sizeof request,
             "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n", argv[3]);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        fail("epoll_create1");
    return churns ? crowd_churn(count, atoll(argv[5]), atoll(argv[6])) : crowd_read(count);
}
