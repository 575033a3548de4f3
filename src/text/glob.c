// Globs are regular expressions with another spelling, so they are respelled, and what holds for
// text/regex.h (linear time, bounded programs) holds for them.
#include "text/glob.h"
#include "text/regex.h"

struct glob {
    struct regex *re;
};

static void quote(struct buf *b, struct str c)
{
    regex_quote(b, c);
}

// [abc], [a-z], [^a] (gobwas: [!a]). Returns what it took; 0: malformed.
static size_t class_add(struct buf *b, struct str s, enum glob_dialect dialect)
{
    size_t i = 1;
    buf_char(b, '[');
    if (i < s.n && (s.p[i] == '^' || (s.p[i] == '!' && dialect == GLOB_GOBWAS))) {
        buf_char(b, '^');
        i++;
    }
    for (bool first = true; i < s.n && (s.p[i] != ']' || first); i++, first = false) {
        if (s.p[i] == '\\' && ++i >= s.n)
            return 0;
        if (s.p[i] == '-' && !first && i + 1 < s.n && s.p[i + 1] != ']') {
            buf_char(b, '-');
            continue;
        }
        if (memchr("\\[]^-&", s.p[i], 6))
            buf_char(b, '\\');
        buf_char(b, s.p[i]);
    }
    buf_char(b, ']');
    return i < s.n ? i + 1 : 0;
}

static bool respell(struct buf *b, struct str s, enum glob_dialect dialect)
{
    int braces = 0;
    bool gobwas = dialect == GLOB_GOBWAS;
    buf_puts(b, "(?s)\\A");
    for (size_t i = 0; i < s.n;) {
        char c = s.p[i];
        size_t took = 1;
        if (c == '*' && gobwas && i + 1 < s.n && s.p[i + 1] == '*') {
            buf_puts(b, ".*");
            took = 2;
        } else if (c == '*') {
            buf_puts(b, "[^/]*");
        } else if (c == '?') {
            buf_puts(b, "[^/]");
        } else if (c == '[') {
            took = class_add(b, str_from(s, i), dialect);
            if (!took)
                return false;
        } else if (c == '{' && gobwas) {
            buf_puts(b, "(?:");
            braces++;
        } else if (c == '}' && gobwas && braces) {
            buf_char(b, ')');
            braces--;
        } else if (c == ',' && braces) {
            buf_char(b, '|');
        } else if (c == '\\') {
            if (i + 1 >= s.n)
                return false;
            quote(b, str_sub(s, i + 1, 1));
            took = 2;
        } else {
            quote(b, str_sub(s, i, 1));
        }
        i += took;
    }
    buf_puts(b, "\\z");
    return braces == 0;
}

int glob_compile(struct arena *a, struct str pattern, enum glob_dialect dialect, struct glob **ret,
                 struct err *e)
{
    _cleanup_buf_ struct buf b = BUF_MAX(REGEX_PATTERN_MAX);
    struct glob *g = arena_new(a, struct glob);
    if (!respell(&b, pattern, dialect) || !buf_ok(&b) ||
        regex_compile(a, buf_view(&b), &g->re, NULL) < 0)
        return err_set(e, ERR_INVALID, "syntax error in pattern");
    *ret = g;
    return 0;
}

bool glob_match(const struct glob *g, struct str text)
{
    return regex_match(g->re, text);
}

// ---- Rules ----

struct glob_rule {
    struct glob *glob;
    bool negate, directory, whole;
};

struct glob_rules {
    struct glob_rule *all;
    size_t n;
};

static int rule_parse(struct arena *a, struct str line, struct glob_rule *ret, struct err *e)
{
    *ret = (struct glob_rule){0};
    if (str_find(line, STR("**")) >= 0)
        return err_set(e, ERR_INVALID, "double-star (**) syntax is not supported");
    if (line.p[0] == '!') {
        ret->negate = true;
        line = str_from(line, 1);
    }
    if (line.n && line.p[line.n - 1] == '/') {
        ret->directory = true;
        line = str_sub(line, 0, line.n - 1);
    }
    ret->whole = str_chr(line, '/') >= 0;
    if (line.n && line.p[0] == '/')
        line = str_from(line, 1);
    return glob_compile(a, line, GLOB_PATH, &ret->glob, e);
}

int glob_rules_parse(struct arena *a, struct str text, struct glob_rules **ret, struct err *e)
{
    struct glob_rules *r = arena_new(a, struct glob_rules);
    size_t cap = 0;
    for (struct str rest = text; rest.p;) {
        struct str line = str_trim(str_cut(&rest, '\n'));
        if (!line.n || line.p[0] == '#')
            continue;
        if (r->n == GLOB_RULES_MAX)
            return err_set(e, ERR_INVALID, "more than %d patterns", GLOB_RULES_MAX);
        if (r->n == cap) {
            r->all = arena_grow(a, r->all, cap * sizeof *r->all, (cap * 2 + 8) * sizeof *r->all);
            cap = cap * 2 + 8;
        }
        int f = rule_parse(a, line, &r->all[r->n++], e);
        if (f < 0)
            return f;
    }
    *ret = r;
    return 0;
}

bool glob_rules_ignore(const struct glob_rules *r, struct str path, bool directory)
{
    struct str last = str_from(path, (size_t)(str_rchr(path, '/') + 1));
    for (size_t i = 0; i < r->n; i++) {
        const struct glob_rule *rule = &r->all[i];
        bool match = glob_match(rule->glob, rule->whole ? path : last);
        if (rule->negate) {
            // All that does not match is ignored (directories only, where the rule says so).
            if ((rule->directory && !directory) || !match)
                return true;
            continue;
        }
        if (match && (!rule->directory || directory))
            return true;
    }
    return false;
}
