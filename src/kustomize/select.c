// Selectors: whole-string patterns (RE2's syntax) for group, version, kind, name and namespace, and
// label selectors for labels and annotations. Names count as they were at first and as they are
// now. Patterns are compiled once a build.
#include "base/guard.h"
#include "kustomize/private.h"
#include "object/selector.h"
#include "text/regex.h"

#define PATTERNS_MAX 10000 // different ones in a build

struct pattern {
    struct str text;
    struct regex *regex;
    struct pattern *next;
};
struct kustomize_patterns {
    struct pattern *buckets[256];
    size_t n;
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

static int compile(struct kustomize_run *run, struct str text, struct regex **ret, struct err *e)
{
    struct kustomize_patterns *ps = run->patterns;
    struct pattern **bucket = &ps->buckets[str_hash(text) % ARRAY_LEN(ps->buckets)];
    for (struct pattern *p = *bucket; p; p = p->next)
        if (str_eq(p->text, text)) {
            *ret = p->regex;
            return 0;
        }
    if (++ps->n > PATTERNS_MAX)
        return err_set(e, ERR_TOO_LARGE, "more than %d different patterns", PATTERNS_MAX);
    // The whole text has to match: anchors that the pattern has of its own do no harm.
    int rc = regex_compile(run->a, arena_printf(run->a, "^(?:%.*s)$", STR_ARG(text)), ret, e);
    if (rc < 0)
        return rc;
    struct pattern *p = arena_new(run->a, struct pattern);
    *p = (struct pattern){text, *ret, *bucket};
    *bucket = p;
    return 0;
}

int kustomize_pattern(struct kustomize_run *run, struct str pattern, struct str text, bool *ret,
                      struct err *e)
{
    struct regex *re;
    if (!pattern.n || literal(pattern)) {
        *ret = !pattern.n || str_eq(pattern, text);
        return 0;
    }
    int rc = compile(run, pattern, &re, e);
    if (rc == 0)
        *ret = regex_match(re, text);
    return rc;
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
    for (size_t i = 0; i < ARRAY_LEN(parts) && *ret; i++) {
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
