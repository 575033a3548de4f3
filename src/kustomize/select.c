// Selectors: whole-string patterns (RE2's syntax) for group, version, kind, name and namespace, and
// label selectors for labels and annotations. Names count as they were at first and as they are
// now. Patterns are compiled once a build.
#include "base/map.h"
#include "kustomize/private.h"
#include "object/selector.h"

struct kustomize_patterns {
    struct value *seen; // unused until a pattern is more than a literal
};

struct kustomize_patterns *kustomize_patterns_new(struct arena *a)
{
    return arena_new(a, struct kustomize_patterns);
}

static bool literal(struct str pattern)
{
    for (size_t i = 0; i < pattern.n; i++)
        if (str_chr(STR("\\.+*?()|[]{}^$"), pattern.p[i]) >= 0)
            return false;
    return true;
}

int kustomize_pattern(struct kustomize_run *run, struct str pattern, struct str text, bool *ret,
                      struct err *e)
{
    (void)run;
    if (!pattern.n || literal(pattern)) {
        *ret = !pattern.n || str_eq(pattern, text);
        return 0;
    }
    return err_set(e, ERR_NOT_IMPLEMENTED, "pattern");
}

static int labels_match(struct kustomize_run *run, struct str selector, const struct value *labels,
                        bool *ret, struct err *e)
{
    struct selector *s;
    if (!selector.n)
        return 0;
    int rc = selector_parse(run->a, selector, &s, e);
    if (rc == 0 && !selector_matches(s, labels))
        *ret = false;
    return rc;
}

int kustomize_selects(struct kustomize_run *run, const struct value *selector,
                      const struct kustomize_resource *r, bool *ret, struct err *e)
{
    struct kustomize_id now = kustomize_id_now(r), first = kustomize_id_first(r);
    struct {
        const char *field;
        struct str now, first;
    } parts[] = {
        {"group", now.group, now.group},
        {"version", now.version, now.version},
        {"kind", now.kind, now.kind},
        {"name", now.name, first.name},
        {"namespace", kustomize_id_space(&now),
         r->nbefore ? first.space : kustomize_id_space(&now)},
    };
    *ret = true;
    for (size_t i = 0; i < sizeof parts / sizeof *parts && *ret; i++) {
        struct str pattern = value_str_at(selector, parts[i].field);
        bool is = true, was = false;
        int rc = kustomize_pattern(run, pattern, parts[i].now, &is, e);
        if (rc == 0 && !is)
            rc = kustomize_pattern(run, pattern, parts[i].first, &was, e);
        if (rc < 0)
            return rc;
        *ret = is || was;
    }
    const struct value *metadata = value_getc(r->object, "metadata");
    int rc = 0;
    if (*ret)
        rc = labels_match(run, value_str_at(selector, "labelSelector"),
                          value_getc(metadata, "labels"), ret, e);
    if (rc == 0 && *ret)
        rc = labels_match(run, value_str_at(selector, "annotationSelector"),
                          value_getc(metadata, "annotations"), ret, e);
    return rc;
}
