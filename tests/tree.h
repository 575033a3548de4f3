// A tree of files in one text: sections "-- path --", each followed by its content. "-- expected
// --" and "-- error --" are no files but what is expected. Below /tree, through a kustomize_files.
#pragma once
#include "kustomize/kustomize.h"

#define TREE_MAX 200
struct tree_section {
    struct str path, text;
};
struct tree {
    struct tree_section sections[TREE_MAX];
    size_t n;
    struct str expected, error;
};

// More than TREE_MAX sections are dropped.
static inline void tree_parse(struct arena *a, struct str text, struct tree *t)
{
    struct str *content = NULL;
    while (text.p && text.n) {
        ptrdiff_t end = str_chr(text, '\n');
        struct str line = end < 0 ? text : str_sub(text, 0, (size_t)end + 1);
        struct str bare = str_trim(line);
        if (str_starts(bare, STR("-- ")) && str_ends(bare, STR(" --"))) {
            struct str name = str_sub(bare, 3, bare.n - 6);
            if (str_eqc(name, "expected"))
                content = &t->expected;
            else if (str_eqc(name, "error"))
                content = &t->error;
            else if (t->n == TREE_MAX)
                return;
            else {
                t->sections[t->n].path = arena_printf(a, "/tree/%.*s", STR_ARG(name));
                content = &t->sections[t->n++].text;
            }
            *content = str_n(line.p + line.n, 0);
        } else if (content)
            content->n += line.n;
        text = str_from(text, line.n);
    }
}

static inline char tree_kind(void *context, struct str path)
{
    struct tree *t = context;
    for (size_t i = 0; i < t->n; i++) {
        if (str_eq(t->sections[i].path, path))
            return 'f';
        if (str_starts(t->sections[i].path, path) && t->sections[i].path.p[path.n] == '/')
            return 'd';
    }
    return 0;
}

static inline int tree_read(void *context, struct arena *a, struct str path, struct str *ret,
                            struct err *e)
{
    struct tree *t = context;
    (void)a;
    for (size_t i = 0; i < t->n; i++)
        if (str_eq(t->sections[i].path, path)) {
            *ret = t->sections[i].text;
            return 0;
        }
    return err_set(e, ERR_NOT_FOUND, "open %.*s: no such file or directory", STR_ARG(path));
}

static inline struct str tree_real(void *context, struct arena *a, struct str path)
{
    (void)context;
    (void)a;
    return path;
}
