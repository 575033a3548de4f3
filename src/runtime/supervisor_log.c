// The CRI log file: one line per line of output,
//
//     2016-10-06T00:17:09.669794202Z stdout F the text
//
// with P instead of F where the line goes on in the next entry (kubelet's
// pkg/kubelet/kuberuntime/logs). A line is held back until its end is known, at most
// SUPERVISOR_LOG_LINE bytes; so small writes of a program that builds its line piece by piece
// become one entry. What a container can make us keep is thus 16 kB a stream, and only while a line
// is unfinished.
//
// Rotation as kubelet's container log manager does it: at SUPERVISOR_LOG_SIZE the file is renamed
// to <name>.<time> and a new one begun; SUPERVISOR_LOG_FILES are kept, the current one included.
// They are not compressed: that is CPU time at the moment when a container floods its log.
//
// A log that cannot be written (disk full) loses its lines, never its container: waiting would stop
// the container, and keeping would fill our memory.
#include "base/buf.h"
#include "base/log.h"
#include "base/time.h"
#include "runtime/supervisor_internal.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

// Formatted entries of one read; larger than any entry, written out when the next might not fit.
static char page[64 * 1024];
static size_t page_n;

void log_open(struct container *c)
{
    struct stat st;
    if (!*c->launch.log || c->log_fd >= 0)
        return;
    c->log_fd = open(c->launch.log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (c->log_fd < 0) {
        log_warn("supervisor", "cannot write log %s: %s", c->launch.log, strerror(errno));
        return;
    }
    c->log_size = fstat(c->log_fd, &st) == 0 ? st.st_size : 0;
}

void log_close(struct container *c)
{
    if (c->log_fd >= 0)
        close(c->log_fd);
    c->log_fd = -1;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

// Removes the oldest "<name>.<time>" beside the log until SUPERVISOR_LOG_FILES - 1 are left.
static void prune(const char *log)
{
    char dir[PATH_MAX], path[PATH_MAX];
    const char *base = strrchr(log, '/');
    struct dirent **names;

    path_format(dir, sizeof dir, "%.*s", (int)(base - log), log);
    int n = scandir(dir, &names, NULL, by_name);
    if (n < 0)
        return;
    struct str prefix = str_of(base + 1);
    int rotated = 0;
    for (int i = n - 1; i >= 0; i--) { // the newest first: the names sort by time
        struct str name = str_of(names[i]->d_name);
        if (name.n > prefix.n + 1 && str_starts(name, prefix) && name.p[prefix.n] == '.' &&
            ++rotated >= SUPERVISOR_LOG_FILES) {
            path_format(path, sizeof path, "%s/%s", dir, names[i]->d_name);
            unlink(path);
        }
        free(names[i]);
    }
    free(names);
}

static void rotate(struct container *c)
{
    char to[PATH_MAX], stamp[32];
    time_t now = time(NULL);
    struct tm tm;

    gmtime_r(&now, &tm);
    strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", &tm);
    path_format(to, sizeof to, "%s.%s", c->launch.log, stamp);
    for (int again = 1; access(to, F_OK) == 0 && again < 1000; again++) // two in one second
        path_format(to, sizeof to, "%s.%s.%03d", c->launch.log, stamp, again);
    if (rename(c->launch.log, to) < 0)
        return;
    log_close(c);
    log_open(c);
    prune(c->launch.log);
}

static void page_write(struct container *c)
{
    size_t at = 0;
    while (c->log_fd >= 0 && at < page_n) {
        ssize_t n = write(c->log_fd, page + at, page_n - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        at += (size_t)n;
    }
    c->log_size += (int64_t)at;
    page_n = 0;
    if (c->log_size >= SUPERVISOR_LOG_SIZE)
        rotate(c);
}

static struct str stamp_now(void)
{
    static char text[40];
    struct buf b = {.p = text, .cap = sizeof text, .max = sizeof text - 1};
    time_write_rfc3339(&b, now_real(), 9);
    return buf_view(&b);
}

static void put(const char *p, size_t n)
{
    if (n)
        memcpy(page + page_n, p, n);
    page_n += n;
}

// One entry of at most SUPERVISOR_LOG_LINE bytes of text, in two parts: what was held and what
// came.
static void entry(struct container *c, struct stream *s, struct str stamp, bool full, const char *p,
                  size_t n)
{
    if (page_n + SUPERVISOR_LOG_LINE + 64 > sizeof page)
        page_write(c);
    put(stamp.p, stamp.n);
    put(" ", 1);
    put(s->name, 6);
    put(full ? " F " : " P ", 3);
    put(s->line, s->n);
    put(p, n);
    put("\n", 1);
    free(s->line);
    s->line = NULL;
    s->n = s->cap = 0;
}

void log_output(struct container *c, struct stream *s, const char *p, size_t n)
{
    struct str stamp = stamp_now();
    while (n) {
        size_t room = SUPERVISOR_LOG_LINE - s->n;
        const char *end = memchr(p, '\n', n < room + 1 ? n : room + 1);
        if (end) {
            entry(c, s, stamp, true, p, (size_t)(end - p));
            n -= (size_t)(end - p) + 1;
            p = end + 1;
        } else if (n > room) {
            entry(c, s, stamp, false, p, room);
            n -= room;
            p += room;
        } else {
            if (s->n + n > s->cap) {
                s->cap = (uint32_t)(s->n + n < 240 ? 240 : s->n + n);
                s->line = mem_realloc(s->line, s->cap);
            }
            memcpy(s->line + s->n, p, n);
            s->n += (uint32_t)n;
            n = 0;
        }
    }
    if (page_n)
        page_write(c);
}

// A last line without its newline is marked partial, as containerd and conmon do.
void log_flush(struct container *c, struct stream *s)
{
    if (!s->n)
        return;
    entry(c, s, stamp_now(), false, "", 0);
    page_write(c);
}
