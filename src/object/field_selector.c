// Field selectors, as apimachinery's fields.ParseSelector reads them: terms are split at commas
// that no backslash stands before, each at its first operator (!=, ==, =); in values \\ \, and \=
// stand for the character, and anything else behind a backslash is an error. Empty terms are
// skipped.
#include "object/selector.h"

static int unescape(struct arena *a, struct str s, struct str *ret, struct err *e)
{
    char *out = arena_alloc(a, s.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '\\') {
            if (++i == s.n)
                return err_set(e, ERR_BAD_REQUEST,
                               "invalid field selector: invalid escape sequence: \\");
            c = s.p[i];
            if (c != '\\' && c != ',' && c != '=')
                return err_set(e, ERR_BAD_REQUEST,
                               "invalid field selector: invalid escape sequence: \\%c", c);
        } else if (c == ',' || c == '=') {
            return err_set(e, ERR_BAD_REQUEST,
                           "invalid field selector: unescaped character in value: %d", c);
        }
        out[n++] = c;
    }
    *ret = str_n(out, n);
    return 0;
}

static bool split(struct str term, struct field_requirement *r)
{
    for (size_t i = 0; i < term.n; i++) {
        struct str rest = str_from(term, i);
        size_t n = 0;
        if (str_starts(rest, STR("!=")) || str_starts(rest, STR("==")))
            n = 2;
        else if (rest.p[0] == '=')
            n = 1;
        if (n) {
            *r = (struct field_requirement){str_sub(term, 0, i), str_from(term, i + n),
                                            rest.p[0] == '!'};
            return true;
        }
    }
    return false;
}

int field_selector_parse(struct arena *a, struct str text, struct field_requirement **ret,
                         size_t *ret_n, struct err *e)
{
    text = arena_str(a, text);
    struct field_requirement *list = NULL;
    size_t n = 0, cap = 0, begin = 0;
    for (size_t i = 0; i <= text.n; i++) {
        if (i < text.n && text.p[i] == '\\') {
            i++;
            if (i < text.n)
                continue;
        } else if (i < text.n && text.p[i] != ',') {
            continue;
        }
        struct str term = str_sub(text, begin, i - begin);
        begin = i + 1;
        if (!term.n)
            continue;
        struct field_requirement r;
        if (!split(term, &r))
            return err_set(e, ERR_BAD_REQUEST, "invalid selector: '%.*s'; can't understand '%.*s'",
                           STR_ARG(text), STR_ARG(term));
        int rc = unescape(a, r.value, &r.value, e);
        if (rc < 0)
            return rc;
        if (n == cap) {
            cap = cap ? cap * 2 : 4;
            list = list ? arena_grow(a, list, n * sizeof r, cap * sizeof r)
                        : arena_alloc(a, cap * sizeof r);
        }
        list[n++] = r;
    }
    *ret = list;
    *ret_n = n;
    return 0;
}
