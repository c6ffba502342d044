/* The call that SHORT_CALL names is short, once, at the SHORT_WHEN-th time: it moves one byte, really. A `close` says
   that it failed, with SHORT_ERROR, and has closed all the same, as the system's does. Everything else passes through.
   Programs that `pipe` starts do not inherit this. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static _Atomic long seen;

static size_t cut(const char *call, size_t count) {
    const char *wanted = getenv("SHORT_CALL"), *when = getenv("SHORT_WHEN");
    if (!wanted || !when || count < 2 || strcmp(wanted, call) != 0) return count;
    return atomic_fetch_add(&seen, 1) + 1 == atol(when) ? 1 : count;
}

#define NEXT(type, name) ((type)dlsym(RTLD_NEXT, name))

ssize_t read(int fd, void *bytes, size_t count) {
    return NEXT(ssize_t (*)(int, void *, size_t), "read")(fd, bytes, cut("read", count));
}

ssize_t write(int fd, const void *bytes, size_t count) {
    return NEXT(ssize_t (*)(int, const void *, size_t), "write")(fd, bytes, cut("write", count));
}

ssize_t pread64(int fd, void *bytes, size_t count, off64_t at) {
    return NEXT(ssize_t (*)(int, void *, size_t, off64_t), "pread64")(fd, bytes, cut("pread64", count), at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    return NEXT(ssize_t (*)(int, const void *, size_t, off64_t), "pwrite64")(fd, bytes, cut("pwrite64", count), at);
}

int close(int fd) {
    int closed = NEXT(int (*)(int), "close")(fd);
    const char *error = getenv("SHORT_ERROR");
    if (!error || cut("close", 2) == 2) return closed;
    errno = atoi(error);
    return -1;
}

ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t count, unsigned flags) {
    return NEXT(ssize_t (*)(int, off64_t *, int, off64_t *, size_t, unsigned), "copy_file_range")(
        in, from, out, to, cut("copy_file_range", count), flags);
}
