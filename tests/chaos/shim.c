/* Stands between a server and the kernel (LD_PRELOAD): records what the server does to the files of
 * its database, and which events it acknowledges, in one order; or lets chosen calls fail.
 *
 * CHAOS_FOLDER  the database's folder; files elsewhere are left alone
 * CHAOS_LOG     where to write the records (struct record, then its bytes)
 * CHAOS_PLAN    a file with a struct plan, which the test changes while the server runs
 * CHAOS_SHARED  an empty file, for what the server's processes know in common
 *
 * The real calls are made by syscall(): nothing has to be looked up, so nothing can be too early.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* The same numbers stand in disk_shim.py. */
enum { CREATED = 1, WRITTEN, TRUNCATED, REMOVED, SYNC_BEGUN, SYNCED, SYNC_FAILED, ACKNOWLEDGED };
enum { ON_PWRITE = 1, ON_SYNC = 2, ON_TRUNCATE = 4, ON_OPEN = 8 };
enum { DATABASE = 1, WAL = 2, JOURNAL = 4, FOLDER = 8, OTHER = 16 };

struct record {
    uint32_t kind;
    uint32_t file;
    uint64_t number; /* an offset, a size, or which sync */
    uint64_t bytes;
};

struct plan {
    int32_t countdown; /* of matching calls; the one that takes it to 0 fails; 0 is no fault */
    uint32_t calls;
    uint32_t files;
    uint32_t error;
    uint32_t is_sticky; /* fail from then on, until the test sets the countdown to 0 */
    uint32_t failed;
};

/* Of all processes of the server: whoever holds the lock does the next thing in the one order. */
struct shared {
    volatile int is_locked;
    uint32_t files_known, last_number;
    uint64_t syncs;
    struct { char name[64]; uint32_t number; } known[64];
};

#define MAX_FILES 65536
static struct shared alone, *shared = &alone;
static const char *folder;
static size_t folder_length;
static int record_log = -1;
static volatile struct plan *plan;
static uint32_t kind_of[MAX_FILES];   /* by descriptor: one of DATABASE … OTHER; 0: not ours */
static uint32_t number_of[MAX_FILES]; /* by descriptor: which file, as the records name it */

static void lock(void) {
    while (__atomic_exchange_n(&shared->is_locked, 1, __ATOMIC_ACQUIRE)) sched_yield();
}

static void unlock(void) { __atomic_store_n(&shared->is_locked, 0, __ATOMIC_RELEASE); }

static void *map_file(const char *variable, size_t size) {
    const char *path = getenv(variable);
    if (path == NULL) return NULL;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
    void *found = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (found == MAP_FAILED) abort();
    syscall(SYS_close, fd);
    return found;
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CHAOS_FOLDER");
    if (path == NULL) return;
    folder_length = strlen(path);
    folder = strdup(path);
    if ((path = getenv("CHAOS_LOG")) != NULL)
        record_log = (int)syscall(SYS_openat, AT_FDCWD, path,
                                  O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    plan = map_file("CHAOS_PLAN", sizeof *plan);
    struct shared *common = map_file("CHAOS_SHARED", sizeof *common);
    if (common != NULL) shared = common;
}

/* With the lock held. */
static void note(uint32_t kind, uint32_t file, uint64_t number, const void *bytes, size_t size) {
    if (record_log < 0) return;
    struct record head = {kind, file, number, size};
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)bytes, size}};
    if (syscall(SYS_writev, record_log, parts, 2) != (long)(sizeof head + size)) abort();
}

/* With the lock held: whether this call is the one to fail, with errno set. */
static int fails(uint32_t call, uint32_t file) {
    if (plan == NULL || plan->countdown == 0) return 0;
    if (!(plan->calls & call) || !(plan->files & file)) return 0;
    if (plan->countdown > 0 && --plan->countdown > 0) return 0;
    if (plan->is_sticky) plan->countdown = -1;
    plan->failed++;
    errno = (int)plan->error;
    return 1;
}

/* The name inside the folder, "" for the folder itself, or NULL. */
static const char *name_of(const char *path) {
    if (folder == NULL || path == NULL || strncmp(path, folder, folder_length) != 0) return NULL;
    if (path[folder_length] == '\0') return path + folder_length;
    return path[folder_length] == '/' ? path + folder_length + 1 : NULL;
}

static uint32_t kind_of_name(const char *name) {
    size_t length = strlen(name);
    if (length == 0) return FOLDER;
    if (length > 3 && strcmp(name + length - 3, ".db") == 0) return DATABASE;
    if (length > 4 && strcmp(name + length - 4, "-wal") == 0) return WAL;
    if (length > 8 && strcmp(name + length - 8, "-journal") == 0) return JOURNAL;
    return OTHER; /* the index of the WAL, the owner's lock: a power cut takes them */
}

static int is_recorded(int fd) {
    return fd >= 0 && fd < MAX_FILES && kind_of[fd] != 0 && kind_of[fd] != OTHER;
}

static void remember(int fd, const char *name, int is_new) {
    if (fd < 0 || fd >= MAX_FILES) return;
    uint32_t place = 0;
    while (place < shared->files_known && strcmp(shared->known[place].name, name) != 0) place++;
    if (place == shared->files_known) {
        if (shared->files_known == 64 || strlen(name) >= sizeof shared->known[0].name) abort();
        strcpy(shared->known[shared->files_known++].name, name);
        is_new = 1;
    }
    kind_of[fd] = kind_of_name(name);
    if (is_new) {
        shared->known[place].number = ++shared->last_number;
        if (kind_of[fd] != OTHER) note(CREATED, shared->last_number, 0, name, strlen(name));
    }
    number_of[fd] = shared->known[place].number;
}

static int open_file(int at, const char *path, int flags, mode_t mode) {
    const char *name = name_of(path);
    if (name == NULL) return (int)syscall(SYS_openat, at, path, flags, mode);
    lock();
    int fd = -1;
    if (!fails(ON_OPEN, kind_of_name(name))) {
        int is_new = syscall(SYS_faccessat, at, path, F_OK) != 0;
        fd = (int)syscall(SYS_openat, at, path, flags, mode);
        if (fd >= 0) remember(fd, name, is_new);
    }
    unlock();
    return fd;
}

static mode_t mode_argument(int flags, va_list rest) {
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;
}

#define OPEN(name)                                     \
    int name(const char *path, int flags, ...) {       \
        va_list rest;                                  \
        va_start(rest, flags);                         \
        mode_t mode = mode_argument(flags, rest);      \
        va_end(rest);                                  \
        return open_file(AT_FDCWD, path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                     \
    int name(int at, const char *path, int flags, ...) { \
        va_list rest;                                    \
        va_start(rest, flags);                           \
        mode_t mode = mode_argument(flags, rest);        \
        va_end(rest);                                    \
        return open_file(at, path, flags, mode);         \
    }
OPENAT(openat)
OPENAT(openat64)

int close(int fd) {
    if (fd >= 0 && fd < MAX_FILES) kind_of[fd] = 0;
    return (int)syscall(SYS_close, fd);
}

int unlink(const char *path) {
    const char *name = name_of(path);
    lock();
    int result = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    if (result == 0 && name != NULL && kind_of_name(name) != OTHER)
        note(REMOVED, 0, 0, name, strlen(name));
    unlock();
    return result;
}

static ssize_t write_at(int fd, const void *bytes, size_t size, off_t offset) {
    if (fd < 0 || fd >= MAX_FILES || kind_of[fd] == 0)
        return syscall(SYS_pwrite64, fd, bytes, size, offset);
    lock();
    ssize_t result = -1;
    if (fails(ON_PWRITE, kind_of[fd])) {
        /* What fails may have been done in part. */
        int error = errno;
        syscall(SYS_pwrite64, fd, bytes, size / 1024 * 512, offset);
        errno = error;
    } else {
        result = syscall(SYS_pwrite64, fd, bytes, size, offset);
        if (result > 0 && is_recorded(fd))
            note(WRITTEN, number_of[fd], (uint64_t)offset, bytes, (size_t)result);
    }
    unlock();
    return result;
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset) {
    return write_at(fd, bytes, size, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t offset) {
    return write_at(fd, bytes, size, offset);
}

static int truncate_to(int fd, off_t size) {
    if (fd < 0 || fd >= MAX_FILES || kind_of[fd] == 0)
        return (int)syscall(SYS_ftruncate, fd, size);
    lock();
    int result = -1;
    if (!fails(ON_TRUNCATE, kind_of[fd])) {
        result = (int)syscall(SYS_ftruncate, fd, size);
        if (result == 0 && is_recorded(fd)) note(TRUNCATED, number_of[fd], (uint64_t)size, "", 0);
    }
    unlock();
    return result;
}

int ftruncate(int fd, off_t size) { return truncate_to(fd, size); }

int ftruncate64(int fd, off64_t size) { return truncate_to(fd, size); }

static int sync_file(long call, int fd) {
    if (!is_recorded(fd)) return (int)syscall(call, fd);
    lock();
    uint64_t sync = ++shared->syncs;
    note(SYNC_BEGUN, number_of[fd], sync, "", 0);
    int is_failing = fails(ON_SYNC, kind_of[fd]), error = errno;
    unlock();
    int result = is_failing ? -1 : (int)syscall(call, fd);
    if (!is_failing) error = errno;
    lock();
    note(result == 0 ? SYNCED : SYNC_FAILED, number_of[fd], sync, "", 0);
    unlock();
    errno = error;
    return result;
}

int fsync(int fd) { return sync_file(SYS_fsync, fd); }

int fdatasync(int fd) { return sync_file(SYS_fdatasync, fd); }

/* Note the events that these bytes acknowledge: before the kernel has them, so that no crash can
 * come between an answer that was sent and its record. */
static void look_for_answers(const char *bytes, size_t size) {
    static const char before[] = "{\"id\": \"evt_", after[] = "\", \"duplicate\": false}";
    const size_t id = 36, begun = sizeof before - 1 - 4;
    if (record_log < 0) return;
    const char *end = bytes + size;
    while ((bytes = memmem(bytes, (size_t)(end - bytes), before, sizeof before - 1)) != NULL) {
        const char *rest = bytes + begun + id;
        if (rest + sizeof after - 1 > end) return;
        if (memcmp(rest, after, sizeof after - 1) == 0) {
            lock();
            note(ACKNOWLEDGED, 0, 0, bytes + begun, id);
            unlock();
        }
        bytes = rest;
    }
}

ssize_t write(int fd, const void *bytes, size_t size) {
    look_for_answers(bytes, size);
    return syscall(SYS_write, fd, bytes, size);
}

ssize_t send(int fd, const void *bytes, size_t size, int flags) {
    look_for_answers(bytes, size);
    return syscall(SYS_sendto, fd, bytes, size, flags, NULL, 0);
}

static void look_in_parts(const struct iovec *parts, size_t count) {
    for (size_t each = 0; each < count; each++)
        look_for_answers(parts[each].iov_base, parts[each].iov_len);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    look_in_parts(parts, count > 0 ? (size_t)count : 0);
    return syscall(SYS_writev, fd, parts, count);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    look_in_parts(message->msg_iov, message->msg_iovlen);
    return syscall(SYS_sendmsg, fd, message, flags);
}
