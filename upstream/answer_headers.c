/* The headers of an answer: see answer_headers.h. */
#include "upstream/answer_headers.h"

#include "upstream/client_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* More than libcurl lets an answer have. */
#define LINES_BYTES_MAX ((size_t)1024 * 1024)

static const char blank[] = " \t\r\n";

void answer_headers_init(struct answer_headers *headers) {
    buffer_init_counted(&headers->lines, LINES_BYTES_MAX, MEMORY_STREAMS);
}

void answer_headers_finish(struct answer_headers *headers) {
    buffer_finish(&headers->lines);
}

/* A folded line goes on with the one before it, whose end becomes blank. */
static void unfold_lines(struct buffer *lines) {
    for (size_t i = lines->length; i > 0 && strchr("\r\n", lines->bytes[i - 1]) != NULL; i--)
        lines->bytes[i - 1] = ' ';
}

bool answer_headers_add(struct answer_headers *headers, const char *line, size_t length) {
    struct buffer *lines = &headers->lines;
    static const char version[] = "HTTP/";
    if (length >= strlen(version) && memcmp(line, version, strlen(version)) == 0)
        buffer_clear(lines);
    if (length > 0 && (*line == ' ' || *line == '\t') && lines->length > 0)
        unfold_lines(lines);
    return buffer_append(lines, line, length);
}

/* Cuts the line that begins at `at` up in place and returns where the next one begins. Its name is empty if
 * it is no header. */
static char *cut_line(char *at, struct upstream_header *ret_header) {
    char *next = at + strcspn(at, "\n");
    if (*next == '\n')
        *next++ = '\0';
    size_t length = strlen(at);
    while (length > 0 && strchr(blank, at[length - 1]) != NULL)
        at[--length] = '\0';
    char *colon = strchr(at, ':');
    *ret_header = (struct upstream_header){.name = "", .value = ""};
    if (colon != NULL) {
        *colon = '\0';
        *ret_header = (struct upstream_header){.name = at, .value = colon + 1 + strspn(colon + 1, blank)};
    }
    return next;
}

static size_t cut_up(struct buffer *lines, struct upstream_header *list) {
    size_t count = 0;
    for (char *at = lines->bytes; at != NULL && *at != '\0';) {
        at = cut_line(at, &list[count]);
        count += *list[count].name != '\0';
    }
    return count;
}

bool header_is_of_the_hop(const char *name) {
    static const char *const names[] = {"Connection",
                                        "Keep-Alive",
                                        "Proxy-Authenticate",
                                        "Proxy-Authorization",
                                        "Proxy-Connection",
                                        "TE",
                                        "Trailer",
                                        "Transfer-Encoding",
                                        "Upgrade",
                                        "Content-Length"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcasecmp(name, names[i]) == 0)
            return true;
    }
    return false;
}

/* Each header is looked for in all of this. */
#define CONNECTION_BYTES_MAX 4096

/* The values of all Connection headers, with commas between them. False: too long. */
static bool join_connection(const struct upstream_header *list, size_t count, struct buffer *joined) {
    for (size_t i = 0; i < count; i++) {
        assert(list[i].name != NULL); /* cut_up() has set `count` of them */
        if (strcasecmp(list[i].name, "Connection") == 0 && !buffer_printf(joined, "%s,", list[i].value))
            return false;
    }
    return true;
}

static size_t keep_end_to_end(struct upstream_header *list, size_t count, const char *connection) {
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (!header_is_of_the_hop(list[i].name) && !header_list_has(connection, list[i].name))
            list[kept++] = list[i];
    }
    return kept;
}

bool answer_headers_take(struct answer_headers *headers, struct upstream_header **ret_list,
                         size_t *ret_count) {
    size_t lines = 1;
    for (size_t i = 0; i < headers->lines.length; i++)
        lines += headers->lines.bytes[i] == '\n';
    struct upstream_header *list = calloc(lines, sizeof *list);
    if (list == NULL)
        return false;
    size_t count = cut_up(&headers->lines, list);
    char storage[CONNECTION_BYTES_MAX];
    struct buffer connection;
    buffer_init_fixed(&connection, storage, sizeof storage);
    storage[0] = '\0';
    if (!join_connection(list, count, &connection)) {
        free(list);
        return false;
    }
    *ret_count = keep_end_to_end(list, count, storage);
    *ret_list = list;
    return true;
}
