// Errors that a person or a client reads. The caller owns the storage; the callee fills it on
// failure (always) and leaves it alone on success (always); on the way up callers add context.
// What arrives at the end is what kubectl prints from a Status: code, reason, message, causes.
//
//     _cleanup_err_ struct err e = ERR_INIT;
//     if (thing_do(&thing, &e) < 0)
//         return err_wrap(ret_err, &e, "starting pod %s", name);
//
// Functions return 0, or the negative HTTP-like code that err_code(e) also gives (-404 ...), so
// that `return err_set(e, ERR_NOT_FOUND, ...)` is the usual last line. NULL is accepted for e by
// every function here and means that nobody will read the reason.
#pragma once
#include "base/str.h"
#include <stdarg.h>

// Kubernetes reasons with their HTTP codes (apimachinery meta/v1 StatusReason).
enum err_reason {
    ERR_NONE = 0,
    ERR_BAD_REQUEST,        // 400 BadRequest
    ERR_UNAUTHORIZED,       // 401 Unauthorized
    ERR_FORBIDDEN,          // 403 Forbidden
    ERR_NOT_FOUND,          // 404 NotFound
    ERR_METHOD_NOT_ALLOWED, // 405 MethodNotAllowed
    ERR_NOT_ACCEPTABLE,     // 406 NotAcceptable
    ERR_ALREADY_EXISTS,     // 409 AlreadyExists
    ERR_CONFLICT,           // 409 Conflict
    ERR_GONE,               // 410 Gone
    ERR_EXPIRED,            // 410 Expired
    ERR_TOO_LARGE,          // 413 RequestEntityTooLarge
    ERR_UNSUPPORTED_MEDIA,  // 415 UnsupportedMediaType
    ERR_INVALID,            // 422 Invalid
    ERR_TOO_MANY_REQUESTS,  // 429 TooManyRequests
    ERR_INTERNAL,           // 500 InternalError
    ERR_NOT_IMPLEMENTED,    // 501 NotImplemented
    ERR_UNAVAILABLE,        // 503 ServiceUnavailable
    ERR_TIMEOUT,            // 504 Timeout
    ERR_STORAGE, // 507 InsufficientStorage (not in apimachinery; clients print it as it is)
    ERR_REASON_COUNT
};

// One fault of several (Status.details.causes). Reasons are Kubernetes' CauseType strings, such as
// "FieldValueRequired", "FieldValueInvalid", "FieldManagerConflict"; static strings.
struct err_cause {
    const char *reason;
    char *field;   // "spec.containers[0].name" or NULL
    char *message; // "Required value"
};

struct err {
    enum err_reason reason;
    char *message;            // heap; never NULL once reason is set
    struct err_cause *causes; // heap
    size_t ncauses;
    int retry_after_seconds; // 0: none
    // Status.details, where the failing layer knows them; heap or NULL.
    char *details_name, *details_group, *details_kind, *details_uid;
    char *continue_token; // metadata.continue of a 410 on a list
};
#define ERR_INIT ((struct err){0})

int err_set(struct err *e, enum err_reason reason, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int err_vset(struct err *e, enum err_reason reason, const char *fmt, va_list ap);
// From errno: "<what>: No such file or directory". Reason ERR_INTERNAL (ENOENT: ERR_NOT_FOUND).
int err_errno(struct err *e, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
// Adds a cause; does not touch reason or message (see err_invalid_finish in schema).
void err_cause(struct err *e, const char *reason, struct str field, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
// Prefixes the message with "context: " and returns the code again. `from` may be `to`.
int err_wrap(struct err *to, struct err *from, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void err_details(struct err *e, struct str name, struct str group, struct str kind);
void err_move(struct err *to, struct err *from); // to must be empty or is freed first
void err_done(struct err *e);

static inline bool err_is(const struct err *e, enum err_reason reason)
{
    return e && e->reason == reason;
}
int err_code(const struct err *e);                     // negative HTTP code, 0 when unset
int err_http(enum err_reason reason);                  // 404
const char *err_reason_name(enum err_reason reason);   // "NotFound"
enum err_reason err_reason_from_name(struct str name); // by name; ERR_INTERNAL when unknown
enum err_reason err_reason_from_http(int code);
#define _cleanup_err_ __attribute__((cleanup(err_done)))

// An impossible state: crash with a message in every build.
#define BUG_ON(cond)                                                                               \
    do {                                                                                           \
        if (__builtin_expect(!!(cond), 0))                                                         \
            err_bug(#cond, __FILE__, __LINE__);                                                    \
    } while (0)
_Noreturn void err_bug(const char *cond, const char *file, int line);
