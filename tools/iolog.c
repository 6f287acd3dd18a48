/* Record every file operation of a process under one folder, in order and with its bytes.
 *
 * An LD_PRELOAD library for the fault tests: it logs what the process asked of the disk (writes, syncs,
 * truncations, directory entries) and what the process answered (writes to the mark descriptor), so that
 * iolog.py can rebuild the folder as a loss of power at any point would have left it. It can also fail or
 * kill at the Nth matching call. Linux, 64 bits, glibc or musl.
 *
 * Environment:
 *   HUB_IOLOG_ROOT     real path of the folder to watch; without it the library does nothing
 *   HUB_IOLOG_FILE     the log, appended to, outside the folder
 *   HUB_IOLOG_MARK_FD  descriptor whose writes are acknowledgements; logged before they are made
 *   HUB_IOLOG_FAIL     a fault, as iolog_fail() takes it
 *
 * Log: records one after another, little endian, each written by one append:
 *
 *   at  size  field
 *    0     4  magic 0x474C4F49 ("IOLG")
 *    4     1  operation (enum operation)
 *    5     1  flags (enum flag)
 *    6     2  P, bytes of the path
 *    8     2  Q, bytes of the second path (rename and link: the new name)
 *   10     2  zero
 *   12     4  process
 *   16     4  thread
 *   20     4  errno of an injected fault
 *   24     8  inode; of a FAULT the kind of call (enum call)
 *   32     8  offset of a write, new length of a truncation, sequence number of a sync
 *   40     8  N, bytes of data
 *   48     P  path relative to the folder; empty is the folder itself
 *          Q  second path; of a FAULT the name of the function that was called
 *          N  data: bytes written, or the acknowledgement
 *
 * Order: operations are made and logged under one lock, so the log's order is the order in which they
 * took effect. A sync is logged twice, without the lock in between: what was logged before its SYNC_BEGIN
 * is durable from its SYNC_END on. The descriptor's path comes from /proc/self/fd at each call, so copies
 * of descriptors and descriptors that survive a fork need no bookkeeping. Calls inside libc (stdio) and
 * stores into a writable map go past this library; iolog.py compares its replay with the folder at the end
 * and so finds out.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

_Static_assert(sizeof(void *) == 8 && sizeof(off_t) == 8, "iolog: expected a 64-bit platform");

enum operation {
    OPEN = 1, WRITE, SYNC_BEGIN, SYNC_END, TRUNCATE, RENAME, UNLINK, MKDIR, LINK, MARK, MAP, FAULT,
};

enum flag {
    CREATED = 1,   /* OPEN: the name is new */
    EMPTIED = 2,   /* OPEN: O_TRUNC took an existing file's bytes */
    DURABLE = 4,   /* WRITE: the descriptor is O_SYNC or O_DSYNC */
};

enum call { CALL_OPEN, CALL_WRITE, CALL_SYNC, CALL_TRUNCATE, CALL_RENAME, CALL_UNLINK, CALL_MKDIR, CALL_LINK, CALL_ANY };
static const char *const call_names[] = {"open", "write", "sync", "truncate", "rename", "unlink", "mkdir", "link", "any"};

enum effect { PASS, FAIL_BEFORE, FAIL_AFTER, SHORT_WRITE, KILL_BEFORE, KILL_AFTER, INTERRUPT, TORN_WRITE, LIST };

struct head {
    uint32_t magic;
    uint8_t operation, flags;
    uint16_t path_bytes, path2_bytes, zero;
    uint32_t process, thread;
    int32_t error;
    uint64_t inode;
    int64_t offset;
    uint64_t data_bytes;
};
_Static_assert(sizeof(struct head) == 48, "iolog: the head is 48 bytes");

/* Set once by the constructor, before other threads exist. */
static char root[PATH_MAX];
static size_t root_bytes;
static int log_fd = -1;
static int mark_fd = -1;

/* Guarded by `lock`: the fault in force and the order of operations. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    int call;
    char part[256];
    long first, count, seen;
    int error;
    enum effect effect;
} fault = {.call = -1};

static atomic_long syncs;

/* The function of libc's that the process called, for the log of a FAULT. */
static _Thread_local const char *called = "";

static _Noreturn void give_up(const char *what)
{
    static const char name[] = "iolog: ";
    (void)!syscall(SYS_write, 2, name, sizeof name - 1);
    (void)!syscall(SYS_write, 2, what, strlen(what));
    (void)!syscall(SYS_write, 2, "\n", 1);
    abort();
}

/* ---- paths ---- */

/* The part of `path` below the watched folder, or NULL when it lies elsewhere. */
static const char *below_root(const char *path)
{
    if (log_fd < 0 || strncmp(path, root, root_bytes) != 0)
        return NULL;
    if (path[root_bytes] == '\0')
        return path + root_bytes;
    return path[root_bytes] == '/' ? path + root_bytes + 1 : NULL;
}

static const char *path_of_fd(int fd, char *buffer)
{
    char name[32];
    if (log_fd < 0 || fd < 0 || fd == log_fd)
        return NULL;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    long n = syscall(SYS_readlinkat, AT_FDCWD, name, buffer, PATH_MAX - 1);
    if (n <= 0)
        return NULL;
    buffer[n] = '\0';
    return below_root(buffer);
}

/* Absolute path without resolving the last component, which need not exist. */
static const char *path_of_name(int dir, const char *name, char *buffer)
{
    if (log_fd < 0)
        return NULL;
    char folder[PATH_MAX];
    const char *slash = strrchr(name, '/');
    const char *last = slash ? slash + 1 : name;
    if (slash == NULL)
        snprintf(folder, sizeof folder, ".");
    else if (slash == name)
        snprintf(folder, sizeof folder, "/");
    else
        snprintf(folder, sizeof folder, "%.*s", (int)(slash - name), name);
    int saved = errno;
    int fd = (int)syscall(SYS_openat, dir, folder, O_PATH | O_CLOEXEC | O_DIRECTORY, 0);
    errno = saved;
    if (fd < 0)
        return NULL;
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long n = syscall(SYS_readlinkat, AT_FDCWD, link, buffer, PATH_MAX - 1);
    syscall(SYS_close, fd);
    errno = saved;
    if (n <= 0 || (size_t)n + strlen(last) + 2 > PATH_MAX)
        return NULL;
    buffer[n] = '\0';
    if (*last != '\0' && strcmp(last, ".") != 0) {
        if (n > 1)
            buffer[n++] = '/';
        strcpy(buffer + n, last);
    }
    return below_root(buffer);
}

static uint64_t inode_of(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 ? (uint64_t)st.st_ino : 0;
}

/* ---- the log ---- */

static void append(struct head *h, const char *path, const char *path2, const struct iovec *data, int count)
{
    enum { PIECES_MAX = 1000 };
    struct iovec out[PIECES_MAX + 3];
    uint64_t left = h->data_bytes, total = sizeof *h;
    int n = 0;
    h->magic = 0x474C4F49;
    h->path_bytes = (uint16_t)strlen(path);
    h->path2_bytes = path2 ? (uint16_t)strlen(path2) : 0;
    h->process = (uint32_t)getpid();
    h->thread = (uint32_t)syscall(SYS_gettid);
    out[n++] = (struct iovec){h, sizeof *h};
    out[n++] = (struct iovec){(void *)path, h->path_bytes};
    if (path2)
        out[n++] = (struct iovec){(void *)path2, h->path2_bytes};
    if (count > PIECES_MAX)
        give_up("a write of more pieces than it can log");
    for (int i = 0; i < count && left > 0; i++) {
        size_t take = data[i].iov_len < left ? data[i].iov_len : left;
        out[n++] = (struct iovec){data[i].iov_base, take};
        left -= take;
    }
    for (int i = 1; i < n; i++)
        total += out[i].iov_len;
    int saved = errno;
    if (syscall(SYS_writev, log_fd, out, n) != (long)total)
        give_up("cannot append to its log");
    errno = saved;
}

/* Decide about the fault in force; called with the lock held. */
static enum effect check_fault(enum call call, const char *path)
{
    if (fault.call < 0 || (fault.call != CALL_ANY && fault.call != (int)call))
        return PASS;
    if (fault.part[0] != '\0' && strstr(path, fault.part) == NULL)
        return PASS;
    fault.seen++;
    if (fault.seen < fault.first || fault.seen - fault.first >= fault.count)
        return PASS;
    struct head h = {.operation = FAULT, .flags = (uint8_t)fault.effect, .error = fault.error, .offset = fault.seen};
    h.inode = call;
    append(&h, path, called, NULL, 0);
    if (fault.effect == LIST)
        return PASS;
    if (fault.effect == KILL_BEFORE) {
        syscall(SYS_kill, getpid(), SIGKILL);
        pause();
    }
    if (fault.effect == INTERRUPT) /* Python acts on it when this call has returned to it. */
        syscall(SYS_kill, getpid(), SIGINT);
    return fault.effect;
}

/* Turn the result of a call that took effect into the fault's; called with the lock held. */
static long finish(enum effect effect, long result)
{
    if (effect == KILL_AFTER) {
        syscall(SYS_kill, getpid(), SIGKILL);
        pause();
    }
    if (effect == FAIL_AFTER && result >= 0) {
        errno = fault.error;
        return -1;
    }
    return result;
}

static int refused(enum effect effect)
{
    if (effect != FAIL_BEFORE)
        return 0;
    errno = fault.error;
    return 1;
}

/* Put a fault in force: "CALL PATH NTH WHAT [before|after] [COUNT|all]", or "" for none; 0, or -1 if not understood.
 *
 * CALL is a name of call_names, PATH a part of the path or *, NTH counts matching calls from 1 and from now,
 * WHAT is ENOSPC, EIO, EDQUOT, SHORT (only half is written), KILL, TORN (killed when half is written), INT (Ctrl-C;
 * the call itself is made), or LIST (the call is made and only logged). TORN lets pass what is no write. */
int iolog_fail(const char *spec);
int iolog_fail(const char *spec)
{
    char call[16] = "", part[256] = "", what[16] = "", when[16] = "before", count[24] = "1";
    long first = 0;
    pthread_mutex_lock(&lock);
    fault.call = -1;
    int result = 0;
    if (spec && *spec) {
        result = -1;
        if (sscanf(spec, "%15s %255s %ld %15s %15s %23s", call, part, &first, what, when, count) >= 4 && first > 0) {
            int c = 0, after = strcmp(when, "after") == 0;
            while (c <= CALL_ANY && strcmp(call_names[c], call) != 0)
                c++;
            fault.effect = after ? FAIL_AFTER : FAIL_BEFORE;
            fault.error = strcmp(what, "EIO") == 0 ? EIO : strcmp(what, "EDQUOT") == 0 ? EDQUOT : ENOSPC;
            if (strcmp(what, "KILL") == 0)
                fault.effect = after ? KILL_AFTER : KILL_BEFORE;
            else if (strcmp(what, "SHORT") == 0)
                fault.effect = SHORT_WRITE;
            else if (strcmp(what, "TORN") == 0)
                fault.effect = TORN_WRITE;
            else if (strcmp(what, "LIST") == 0)
                fault.effect = LIST;
            else if (strcmp(what, "INT") == 0)
                fault.effect = INTERRUPT;
            else if (strcmp(what, "ENOSPC") != 0 && fault.error == ENOSPC)
                c = CALL_ANY + 1;
            snprintf(fault.part, sizeof fault.part, "%s", strcmp(part, "*") == 0 ? "" : part);
            fault.first = first;
            fault.count = strcmp(count, "all") == 0 ? LONG_MAX : atol(count);
            fault.seen = 0;
            if (c <= CALL_ANY) {
                fault.call = c;
                result = 0;
            }
        }
    }
    pthread_mutex_unlock(&lock);
    return result;
}

/* How many calls matched since the fault was put in force. */
long iolog_seen(void);
long iolog_seen(void)
{
    return fault.seen;
}

static void forget_lock(void)
{
    lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}

__attribute__((constructor)) static void start(void)
{
    const char *folder = getenv("HUB_IOLOG_ROOT"), *file = getenv("HUB_IOLOG_FILE"), *mark = getenv("HUB_IOLOG_MARK_FD");
    if (folder == NULL || file == NULL)
        return;
    if (realpath(folder, root) == NULL)
        give_up("HUB_IOLOG_ROOT: expected a folder");
    root_bytes = strlen(root);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        give_up("HUB_IOLOG_FILE: cannot open it");
    log_fd = fcntl(fd, F_DUPFD_CLOEXEC, 700);
    if (log_fd < 0)
        log_fd = fd;
    else
        syscall(SYS_close, fd);
    mark_fd = mark ? atoi(mark) : -1;
    pthread_atfork(NULL, NULL, forget_lock);
    if (iolog_fail(getenv("HUB_IOLOG_FAIL")) != 0)
        give_up("HUB_IOLOG_FAIL: expected \"CALL PATH NTH WHAT [before|after] [COUNT|all]\"");
}

/* ---- writes ---- */

static long do_write(int fd, const struct iovec *data, int count, off_t offset)
{
    if (offset >= 0)
        return syscall(SYS_pwritev, fd, data, count, offset, 0L);
    return syscall(SYS_writev, fd, data, count);
}

static size_t sum(const struct iovec *data, int count)
{
    size_t total = 0;
    for (int i = 0; i < count; i++)
        total += data[i].iov_len;
    return total;
}

/* Write at `offset`, or at the descriptor's own position when it is negative. */
static long logged_write(int fd, const struct iovec *data, int count, off_t offset)
{
    char buffer[PATH_MAX];
    if (log_fd >= 0 && fd == mark_fd) {
        struct head h = {.operation = MARK, .data_bytes = sum(data, count)};
        pthread_mutex_lock(&lock);
        append(&h, "", NULL, data, count);
        pthread_mutex_unlock(&lock);
        return do_write(fd, data, count, offset);
    }
    int saved = errno;
    const char *path = path_of_fd(fd, buffer);
    errno = saved;
    if (path == NULL)
        return do_write(fd, data, count, offset);
    pthread_mutex_lock(&lock);
    enum effect effect = check_fault(CALL_WRITE, path);
    long n = -1;
    if (effect == SHORT_WRITE || effect == TORN_WRITE) {
        /* The half that fits, as a disk that fills up in the middle of a write does. */
        size_t half = sum(data, count) / 2;
        struct iovec first = {data[0].iov_base, data[0].iov_len < half ? data[0].iov_len : half};
        if (first.iov_len == 0)
            errno = ENOSPC;
        else
            n = do_write(fd, &first, 1, offset);
    } else if (!refused(effect)) {
        n = do_write(fd, data, count, offset);
    }
    if (n > 0) {
        int mode = fcntl(fd, F_GETFL);
        struct head h = {.operation = WRITE, .inode = inode_of(fd), .data_bytes = (uint64_t)n};
        h.offset = offset >= 0 ? offset : (int64_t)lseek(fd, 0, SEEK_CUR) - n;
        h.flags = (mode & O_DSYNC) != 0 ? DURABLE : 0; /* O_SYNC contains O_DSYNC */
        append(&h, path, NULL, data, count);
    }
    n = finish(effect == TORN_WRITE ? KILL_AFTER : effect, n);
    pthread_mutex_unlock(&lock);
    return n;
}

ssize_t write(int fd, const void *data, size_t bytes)
{
    called = "write";
    struct iovec one = {(void *)data, bytes};
    return logged_write(fd, &one, 1, -1);
}

ssize_t writev(int fd, const struct iovec *data, int count)
{
    called = "writev";
    return logged_write(fd, data, count, -1);
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset)
{
    called = "pwrite";
    struct iovec one = {(void *)data, bytes};
    return logged_write(fd, &one, 1, offset);
}

ssize_t pwritev(int fd, const struct iovec *data, int count, off_t offset)
{
    called = "pwritev";
    return logged_write(fd, data, count, offset);
}

ssize_t pwritev2(int fd, const struct iovec *data, int count, off_t offset, int flags)
{
    called = "pwritev2";
    char buffer[PATH_MAX];
    if (flags != 0 && path_of_fd(fd, buffer) != NULL)
        give_up("pwritev2 with flags is not recorded");
    if (flags != 0)
        return syscall(SYS_pwritev2, fd, data, count, offset, 0L, flags);
    return logged_write(fd, data, count, offset);
}

ssize_t pwrite64(int, const void *, size_t, off_t) __attribute__((alias("pwrite")));
ssize_t pwritev64(int, const struct iovec *, int, off_t) __attribute__((alias("pwritev")));
ssize_t pwritev64v2(int, const struct iovec *, int, off_t, int) __attribute__((alias("pwritev2")));

/* ---- syncs ---- */

static int logged_sync(int fd, long number)
{
    char buffer[PATH_MAX];
    const char *path = path_of_fd(fd, buffer);
    if (path == NULL)
        return (int)syscall(number, fd);
    struct head h = {.operation = SYNC_BEGIN, .inode = inode_of(fd), .offset = atomic_fetch_add(&syncs, 1)};
    pthread_mutex_lock(&lock);
    enum effect effect = check_fault(CALL_SYNC, path);
    append(&h, path, NULL, NULL, 0);
    pthread_mutex_unlock(&lock);
    if (refused(effect))
        return -1;
    int result = (int)syscall(number, fd);
    pthread_mutex_lock(&lock);
    if (result == 0) {
        h.operation = SYNC_END;
        append(&h, path, NULL, NULL, 0);
    }
    result = (int)finish(effect, result);
    pthread_mutex_unlock(&lock);
    return result;
}

int fsync(int fd)
{
    called = "fsync";
    return logged_sync(fd, SYS_fsync);
}

int fdatasync(int fd)
{
    called = "fdatasync";
    return logged_sync(fd, SYS_fdatasync);
}

void *mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    char buffer[PATH_MAX];
    const char *path = NULL;
    if (fd >= 0 && (protection & PROT_WRITE) != 0 && (flags & MAP_SHARED) != 0)
        path = path_of_fd(fd, buffer);
    if (path != NULL) {
        struct head h = {.operation = MAP, .inode = inode_of(fd), .offset = offset};
        pthread_mutex_lock(&lock);
        append(&h, path, NULL, NULL, 0);
        pthread_mutex_unlock(&lock);
    }
    return (void *)syscall(SYS_mmap, address, bytes, protection, flags, fd, offset);
}

void *mmap64(void *, size_t, int, int, int, off_t) __attribute__((alias("mmap")));

/* ---- lengths ---- */

static int logged_truncate(int fd, off_t length)
{
    char buffer[PATH_MAX];
    const char *path = path_of_fd(fd, buffer);
    if (path == NULL)
        return (int)syscall(SYS_ftruncate, fd, length);
    pthread_mutex_lock(&lock);
    enum effect effect = check_fault(CALL_TRUNCATE, path);
    long result = refused(effect) ? -1 : syscall(SYS_ftruncate, fd, length);
    if (result == 0) {
        struct head h = {.operation = TRUNCATE, .inode = inode_of(fd), .offset = length};
        append(&h, path, NULL, NULL, 0);
    }
    result = finish(effect, result);
    pthread_mutex_unlock(&lock);
    return (int)result;
}

int ftruncate(int fd, off_t length)
{
    called = "ftruncate";
    return logged_truncate(fd, length);
}

int truncate(const char *name, off_t length)
{
    called = "truncate";
    int fd = (int)syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    int result = logged_truncate(fd, length), saved = errno;
    syscall(SYS_close, fd);
    errno = saved;
    return result;
}

int fallocate(int fd, int mode, off_t offset, off_t bytes)
{
    called = "fallocate";
    char buffer[PATH_MAX];
    struct stat st;
    const char *path = path_of_fd(fd, buffer);
    if (path == NULL)
        return (int)syscall(SYS_fallocate, fd, mode, offset, bytes);
    if ((mode & ~1) != 0) /* anything but FALLOC_FL_KEEP_SIZE */
        give_up("fallocate with this mode is not recorded");
    pthread_mutex_lock(&lock);
    enum effect effect = check_fault(CALL_TRUNCATE, path);
    int longer = mode == 0 && fstat(fd, &st) == 0 && st.st_size < offset + bytes;
    long result = refused(effect) ? -1 : syscall(SYS_fallocate, fd, mode, offset, bytes);
    if (result == 0 && longer) {
        struct head h = {.operation = TRUNCATE, .inode = inode_of(fd), .offset = offset + bytes};
        append(&h, path, NULL, NULL, 0);
    }
    result = finish(effect, result);
    pthread_mutex_unlock(&lock);
    return (int)result;
}

int posix_fallocate(int fd, off_t offset, off_t bytes)
{
    int saved = errno;
    int result = fallocate(fd, 0, offset, bytes) == 0 ? 0 : errno;
    errno = saved;
    return result;
}

int ftruncate64(int, off_t) __attribute__((alias("ftruncate")));
int truncate64(const char *, off_t) __attribute__((alias("truncate")));
int fallocate64(int, int, off_t, off_t) __attribute__((alias("fallocate")));
int posix_fallocate64(int, off_t, off_t) __attribute__((alias("posix_fallocate")));

/* ---- names ---- */

static int logged_open(int dir, const char *name, int flags, mode_t mode)
{
    char buffer[PATH_MAX];
    struct stat st;
    int changes = (flags & (O_CREAT | O_TRUNC)) != 0 && (flags & O_TMPFILE) != O_TMPFILE;
    const char *path = changes ? path_of_name(dir, name, buffer) : NULL;
    if (path == NULL)
        return (int)syscall(SYS_openat, dir, name, flags, mode);
    pthread_mutex_lock(&lock);
    enum effect effect = check_fault(CALL_OPEN, path);
    int saved = errno;
    int exists = fstatat(dir, name, &st, 0) == 0;
    errno = saved;
    long fd = refused(effect) ? -1 : syscall(SYS_openat, dir, name, flags, mode);
    int emptied = exists && (flags & O_TRUNC) != 0 && st.st_size > 0;
    if (fd >= 0 && (!exists || emptied)) {
        struct head h = {.operation = OPEN, .inode = inode_of((int)fd)};
        h.flags = !exists ? CREATED : EMPTIED;
        append(&h, path, NULL, NULL, 0);
    }
    if (effect == FAIL_AFTER && fd >= 0)
        syscall(SYS_close, fd);
    fd = finish(effect, fd);
    pthread_mutex_unlock(&lock);
    return (int)fd;
}

static mode_t mode_argument(int flags, va_list rest)
{
    return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(rest, mode_t) : 0;
}

int open(const char *name, int flags, ...)
{
    called = "open";
    va_list rest;
    va_start(rest, flags);
    mode_t mode = mode_argument(flags, rest);
    va_end(rest);
    return logged_open(AT_FDCWD, name, flags, mode);
}

int openat(int dir, const char *name, int flags, ...)
{
    called = "openat";
    va_list rest;
    va_start(rest, flags);
    mode_t mode = mode_argument(flags, rest);
    va_end(rest);
    return logged_open(dir, name, flags, mode);
}

int creat(const char *name, mode_t mode)
{
    called = "creat";
    return logged_open(AT_FDCWD, name, O_WRONLY | O_CREAT | O_TRUNC, mode);
}

#ifdef __GLIBC__
/* What open() with two arguments becomes under _FORTIFY_SOURCE. */
int __open_2(const char *name, int flags);
int __open64_2(const char *name, int flags);

int __open_2(const char *name, int flags)
{
    return logged_open(AT_FDCWD, name, flags, 0);
}

int __open64_2(const char *name, int flags)
{
    return logged_open(AT_FDCWD, name, flags, 0);
}
#endif

int open64(const char *, int, ...) __attribute__((alias("open")));
int openat64(int, const char *, int, ...) __attribute__((alias("openat")));
int creat64(const char *, mode_t) __attribute__((alias("creat")));

/* A change of names: one system call with up to two directories; the inode is logged for what comes to exist. */
static int logged_names(enum operation operation, enum call call, int dir, const char *name, int dir2, const char *name2, long extra)
{
    char buffer[PATH_MAX], buffer2[PATH_MAX];
    struct stat st;
    const char *path = path_of_name(dir, name, buffer);
    const char *path2 = name2 ? path_of_name(dir2, name2, buffer2) : NULL;
    int ours = path != NULL || path2 != NULL;
    if (ours && name2 && (path == NULL || path2 == NULL))
        give_up("a name moved into or out of the folder is not recorded");
    enum effect effect = PASS;
    long result = -1;
    if (ours) {
        pthread_mutex_lock(&lock);
        effect = check_fault(call, name2 ? path2 : path);
    }
    if (!refused(effect)) {
        if (operation == RENAME)
            result = syscall(SYS_renameat2, dir, name, dir2, name2, extra);
        else if (operation == LINK)
            result = syscall(SYS_linkat, dir, name, dir2, name2, extra);
        else if (operation == UNLINK)
            result = syscall(SYS_unlinkat, dir, name, extra);
        else
            result = syscall(SYS_mkdirat, dir, name, extra);
    }
    if (!ours)
        return (int)result;
    if (result == 0) {
        struct head h = {.operation = operation};
        int saved = errno;
        if (operation != UNLINK && fstatat(name2 ? dir2 : dir, name2 ? name2 : name, &st, AT_SYMLINK_NOFOLLOW) == 0)
            h.inode = st.st_ino;
        errno = saved;
        append(&h, path, path2, NULL, 0);
    }
    result = finish(effect, result);
    pthread_mutex_unlock(&lock);
    return (int)result;
}

int rename(const char *name, const char *name2)
{
    called = "rename";
    return logged_names(RENAME, CALL_RENAME, AT_FDCWD, name, AT_FDCWD, name2, 0);
}

int renameat(int dir, const char *name, int dir2, const char *name2)
{
    called = "renameat";
    return logged_names(RENAME, CALL_RENAME, dir, name, dir2, name2, 0);
}

int renameat2(int dir, const char *name, int dir2, const char *name2, unsigned flags)
{
    called = "renameat2";
    return logged_names(RENAME, CALL_RENAME, dir, name, dir2, name2, flags);
}

int link(const char *name, const char *name2)
{
    called = "link";
    return logged_names(LINK, CALL_LINK, AT_FDCWD, name, AT_FDCWD, name2, 0);
}

int linkat(int dir, const char *name, int dir2, const char *name2, int flags)
{
    called = "linkat";
    return logged_names(LINK, CALL_LINK, dir, name, dir2, name2, flags);
}

int unlink(const char *name)
{
    called = "unlink";
    return logged_names(UNLINK, CALL_UNLINK, AT_FDCWD, name, AT_FDCWD, NULL, 0);
}

int unlinkat(int dir, const char *name, int flags)
{
    called = "unlinkat";
    return logged_names(UNLINK, CALL_UNLINK, dir, name, AT_FDCWD, NULL, flags);
}

int rmdir(const char *name)
{
    called = "rmdir";
    return logged_names(UNLINK, CALL_UNLINK, AT_FDCWD, name, AT_FDCWD, NULL, AT_REMOVEDIR);
}

int mkdir(const char *name, mode_t mode)
{
    called = "mkdir";
    return logged_names(MKDIR, CALL_MKDIR, AT_FDCWD, name, AT_FDCWD, NULL, mode);
}

int mkdirat(int dir, const char *name, mode_t mode)
{
    called = "mkdirat";
    return logged_names(MKDIR, CALL_MKDIR, dir, name, AT_FDCWD, NULL, mode);
}
