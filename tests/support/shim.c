/* A disk that fails: loaded into flowrun with LD_PRELOAD, it makes chosen calls of the C library about one folder fail.
 *
 *   FAULT_UNDER    the folder; calls about anything else are not counted
 *   FAULT_CALLS    "change": what changes a file or folder; "read": what opens or reads one
 *   FAULT_AT       the first call that fails, from 1; 0: none, only count
 *   FAULT_ONWARDS  "1": all after it fail too
 *   FAULT_ERRNO    with which error
 *   FAULT_LOG      a file that gets a line a counted call: NUMBER CALL PATH, and "!" where it failed
 *
 * A write that fails has written the first half, as a write to a full disk may have. What does not go through the C library is not
 * seen: system calls of plugins are made directly.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { CHANGE, READ };

static atomic_long counted;
static const char *under;
static enum kind wanted;
static long at;
static int onwards, error_number, log_file = -1;

__attribute__((constructor)) static void set_up(void) {
    const char *calls = getenv("FAULT_CALLS"), *first = getenv("FAULT_AT"), *more = getenv("FAULT_ONWARDS");
    const char *number = getenv("FAULT_ERRNO"), *log = getenv("FAULT_LOG");
    wanted = calls && !strcmp(calls, "read") ? READ : CHANGE;
    at = first ? atol(first) : 0;
    onwards = more && !strcmp(more, "1");
    error_number = number ? atoi(number) : EIO;
    if (log) log_file = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    under = getenv("FAULT_UNDER");
}

static int below(const char *path) {
    size_t length = strlen(under);
    return !strncmp(path, under, length) && (path[length] == '/' || path[length] == 0);
}

/* What a call is about, absolute; of a file that is open, where it lies. */
static void place(int folder, const char *path, char *whole) {
    char link[64];
    ssize_t length = 0;
    if (!path || path[0] != '/') {
        if (folder == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
        else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        length = syscall(SYS_readlinkat, AT_FDCWD, link, whole, PATH_MAX - 1);
        if (length < 0) length = 0;
    }
    whole[length] = 0;
    if (path) snprintf(whole + length, PATH_MAX - length, "%s%s", length ? "/" : "", path);
}

/* Counts a call, and says whether it is to fail. */
static int fails(enum kind kind, const char *call, int folder, const char *path) {
    char whole[PATH_MAX], line[PATH_MAX + 64];
    int before = errno;
    if (!under || kind != wanted) return 0;
    place(folder, path, whole);
    errno = before;
    if (!below(whole)) return 0;
    long number = atomic_fetch_add(&counted, 1) + 1;
    int fail = at && (number == at || (onwards && number > at));
    if (log_file >= 0) {
        int length = snprintf(line, sizeof line, "%ld %s %s%s\n", number, call, whole, fail ? " !" : "");
        syscall(SYS_write, log_file, line, length);
    }
    if (fail) errno = error_number;
    return fail;
}

#define REAL(name) ({ static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name); real; })

static enum kind of_flags(int flags) {
    return (flags & (O_CREAT | O_TRUNC)) || (flags & O_ACCMODE) != O_RDONLY ? CHANGE : READ;
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = va_arg(rest, mode_t); \
        va_end(rest); \
        return fails(of_flags(flags), "open", AT_FDCWD, path) ? -1 : REAL(name)(path, flags, mode); \
    }
#define OPENAT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = va_arg(rest, mode_t); \
        va_end(rest); \
        return fails(of_flags(flags), "open", folder, path) ? -1 : REAL(name)(folder, path, flags, mode); \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int file, const void *bytes, size_t size) {
    if (!fails(CHANGE, "write", file, NULL)) return REAL(write)(file, bytes, size);
    int error = errno;
    if (size > 1) (void)!REAL(write)(file, bytes, size / 2);
    errno = error;
    return -1;
}

#define CALL(kind, result, name, folder, path, parameters, ...) \
    result name parameters { return fails(kind, #name, folder, path) ? -1 : REAL(name)(__VA_ARGS__); }

CALL(CHANGE, ssize_t, writev, file, NULL, (int file, const struct iovec *parts, int count), file, parts, count)
CALL(CHANGE, ssize_t, pwrite, file, NULL, (int file, const void *bytes, size_t size, off_t start), file, bytes, size, start)
CALL(CHANGE, ssize_t, pwrite64, file, NULL, (int file, const void *bytes, size_t size, off64_t start), file, bytes, size, start)
CALL(CHANGE, ssize_t, copy_file_range, to, NULL, (int from, off64_t *start, int to, off64_t *place_, size_t size, unsigned flags),
     from, start, to, place_, size, flags)
CALL(CHANGE, ssize_t, sendfile, to, NULL, (int to, int from, off_t *start, size_t size), to, from, start, size)
CALL(CHANGE, ssize_t, sendfile64, to, NULL, (int to, int from, off64_t *start, size_t size), to, from, start, size)
CALL(CHANGE, int, rename, AT_FDCWD, to, (const char *from, const char *to), from, to)
CALL(CHANGE, int, renameat, at_, to, (int of, const char *from, int at_, const char *to), of, from, at_, to)
CALL(CHANGE, int, renameat2, at_, to, (int of, const char *from, int at_, const char *to, unsigned flags), of, from, at_, to, flags)
CALL(CHANGE, int, link, AT_FDCWD, to, (const char *from, const char *to), from, to)
CALL(CHANGE, int, linkat, at_, to, (int of, const char *from, int at_, const char *to, int flags), of, from, at_, to, flags)
CALL(CHANGE, int, symlink, AT_FDCWD, to, (const char *text, const char *to), text, to)
CALL(CHANGE, int, symlinkat, at_, to, (const char *text, int at_, const char *to), text, at_, to)
CALL(CHANGE, int, mkdir, AT_FDCWD, path, (const char *path, mode_t mode), path, mode)
CALL(CHANGE, int, mkdirat, folder, path, (int folder, const char *path, mode_t mode), folder, path, mode)
CALL(CHANGE, int, unlink, AT_FDCWD, path, (const char *path), path)
CALL(CHANGE, int, unlinkat, folder, path, (int folder, const char *path, int flags), folder, path, flags)
CALL(CHANGE, int, rmdir, AT_FDCWD, path, (const char *path), path)
CALL(CHANGE, int, fsync, file, NULL, (int file), file)
CALL(CHANGE, int, fdatasync, file, NULL, (int file), file)
CALL(CHANGE, int, syncfs, file, NULL, (int file), file)
CALL(CHANGE, int, ftruncate, file, NULL, (int file, off_t size), file, size)
CALL(CHANGE, int, ftruncate64, file, NULL, (int file, off64_t size), file, size)
CALL(CHANGE, int, chmod, AT_FDCWD, path, (const char *path, mode_t mode), path, mode)
CALL(CHANGE, int, fchmod, file, NULL, (int file, mode_t mode), file, mode)
CALL(CHANGE, int, utimensat, folder, path, (int folder, const char *path, const struct timespec times[2], int flags), folder, path, times, flags)
CALL(CHANGE, int, futimens, file, NULL, (int file, const struct timespec times[2]), file, times)
CALL(READ, ssize_t, read, file, NULL, (int file, void *bytes, size_t size), file, bytes, size)
CALL(READ, ssize_t, readv, file, NULL, (int file, const struct iovec *parts, int count), file, parts, count)
CALL(READ, ssize_t, pread, file, NULL, (int file, void *bytes, size_t size, off_t start), file, bytes, size, start)
CALL(READ, ssize_t, pread64, file, NULL, (int file, void *bytes, size_t size, off64_t start), file, bytes, size, start)
CALL(READ, ssize_t, readlink, AT_FDCWD, path, (const char *path, char *text, size_t size), path, text, size)
