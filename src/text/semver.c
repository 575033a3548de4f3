// Versions and constraints. A constraint is kept as the version that it was written with and three
// marks of what was left open ("dirty": some part; minor_open, patch_open: which is the first). The
// comparisons below read those marks exactly as the original does, since charts depend on its
// corners: "=1.2" means "~1.2", ">1.2" does not accept 1.2.3, "*" accepts no pre-release.
#include "text/semver.h"
#include "text/go_quote.h"

// ---- Versions ----

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_identifier(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
}

// Dot-separated, none empty, at the beginning of *s; moves *s behind them.
static bool identifiers(struct str *s, struct str *ret)
{
    size_t n = 0;
    bool begun = false;
    for (; n < s->n; n++) {
        if (s->p[n] == '.' && begun && n + 1 < s->n && is_identifier(s->p[n + 1]))
            begun = false;
        else if (is_identifier(s->p[n]))
            begun = true;
        else
            break;
    }
    *ret = str_sub(*s, 0, n);
    *s = str_from(*s, n);
    return begun;
}

static bool number(struct str *s, uint64_t *ret)
{
    size_t n = 0;
    while (n < s->n && is_digit(s->p[n]))
        n++;
    struct str digits = str_sub(*s, 0, n);
    *s = str_from(*s, n);
    return str_to_u64(digits, ret);
}

static bool skip(struct str *s, char c)
{
    if (!s->n || s->p[0] != c)
        return false;
    *s = str_from(*s, 1);
    return true;
}

// "-pre" and "+build", each optional.
static bool suffixes(struct str *s, struct str *pre, struct str *build)
{
    *pre = *build = STR("");
    return (!skip(s, '-') || identifiers(s, pre)) && (!skip(s, '+') || identifiers(s, build));
}

// Numbers in a pre-release have no leading zeros.
static bool pre_valid(struct str pre)
{
    for (struct str rest = pre; rest.p;) {
        struct str part = str_cut(&rest, '.');
        size_t digits = 0;
        while (digits < part.n && is_digit(part.p[digits]))
            digits++;
        if (part.n > 1 && digits == part.n && part.p[0] == '0')
            return false;
    }
    return true;
}

static bool read_version(struct str s, bool strict, struct semver *v)
{
    uint64_t *const parts[] = {&v->major, &v->minor, &v->patch};
    if (s.n > SEMVER_MAX)
        return false;
    if (!strict)
        skip(&s, 'v');
    for (int i = 0; i < 3; i++) {
        *parts[i] = 0;
        if (i && !skip(&s, '.')) {
            if (strict)
                return false;
            continue;
        }
        bool zero = strict && s.n > 1 && s.p[0] == '0' && is_digit(s.p[1]);
        if (zero || !number(&s, parts[i]))
            return false;
    }
    return suffixes(&s, &v->pre, &v->build) && !s.n && (!v->pre.n || pre_valid(v->pre));
}

static int parse(struct arena *a, struct str s, bool strict, struct semver *ret, struct err *e)
{
    struct semver v = {.original = arena_str(a, s)};
    if (!read_version(v.original, strict, &v))
        return err_set(e, ERR_INVALID, "Invalid Semantic Version");
    *ret = v;
    return 0;
}

int semver_parse(struct arena *a, struct str s, struct semver *ret, struct err *e)
{
    return parse(a, s, false, ret, e);
}

int semver_parse_strict(struct arena *a, struct str s, struct semver *ret, struct err *e)
{
    return parse(a, s, true, ret, e);
}

void semver_write(struct buf *b, const struct semver *v)
{
    buf_u64(b, v->major);
    buf_char(b, '.');
    buf_u64(b, v->minor);
    buf_char(b, '.');
    buf_u64(b, v->patch);
    if (v->pre.n) {
        buf_char(b, '-');
        buf_str(b, v->pre);
    }
    if (v->build.n) {
        buf_char(b, '+');
        buf_str(b, v->build);
    }
}

struct str semver_text(struct arena *a, const struct semver *v)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    semver_write(&b, v);
    return arena_str(a, buf_view(&b));
}

static int compare_numbers(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

static int compare_identifier(struct str a, struct str b)
{
    uint64_t x, y;
    bool an = str_to_u64(a, &x), bn = str_to_u64(b, &y);
    if (an && bn)
        return compare_numbers(x, y);
    if (an != bn)
        return an ? -1 : 1; // numbers come first
    return str_cmp(a, b);
}

static int compare_pre(struct str a, struct str b)
{
    if (!a.n || !b.n)
        return (a.n == 0) - (b.n == 0); // a release is above its pre-releases
    while (a.p && b.p) {
        int r = compare_identifier(str_cut(&a, '.'), str_cut(&b, '.'));
        if (r)
            return r < 0 ? -1 : 1;
    }
    return a.p ? 1 : b.p ? -1 : 0;
}

int semver_compare(const struct semver *a, const struct semver *b)
{
    int r = compare_numbers(a->major, b->major);
    if (!r)
        r = compare_numbers(a->minor, b->minor);
    if (!r)
        r = compare_numbers(a->patch, b->patch);
    return r ? r : compare_pre(a->pre, b->pre);
}

// ---- Constraints ----

struct limit;
typedef bool limit_fn(const struct semver *v, const struct limit *c);

struct limit {
    limit_fn *holds;
    struct semver v;
    bool dirty, minor_open, patch_open;
};

struct group {
    struct limit *limits;
    size_t n;
    bool pre; // some limit names a pre-release
};

struct semver_constraint {
    struct group *groups;
    size_t n;
};

static bool differs(const struct semver *v, const struct limit *c)
{
    if (c->dirty) {
        if (c->v.major != v->major || (c->v.minor != v->minor && !c->minor_open))
            return true;
        if (c->minor_open)
            return false;
        if (c->v.patch != v->patch && !c->patch_open)
            return true;
        if (c->patch_open)
            return compare_pre(v->pre, c->v.pre) != 0;
    }
    return semver_compare(v, &c->v) != 0;
}

static bool greater(const struct semver *v, const struct limit *c)
{
    if (c->dirty && v->major != c->v.major)
        return v->major > c->v.major;
    if (c->dirty && c->minor_open)
        return false;
    if (c->dirty && c->patch_open)
        return v->minor > c->v.minor;
    return semver_compare(v, &c->v) > 0;
}

static bool less(const struct semver *v, const struct limit *c)
{
    return semver_compare(v, &c->v) < 0;
}

static bool greater_equal(const struct semver *v, const struct limit *c)
{
    return semver_compare(v, &c->v) >= 0;
}

static bool less_equal(const struct semver *v, const struct limit *c)
{
    if (!c->dirty)
        return semver_compare(v, &c->v) <= 0;
    return v->major < c->v.major ||
           (v->major == c->v.major && (v->minor <= c->v.minor || c->minor_open));
}

static bool tilde(const struct semver *v, const struct limit *c)
{
    if (semver_compare(v, &c->v) < 0)
        return false;
    if (!c->v.major && !c->v.minor && !c->v.patch && !c->minor_open && !c->patch_open)
        return true; // "*", and ~0.0.0 too
    return v->major == c->v.major && (v->minor == c->v.minor || c->minor_open);
}

static bool equal(const struct semver *v, const struct limit *c)
{
    return c->dirty ? tilde(v, c) : semver_compare(v, &c->v) == 0;
}

static bool caret(const struct semver *v, const struct limit *c)
{
    if (semver_compare(v, &c->v) < 0 || v->major != c->v.major)
        return false;
    if (c->v.major || c->minor_open)
        return true;
    if (v->minor != c->v.minor)
        return false;
    return c->v.minor || c->patch_open || v->patch == c->v.patch;
}

static const struct sign {
    const char *text;
    limit_fn *holds;
} signs[] = {
    // the longer ones first
    {"!=", differs},    {">=", greater_equal}, {"=>", greater_equal}, {"<=", less_equal},
    {"=<", less_equal}, {"~>", tilde},         {"=", equal},          {">", greater},
    {"<", less},        {"~", tilde},          {"^", caret},          {"", equal},
};

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r' && c != '\v');
}

static bool spaces(struct str *s)
{
    size_t n = 0;
    while (n < s->n && is_space(s->p[n]))
        n++;
    *s = str_from(*s, n);
    return n > 0;
}

// One part of a version in a constraint: digits, or an x, X or *.
static bool open_part(struct str *s, struct str *ret)
{
    size_t n = 0;
    while (n < s->n && (is_digit(s->p[n]) || (s->p[n] && strchr("xX*", s->p[n]))))
        n++;
    *ret = str_sub(*s, 0, n);
    *s = str_from(*s, n);
    return n > 0;
}

static bool is_x(struct str s)
{
    return s.n == 1 && !is_digit(s.p[0]);
}

struct open_version {
    struct str parts[3]; // empty: left out
    struct str pre, build;
};

static bool open_version(struct str *s, struct open_version *o)
{
    struct str at = *s;
    *o = (struct open_version){0};
    skip(&at, 'v');
    if (!open_part(&at, &o->parts[0]))
        return false;
    for (int i = 1; i < 3; i++) {
        struct str next = at;
        if (!skip(&next, '.') || !open_part(&next, &o->parts[i]))
            break;
        at = next;
    }
    if (!suffixes(&at, &o->pre, &o->build))
        return false;
    *s = at;
    return true;
}

static bool limit_from(const struct open_version *o, struct limit *c)
{
    uint64_t *const parts[] = {&c->v.major, &c->v.minor, &c->v.patch};
    c->v.pre = o->pre;
    c->v.build = o->build;
    for (int i = 0; i < 3; i++) {
        if (!o->parts[i].n || is_x(o->parts[i])) {
            c->dirty = true;
            c->minor_open = i == 1;
            c->patch_open = i == 2;
            break;
        }
        if (!str_to_u64(o->parts[i], parts[i]))
            return false;
    }
    return !o->pre.n || pre_valid(o->pre);
}

static struct limit *limit_add(struct arena *a, struct group *g)
{
    g->limits = arena_grow(a, g->limits, g->n * sizeof *g->limits, (g->n + 1) * sizeof *g->limits);
    g->limits[g->n] = (struct limit){0};
    return &g->limits[g->n++];
}

static int improper(struct str group, struct err *e)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    go_quote(&b, group);
    return err_set(e, ERR_INVALID, "improper constraint: %s", buf_cstr(&b));
}

// "a - b": two limits. Returns false, with *s unmoved, where it is none.
static bool range_parse(struct arena *a, struct str *s, struct group *g, bool *bad)
{
    struct open_version low, high;
    struct str at = *s;
    if (!open_version(&at, &low) || !spaces(&at) || !skip(&at, '-') || !spaces(&at) ||
        !open_version(&at, &high))
        return false;
    struct limit *c = limit_add(a, g);
    c->holds = greater_equal;
    *bad |= !limit_from(&low, c);
    c = limit_add(a, g);
    c->holds = less_equal;
    *bad |= !limit_from(&high, c);
    g->pre |= low.pre.n || high.pre.n;
    *s = at;
    return true;
}

static int group_parse(struct arena *a, struct str text, struct group *g, struct err *e)
{
    struct str s = text;
    bool bad = false;
    spaces(&s);
    do {
        if (!range_parse(a, &s, g, &bad)) {
            const struct sign *sign = signs;
            struct open_version o;
            while (!str_starts(s, str_of(sign->text)))
                sign++;
            s = str_from(s, strlen(sign->text));
            spaces(&s);
            if (!open_version(&s, &o))
                return improper(text, e);
            struct limit *c = limit_add(a, g);
            c->holds = sign->holds;
            bad |= !limit_from(&o, c);
            g->pre |= o.pre.n > 0;
        }
        bool apart = spaces(&s);
        if (skip(&s, ',')) {
            apart = true;
            spaces(&s);
            if (!s.n)
                return improper(text, e);
        }
        if (s.n && !apart)
            return improper(text, e);
    } while (s.n);
    return bad ? err_set(e, ERR_INVALID, "constraint parser error") : 0;
}

int semver_constraint_parse(struct arena *a, struct str s, struct semver_constraint **ret,
                            struct err *e)
{
    if (s.n > SEMVER_CONSTRAINT_MAX)
        return err_set(e, ERR_INVALID, "constraint string is too long (max %d bytes)",
                       SEMVER_CONSTRAINT_MAX);
    struct semver_constraint *c = arena_new(a, struct semver_constraint);
    c->groups = arena_array(a, struct group, SEMVER_CONSTRAINT_PART);
    struct str rest = arena_str(a, s);
    for (;;) {
        ptrdiff_t bar = str_find(rest, STR("||"));
        struct str text = bar < 0 ? rest : str_sub(rest, 0, (size_t)bar);
        if (c->n == SEMVER_CONSTRAINT_PART)
            return err_set(e, ERR_INVALID, "too many constraint groups (max %d)",
                           SEMVER_CONSTRAINT_PART);
        int r = group_parse(a, text, &c->groups[c->n++], e);
        if (r < 0)
            return r;
        if (bar < 0)
            break;
        rest = str_from(rest, (size_t)bar + 2);
    }
    *ret = c;
    return 0;
}

static bool group_holds(const struct group *g, const struct semver *v)
{
    if (v->pre.n && !g->pre)
        return false;
    for (size_t i = 0; i < g->n; i++)
        if (!g->limits[i].holds(v, &g->limits[i]))
            return false;
    return true;
}

bool semver_constraint_check(const struct semver_constraint *c, const struct semver *v)
{
    for (size_t i = 0; i < c->n; i++)
        if (group_holds(&c->groups[i], v))
            return true;
    return false;
}
