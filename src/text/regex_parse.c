// The grammar of regular expressions, by descent: alternation, concatenation, repetition, atom.
// The depth of groups is bounded, and with it the stack. What is refused, and with which words,
// follows Go's regexp/syntax with its flags "Perl", down to the part that an error quotes.
//
// Case is resolved here: under (?i) a character becomes the class of all that fold to it, so that
// the matcher knows nothing of case.
#include "text/regex_private.h"
#include "text/unicode.h"
#include "text/utf8.h"

enum { FOLD = 1, DOT_NL = 2, MULTI_LINE = 4, UNGREEDY = 8 };

struct regex_parser {
    struct arena *a;
    struct str s;
    size_t at;
    unsigned flags;
    int depth;
    struct regex_syntax *syntax;
    struct err *e;
    bool failed;
};

static const char too_deep[] = "expression nests too deeply", no_paren[] = "missing closing )";

static struct regex_node *fault(struct regex_parser *p, const char *what, struct str where)
{
    if (!p->failed)
        err_set(p->e, ERR_INVALID, "error parsing regexp: %s: `%.*s`", what, STR_ARG(where));
    p->failed = true;
    return NULL;
}

static struct str from(const struct regex_parser *p, size_t start)
{
    return str_sub(p->s, start, p->at - start);
}

static int peek(const struct regex_parser *p)
{
    return p->at < p->s.n ? (unsigned char)p->s.p[p->at] : -1;
}

static bool looking_at(const struct regex_parser *p, struct str text)
{
    return str_starts(str_from(p->s, p->at), text);
}

static bool take(struct regex_parser *p, struct str text)
{
    bool is = looking_at(p, text);
    if (is)
        p->at += text.n;
    return is;
}

// The next character; UTF-8 has been checked.
static uint32_t next_rune(struct regex_parser *p)
{
    size_t width;
    uint32_t c = utf8_at(p->s, p->at, &width);
    p->at += width;
    return c;
}

static struct regex_node *node(struct regex_parser *p, enum regex_op op)
{
    struct regex_node *n = arena_new(p->a, struct regex_node);
    n->op = op;
    return n;
}

// ---- Classes ----

struct class_building {
    struct regex_parser *p;
    struct regex_class *set;
};

static void class_add(struct regex_parser *p, struct regex_class *set, uint32_t lo, uint32_t hi)
{
    if (set->n && lo <= set->ranges[set->n - 1].hi + 1 && lo >= set->ranges[set->n - 1].lo) {
        if (hi > set->ranges[set->n - 1].hi)
            set->ranges[set->n - 1].hi = hi;
        return;
    }
    if (set->n == set->cap) {
        size_t cap = set->cap ? set->cap * 2 : 8;
        set->ranges = arena_grow(p->a, set->ranges, set->cap * sizeof *set->ranges,
                                 cap * sizeof *set->ranges);
        set->cap = cap;
    }
    set->ranges[set->n++] = (struct regex_range){lo, hi};
}

static void class_add_range(void *ctx, uint32_t lo, uint32_t hi)
{
    struct class_building *b = ctx;
    class_add(b->p, b->set, lo, hi);
}

static int range_order(const void *a, const void *b)
{
    const struct regex_range *x = a, *y = b;
    return x->lo < y->lo ? -1 : x->lo > y->lo;
}

// Sorts and joins.
static void class_settle(struct regex_class *set)
{
    size_t n = 0;
    if (!set->n)
        return;
    qsort(set->ranges, set->n, sizeof *set->ranges, range_order);
    for (size_t i = 1; i < set->n; i++) {
        struct regex_range *last = &set->ranges[n];
        if (set->ranges[i].lo <= last->hi + 1) {
            if (set->ranges[i].hi > last->hi)
                last->hi = set->ranges[i].hi;
        } else {
            set->ranges[++n] = set->ranges[i];
        }
    }
    set->n = n + 1;
}

static void class_negate(struct regex_parser *p, struct regex_class *set)
{
    struct regex_class out = {0};
    uint32_t next = 0;
    class_settle(set);
    for (size_t i = 0; i < set->n; i++) {
        if (set->ranges[i].lo > next)
            class_add(p, &out, next, set->ranges[i].lo - 1);
        next = set->ranges[i].hi + 1;
    }
    if (next <= UTF8_MAX)
        class_add(p, &out, next, UTF8_MAX);
    *set = out;
}

static void class_append(struct regex_parser *p, struct regex_class *set,
                         const struct regex_class *more)
{
    for (size_t i = 0; i < more->n; i++)
        class_add(p, set, more->ranges[i].lo, more->ranges[i].hi);
}

// Adds all that fold into the set. Large ranges hold their own other cases but for a few.
static void class_fold(struct regex_parser *p, struct regex_class *set)
{
    struct regex_class out = {0};
    class_settle(set);
    class_append(p, &out, set);
    for (size_t i = 0; i < set->n; i++)
        for (uint32_t c = set->ranges[i].lo; c <= set->ranges[i].hi && c < 0x1e944; c++)
            for (uint32_t f = unicode_fold(c); f != c; f = unicode_fold(f))
                class_add(p, &out, f, f);
    class_settle(&out);
    *set = out;
}

static void class_bits(struct regex_class *set)
{
    class_settle(set);
    for (size_t i = 0; i < set->n; i++)
        for (uint32_t c = set->ranges[i].lo; c <= set->ranges[i].hi && c < 128; c++)
            set->ascii[c / 64] |= (uint64_t)1 << (c % 64);
}

static struct regex_node *class_node(struct regex_parser *p, struct regex_class *set)
{
    class_settle(set);
    struct regex_node *n = node(p, REGEX_CLASS);
    if (!set->n)
        n->op = REGEX_NOTHING;
    n->set = set;
    class_bits(set);
    return n;
}

static const struct named_class {
    const char *name, *ranges; // pairs of characters
} ascii_classes[] = {
    {"alnum", "09AZaz"},
    {"alpha", "AZaz"},
    {"ascii", "\x01\x7f"},
    {"blank", "\t\t  "},
    {"cntrl", "\x01\x1f\x7f\x7f"},
    {"digit", "09"},
    {"graph", "!~"},
    {"lower", "az"},
    {"print", " ~"},
    {"punct", "!/:@[`{~"},
    {"space", "\t\r  "},
    {"upper", "AZ"},
    {"word", "09AZaz__"},
    {"xdigit", "09AFaf"},
    {"d", "09"},
    {"s", "\t\n\f\r  "},
    {"w", "09AZaz__"}, // Perl's
};

static bool class_named(struct regex_parser *p, struct str name, struct regex_class *set)
{
    for (size_t i = 0; i < sizeof ascii_classes / sizeof *ascii_classes; i++) {
        const struct named_class *c = &ascii_classes[i];
        if (!str_eqc(name, c->name))
            continue;
        for (const char *r = c->ranges; *r; r += 2)
            class_add(p, set, (unsigned char)r[0], (unsigned char)r[1]);
        if (str_eqc(name, "ascii") || str_eqc(name, "cntrl"))
            class_add(p, set, 0, 0);
        return true;
    }
    return false;
}

// \d \s \w and their opposites.
static bool perl_class(struct regex_parser *p, struct regex_class *set)
{
    if (peek(p) != '\\' || p->at + 1 >= p->s.n)
        return false;
    char c = p->s.p[p->at + 1], small = (char)(c | 32);
    if (!strchr("dsw", small) || !c)
        return false;
    struct regex_class part = {0};
    class_named(p, str_n(&small, 1), &part);
    if (p->flags & FOLD)
        class_fold(p, &part);
    if (c != small)
        class_negate(p, &part);
    class_append(p, set, &part);
    p->at += 2;
    return true;
}

// \pN, \p{Greek}, \P{^Greek}. false: none here (or a fault, see p->failed).
static bool unicode_set(struct regex_parser *p, struct regex_class *set)
{
    size_t start = p->at;
    if (!looking_at(p, STR("\\p")) && !looking_at(p, STR("\\P")))
        return false;
    bool negate = p->s.p[p->at + 1] == 'P';
    p->at += 2;
    struct str name;
    if (p->at >= p->s.n) {
        fault(p, "invalid character class range", from(p, start));
        return false;
    }
    if (peek(p) == '{') {
        ptrdiff_t end = str_chr(str_from(p->s, p->at), '}');
        if (end < 0) {
            p->at = p->s.n;
            fault(p, "invalid character class range", from(p, start));
            return false;
        }
        name = str_sub(p->s, p->at + 1, (size_t)end - 1);
        p->at += (size_t)end + 1;
    } else {
        size_t name_at = p->at;
        next_rune(p);
        name = from(p, name_at);
    }
    if (name.n && name.p[0] == '^') {
        negate = !negate;
        name = str_from(name, 1);
    }
    struct regex_class part = {0};
    struct class_building b = {p, &part};
    if (!unicode_class(name, class_add_range, &b)) {
        fault(p, "invalid character class range", from(p, start));
        return false;
    }
    if (p->flags & FOLD)
        class_fold(p, &part);
    if (negate)
        class_negate(p, &part);
    class_append(p, set, &part);
    return true;
}

static int hex(int c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// An escaped single character, from the backslash on. false after a fault.
static bool escape(struct regex_parser *p, uint32_t *ret)
{
    size_t start = p->at++;
    if (p->at >= p->s.n) {
        fault(p, "trailing backslash at end of expression", STR(""));
        return false;
    }
    uint32_t c = next_rune(p), v = 0;
    static const char letters[] = "afnrtv", meanings[] = "\a\f\n\r\t\v";
    const char *letter = c && c < 128 ? strchr(letters, (int)c) : NULL;
    if (letter) {
        *ret = (unsigned char)meanings[letter - letters];
        return true;
    }
    bool octal_follows = peek(p) >= '0' && peek(p) <= '7';
    if (c == '0' || (c >= '1' && c <= '7' && octal_follows)) {
        v = c - '0';
        for (int i = 1; i < 3 && peek(p) >= '0' && peek(p) <= '7'; i++)
            v = v * 8 + (uint32_t)(p->s.p[p->at++] - '0');
        *ret = v;
        return true;
    }
    if (c == 'x' && p->at < p->s.n) {
        if (take(p, STR("{"))) {
            int digits = 0;
            for (; hex(peek(p)) >= 0 && v <= UTF8_MAX; digits++)
                v = v * 16 + (uint32_t)hex(p->s.p[p->at++]);
            if (digits && v <= UTF8_MAX && take(p, STR("}"))) {
                *ret = v;
                return true;
            }
            if (v <= UTF8_MAX && p->at < p->s.n)
                next_rune(p);
        } else {
            int high = hex((int)next_rune(p));
            int low = high >= 0 && p->at < p->s.n ? hex((int)next_rune(p)) : -1;
            if (low >= 0) {
                *ret = (uint32_t)(high * 16 + low);
                return true;
            }
        }
        fault(p, "invalid escape sequence", from(p, start));
        return false;
    }
    bool alphanumeric = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
    if (c < 128 && !alphanumeric) {
        *ret = c;
        return true;
    }
    fault(p, "invalid escape sequence", from(p, start));
    return false;
}

static bool class_char(struct regex_parser *p, size_t class_start, uint32_t *ret)
{
    if (p->at >= p->s.n) {
        fault(p, "missing closing ]", str_from(p->s, class_start));
        return false;
    }
    if (peek(p) == '\\')
        return escape(p, ret);
    *ret = next_rune(p);
    return true;
}

// [:alpha:] and [:^alpha:]
static bool posix_class(struct regex_parser *p, struct regex_class *set)
{
    if (!looking_at(p, STR("[:")))
        return false;
    ptrdiff_t end = str_find(str_from(p->s, p->at + 2), STR(":]"));
    if (end < 0)
        return false;
    size_t start = p->at;
    struct str name = str_sub(p->s, p->at + 2, (size_t)end);
    bool negate = name.n && name.p[0] == '^';
    struct regex_class part = {0};
    p->at += 2 + (size_t)end + 2;
    struct str word = negate ? str_from(name, 1) : name;
    if (word.n < 2 || !class_named(p, word, &part)) {
        fault(p, "invalid character class range", from(p, start));
        return false;
    }
    if (p->flags & FOLD)
        class_fold(p, &part);
    if (negate)
        class_negate(p, &part);
    class_append(p, set, &part);
    return true;
}

static struct regex_node *bracket(struct regex_parser *p)
{
    size_t start = p->at++;
    struct regex_class *set = arena_new(p->a, struct regex_class), plain = {0};
    bool negate = take(p, STR("^"));
    for (bool first = true; peek(p) != ']' || first; first = false) {
        // POSIX: - is only okay unescaped as the first or last in a class; Perl takes it anywhere.
        if (p->failed)
            return NULL;
        if (posix_class(p, set) || p->failed || unicode_set(p, set) || p->failed ||
            perl_class(p, set))
            continue;
        size_t range_start = p->at;
        uint32_t lo, hi;
        if (!class_char(p, start, &lo))
            return NULL;
        hi = lo;
        if (p->at + 1 < p->s.n && peek(p) == '-' && p->s.p[p->at + 1] != ']') {
            p->at++;
            if (!class_char(p, start, &hi))
                return NULL;
            if (hi < lo)
                return fault(p, "invalid character class range", from(p, range_start));
        }
        class_add(p, &plain, lo, hi);
    }
    if (p->failed)
        return NULL;
    p->at++;
    if (p->flags & FOLD)
        class_fold(p, &plain);
    class_append(p, set, &plain);
    if (negate)
        class_negate(p, set);
    return class_node(p, set);
}

// ---- Atoms ----

static struct regex_node *literal(struct regex_parser *p, uint32_t c)
{
    if ((p->flags & FOLD) && unicode_fold(c) != c) {
        struct regex_class *set = arena_new(p->a, struct regex_class);
        class_add(p, set, c, c);
        class_fold(p, set);
        return class_node(p, set);
    }
    struct regex_node *n = node(p, REGEX_RUNE);
    n->rune = c;
    return n;
}

static struct regex_node *assertion(struct regex_parser *p, unsigned assert)
{
    struct regex_node *n = node(p, REGEX_ASSERT);
    n->assert = assert;
    return n;
}

static struct regex_node *dot(struct regex_parser *p)
{
    struct regex_class *set = arena_new(p->a, struct regex_class);
    if (p->flags & DOT_NL) {
        class_add(p, set, 0, UTF8_MAX);
    } else {
        class_add(p, set, 0, '\n' - 1);
        class_add(p, set, '\n' + 1, UTF8_MAX);
    }
    return class_node(p, set);
}

static struct regex_node *alternation(struct regex_parser *p);

static bool name_valid(struct str name)
{
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (c != '_' && !(c >= '0' && c <= '9') && !((c | 32) >= 'a' && (c | 32) <= 'z'))
            return false;
    }
    return name.n > 0;
}

static int capture_new(struct regex_parser *p, struct str name)
{
    struct regex_syntax *x = p->syntax;
    x->names = arena_grow(p->a, x->names, x->groups * sizeof *x->names,
                          (x->groups + 1) * sizeof *x->names);
    x->names[x->groups] = name.n ? arena_str(p->a, name) : STR_NULL;
    return (int)x->groups++;
}

// Behind "(" and what belongs to it, up to and with ")".
static struct regex_node *group_rest(struct regex_parser *p, int capture)
{
    unsigned flags = p->flags;
    if (++p->depth > REGEX_DEPTH)
        return fault(p, too_deep, p->s);
    struct regex_node *inner = alternation(p);
    p->depth--;
    if (p->failed)
        return NULL;
    if (!take(p, STR(")")))
        return fault(p, no_paren, p->s);
    p->flags = flags;
    if (capture < 0)
        return inner;
    struct regex_node *n = node(p, REGEX_CAPTURE);
    n->capture = capture;
    n->first = inner;
    return n;
}

static struct regex_node *named_group(struct regex_parser *p, size_t start, size_t name_at)
{
    ptrdiff_t end = str_chr(str_from(p->s, name_at), '>');
    if (end < 0)
        return fault(p, "invalid named capture", str_from(p->s, start));
    struct str name = str_sub(p->s, name_at, (size_t)end);
    p->at = name_at + (size_t)end + 1;
    if (!name_valid(name))
        return fault(p, "invalid named capture", from(p, start));
    return group_rest(p, capture_new(p, name));
}

// (?flags) and (?flags:re). The flags of "(?i)" hold to the end of the group around.
static struct regex_node *flags_group(struct regex_parser *p, size_t start)
{
    unsigned flags = p->flags;
    bool clear = false, any = false;
    while (p->at < p->s.n) {
        uint32_t c = next_rune(p);
        static const char letters[] = "ismU";
        const char *letter = c && c < 128 ? strchr(letters, (int)c) : NULL;
        if (letter) {
            unsigned bit = 1u << (letter - letters);
            flags = clear ? flags & ~bit : flags | bit;
            any = true;
        } else if (c == '-' && !clear) {
            clear = true;
            any = false; // something has to follow
        } else if (c == ':' || c == ')') {
            if (clear && !any)
                break;
            if (c == ')') {
                p->flags = flags;
                return node(p, REGEX_EMPTY);
            }
            unsigned outer = p->flags;
            p->flags = flags;
            struct regex_node *n = group_rest(p, -1);
            p->flags = outer;
            return n;
        } else {
            break;
        }
    }
    return fault(p, "invalid or unsupported Perl syntax", from(p, start));
}

static struct regex_node *group(struct regex_parser *p)
{
    size_t start = p->at++;
    if (!take(p, STR("?")))
        return group_rest(p, capture_new(p, STR_NULL));
    if (looking_at(p, STR("P<")) && p->s.n - p->at > 2)
        return named_group(p, start, p->at + 2);
    if (looking_at(p, STR("<")) && p->s.n - p->at > 1)
        return named_group(p, start, p->at + 1);
    return flags_group(p, start);
}

static struct regex_node *concat_add(struct regex_node *all, struct regex_node ***tail,
                                     struct regex_node *n)
{
    **tail = n;
    *tail = &n->next;
    return all;
}

// \Q...\E
static struct regex_node *quoted(struct regex_parser *p)
{
    struct regex_node *all = node(p, REGEX_CONCAT), **tail = &all->first;
    p->at += 2;
    while (p->at < p->s.n && !take(p, STR("\\E")))
        concat_add(all, &tail, literal(p, next_rune(p)));
    if (!all->first)
        all->op = REGEX_EMPTY;
    return all;
}

static struct regex_node *backslash(struct regex_parser *p)
{
    static const struct {
        const char *text;
        unsigned assert;
    } words[] = {{"\\A", ASSERT_BEGIN_TEXT},
                 {"\\z", ASSERT_END_TEXT},
                 {"\\b", ASSERT_WORD},
                 {"\\B", ASSERT_NOT_WORD}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (take(p, str_of(words[i].text)))
            return assertion(p, words[i].assert);
    struct regex_class *set = arena_new(p->a, struct regex_class);
    if (unicode_set(p, set) || perl_class(p, set))
        return class_node(p, set);
    if (p->failed)
        return NULL;
    uint32_t c;
    return escape(p, &c) ? literal(p, c) : NULL;
}

static struct regex_node *atom(struct regex_parser *p)
{
    switch (peek(p)) {
    case '(':
        return group(p);
    case '[':
        return bracket(p);
    case '\\':
        return backslash(p);
    case '.':
        p->at++;
        return dot(p);
    case '^':
        p->at++;
        return assertion(p, p->flags & MULTI_LINE ? ASSERT_BEGIN_LINE : ASSERT_BEGIN_TEXT);
    case '$':
        p->at++;
        return assertion(p, p->flags & MULTI_LINE ? ASSERT_END_LINE : ASSERT_END_TEXT);
    default:
        return literal(p, next_rune(p));
    }
}

// ---- Repetition ----

// Digits without a leading zero; -1: none; above the limit: the limit and one.
static int count(struct regex_parser *p)
{
    size_t start = p->at;
    int v = 0;
    while (peek(p) >= '0' && peek(p) <= '9') {
        v = v > REGEX_REPEAT_MAX ? v : v * 10 + (p->s.p[p->at] - '0');
        p->at++;
    }
    if (p->at == start || (p->at - start > 1 && p->s.p[start] == '0'))
        return -1;
    return v;
}

struct regex_bounds {
    int min, max;
};

// * + ? {n} {n,} {n,m}; false: none here (a brace that is no repetition is a character).
static bool repetition(struct regex_parser *p, struct regex_bounds *r)
{
    size_t start = p->at;
    switch (peek(p)) {
    case '*':
    case '+':
        *r = (struct regex_bounds){peek(p) == '+', -1};
        p->at++;
        return true;
    case '?':
        *r = (struct regex_bounds){0, 1};
        p->at++;
        return true;
    case '{':
        p->at++;
        r->min = r->max = count(p);
        if (r->min >= 0 && take(p, STR(","))) {
            r->max = -1;
            if (peek(p) != '}' && (r->max = count(p)) < 0)
                break;
        }
        if (r->min >= 0 && take(p, STR("}")))
            return true;
        break;
    default:
        break;
    }
    p->at = start;
    return false;
}

// The product of nested counts is bounded, so that the program is.
static bool repeat_fits(const struct regex_node *n, int limit)
{
    if (n->op == REGEX_REPEAT) {
        int most = n->max < 0 ? n->min : n->max;
        if (most > limit)
            return false;
        if (most > 1)
            limit /= most;
    }
    for (const struct regex_node *c = n->first; c; c = c->next)
        if (!repeat_fits(c, limit))
            return false;
    return true;
}

static struct regex_node *repeated(struct regex_parser *p, struct regex_node *inner,
                                   size_t *last_start)
{
    struct regex_bounds r;
    size_t start = p->at;
    if (!repetition(p, &r))
        return inner;
    bool ungreedy = take(p, STR("?"));
    if (*last_start != SIZE_MAX)
        return fault(p, "invalid nested repetition operator", from(p, *last_start));
    if (r.min > REGEX_REPEAT_MAX || r.max > REGEX_REPEAT_MAX || (r.max >= 0 && r.min > r.max))
        return fault(p, "invalid repeat count", from(p, start));
    struct regex_node *n = node(p, REGEX_REPEAT);
    n->min = r.min;
    n->max = r.max;
    n->greedy = ungreedy == ((p->flags & UNGREEDY) != 0);
    n->first = inner;
    if ((r.min > 1 || r.max > 1) && !repeat_fits(n, REGEX_REPEAT_MAX))
        return fault(p, "invalid repeat count", from(p, start));
    *last_start = start;
    return repeated(p, n, last_start);
}

static struct regex_node *concatenation(struct regex_parser *p)
{
    struct regex_node *all = node(p, REGEX_CONCAT), **tail = &all->first;
    while (!p->failed && p->at < p->s.n && peek(p) != '|' && peek(p) != ')') {
        struct regex_bounds r;
        size_t start = p->at, last = SIZE_MAX;
        if (repetition(p, &r)) {
            take(p, STR("?"));
            if (!all->first)
                return fault(p, "missing argument to repetition operator", from(p, start));
            p->at = start;
        }
        struct regex_node *n;
        if (looking_at(p, STR("\\Q"))) {
            // What follows \E repeats the last character only.
            n = quoted(p);
            if (n->op == REGEX_EMPTY)
                continue;
            {
                struct regex_node *last_node = n->first, **link = &n->first;
                while (last_node->next) {
                    link = &last_node->next;
                    last_node = last_node->next;
                }
                struct regex_node *r2 = repeated(p, last_node, &last);
                if (!r2)
                    return NULL;
                *link = r2;
            }
        } else if ((n = atom(p))) {
            bool flags_only = n->op == REGEX_EMPTY && p->s.p[p->at - 1] == ')' &&
                              p->s.p[start] == '(' && start + 1 < p->s.n &&
                              p->s.p[start + 1] == '?' && p->s.p[p->at - 2] != ':';
            if (flags_only && repetition(p, &r)) {
                if (!all->first)
                    return fault(p, "missing argument to repetition operator",
                                 str_sub(p->s, p->at - 1, 1));
            }
            n = repeated(p, n, &last);
        }
        if (!n)
            return NULL;
        concat_add(all, &tail, n);
    }
    if (!all->first)
        all->op = REGEX_EMPTY;
    return all;
}

static struct regex_node *alternation(struct regex_parser *p)
{
    struct regex_node *first = concatenation(p);
    if (!first || peek(p) != '|')
        return first;
    struct regex_node *all = node(p, REGEX_ALTERNATE), **tail = &all->first;
    concat_add(all, &tail, first);
    while (take(p, STR("|"))) {
        struct regex_node *n = concatenation(p);
        if (!n)
            return NULL;
        concat_add(all, &tail, n);
    }
    return all;
}

static bool check_utf8(struct str s, struct err *e)
{
    for (size_t at = 0, width; at < s.n; at += width)
        if (utf8_at(s, at, &width) == UTF8_ERROR && width == 1) {
            err_set(e, ERR_INVALID, "error parsing regexp: invalid UTF-8: `%.*s`", STR_ARG(s));
            return false;
        }
    return true;
}

int regex_parse(struct arena *a, struct str pattern, struct regex_syntax *ret, struct err *e)
{
    if (pattern.n > REGEX_PATTERN_MAX)
        return err_set(e, ERR_INVALID, "error parsing regexp: expression too large: %zu bytes",
                       pattern.n);
    if (!check_utf8(pattern, e))
        return -422;
    *ret = (struct regex_syntax){0};
    struct regex_parser p = {.a = a, .s = pattern, .syntax = ret, .e = e};
    capture_new(&p, STR_NULL);
    ret->root = alternation(&p);
    if (!p.failed && p.at < p.s.n)
        fault(&p, "unexpected )", p.s);
    return p.failed ? -422 : 0;
}
