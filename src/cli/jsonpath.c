// JSONPath templates. A path is walked step by step over a set of nodes: each step takes every node
// to those that it selects. So there is no tree of the template: its text is read as it runs, once
// for each turn of a range.
//
// Work is bounded by what is printed times the length of the template; ranges nest at most
// DEPTH_MAX deep, and a set has at most NODES_MAX nodes, which `..` could otherwise multiply.
#include "cli/jsonpath.h"
#include "object/json.h"

enum { DEPTH_MAX = 16, NODES_MAX = 1 << 20 };

struct nodes {
    const struct value **at;
    size_t n, cap;
};

struct run {
    struct arena *a;
    struct str text; // the template, for messages
    const struct value *root;
    struct err *e;
};

static int malformed(struct run *r, const char *what)
{
    return err_set(r->e, ERR_BAD_REQUEST, "error parsing jsonpath %.*s, %s", STR_ARG(r->text),
                   what);
}

static int add(struct run *r, struct nodes *to, const struct value *v)
{
    if (!v)
        return 0;
    if (to->n == NODES_MAX)
        return malformed(r, "too many matches");
    if (to->n == to->cap) {
        size_t cap = to->cap ? to->cap * 2 : 8;
        const struct value **at = arena_alloc(r->a, cap * sizeof *at);
        if (to->n)
            memcpy(at, to->at, to->n * sizeof *at);
        to->at = at;
        to->cap = cap;
    }
    to->at[to->n++] = v;
    return 0;
}

// --- steps ---

static int all_children(struct run *r, struct nodes *to, const struct value *v)
{
    int rc = 0;
    value_each_item (v, item)
        if (rc == 0)
            rc = add(r, to, item);
    value_each_field (v, f)
        if (rc == 0)
            rc = add(r, to, f->value);
    return rc;
}

static int descend(struct run *r, struct nodes *to, const struct value *v, struct str name)
{
    int rc = add(r, to, value_get(v, name));
    value_each_item (v, item)
        if (rc == 0)
            rc = descend(r, to, item, name);
    value_each_field (v, f)
        if (rc == 0)
            rc = descend(r, to, f->value, name);
    return rc;
}

static int walk(struct run *r, struct str path, const struct value *from, struct nodes *ret);

static int compare(const struct value *v, struct str literal)
{
    double number;
    if (value_is(v, VALUE_INT) || value_is(v, VALUE_FLOAT)) {
        char text[64];
        snprintf(text, sizeof text, "%.*s", STR_ARG(str_sub(literal, 0, 63)));
        char *end;
        number = strtod(text, &end);
        double mine = v->kind == VALUE_INT ? (double)v->i : v->f;
        if (end != text && !*end)
            return mine < number ? -1 : mine > number;
    }
    if (value_is(v, VALUE_BOOL))
        return str_cmp(v->b ? STR("true") : STR("false"), literal);
    return str_cmp(value_string(v), literal);
}

// The text inside quotes, escapes resolved; text without quotes as it is.
static struct str unquote(struct arena *a, struct str s)
{
    if (s.n < 2 || (s.p[0] != '"' && s.p[0] != '\'') || s.p[s.n - 1] != s.p[0])
        return s;
    char *p = arena_alloc(a, s.n);
    size_t n = 0;
    for (size_t i = 1; i + 1 < s.n; i++) {
        char c = s.p[i];
        if (c == '\\' && i + 2 < s.n) {
            c = s.p[++i];
            c = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
        }
        p[n++] = c;
    }
    return str_n(p, n);
}

// `@.path OP value` or `@.path` for one item.
static int passes(struct run *r, struct str filter, const struct value *item, bool *ret)
{
    static const struct {
        const char *text;
        bool less, equal, greater;
    } operators[] = {{"==", false, true, false}, {"!=", true, false, true},
                     {"<=", true, true, false},  {">=", false, true, true},
                     {"<", true, false, false},  {">", false, false, true}};
    char quote = 0;
    for (size_t i = 0; i < filter.n; i++) {
        if (quote || filter.p[i] == '"' || filter.p[i] == '\'') {
            quote = !quote ? filter.p[i] : filter.p[i] == quote ? 0 : quote;
            continue;
        }
        for (size_t o = 0; o < sizeof operators / sizeof *operators; o++) {
            struct str op = str_of(operators[o].text);
            if (!str_starts(str_from(filter, i), op))
                continue;
            struct nodes left = {0};
            int rc = walk(r, str_trim(str_sub(filter, 0, i)), item, &left);
            if (rc < 0)
                return rc;
            struct str literal = unquote(r->a, str_trim(str_from(filter, i + op.n)));
            int c = left.n ? compare(left.at[0], literal) : 0;
            *ret = left.n && (c < 0    ? operators[o].less
                              : c == 0 ? operators[o].equal
                                       : operators[o].greater);
            return 0;
        }
    }
    struct nodes there = {0};
    int rc = walk(r, str_trim(filter), item, &there);
    *ret = there.n > 0;
    return rc;
}

static bool to_index(struct str s, int64_t n, int64_t otherwise, int64_t *ret)
{
    if (!s.n) {
        *ret = otherwise;
        return true;
    }
    if (!str_to_i64(s, ret))
        return false;
    if (*ret < 0)
        *ret += n;
    return true;
}

// What stands between brackets.
static int subscript(struct run *r, struct str inside, const struct value *v, struct nodes *to)
{
    int rc = 0;
    if (str_eqc(inside, "*"))
        return all_children(r, to, v);
    if (inside.n > 1 && (inside.p[0] == '\'' || inside.p[0] == '"'))
        return add(r, to, value_get(v, unquote(r->a, inside)));
    if (str_starts(inside, STR("?("))) {
        if (!str_ends(inside, STR(")")))
            return malformed(r, "unterminated filter");
        struct str filter = str_sub(inside, 2, inside.n - 3);
        value_each_item (v, item) {
            bool pass = false;
            if (rc == 0 && (rc = passes(r, filter, item, &pass)) == 0 && pass)
                rc = add(r, to, item);
        }
        return rc;
    }
    int64_t n = (int64_t)value_len(v), first, end;
    ptrdiff_t colon = str_chr(inside, ':');
    if (colon < 0) {
        if (!to_index(inside, n, -1, &first) || !inside.n)
            return malformed(r, "invalid array index");
        return first < 0 ? 0 : add(r, to, value_item(v, (size_t)first));
    }
    if (!to_index(str_sub(inside, 0, (size_t)colon), n, 0, &first) ||
        !to_index(str_from(inside, (size_t)colon + 1), n, n, &end))
        return malformed(r, "invalid array index");
    for (int64_t i = first < 0 ? 0 : first; i < end && i < n && rc == 0; i++)
        rc = add(r, to, value_item(v, (size_t)i));
    return rc;
}

// Length of a bracket's text up to its end; quotes hide brackets.
static ptrdiff_t bracket_end(struct str s)
{
    char quote = 0;
    int depth = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (quote)
            quote = c == quote ? 0 : quote;
        else if (c == '"' || c == '\'')
            quote = c;
        else if (c == '[')
            depth++;
        else if (c == ']' && depth-- == 0)
            return (ptrdiff_t)i;
    }
    return -1;
}

// A name up to the next dot or bracket; `\.` is a dot in it.
static struct str take_name(struct arena *a, struct str *path)
{
    char *p = arena_alloc(a, path->n);
    size_t n = 0, i = 0;
    for (; i < path->n && path->p[i] != '.' && path->p[i] != '['; i++) {
        if (path->p[i] == '\\' && i + 1 < path->n)
            i++;
        p[n++] = path->p[i];
    }
    *path = str_from(*path, i);
    return str_n(p, n);
}

static int one_step(struct run *r, struct str *path, const struct nodes *from, struct nodes *to)
{
    int rc = 0;
    if (path->p[0] == '[') {
        ptrdiff_t end = bracket_end(str_from(*path, 1));
        if (end < 0)
            return malformed(r, "unterminated array");
        struct str inside = str_trim(str_sub(*path, 1, (size_t)end));
        *path = str_from(*path, (size_t)end + 2);
        for (size_t i = 0; i < from->n && rc == 0; i++)
            rc = subscript(r, inside, from->at[i], to);
        return rc;
    }
    bool recursive = str_starts(*path, STR(".."));
    *path = str_from(*path, recursive ? 2 : path->p[0] == '.');
    struct str name = take_name(r->a, path);
    for (size_t i = 0; i < from->n && rc == 0; i++)
        if (recursive && name.n)
            rc = descend(r, to, from->at[i], name);
        else if (str_eqc(name, "*"))
            rc = all_children(r, to, from->at[i]);
        else
            rc = add(r, to, name.n ? value_get(from->at[i], name) : from->at[i]);
    return rc;
}

static int walk(struct run *r, struct str path, const struct value *from, struct nodes *ret)
{
    struct nodes now = {0};
    int rc = add(r, &now, path.n && path.p[0] == '$' ? r->root : from);
    if (path.n && (path.p[0] == '$' || path.p[0] == '@'))
        path = str_from(path, 1);
    while (rc == 0 && path.n) {
        struct nodes next = {0};
        rc = one_step(r, &path, &now, &next);
        now = next;
    }
    *ret = now;
    return rc;
}

// --- templates ---

static void write_value(struct buf *b, const struct value *v)
{
    if (v->kind == VALUE_STRING)
        buf_str(b, value_string(v));
    else
        json_write(b, v);
}

static void write_nodes(struct buf *b, const struct nodes *n, char separator)
{
    for (size_t i = 0; i < n->n; i++) {
        if (i)
            buf_char(b, separator);
        write_value(b, n->at[i]);
    }
}

// Cuts "{…}" off: *ret is what stands inside.
static int take_braces(struct run *r, struct str *rest, struct str *ret)
{
    char quote = 0;
    for (size_t i = 1; i < rest->n; i++) {
        char c = rest->p[i];
        if (quote && c == '\\')
            i++;
        else if (quote)
            quote = c == quote ? 0 : quote;
        else if (c == '"' || c == '\'')
            quote = c;
        else if (c == '}') {
            *ret = str_trim(str_sub(*rest, 1, i - 1));
            *rest = str_from(*rest, i + 1);
            return 0;
        }
    }
    return malformed(r, "unclosed action");
}

static bool is_range(struct str s)
{
    return str_starts(s, STR("range")) && s.n > 5 && strchr(" \t.[@$", s.p[5]);
}

// Runs *rest up to its end or, inside a range, to the `end` that belongs to it; b NULL: only skips.
static int run_template(struct run *r, struct buf *b, struct str *rest, const struct value *at,
                        int depth)
{
    if (depth > DEPTH_MAX)
        return malformed(r, "ranges too deep");
    while (rest->n) {
        ptrdiff_t brace = str_chr(*rest, '{');
        struct str plain = str_sub(*rest, 0, brace < 0 ? rest->n : (size_t)brace), inside;
        if (b)
            buf_str(b, plain);
        *rest = str_from(*rest, plain.n);
        if (!rest->n)
            break;
        int rc = take_braces(r, rest, &inside);
        if (rc < 0)
            return rc;
        if (str_eqc(inside, "end"))
            return depth ? 0 : malformed(r, "not in range, nothing to end");
        struct nodes n = {0};
        if (is_range(inside)) {
            struct str body = *rest;
            if (b && (rc = walk(r, str_trim(str_from(inside, 5)), at, &n)) < 0)
                return rc;
            if ((rc = run_template(r, NULL, rest, at, depth + 1)) < 0)
                return rc;
            for (size_t i = 0; i < n.n; i++) {
                struct str turn = body;
                if ((rc = run_template(r, b, &turn, n.at[i], depth + 1)) < 0)
                    return rc;
            }
        } else if (inside.n && (inside.p[0] == '"' || inside.p[0] == '\'')) {
            if (b)
                buf_str(b, unquote(r->a, inside));
        } else if (b) {
            if ((rc = walk(r, inside, at, &n)) < 0)
                return rc;
            write_nodes(b, &n, ' ');
        }
    }
    return depth ? malformed(r, "unclosed range") : 0;
}

int jsonpath_write(struct buf *b, struct arena *a, struct str template_text,
                   const struct value *root, struct err *e)
{
    struct run r = {.a = a, .text = template_text, .root = root, .e = e};
    struct str rest = template_text;
    return run_template(&r, b, &rest, root, 0);
}

int jsonpath_column(struct buf *b, struct arena *a, struct str path, const struct value *root,
                    bool *ret_found, struct err *e)
{
    struct run r = {.a = a, .text = path, .root = root, .e = e};
    struct nodes n = {0};
    if (path.n > 1 && path.p[0] == '{' && path.p[path.n - 1] == '}')
        path = str_sub(path, 1, path.n - 2);
    int rc = walk(&r, path, root, &n);
    if (rc < 0)
        return rc;
    write_nodes(b, &n, ',');
    *ret_found = n.n > 0;
    return 0;
}
