// Logging: one event is one line is one write(2), so lines of several threads never mix and no lock
// is held. A line longer than LINE_MAX_BYTES is cut and says so; control characters are escaped.
#include "base/log.h"
#include "base/env.h"
#include "base/time.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 4096 };

static const char *const level_names[] = {
    [LOG_DEBUG] = "DEBUG",
    [LOG_INFO] = "INFO",
    [LOG_WARN] = "WARN",
    [LOG_ERROR] = "ERROR",
};

enum log_level log_threshold = LOG_INFO;

void log_init(void)
{
    struct str want = str_of(getenv("CORACLE_LOG"));
    for (int l = LOG_DEBUG; l <= LOG_ERROR; l++)
        if (str_ieq(want, str_of(level_names[l])))
            log_threshold = l;
}

// Appends text with control characters escaped, up to `end`; false where it did not all fit.
static bool add_escaped(char **at, const char *end, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (end - *at < 4)
            return false;
        if (c >= 0x20 && c != 0x7f)
            *(*at)++ = (char)c;
        else if (c == '\n' || c == '\t' || c == '\r')
            *(*at)++ = '\\', *(*at)++ = c == '\n' ? 'n' : c == '\t' ? 't' : 'r';
        else
            *at += snprintf(*at, 5, "\\x%02x", c);
    }
    return true;
}

void log_write(enum log_level level, const char *room, const char *fmt, ...)
{
    int saved = errno;
    char text[LINE_MAX_BYTES], line[LINE_MAX_BYTES];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);

    char stamp[40];
    struct buf when = {.p = stamp, .cap = sizeof stamp, .max = sizeof stamp - 1};
    time_write_rfc3339(&when, env_now(env_system()), 3); // 24 bytes: never grows
    char *at = line, *end = line + sizeof line - 8;      // room for the cut mark and the newline
    at += snprintf(at, 128, "%.*s %-5s %s: ", STR_ARG(buf_view(&when)), level_names[level], room);
    bool whole = add_escaped(&at, end, n < 0 ? fmt : text) && n < (int)sizeof text;
    at = mempcpy(at, whole ? "\n" : "...\n", whole ? 1 : 4);
    // Nothing sensible can be done when standard error is gone.
    if (write(STDERR_FILENO, line, (size_t)(at - line)) < 0)
        errno = 0;
    errno = saved;
}
