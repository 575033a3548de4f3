// Errors for people and clients. The table below is apimachinery's: reason name and HTTP code of
// each (meta/v1 types.go, StatusReason*). A message is always on the heap and always belongs to the
// struct err that points to it; formatting happens before the old message is freed, so an error may
// be rewritten in terms of itself.
#include "base/err.h"
#include "base/arena.h"
#include <errno.h>
#include <stdio.h>

static const struct {
    const char *name;
    int http;
} reasons[ERR_REASON_COUNT] = {
    [ERR_NONE] = {"", 200},
    [ERR_BAD_REQUEST] = {"BadRequest", 400},
    [ERR_UNAUTHORIZED] = {"Unauthorized", 401},
    [ERR_FORBIDDEN] = {"Forbidden", 403},
    [ERR_NOT_FOUND] = {"NotFound", 404},
    [ERR_METHOD_NOT_ALLOWED] = {"MethodNotAllowed", 405},
    [ERR_NOT_ACCEPTABLE] = {"NotAcceptable", 406},
    [ERR_ALREADY_EXISTS] = {"AlreadyExists", 409},
    [ERR_CONFLICT] = {"Conflict", 409},
    [ERR_GONE] = {"Gone", 410},
    [ERR_EXPIRED] = {"Expired", 410},
    [ERR_TOO_LARGE] = {"RequestEntityTooLarge", 413},
    [ERR_UNSUPPORTED_MEDIA] = {"UnsupportedMediaType", 415},
    [ERR_INVALID] = {"Invalid", 422},
    [ERR_TOO_MANY_REQUESTS] = {"TooManyRequests", 429},
    [ERR_INTERNAL] = {"InternalError", 500},
    [ERR_NOT_IMPLEMENTED] = {"NotImplemented", 501},
    [ERR_UNAVAILABLE] = {"ServiceUnavailable", 503},
    [ERR_TIMEOUT] = {"Timeout", 504},
    [ERR_STORAGE] = {"InsufficientStorage", 507},
};

static char *format(const char *fmt, va_list ap)
{
    char *text = NULL;
    return vasprintf(&text, fmt, ap) < 0 ? mem_cstr(STR("out of memory")) : text;
}

static void set(struct err *e, enum err_reason reason, char *message)
{
    free(e->message);
    e->message = message;
    e->reason = reason;
}

// Prefix of e's message: "prefix: message".
static char *prefixed(char *prefix, const char *message)
{
    char *text = NULL;
    if (asprintf(&text, "%s: %s", prefix, message) < 0)
        return prefix;
    free(prefix);
    return text;
}

int err_vset(struct err *e, enum err_reason reason, const char *fmt, va_list ap)
{
    BUG_ON(reason <= ERR_NONE || reason >= ERR_REASON_COUNT);
    if (e)
        set(e, reason, format(fmt, ap));
    return -reasons[reason].http;
}

int err_set(struct err *e, enum err_reason reason, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int code = err_vset(e, reason, fmt, ap);
    va_end(ap);
    return code;
}

int err_errno(struct err *e, int errnum, const char *fmt, ...)
{
    if (errnum < 0)
        errnum = -errnum;
    enum err_reason reason = errnum == ENOENT ? ERR_NOT_FOUND : ERR_INTERNAL;
    if (e) {
        va_list ap;
        va_start(ap, fmt);
        char *what = format(fmt, ap);
        va_end(ap);
        char scratch[64];
        set(e, reason, prefixed(what, strerror_r(errnum, scratch, sizeof scratch)));
    }
    return -reasons[reason].http;
}

void err_cause(struct err *e, const char *reason, struct str field, const char *fmt, ...)
{
    if (!e)
        return;
    // Capacity is the next power of two: no field for it, since errors are small.
    if ((e->ncauses & (e->ncauses - 1)) == 0)
        e->causes = mem_realloc(e->causes, (e->ncauses ? e->ncauses * 2 : 1) * sizeof *e->causes);
    va_list ap;
    va_start(ap, fmt);
    e->causes[e->ncauses++] = (struct err_cause){
        .reason = reason,
        .field = field.p ? mem_cstr(field) : NULL,
        .message = format(fmt, ap),
    };
    va_end(ap);
}

int err_wrap(struct err *to, struct err *from, const char *fmt, ...)
{
    if (!from || from->reason == ERR_NONE) {
        // The callee broke its promise, or the caller had no storage for the reason.
        if (to) {
            va_list ap;
            va_start(ap, fmt);
            err_vset(to, ERR_INTERNAL, fmt, ap);
            va_end(ap);
        }
        return -reasons[ERR_INTERNAL].http;
    }
    int code = err_code(from);
    if (!to)
        return code;
    va_list ap;
    va_start(ap, fmt);
    char *context = format(fmt, ap);
    va_end(ap);
    if (to != from)
        err_move(to, from);
    set(to, to->reason, prefixed(context, to->message));
    return code;
}

static void replace(char **at, struct str s)
{
    free(*at);
    *at = s.p ? mem_cstr(s) : NULL;
}

void err_details(struct err *e, struct str name, struct str group, struct str kind)
{
    if (!e)
        return;
    replace(&e->details_name, name);
    replace(&e->details_group, group);
    replace(&e->details_kind, kind);
}

void err_move(struct err *to, struct err *from)
{
    if (!from || to == from)
        return;
    if (!to) {
        err_done(from);
        return;
    }
    err_done(to);
    *to = *from;
    *from = ERR_INIT;
}

void err_done(struct err *e)
{
    if (!e)
        return;
    for (size_t i = 0; i < e->ncauses; i++) {
        free(e->causes[i].field);
        free(e->causes[i].message);
    }
    free(e->causes);
    free(e->message);
    free(e->details_name);
    free(e->details_group);
    free(e->details_kind);
    free(e->details_uid);
    free(e->continue_token);
    *e = ERR_INIT;
}

int err_code(const struct err *e)
{
    return e && e->reason ? -reasons[e->reason].http : 0;
}

int err_http(enum err_reason reason)
{
    return reason < ERR_REASON_COUNT ? reasons[reason].http : 500;
}

const char *err_reason_name(enum err_reason reason)
{
    return reason < ERR_REASON_COUNT ? reasons[reason].name : "InternalError";
}

enum err_reason err_reason_from_name(struct str name)
{
    for (int r = ERR_NONE + 1; r < ERR_REASON_COUNT; r++)
        if (str_eqc(name, reasons[r].name))
            return r;
    return ERR_INTERNAL;
}

// Where two reasons share a code, the general one: 409 is Conflict, 410 Expired (what a watch that
// came too late is told).
enum err_reason err_reason_from_http(int code)
{
    switch (code) {
    case 409:
        return ERR_CONFLICT;
    case 410:
        return ERR_EXPIRED;
    }
    for (int r = ERR_NONE + 1; r < ERR_REASON_COUNT; r++)
        if (reasons[r].http == code)
            return r;
    return code >= 200 && code < 300   ? ERR_NONE
           : code >= 400 && code < 500 ? ERR_BAD_REQUEST
                                       : ERR_INTERNAL;
}

_Noreturn void err_bug(const char *cond, const char *file, int line)
{
    fprintf(stderr, "coracle: impossible state: %s (%s:%d)\n", cond, file, line);
    abort();
}
