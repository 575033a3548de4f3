// A value tree as the YAML that `kubectl get -o yaml` prints: go-yaml v2 by way of
// sigs.k8s.io/yaml.
//
// Block style, keys in go-yaml's order (numbers within keys by value: web-2 before web-10), two
// spaces, sequences at the indentation of their key. Strings that would read back as something else
// are double-quoted; strings with line breaks are literal blocks; other strings are plain where
// YAML allows it, else single-quoted, else (trailing spaces before a break, tabs and other
// controls, characters beyond the basic plane) double-quoted. Plain and quoted text is folded at
// the first space past column 80.
//
// The emitter keeps libyaml's three notions, because where a space or a line break goes depends on
// them: the column, whether the last thing written was white space, and whether everything on the
// line so far was indentation.
#include "object/json.h"
#include "object/yaml.h"
#include "object/yaml_scalar.h"
#include <math.h>

enum { WIDTH = 80, STEP = 2, SIMPLE_KEY = 128 };

struct emitter {
    struct buf *b;
    int column;
    bool whitespace, indention;
};

static void put(struct emitter *m, char c)
{
    buf_char(m->b, c);
    m->column++;
}

// One character of n bytes.
static void put_char(struct emitter *m, const char *p, size_t n)
{
    buf_add(m->b, p, n);
    m->column++;
}

static void put_break(struct emitter *m)
{
    buf_char(m->b, '\n');
    m->column = 0;
}

static void indent_to(struct emitter *m, int indent)
{
    if (indent < 0)
        indent = 0;
    if (!m->indention || m->column > indent || (m->column == indent && !m->whitespace))
        put_break(m);
    while (m->column < indent)
        put(m, ' ');
    m->whitespace = true;
    m->indention = true;
}

static void indicator(struct emitter *m, const char *text, bool need_space, bool is_space,
                      bool is_indention)
{
    if (need_space && !m->whitespace)
        put(m, ' ');
    for (; *text; text++)
        put(m, *text);
    m->whitespace = is_space;
    m->indention = m->indention && is_indention;
}

// The bytes of the character at p (the tree's strings are valid UTF-8).
static size_t width(const char *p)
{
    unsigned char c = (unsigned char)*p;
    return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

// CR, LF, NEL, LS, PS.
static bool is_break(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;
    return u[0] == '\n' || u[0] == '\r' || (u[0] == 0xc2 && u[1] == 0x85) ||
           (u[0] == 0xe2 && u[1] == 0x80 && (u[2] & 0xfe) == 0xa8);
}

static bool is_printable(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;
    if (u[0] < 0x80)
        return u[0] == '\n' || (u[0] >= 0x20 && u[0] < 0x7f);
    if (u[0] == 0xc2)
        return u[1] >= 0xa0;
    if (u[0] == 0xef)
        return !(u[1] == 0xbb && u[2] == 0xbf) && !(u[1] == 0xbf && u[2] >= 0xbe);
    return u[0] < 0xf0; // surrogates cannot be here
}

// What styles the text allows (libyaml's analysis of a scalar, outside flow collections).
struct shape {
    bool multiline, plain, single, literal;
};

static struct shape analyse(struct str s)
{
    bool leading_space = false, leading_break = false, trailing_space = false;
    bool trailing_break = false, break_space = false, space_break = false;
    bool indicators = false, special = false, breaks = false;
    bool previous_space = false, previous_break = false, after_white = true;
    if (!s.n)
        return (struct shape){.plain = true, .single = true};
    if (str_starts(s, STR("---")) || str_starts(s, STR("...")))
        indicators = true;
    for (size_t i = 0; i < s.n;) {
        const char *p = s.p + i;
        size_t n = width(p);
        bool last = i + n == s.n;
        bool white_follows = last || p[n] == ' ' || p[n] == '\t' || is_break(p + n);
        if (i == 0) {
            if (*p && strchr("#,[]{}&*!|>'\"%@`", *p))
                indicators = true;
            if ((*p == '?' || *p == ':' || *p == '-') && white_follows)
                indicators = true;
        } else {
            if (*p == ':' && white_follows)
                indicators = true;
            if (*p == '#' && after_white)
                indicators = true;
        }
        if (!is_printable(p))
            special = true;
        if (*p == ' ') {
            leading_space |= i == 0;
            trailing_space |= last;
            break_space |= previous_break;
            previous_space = true;
            previous_break = false;
        } else if (is_break(p)) {
            breaks = true;
            leading_break |= i == 0;
            trailing_break |= last;
            space_break |= previous_space;
            previous_space = false;
            previous_break = true;
        } else {
            previous_space = previous_break = false;
        }
        after_white = *p == ' ' || *p == '\t' || is_break(p);
        i += n;
    }
    struct shape r = {.multiline = breaks, .plain = true, .single = true, .literal = true};
    if (leading_space || leading_break || trailing_space || trailing_break || breaks || indicators)
        r.plain = false;
    if (trailing_space)
        r.literal = false;
    if (break_space)
        r.plain = r.single = false;
    if (space_break || special)
        r.plain = r.single = r.literal = false;
    return r;
}

static void write_plain(struct emitter *m, struct str s, bool fold, int indent)
{
    bool spaces = false;
    if (!m->whitespace && s.n)
        put(m, ' ');
    for (size_t i = 0; i < s.n;) {
        size_t n = width(s.p + i);
        if (s.p[i] == ' ') {
            if (fold && !spaces && m->column > WIDTH && i + 1 < s.n && s.p[i + 1] != ' ')
                indent_to(m, indent);
            else
                put(m, ' ');
            spaces = true;
        } else {
            put_char(m, s.p + i, n);
            m->indention = false;
            spaces = false;
        }
        i += n;
    }
    m->whitespace = false;
    m->indention = false;
}

// Never with line breaks in it: those are literal or double-quoted.
static void write_single(struct emitter *m, struct str s, bool fold, int indent)
{
    bool spaces = false;
    indicator(m, "'", true, false, false);
    for (size_t i = 0; i < s.n;) {
        size_t n = width(s.p + i);
        if (s.p[i] == ' ') {
            if (fold && !spaces && m->column > WIDTH && i > 0 && i < s.n - 1 && s.p[i + 1] != ' ')
                indent_to(m, indent);
            else
                put(m, ' ');
            spaces = true;
        } else {
            if (s.p[i] == '\'')
                put(m, '\'');
            put_char(m, s.p + i, n);
            m->indention = false;
            spaces = false;
        }
        i += n;
    }
    indicator(m, "'", false, false, false);
}

static uint32_t code_point(const char *p, size_t n)
{
    const unsigned char *u = (const unsigned char *)p;
    switch (n) {
    case 1:
        return u[0];
    case 2:
        return (u[0] & 0x1fu) << 6 | (u[1] & 0x3fu);
    case 3:
        return (u[0] & 0x0fu) << 12 | (u[1] & 0x3fu) << 6 | (u[2] & 0x3fu);
    default:
        return (u[0] & 0x07u) << 18 | (u[1] & 0x3fu) << 12 | (u[2] & 0x3fu) << 6 | (u[3] & 0x3fu);
    }
}

static void write_escape(struct emitter *m, uint32_t c)
{
    static const struct {
        uint32_t c;
        char letter;
    } letters[] = {{0, '0'},     {7, 'a'},    {8, 'b'},    {9, 't'},      {10, 'n'},
                   {11, 'v'},    {12, 'f'},   {13, 'r'},   {27, 'e'},     {'"', '"'},
                   {'\\', '\\'}, {0x85, 'N'}, {0xa0, '_'}, {0x2028, 'L'}, {0x2029, 'P'}};
    put(m, '\\');
    for (size_t i = 0; i < sizeof letters / sizeof *letters; i++)
        if (letters[i].c == c) {
            put(m, letters[i].letter);
            return;
        }
    char text[12];
    int n = snprintf(text, sizeof text, c <= 0xff ? "x%02X" : c <= 0xffff ? "u%04X" : "U%08X", c);
    buf_add(m->b, text, (size_t)n);
    m->column += n;
}

static void write_double(struct emitter *m, struct str s, bool fold, int indent)
{
    bool spaces = false;
    // go-yaml looks for a byte order mark at the beginning whichever character it is at, and so
    // escapes all of a string that begins with one.
    bool marked = str_starts(s, STR("\xef\xbb\xbf"));
    indicator(m, "\"", true, false, false);
    for (size_t i = 0; i < s.n;) {
        const char *p = s.p + i;
        size_t n = width(p);
        if (marked || !is_printable(p) || is_break(p) || *p == '"' || *p == '\\') {
            write_escape(m, code_point(p, n));
            spaces = false;
        } else if (*p == ' ') {
            if (fold && !spaces && m->column > WIDTH && i > 0 && i < s.n - 1) {
                indent_to(m, indent);
                if (p[1] == ' ')
                    put(m, '\\');
            } else {
                put(m, ' ');
            }
            spaces = true;
        } else {
            put_char(m, p, n);
            spaces = false;
        }
        i += n;
    }
    indicator(m, "\"", false, false, false);
}

static void write_literal(struct emitter *m, struct str s, int indent)
{
    bool line_begins = true;
    size_t breaks = 0;
    while (breaks < 2 && breaks < s.n && s.p[s.n - 1 - breaks] == '\n')
        breaks++;
    indicator(m, "|", true, false, false);
    if (s.p[0] == ' ' || is_break(s.p))
        indicator(m, "2", false, false, false);
    if (breaks == 0)
        indicator(m, "-", false, false, false);
    else if (breaks == 2 || s.n == 1)
        indicator(m, "+", false, false, false);
    put_break(m);
    m->indention = true;
    m->whitespace = true;
    for (size_t i = 0; i < s.n;) {
        size_t n = width(s.p + i);
        if (s.p[i] == '\n') {
            put_break(m);
            m->indention = true;
            line_begins = true;
        } else {
            if (line_begins)
                indent_to(m, indent);
            put_char(m, s.p + i, n);
            m->indention = false;
            line_begins = false;
        }
        i += n;
    }
}

// A string in whatever style it takes; a simple key stays on one line.
static void write_text(struct emitter *m, struct str s, bool simple_key, int indent)
{
    struct shape shape = analyse(s);
    struct yaml_scalar means = yaml_resolve(s);
    bool fold = !simple_key;
    if (memchr(s.p ? s.p : "", '\n', s.n) && shape.literal && !simple_key)
        write_literal(m, s, indent);
    else if (shape.multiline || yaml_base60(s) ||
             (means.kind != YAML_STRING && (means.kind != YAML_MERGE || simple_key)))
        write_double(m, s, fold, indent);
    else if (shape.plain)
        write_plain(m, s, fold, indent);
    else if (shape.single)
        write_single(m, s, fold, indent);
    else
        write_double(m, s, fold, indent);
}

// A number that is no int64. Digits stay digits while uint64 holds them; the rest is Go's %g with
// the shortest digits, which takes an exponent below 1e-4 and from 1e6 on.
static void write_number(struct emitter *m, const struct value *v)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    double f = v->f;
    uint64_t u;
    int64_t i;
    if (v->text && str_to_u64(str_n(v->text, v->n), &u))
        buf_add(&text, v->text, v->n);
    else
        json_write_double(&text, f);
    bool whole = str_to_u64(buf_view(&text), &u) || str_to_i64(buf_view(&text), &i);
    if (!whole && f != 0 && (fabs(f) < 1e-4 || fabs(f) >= 1e6))
        for (int precision = 0; precision < 17; precision++) {
            buf_reset(&text);
            buf_printf(&text, "%.*e", precision, f);
            if (strtod(buf_cstr(&text), NULL) == f)
                break;
        }
    write_plain(m, buf_view(&text), false, 0);
}

static void write_scalar(struct emitter *m, const struct value *v, int indent)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    switch (v ? v->kind : VALUE_NULL) {
    case VALUE_STRING:
        write_text(m, str_n(v->s, v->n), false, indent);
        break;
    case VALUE_FLOAT:
        write_number(m, v);
        break;
    default:
        json_write(&text, v);
        write_plain(m, buf_view(&text), false, 0);
    }
}

struct decoded {
    uint32_t c;
    size_t n;
};

static struct decoded decode(struct str s, size_t at)
{
    size_t n = width(s.p + at);
    return (struct decoded){code_point(s.p + at, n), n};
}

// Unicode's letters, by blocks: near enough for the order of keys, which are ASCII but for a jest.
static bool is_letter(uint32_t c)
{
    static const struct {
        uint32_t first, last;
    } blocks[] = {
        {'A', 'Z'},         {'a', 'z'},         {0xaa, 0xaa},       {0xb5, 0xb5},
        {0xba, 0xba},       {0xc0, 0xd6},       {0xd8, 0xf6},       {0xf8, 0x2c1},
        {0x370, 0x373},     {0x376, 0x37d},     {0x386, 0x386},     {0x388, 0x481},
        {0x48a, 0x588},     {0x5d0, 0x5f2},     {0x620, 0x64a},     {0x671, 0x6d3},
        {0x6fa, 0x1fff},    {0x2071, 0x2071},   {0x207f, 0x207f},   {0x2090, 0x209c},
        {0x2c00, 0x2dff},   {0x3005, 0x3006},   {0x3031, 0x3035},   {0x3041, 0x3096},
        {0x30a1, 0x318e},   {0x31a0, 0x31bf},   {0x31f0, 0x31ff},   {0x3400, 0x4dbf},
        {0x4e00, 0xa48c},   {0xa4d0, 0xabff},   {0xac00, 0xd7ff},   {0xf900, 0xfb1d},
        {0xfb1f, 0xfdfb},   {0xfe70, 0xfefc},   {0xff21, 0xff3a},   {0xff41, 0xff5a},
        {0xff66, 0xffdc},   {0x10000, 0x16fff}, {0x17000, 0x1bfff}, {0x1d400, 0x1d7cb},
        {0x20000, 0x3ffff},
    };
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks && c >= blocks[i].first; i++)
        if (c <= blocks[i].last)
            return true;
    return false;
}

static bool is_digit(uint32_t c)
{
    return c - '0' < 10;
}

// The value of the digits at `at`, wrapping as Go's int64 does; *end is behind them.
static int64_t digits_at(struct str s, size_t at, uint64_t v, size_t *end)
{
    for (; at < s.n && is_digit((unsigned char)s.p[at]); at++)
        v = v * 10 + (uint64_t)(s.p[at] - '0');
    *end = at;
    return (int64_t)v;
}

// go-yaml's order of keys: letters by code, runs of digits by value, other signs before letters.
static int key_order(struct str a, struct str b)
{
    size_t i = 0;
    while (i < a.n && i < b.n) {
        struct decoded x = decode(a, i), y = decode(b, i);
        if (x.c == y.c) {
            i += x.n;
            continue;
        }
        bool al = is_letter(x.c), bl = is_letter(y.c);
        if (al && bl)
            return x.c < y.c ? -1 : 1;
        if (al || bl)
            return bl ? -1 : 1;
        uint64_t base = 0;
        int64_t an, bn;
        size_t ai, bi;
        if (x.c == '0' || y.c == '0')
            for (size_t j = i; j-- > 0 && is_digit((unsigned char)a.p[j]);)
                if (a.p[j] != '0') {
                    base = 1;
                    break;
                }
        an = digits_at(a, i, base, &ai);
        bn = digits_at(b, i, base, &bi);
        if (an != bn)
            return an < bn ? -1 : 1;
        if (ai != bi)
            return ai < bi ? -1 : 1;
        return x.c < y.c ? -1 : 1;
    }
    return a.n < b.n ? -1 : a.n > b.n;
}

static int member_order(const void *a, const void *b)
{
    const struct member *x = *(const struct member *const *)a,
                        *y = *(const struct member *const *)b;
    return key_order(x->key, y->key);
}

// `indent`: of the collection around; -1 at the top. A sequence in a mapping has its indentation.
static void write_node(struct emitter *m, const struct value *v, int indent, bool in_mapping);

static void write_mapping(struct emitter *m, const struct value *v, int indent)
{
    struct member **order = mem_alloc(v->n * sizeof *order);
    for (uint32_t i = 0; i < v->n; i++)
        order[i] = &v->members[i];
    if (v->n > 1)
        qsort(order, v->n, sizeof *order, member_order);
    for (uint32_t i = 0; i < v->n; i++) {
        struct str key = order[i]->key;
        bool simple = key.n <= SIMPLE_KEY && !analyse(key).multiline;
        indent_to(m, indent);
        if (simple) {
            write_text(m, key, true, indent + STEP);
            indicator(m, ":", false, false, false);
        } else {
            indicator(m, "?", true, false, true);
            write_text(m, key, false, indent + STEP);
            indent_to(m, indent);
            indicator(m, ":", true, false, true);
        }
        write_node(m, order[i]->value, indent, true);
    }
    free(order);
}

static void write_node(struct emitter *m, const struct value *v, int indent, bool in_mapping)
{
    if (value_len(v) == 0) {
        if (value_is(v, VALUE_ARRAY) || value_is(v, VALUE_OBJECT)) {
            indicator(m, v->kind == VALUE_ARRAY ? "[" : "{", true, true, false);
            indicator(m, v->kind == VALUE_ARRAY ? "]" : "}", false, false, false);
        } else {
            write_scalar(m, v, indent + STEP < STEP ? STEP : indent + STEP);
        }
        return;
    }
    int inner = indent < 0 ? 0 : indent + STEP;
    if (v->kind == VALUE_OBJECT) {
        write_mapping(m, v, inner);
        return;
    }
    if (in_mapping && !m->indention)
        inner = indent;
    for (uint32_t i = 0; i < v->n; i++) {
        indent_to(m, inner);
        indicator(m, "-", true, false, true);
        write_node(m, v->items[i], inner, false);
    }
}

void yaml_write(struct buf *b, const struct value *v)
{
    struct emitter m = {.b = b, .whitespace = true, .indention = true};
    write_node(&m, v, -1, false);
    if (m.column > 0)
        put_break(&m);
}
