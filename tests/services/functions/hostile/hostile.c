/* Listens as a function of the format `http-stream` does, and breaks the contract as the payload says. One connection at a
   time, requests whose body is one chunk. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int link_fd;
static char request[1 << 16], body[1 << 16], id[64], previous[64];

static void put(const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t done = write(link_fd, bytes, length);
        if (done <= 0) return;
        bytes += done, length -= done;
    }
}

static void say(const char *text) { put(text, strlen(text)); }

static void answer(const char *more, const char *text) {
    char head[256];
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\n%scontent-length: %zu\r\n\r\n", more, strlen(text));
    say(head), say(text);
}

/* A gibibyte, or until the other side has had enough. */
static void endless(int fd, const char *piece) {
    static char block[1 << 16];
    size_t length = strlen(piece), filled = 0;
    for (; filled + length <= sizeof block; filled += length) memcpy(block + filled, piece, length);
    for (size_t sent = 0; sent < 1 << 30; sent += filled)
        if (write(fd, block, filled) < 0) return;
}

/* How much of a file can be written, in KiB, at most a gibibyte. */
static long fill(const char *path) {
    static char block[1 << 16];
    FILE *file = fopen(path, "w");
    if (!file) return -1;
    setvbuf(file, NULL, _IONBF, 0);
    for (long sent = 0; sent < 1 << 20; sent += 64)
        if (fwrite(block, sizeof block, 1, file) != 1) break;
    fclose(file);
    struct stat about;
    return stat(path, &about) ? -1 : about.st_size >> 10;
}

/* Folders within one another beside the socket, 50 000 or as many as it may make. */
static int nest(void) {
    int here = open("/tmp/iofs", O_RDONLY | O_DIRECTORY), level = 0;
    for (; level < 50000 && !mkdirat(here, "d", 0700); level++) {
        int next = openat(here, "d", O_RDONLY | O_DIRECTORY);
        close(here), here = next;
    }
    close(here);
    return level;
}

static void misbehave(void) {
    char text[512];
    if (!strcmp(body, "twice")) {
        answer("", "one"), answer("", "two");
    } else if (!strcmp(body, "late")) {
        answer("", "one"), usleep(50000), answer("", "unasked");
    } else if (!strcmp(body, "stale")) {
        snprintf(text, sizeof text, "fn-call-id: %s\r\n", previous);
        answer(text, "old");
    } else if (!strcmp(body, "drip")) {
        for (const char *c = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ntoo slow!"; *c; c++)
            put(c, 1), usleep(200000);
    } else if (!strcmp(body, "header")) {
        say("HTTP/1.1 200 OK\r\nx: "), endless(link_fd, "x");
    } else if (!strcmp(body, "headers")) {
        say("HTTP/1.1 200 OK\r\n"), endless(link_fd, "x: y\r\n");
    } else if (!strcmp(body, "result")) {
        say("HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n"), endless(link_fd, "x");
    } else if (!strcmp(body, "log")) {
        endless(2, "shout\n"), answer("", "shouted");
    } else if (!strcmp(body, "midway")) {
        say("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"), exit(3);
    } else if (!strcmp(body, "nonsense")) {
        put("\0\1\2 what?\r\n\r\n", 13);
    } else if (!strcmp(body, "hang")) {
        for (;;) pause();
    } else if (!strcmp(body, "deaf")) {
        signal(SIGTERM, SIG_IGN), signal(SIGHUP, SIG_IGN), signal(SIGINT, SIG_IGN);
        for (;;) pause();
    } else if (!strcmp(body, "swarm")) {
        int count = 0;
        for (pid_t child; (child = fork()) >= 0; count++)
            if (child == 0) for (;;) pause();
        snprintf(text, sizeof text, "%s", count < 256 ? "bounded" : "unbounded");
        answer("", text);
    } else if (!strcmp(body, "deep")) {
        snprintf(text, sizeof text, "%d", nest()), answer("", text);
    } else if (!strcmp(body, "bomb")) {
        for (;;) fork();
    } else if (!strcmp(body, "hog")) {
        for (;;) memset(malloc(1 << 20), 1, 1 << 20);
    } else if (!strcmp(body, "fill")) {
        snprintf(text, sizeof text, "/tmp %ld, shared %ld, / %ld, /dev %ld, /dev/shm %ld", fill("/tmp/x"),
                 fill("/tmp/iofs/x"), fill("/x"), fill("/dev/x"), fill("/dev/shm/x"));
        answer("", text);
    } else if (!strcmp(body, "link")) {
        unlink("/tmp/iofs/lsnr.sock"), symlink("/var/run/docker.sock", "/tmp/iofs/lsnr.sock");
        answer("connection: close\r\n", "linked"), close(link_fd);
    } else {
        answer("", body);
    }
}

/* False: the worker has closed the connection. */
static int next(void) {
    size_t length = 0;
    while (length < 7 || memcmp(request + length - 7, "\r\n0\r\n\r\n", 7)) {
        ssize_t more = read(link_fd, request + length, sizeof request - 1 - length);
        if (more <= 0) return 0;
        length += more;
    }
    request[length] = 0;
    memcpy(previous, id, sizeof id);
    char *found = strstr(request, "fn-call-id: ");
    if (found) sscanf(found, "fn-call-id: %63s", id);
    char *begin = strstr(request, "\r\n\r\n");
    begin = strstr(begin + 4, "\r\n") + 2;
    *strstr(begin, "\r\n") = 0;
    strcpy(body, begin);
    return 1;
}

int main(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, getenv("FN_LISTENER") + strlen("unix:"), sizeof address.sun_path - 1);
    signal(SIGPIPE, SIG_IGN);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 8)) return 1;
    chmod(address.sun_path, 0666);
    for (;;) {
        link_fd = accept(listener, NULL, NULL);
        while (next()) misbehave();
        close(link_fd);
    }
}
