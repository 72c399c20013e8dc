/* How much memory there is.
 *
 * The kernel says in two files where the limits are. /proc/self/cgroup has the path of the process's group
 * within the hierarchy; /proc/self/mountinfo has where (a part of) that hierarchy is mounted:
 *
 *     4:memory:/docker/c1/job                                              version 1
 *     0::/docker/c1/job                                                    version 2
 *     35 32 0:30 /docker/c1 /sys/fs/cgroup rw ... - cgroup2 cgroup rw      /docker/c1 and below is mounted
 *
 * So the group is /sys/fs/cgroup/job here. A limit of a group above it counts as well, up to where the mount
 * begins. Groups above that cannot be seen from within a container.
 */
#include "base/machine_memory.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One hierarchy of control groups that limits memory. */
struct hierarchy {
    int version;
    char group[PATH_MAX]; /* the path of our group; "" if we are in none */
    char root[PATH_MAX];  /* the group that is mounted */
    char mount[PATH_MAX]; /* where; "" if nowhere */
};

static FILE *open_below(const char *root, const char *path) {
    char full[2 * PATH_MAX];
    int length = snprintf(full, sizeof(full), "%s%s", root, path);
    return length > 0 && (size_t)length < sizeof(full) ? fopen(full, "re") : NULL;
}

/* Calls `visit` with each line of a file, without its end. A file that cannot be read has none. */
static void each_line(const char *root, const char *path, void (*visit)(void *context, char *line),
                      void *context) {
    FILE *file = open_below(root, path);
    char *line = NULL;
    size_t size = 0;
    if (file == NULL)
        return;
    while (getline(&line, &size, file) >= 0) {
        line[strcspn(line, "\n")] = '\0';
        visit(context, line);
    }
    free(line);
    fclose(file);
}

/* ---- the machine --------------------------------------------------------------------------------- */

static void read_total(void *context, char *line) {
    static const char name[] = "MemTotal:";
    uint64_t *bytes = context;
    if (strncmp(line, name, strlen(name)) == 0)
        *bytes = (uint64_t)strtoull(line + strlen(name), NULL, 10) * 1024; /* the kernel writes KiB */
}

static uint64_t installed_bytes(const char *root) {
    uint64_t bytes = 0;
    each_line(root, "/proc/meminfo", read_total, &bytes);
    if (bytes > 0)
        return bytes;
    long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    return pages > 0 && page_bytes > 0 ? (uint64_t)pages * (uint64_t)page_bytes : UINT64_MAX;
}

/* ---- where the limits are ------------------------------------------------------------------------ */

static bool list_has(const char *list, const char *word) {
    size_t length = strlen(word);
    for (; *list != '\0'; list += strspn(list, ",")) {
        size_t item = strcspn(list, ",");
        if (item == length && memcmp(list, word, length) == 0)
            return true;
        list += item;
    }
    return false;
}

/* A line of /proc/self/cgroup: NUMBER:CONTROLLERS:PATH. */
static void read_group(void *context, char *line) {
    struct hierarchy *hierarchy = context;
    char *controllers = strchr(line, ':');
    char *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
    if (path == NULL)
        return;
    *controllers++ = '\0';
    *path++ = '\0';
    bool is_it = hierarchy->version == 2 ? strcmp(line, "0") == 0 && controllers[0] == '\0'
                                         : list_has(controllers, "memory");
    if (is_it && strlen(path) < PATH_MAX)
        snprintf(hierarchy->group, PATH_MAX, "%s", path);
}

static bool is_octal(char byte) {
    return byte >= '0' && byte <= '7';
}

/* Copies a path of mountinfo, where a space is \040. */
static void copy_unescaped(char out[PATH_MAX], const char *path) {
    size_t length = 0;
    while (*path != '\0' && length + 1 < PATH_MAX) {
        bool escaped = path[0] == '\\' && is_octal(path[1]) && is_octal(path[2]) && is_octal(path[3]);
        out[length++] =
            escaped ? (char)((path[1] - '0') * 64 + (path[2] - '0') * 8 + (path[3] - '0')) : path[0];
        path += escaped ? 4 : 1;
    }
    out[length] = '\0';
}

/* A line of /proc/self/mountinfo: ID PARENT DEVICE ROOT MOUNT OPTIONS [OPTIONAL...] - TYPE SOURCE OPTIONS. */
static void read_mount(void *context, char *line) {
    struct hierarchy *hierarchy = context;
    char *words[64], *rest = NULL;
    size_t count = 0, dash = 0;
    for (char *word = strtok_r(line, " ", &rest); word != NULL && count < 64;
         word = strtok_r(NULL, " ", &rest)) {
        if (dash == 0 && count >= 6 && strcmp(word, "-") == 0)
            dash = count;
        words[count++] = word;
    }
    if (dash == 0 || count < dash + 4 || hierarchy->mount[0] != '\0')
        return;
    bool is_it = hierarchy->version == 2
                     ? strcmp(words[dash + 1], "cgroup2") == 0
                     : strcmp(words[dash + 1], "cgroup") == 0 && list_has(words[dash + 3], "memory");
    if (!is_it)
        return;
    copy_unescaped(hierarchy->root, words[3]);
    copy_unescaped(hierarchy->mount, words[4]);
}

/* The path of our group below the mount, "" if the mount is our group, or does not show it. */
static const char *path_below_mount(const struct hierarchy *hierarchy) {
    size_t length = strcmp(hierarchy->root, "/") == 0 ? 0 : strlen(hierarchy->root);
    const char *rest = hierarchy->group + length;
    bool is_below =
        strncmp(hierarchy->group, hierarchy->root, length) == 0 && (*rest == '/' || *rest == '\0');
    return is_below && strstr(rest, "/..") == NULL && strcmp(rest, "/") != 0 ? rest : "";
}

/* ---- the limits ---------------------------------------------------------------------------------- */

/* The number in a file; UINT64_MAX: there is none, or "max". */
static uint64_t read_limit(const char *root, const char *directory, const char *name) {
    char path[2 * PATH_MAX], text[32] = "", *end;
    int length = snprintf(path, sizeof(path), "%s/%s", directory, name);
    FILE *file = length > 0 && (size_t)length < sizeof(path) ? open_below(root, path) : NULL;
    if (file == NULL)
        return UINT64_MAX;
    bool has_text = fgets(text, sizeof(text), file) != NULL;
    fclose(file);
    errno = 0;
    unsigned long long limit = strtoull(text, &end, 10);
    return has_text && end != text && errno == 0 ? (uint64_t)limit : UINT64_MAX;
}

static uint64_t least_of(uint64_t one, uint64_t other) {
    return one < other ? one : other;
}

static uint64_t limit_of_group(const struct hierarchy *hierarchy, const char *root, const char *directory) {
    if (hierarchy->version == 1)
        return read_limit(root, directory, "memory.limit_in_bytes");
    return least_of(read_limit(root, directory, "memory.max"), read_limit(root, directory, "memory.high"));
}

/* The smallest limit of our group and those above it. */
static uint64_t limit_of(struct hierarchy *hierarchy, const char *root) {
    uint64_t bytes = UINT64_MAX;
    each_line(root, "/proc/self/cgroup", read_group, hierarchy);
    each_line(root, "/proc/self/mountinfo", read_mount, hierarchy);
    if (hierarchy->group[0] == '\0' || hierarchy->mount[0] == '\0')
        return bytes;
    char directory[2 * PATH_MAX];
    size_t mount_length = strlen(hierarchy->mount);
    snprintf(directory, sizeof(directory), "%s%s", hierarchy->mount, path_below_mount(hierarchy));
    for (;;) {
        bytes = least_of(bytes, limit_of_group(hierarchy, root, directory));
        char *slash = strrchr(directory, '/');
        if (slash == NULL || (size_t)(slash - directory) < mount_length)
            return bytes;
        *slash = '\0';
    }
}

uint64_t machine_memory_bytes(const char *root) {
    uint64_t bytes = installed_bytes(root);
    struct hierarchy *hierarchy = malloc(sizeof(*hierarchy));
    if (hierarchy == NULL)
        return bytes;
    for (int version = 1; version <= 2; version++) {
        *hierarchy = (struct hierarchy){.version = version};
        bytes = least_of(bytes, limit_of(hierarchy, root));
    }
    free(hierarchy);
    return bytes;
}
