// Making paths, and looking at their parts.
#include "base/path.h"

const char *path_join(struct arena *a, const char *dir, const char *name)
{
    size_t n = strlen(dir);
    return path_printf(a, "%s%s%s", dir, n && dir[n - 1] != '/' ? "/" : "", name);
}

const char *path_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    struct str s = arena_vprintf(a, fmt, ap); // a NUL follows
    va_end(ap);
    return s.p;
}

bool path_is_name(struct str s)
{
    return s.n > 0 && s.n <= 255 && !memchr(s.p, '/', s.n) && !memchr(s.p, 0, s.n) &&
           !str_eqc(s, ".") && !str_eqc(s, "..");
}

struct str path_base(struct str path)
{
    return str_from(path, (size_t)(str_rchr(path, '/') + 1));
}

struct str path_dir(struct str path)
{
    ptrdiff_t slash = str_rchr(path, '/');
    return str_sub(path, 0, slash > 0 ? (size_t)slash : (size_t)(slash + 1));
}
