// What the cleanup attributes of guard.h call. They keep errno: a guard runs between the failure
// and the caller who asks what it was.
#include "base/guard.h"
#include "base/arena.h"
#include "base/err.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

void guard_close(int *fd)
{
    int saved = errno;
    // EINTR is not repeated: on Linux the descriptor is gone even so.
    if (*fd >= 0)
        close(*fd);
    errno = saved;
}

void guard_fclose(void *stream)
{
    FILE *f = *(FILE **)stream;
    int saved = errno;
    if (f)
        fclose(f);
    errno = saved;
}

void guard_closedir(void *stream)
{
    DIR *d = *(DIR **)stream;
    int saved = errno;
    if (d)
        closedir(d);
    errno = saved;
}

pthread_mutex_t *guard_lock(pthread_mutex_t *mutex)
{
    int failed = pthread_mutex_lock(mutex);
    BUG_ON(failed);
    return mutex;
}

void guard_unlock(pthread_mutex_t **mutex)
{
    int failed = pthread_mutex_unlock(*mutex);
    BUG_ON(failed);
}

struct owned owned_copy(struct str s)
{
    return s.p ? (struct owned){mem_cstr(s), s.n} : OWNED_INIT;
}

void owned_set(struct owned *o, struct str s)
{
    struct owned next = owned_copy(s); // before the old one goes: s may point into it
    owned_done(o);
    *o = next;
}

void owned_done(struct owned *o)
{
    free(o->p);
    *o = OWNED_INIT;
}
