// What is made of matches: all of them, replacing, splitting, quoting; each step as Go's regexp
// takes it, since where an empty match counts is a matter of definition.
#include "text/regex_private.h"
#include "text/utf8.h"

struct regex_each regex_each(const struct regex *re, struct str text)
{
    return (struct regex_each){re, text, 0, REGEX_NONE};
}

static size_t width_at(struct str s, size_t at)
{
    size_t width = 0;
    if (at < s.n)
        utf8_at(s, at, &width);
    return width;
}

bool regex_next(struct regex_each *it, size_t *ret, size_t n)
{
    while (it->pos <= it->text.n && regex_find(it->re, it->text, it->pos, ret, n)) {
        bool accept = true;
        if (ret[1] == it->pos) {
            accept = ret[0] != it->previous_end;
            size_t width = width_at(it->text, it->pos);
            it->pos = width ? it->pos + width : it->text.n + 1;
        } else {
            it->pos = ret[1];
        }
        it->previous_end = ret[1];
        if (accept)
            return true;
    }
    return false;
}

// ---- Replacing ----

static bool name_char(char c)
{
    return c == '_' || (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
}

// The name behind a "$"; *rest is what follows. false: a bare dollar sign.
static bool reference(struct str s, struct str *name, struct str *rest)
{
    bool braced = s.n && s.p[0] == '{';
    struct str body = braced ? str_from(s, 1) : s;
    size_t n = 0;
    while (n < body.n && name_char(body.p[n]))
        n++;
    if (!n || (braced && (n == body.n || body.p[n] != '}')))
        return false;
    *name = str_sub(body, 0, n);
    *rest = str_from(body, n + braced);
    return true;
}

static void add_group(struct buf *b, struct str text, const size_t *at, size_t groups, size_t g)
{
    if (g < groups && at[2 * g] != REGEX_NONE)
        buf_add(b, text.p + at[2 * g], at[2 * g + 1] - at[2 * g]);
}

static void expand(struct buf *b, const struct regex *re, struct str text, struct str with,
                   const size_t *at)
{
    while (with.n) {
        ptrdiff_t dollar = str_chr(with, '$');
        if (dollar < 0)
            break;
        buf_add(b, with.p, (size_t)dollar);
        with = str_from(with, (size_t)dollar + 1);
        struct str name, rest;
        uint64_t number;
        if (with.n && with.p[0] == '$') {
            buf_char(b, '$');
            with = str_from(with, 1);
        } else if (!reference(with, &name, &rest)) {
            buf_char(b, '$');
        } else {
            with = rest;
            if (str_to_u64(name, &number) && number < 100000000) {
                add_group(b, text, at, re->groups, number);
                continue;
            }
            for (size_t g = 1; g < re->groups; g++)
                if (str_eq(re->names[g], name) && at[2 * g] != REGEX_NONE) {
                    add_group(b, text, at, re->groups,
                              g); // names may repeat: the first that took part
                    break;
                }
        }
    }
    buf_str(b, with);
}

void regex_replace(struct buf *b, const struct regex *re, struct str text, struct str with,
                   bool literal)
{
    size_t n = literal ? 2 : 2 * re->groups, last = 0, pos = 0;
    if (!text.p)
        text = STR(""); // no arithmetic on a null pointer below
    size_t *at = mem_alloc(n * sizeof *at);
    while (pos <= text.n && buf_ok(b) && regex_find(re, text, pos, at, n)) {
        buf_add(b, text.p + last, at[0] - last);
        if (at[1] > last || at[0] == 0) {
            if (literal)
                buf_str(b, with);
            else
                expand(b, re, text, with, at);
        }
        last = at[1];
        size_t width = width_at(text, pos);
        if (pos + width > at[1])
            pos += width;
        else if (pos + 1 > at[1])
            pos++;
        else
            pos = at[1];
    }
    if (last < text.n)
        buf_add(b, text.p + last, text.n - last);
    free(at);
}

// ---- Splitting ----

size_t regex_split(struct arena *a, const struct regex *re, struct str text, int64_t n,
                   struct str **ret)
{
    struct str *parts = NULL;
    size_t count = 0, cap = 0, begin = 0, end = 0, at[2];
    struct regex_each it = regex_each(re, text);
    *ret = NULL;
    if (n == 0)
        return 0;
    for (int64_t matches = 0; (n < 0 || matches < n) && regex_next(&it, at, 2); matches++) {
        if (n > 0 && count == (size_t)n - 1)
            break;
        end = at[0];
        if (count + 2 > cap) {
            parts = arena_grow(a, parts, cap * sizeof *parts, (cap * 2 + 8) * sizeof *parts);
            cap = cap * 2 + 8;
        }
        if (at[1] != 0)
            parts[count++] = str_sub(text, begin, end - begin);
        begin = at[1];
    }
    if (!parts)
        parts = arena_array(a, struct str, 1);
    if (end != text.n || (!text.n && !count))
        parts[count++] = str_from(text, begin);
    *ret = parts;
    return count;
}

void regex_quote(struct buf *b, struct str text)
{
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] && strchr("\\.+*?()|[]{}^$", text.p[i]))
            buf_char(b, '\\');
        buf_char(b, text.p[i]);
    }
}
