// Regular expressions, versions, addresses and paths.
#include "template/sprig.h"
#include "text/regex.h"
#include "text/semver.h"

#define ARENA(c)  template_arena(c)
#define FN(name)  static struct value *name(struct template_call *c, struct value **args, size_t n)
#define UNUSED_N  (void)n
#define S(i)      value_string(args[i])
#define MATCH_MAX ((size_t)64 << 20)

// param bit 8: a plain error instead of a panic's words.
static struct regex *compiled(struct template_call *c, struct str pattern)
{
    struct regex *re;
    _cleanup_err_ struct err e = ERR_INIT;
    if (regex_compile(ARENA(c), pattern, &re, &e) == 0)
        return re;
    if (template_param(c) & 8)
        template_fail(c, "%s", e.message);
    else
        template_fail(c, "regexp: Compile(`%.*s`): %s", STR_ARG(pattern), e.message);
    return NULL;
}

FN(fn_regex_match)
{
    UNUSED_N;
    struct regex *re;
    _cleanup_err_ struct err e = ERR_INIT;
    if (regex_compile(ARENA(c), S(0), &re, &e) < 0)
        return template_param(c) & 8 ? template_fail(c, "%s", e.message)
                                     : value_bool(ARENA(c), false);
    return value_bool(ARENA(c), regex_match(re, S(1)));
}
FN(fn_regex_find)
{
    UNUSED_N;
    size_t at[2];
    struct regex *re = compiled(c, S(0));
    if (!re)
        return NULL;
    return sprig_string(c, regex_find(re, S(1), 0, at, 2) ? str_sub(S(1), at[0], at[1] - at[0])
                                                          : STR(""));
}
FN(fn_regex_find_all)
{
    UNUSED_N;
    size_t at[2];
    struct regex *re = compiled(c, S(0));
    if (!re)
        return NULL;
    struct value *out = value_array(ARENA(c));
    struct regex_each it = regex_each(re, S(1));
    out->b = true;
    for (int64_t left = args[2]->i; left && regex_next(&it, at, 2); left--)
        value_push(ARENA(c), out, sprig_string(c, str_sub(S(1), at[0], at[1] - at[0])));
    return out;
}
// param: 1 literal
FN(fn_regex_replace)
{
    UNUSED_N;
    struct regex *re = compiled(c, S(0));
    if (!re)
        return NULL;
    struct buf b = BUF_MAX(MATCH_MAX);
    regex_replace(&b, re, S(1), S(2), template_param(c) & 1);
    return sprig_take(c, &b);
}
FN(fn_regex_split)
{
    UNUSED_N;
    struct str *parts;
    struct regex *re = compiled(c, S(0));
    if (!re)
        return NULL;
    size_t count = regex_split(ARENA(c), re, S(1), args[2]->i, &parts);
    struct value *out = value_array(ARENA(c));
    out->b = true;
    for (size_t i = 0; i < count; i++)
        value_push(ARENA(c), out, sprig_string(c, parts[i]));
    return out;
}
FN(fn_regex_quote)
{
    UNUSED_N;
    struct buf b = BUF_MAX(MATCH_MAX);
    regex_quote(&b, S(0));
    return sprig_take(c, &b);
}

// ---- Versions ----

static const struct template_type version_type = {.name = "*semver.Version"};

FN(fn_semver)
{
    UNUSED_N;
    struct semver v;
    _cleanup_err_ struct err e = ERR_INIT;
    if (semver_parse(ARENA(c), S(0), &v, &e) < 0)
        return template_fail(c, "%s", e.message);
    struct template_thing *t = arena_new(ARENA(c), struct template_thing);
    struct value *f = t->fields = value_object(ARENA(c));
    t->type = &version_type;
    value_setc(ARENA(c), f, "Major", value_int(ARENA(c), (int64_t)v.major));
    value_setc(ARENA(c), f, "Minor", value_int(ARENA(c), (int64_t)v.minor));
    value_setc(ARENA(c), f, "Patch", value_int(ARENA(c), (int64_t)v.patch));
    value_setc(ARENA(c), f, "Prerelease", sprig_string(c, v.pre));
    value_setc(ARENA(c), f, "Metadata", sprig_string(c, v.build));
    value_setc(ARENA(c), f, "Original", sprig_string(c, v.original));
    value_setc(ARENA(c), f, "String()", sprig_string(c, semver_text(ARENA(c), &v)));
    return template_thing_value(ARENA(c), t);
}
FN(fn_semver_compare)
{
    UNUSED_N;
    struct semver_constraint *k;
    struct semver v;
    _cleanup_err_ struct err e = ERR_INIT;
    if (semver_constraint_parse(ARENA(c), S(0), &k, &e) < 0 ||
        semver_parse(ARENA(c), S(1), &v, &e) < 0)
        return template_fail(c, "%s", e.message);
    return value_bool(ARENA(c), semver_constraint_check(k, &v));
}

// ---- Paths ----

static struct str path_clean(struct arena *a, struct str s)
{
    if (!s.n)
        return STR(".");
    bool rooted = s.p[0] == '/';
    struct str *parts = arena_array(a, struct str, s.n + 1);
    size_t n = 0;
    for (struct str rest = s; rest.p;) {
        struct str part = str_cut(&rest, '/');
        if (!part.n || str_eqc(part, "."))
            continue;
        if (!str_eqc(part, ".."))
            parts[n++] = part;
        else if (n && !str_eqc(parts[n - 1], ".."))
            n--;
        else if (!rooted)
            parts[n++] = part;
    }
    struct str joined = arena_join(a, parts, n, STR("/"));
    if (rooted)
        return arena_printf(a, "/%.*s", STR_ARG(joined));
    return joined.n ? joined : STR(".");
}
FN(fn_clean)
{
    UNUSED_N;
    return sprig_string(c, path_clean(ARENA(c), S(0)));
}
FN(fn_base)
{
    UNUSED_N;
    struct str s = S(0);
    if (!s.n)
        return sprig_string(c, STR("."));
    while (s.n && s.p[s.n - 1] == '/')
        s.n--;
    ptrdiff_t slash = str_rchr(s, '/');
    return sprig_string(c, s.n ? str_from(s, (size_t)(slash + 1)) : STR("/"));
}
FN(fn_dir)
{
    UNUSED_N;
    ptrdiff_t slash = str_rchr(S(0), '/');
    return sprig_string(c, path_clean(ARENA(c), str_sub(S(0), 0, (size_t)(slash + 1))));
}
FN(fn_ext)
{
    UNUSED_N;
    struct str s = S(0);
    for (size_t i = s.n; i-- > 0 && s.p[i] != '/';)
        if (s.p[i] == '.')
            return sprig_string(c, str_from(s, i));
    return sprig_string(c, STR(""));
}
FN(fn_is_abs)
{
    UNUSED_N;
    return value_bool(ARENA(c), str_starts(S(0), STR("/")));
}

// ---- Addresses ----

static int hex(char ch)
{
    if (ch >= '0' && ch <= '9')
        return ch - '0';
    ch |= 32;
    return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

static struct str unescape(struct arena *a, struct str s)
{
    char *out = arena_alloc(a, s.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '%' && i + 2 < s.n && hex(s.p[i + 1]) >= 0 && hex(s.p[i + 2]) >= 0) {
            out[n++] = (char)(hex(s.p[i + 1]) * 16 + hex(s.p[i + 2]));
            i += 2;
        } else {
            out[n++] = s.p[i];
        }
    }
    return str_n(out, n);
}

FN(fn_url_parse)
{
    UNUSED_N;
    struct str s = S(0), scheme = STR(""), host = STR(""), user = STR(""), query = STR(""),
               fragment = STR(""), opaque = STR("");
    ptrdiff_t at = str_chr(s, '#');
    if (at >= 0) {
        fragment = str_from(s, (size_t)at + 1);
        s = str_sub(s, 0, (size_t)at);
    }
    size_t i = 0;
    while (i < s.n && (((s.p[i] | 32) >= 'a' && (s.p[i] | 32) <= 'z') ||
                       (i && strchr("0123456789+-.", s.p[i]))))
        i++;
    if (i && i < s.n && s.p[i] == ':') {
        scheme = str_sub(s, 0, i);
        s = str_from(s, i + 1);
    } else if (i < s.n && s.p[i] == ':' && !i) {
        return template_fail(c, "unable to parse url: parse \"%.*s\": missing protocol scheme",
                             STR_ARG(S(0)));
    }
    if ((at = str_chr(s, '?')) >= 0) {
        query = str_from(s, (size_t)at + 1);
        s = str_sub(s, 0, (size_t)at);
    }
    if (str_starts(s, STR("//"))) {
        s = str_from(s, 2);
        at = str_chr(s, '/');
        host = at < 0 ? s : str_sub(s, 0, (size_t)at);
        s = at < 0 ? STR("") : str_from(s, (size_t)at);
        if ((at = str_rchr(host, '@')) >= 0) {
            user = str_sub(host, 0, (size_t)at);
            host = str_from(host, (size_t)at + 1);
        }
    } else if (scheme.n && s.n && s.p[0] != '/') {
        opaque = s;
        s = STR("");
    }
    struct str hostname = host;
    if (host.n && host.p[0] == '[') {
        at = str_chr(host, ']');
        hostname = at > 0 ? str_sub(host, 1, (size_t)at - 1) : host;
    } else if ((at = str_rchr(host, ':')) >= 0) {
        hostname = str_sub(host, 0, (size_t)at);
    }
    struct arena *a = ARENA(c);
    struct value *out = value_object(a);
    value_setc(a, out, "scheme", value_str(a, scheme));
    value_setc(a, out, "host", value_str(a, host));
    value_setc(a, out, "hostname", value_str(a, hostname));
    value_setc(a, out, "path", value_str(a, unescape(a, s)));
    value_setc(a, out, "query", value_str(a, query));
    value_setc(a, out, "opaque", value_str(a, opaque));
    value_setc(a, out, "fragment", value_str(a, unescape(a, fragment)));
    value_setc(a, out, "userinfo", value_str(a, user));
    return out;
}
FN(fn_url_join)
{
    UNUSED_N;
    struct buf b = BUF_MAX(MATCH_MAX);
    struct str scheme = sprig_text(c, value_getc(args[0], "scheme")),
               host = value_str_at(args[0], "host"), path = value_str_at(args[0], "path"),
               query = value_str_at(args[0], "query"), opaque = value_str_at(args[0], "opaque"),
               fragment = value_str_at(args[0], "fragment"),
               user = value_str_at(args[0], "userinfo");
    if (value_getc(args[0], "scheme") && scheme.n)
        buf_printf(&b, "%.*s:", STR_ARG(scheme));
    if (opaque.n) {
        buf_str(&b, opaque);
    } else {
        if (host.n || user.n)
            buf_puts(&b, "//");
        if (user.n)
            buf_printf(&b, "%.*s@", STR_ARG(user));
        buf_str(&b, host);
        if (path.n && path.p[0] != '/' && host.n)
            buf_char(&b, '/');
        buf_str(&b, path);
    }
    if (query.n)
        buf_printf(&b, "?%.*s", STR_ARG(query));
    if (fragment.n)
        buf_printf(&b, "#%.*s", STR_ARG(fragment));
    return sprig_take(c, &b);
}

static const struct template_function rows[] = {
    {"base", "s", fn_base},
    {"clean", "s", fn_clean},
    {"dir", "s", fn_dir},
    {"ext", "s", fn_ext},
    {"isAbs", "s", fn_is_abs},
    {"mustRegexFind", "ss", fn_regex_find, 8},
    {"mustRegexFindAll", "ssi", fn_regex_find_all, 8},
    {"mustRegexMatch", "ss", fn_regex_match, 8},
    {"mustRegexReplaceAll", "sss", fn_regex_replace, 8},
    {"mustRegexReplaceAllLiteral", "sss", fn_regex_replace, 9},
    {"mustRegexSplit", "ssi", fn_regex_split, 8},
    {"osBase", "s", fn_base},
    {"osClean", "s", fn_clean},
    {"osDir", "s", fn_dir},
    {"osExt", "s", fn_ext},
    {"osIsAbs", "s", fn_is_abs},
    {"regexFind", "ss", fn_regex_find},
    {"regexFindAll", "ssi", fn_regex_find_all},
    {"regexMatch", "ss", fn_regex_match},
    {"regexQuoteMeta", "s", fn_regex_quote},
    {"regexReplaceAll", "sss", fn_regex_replace},
    {"regexReplaceAllLiteral", "sss", fn_regex_replace, 1},
    {"regexSplit", "ssi", fn_regex_split},
    {"semver", "s", fn_semver},
    {"semverCompare", "ss", fn_semver_compare},
    {"urlJoin", "m", fn_url_join},
    {"urlParse", "s", fn_url_parse},
};
const struct template_functions sprig_match = {rows, sizeof rows / sizeof *rows};
