// Structured logging to standard error, one line an event:
//
//     2026-01-02T03:04:05.678Z INFO  node: pod started pod="default/web" took="12ms"
//
// Entry points log once; libraries return errors. Level by CORACLE_LOG (debug, info, warn, error).
// Any thread. The caller quotes values that may hold spaces; control characters are escaped and
// long lines are cut, so one event is always one line. Never pass a credential.
#pragma once
#include "base/str.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
extern enum log_level log_threshold;

void log_init(void);
// Pairs of (const char *key, const char *printf-format-value) are written by the caller in fmt:
//     log_info("node", "pod started pod=%.*s took=%dms", STR_ARG(name), ms);
void log_write(enum log_level level, const char *room, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
#define log_at(level, room, ...)                                                                   \
    do {                                                                                           \
        if ((level) >= log_threshold)                                                              \
            log_write((level), (room), __VA_ARGS__);                                               \
    } while (0)
#define log_debug(room, ...) log_at(LOG_DEBUG, room, __VA_ARGS__)
#define log_info(room, ...)  log_at(LOG_INFO, room, __VA_ARGS__)
#define log_warn(room, ...)  log_at(LOG_WARN, room, __VA_ARGS__)
#define log_error(room, ...) log_at(LOG_ERROR, room, __VA_ARGS__)
