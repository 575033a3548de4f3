// See meta.h.
#include "client/meta.h"
#include "base/time.h"

void meta_key_split(struct str key, struct str *ret_ns, struct str *ret_name)
{
    ptrdiff_t slash = str_chr(key, '/');
    *ret_ns = slash < 0 ? STR_NULL : str_sub(key, 0, (size_t)slash);
    *ret_name = str_from(key, (size_t)(slash + 1));
}

struct str meta_key(struct arena *a, const struct object *o)
{
    struct str ns = object_namespace(o), name = object_name(o);
    return ns.n ? arena_printf(a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name)) : arena_str(a, name);
}

struct str meta_uid(const struct value *tree)
{
    return value_str_at(tree, "metadata.uid");
}

bool meta_deleting(const struct value *tree)
{
    return value_str_at(tree, "metadata.deletionTimestamp").n > 0;
}

int64_t meta_time(const struct value *tree, const char *path)
{
    int64_t t = 0;
    time_parse_rfc3339(value_str_at(tree, path), &t);
    return t;
}

struct str meta_now(struct env *env, struct arena *a)
{
    return time_rfc3339(a, env_now(env), 0);
}

struct str meta_label(const struct value *tree, const char *key)
{
    return value_string(value_getc(value_at(tree, "metadata.labels"), key));
}

struct str meta_annotation(const struct value *tree, const char *key)
{
    return value_string(value_getc(value_at(tree, "metadata.annotations"), key));
}
