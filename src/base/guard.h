// Guards: what is held is let go by its type, at the end of the block it was taken in, on every way
// out of it. A function then has no second `close`, no unlock before each return, no `free` of a
// cast.
//
//     _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
//     if (fd < 0)
//         return err_errno(e, errno, "opening %s", path);
//     ...
//     return TAKE_FD(fd);                       // the caller's now; the guard has nothing left
//
//     LOCKED(&queue->lock);                     // until the end of this block
//     while (!queue->n)
//         pthread_cond_wait(&queue->ready, &queue->lock);
//
// Guards for memory stand with their types: _cleanup_arena_ and _cleanup_free_ (arena.h),
// _cleanup_buf_ (buf.h), _cleanup_err_ (err.h). A jump out of the block that is not C's own
// (longjmp, as in cmocka's skip) runs no guard.
#pragma once
#include "base/str.h"
#include <pthread.h>
#include <stddef.h>

// --- counting ---

// The number of elements of an array. A pointer, which has none, does not compile.
#define ARRAY_LEN(a)                                                                               \
    (sizeof(a) / sizeof *(a) +                                                                     \
     0 * sizeof(struct {                                                                           \
         _Static_assert(!__builtin_types_compatible_p(__typeof__(a), __typeof__(&*(a))),           \
                        "ARRAY_LEN wants an array, not a pointer");                                \
         int unused;                                                                               \
     }))

// --- giving away ---

// The value of a variable, which is zeroes from then on: what a guard holds becomes the caller's.
// For descriptors TAKE_FD, whose "nothing" is -1; for pointers alone, arena.h's TAKE_PTR is the
// same.
#define TAKE(x)                                                                                    \
    ({                                                                                             \
        __typeof__(x) take_ = (x);                                                                 \
        (x) = (__typeof__(x)){0};                                                                  \
        take_;                                                                                     \
    })
#define TAKE_FD(fd)                                                                                \
    ({                                                                                             \
        int take_ = (fd);                                                                          \
        (fd) = -1;                                                                                 \
        take_;                                                                                     \
    })

// --- descriptors, streams, directories ---

// Each closes what is there (a descriptor of 0 or more, a pointer that is not NULL) and keeps
// errno, so that a return in the block may still read it. A close that must be seen to succeed (the
// last one of a written file) is made by hand, on TAKE_FD of the guarded one.
void guard_close(int *fd);
void guard_fclose(void *stream);   // FILE **
void guard_closedir(void *stream); // DIR **
#define _cleanup_fd_   __attribute__((cleanup(guard_close)))
#define _cleanup_file_ __attribute__((cleanup(guard_fclose)))
#define _cleanup_dir_  __attribute__((cleanup(guard_closedir)))
// Closes *fd now, if it is open, and makes it -1. Keeps errno.
static inline void guard_close_now(int *fd)
{
    guard_close(fd);
    *fd = -1;
}

// --- locks ---

// Takes the mutex, and lets it go at the end of the enclosing block. A mutex that cannot be taken
// or released is a bug and ends the program. Two in one block: taken in the order written, released
// in the reverse order.
#define LOCKED(mutex)                                                                              \
    __attribute__((cleanup(guard_unlock), unused)) pthread_mutex_t *GUARD_NAME(__COUNTER__) =      \
        guard_lock(mutex)
#define GUARD_NAME(n)  GUARD_NAME_(n)
#define GUARD_NAME_(n) guard_lock_##n
pthread_mutex_t *guard_lock(pthread_mutex_t *mutex);
void guard_unlock(pthread_mutex_t **mutex);

// --- strings that somebody owns ---

// A copy of a string on the heap. struct str is a view and never an owner; a field or a local that
// owns says so by this type, and is let go by it. Behind the n bytes stands a NUL, so p may be
// handed to a system call when the text cannot hold one. {NULL, 0} is the absent string.
//
//     _cleanup_owned_ struct owned name = owned_copy(view);
//     thing->name = TAKE(name);
//     ...
//     owned_done(&thing->name);
struct owned {
    char *p;
    size_t n;
};
#define OWNED_INIT ((struct owned){0})
struct owned owned_copy(struct str s); // of STR_NULL: absent
// Replaces what is there by a copy of s, which may be a part of it.
void owned_set(struct owned *o, struct str s);
void owned_done(struct owned *o); // absent from then on
static inline struct str owned_view(const struct owned *o)
{
    return (struct str){o->p, o->n};
}
#define _cleanup_owned_ __attribute__((cleanup(owned_done)))

// --- results that must be looked at ---

// In front of a function whose result nobody may drop: the compiler warns, which is an error here.
#define MUST_CHECK __attribute__((warn_unused_result))
