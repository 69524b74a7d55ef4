/*
 * Stands between the server and its C library (LD_PRELOAD) and makes the files of a store misbehave as files may.
 *
 * INTERPOSER_FLAGS names a folder. A file there asks for something and says in its text which paths are meant, by
 * a part of them; what was done is said by another file:
 *
 *   (nothing)        "loaded": the library is in the process
 *   short-writes     no write takes more than 1000 bytes, and every seventh is interrupted; "done-short-writes"
 *   hang-fdatasync   no fdatasync ends as long as the file is there; "done-hang-fdatasync" once one hangs
 *   fail-fdatasync   the next fdatasync fails with EIO after its work, and takes the file away
 *   fail-close       the next close the same
 *
 * Paths of the folder of flags itself are never meant.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define WRITE_BYTES_MAX 1000
#define INTERRUPTED_EVERY 7
#define HANG_MICROSECONDS 1000
/* Nothing hangs for ever, should the test end without taking its flag away. */
#define HANG_TURNS_MAX 30000

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off64_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static int (*real_fdatasync)(int);
static int (*real_close)(int);
static atomic_uint writes;

/* The path of a file in the folder of flags. False without such a folder. */
static int flag_path(const char *name, char *path) {
    const char *folder = getenv("INTERPOSER_FLAGS");
    return folder != NULL && snprintf(path, PATH_MAX, "%s/%s", folder, name) < PATH_MAX;
}

/* Whether a flag is set and means the file. */
static int is_meant(const char *name, int fd) {
    char flag[PATH_MAX], link[64], file[PATH_MAX], part[256];
    int before = errno, meant = 0, opened = flag_path(name, flag) ? open(flag, O_RDONLY | O_CLOEXEC) : -1;
    if (opened >= 0) {
        ssize_t length = read(opened, part, sizeof part - 1);
        real_close(opened);
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t end = readlink(link, file, sizeof file - 1);
        if (length > 0 && end > 0) {
            part[length] = file[end] = 0;
            meant = strstr(file, part) != NULL;
        }
    }
    errno = before;
    return meant;
}

static void note(const char *name) {
    char path[PATH_MAX];
    int before = errno, made = flag_path(name, path) ? open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (made >= 0)
        real_close(made);
    errno = before;
}

/* Takes a flag away. True for the one who did. */
static int take(const char *name, int fd) {
    char path[PATH_MAX];
    return is_meant(name, fd) && flag_path(name, path) && unlink(path) == 0;
}

/* How much of so many bytes is written; 0 to be interrupted. */
static size_t allowed(int fd, size_t count) {
    if (count < 2 || !is_meant("short-writes", fd))
        return count;
    if (atomic_fetch_add(&writes, 1) % INTERRUPTED_EVERY == 0)
        return 0;
    if (count <= WRITE_BYTES_MAX)
        return count;
    note("done-short-writes");
    return WRITE_BYTES_MAX;
}

static int interrupted(void) {
    errno = EINTR;
    return -1;
}

__attribute__((constructor)) static void load(void) {
    real_write = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    real_pwrite = (ssize_t(*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
    real_writev = (ssize_t(*)(int, const struct iovec *, int))dlsym(RTLD_NEXT, "writev");
    real_fdatasync = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    real_close = (int (*)(int))dlsym(RTLD_NEXT, "close");
    note("loaded");
}

ssize_t write(int fd, const void *bytes, size_t count) {
    size_t some = allowed(fd, count);
    return some == 0 && count > 0 ? interrupted() : real_write(fd, bytes, some);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    size_t some = allowed(fd, count);
    return some == 0 && count > 0 ? interrupted() : real_pwrite(fd, bytes, some, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) { return pwrite64(fd, bytes, count, at); }

ssize_t writev(int fd, const struct iovec *parts, int count) {
    struct iovec first;
    if (count < 1 || !is_meant("short-writes", fd))
        return real_writev(fd, parts, count);
    first = parts[0];
    first.iov_len = allowed(fd, first.iov_len);
    return first.iov_len == 0 && parts[0].iov_len > 0 ? interrupted() : real_writev(fd, &first, 1);
}

int fdatasync(int fd) {
    for (int turn = 0; turn < HANG_TURNS_MAX && is_meant("hang-fdatasync", fd); turn++) {
        note("done-hang-fdatasync");
        usleep(HANG_MICROSECONDS);
    }
    int result = real_fdatasync(fd);
    if (take("fail-fdatasync", fd)) {
        errno = EIO;
        return -1;
    }
    return result;
}

int close(int fd) {
    int fails = take("fail-close", fd);
    int result = real_close(fd);
    if (fails) {
        errno = EIO;
        return -1;
    }
    return result;
}
