// fmt: %v and the other verbs, on the value tree. Maps are printed in the order of their keys.
#include "base/time.h"
#include "template/template_value.h"
#include "text/go_quote.h"
#include "text/utf8.h"
#include <math.h>

// ---- Floats ----

struct template_digits {
    char d[800];
    int n, point; // 0.d1d2d3... * 10^point
};

static void digits_of(double f, char verb, int precision, struct template_digits *g)
{
    char text[1200];
    if (precision < 0) {
        for (int p = 0; p < 17; p++) {
            snprintf(text, sizeof text, "%.*e", p, f);
            if (strtod(text, NULL) == f)
                break;
        }
    } else if (verb == 'f') {
        snprintf(text, sizeof text, "%.*f", precision > 700 ? 700 : precision, f);
    } else {
        int p = verb == 'e' ? precision : precision ? precision - 1 : 0;
        snprintf(text, sizeof text, "%.*e", p > 700 ? 700 : p, f);
    }
    g->n = g->point = 0;
    const char *e = strchr(text, 'e');
    bool seen_point = false;
    for (const char *c = text; *c && c != e; c++) {
        if (*c == '.') {
            seen_point = true;
            continue;
        }
        if (g->n == 0 && *c == '0' && verb != 'e' && !e) {
            g->point -= seen_point;
            continue;
        }
        if (g->n < (int)sizeof g->d)
            g->d[g->n++] = *c;
        g->point += !seen_point;
    }
    if (e)
        g->point += (int)strtol(e + 1, NULL, 10);
}

static void float_e(struct buf *b, const struct template_digits *g, int precision, char verb)
{
    buf_char(b, g->n ? g->d[0] : '0');
    if (precision > 0) {
        buf_char(b, '.');
        for (int i = 1; i <= precision; i++)
            buf_char(b, i < g->n ? g->d[i] : '0');
    }
    bool zero = true;
    for (int i = 0; i < g->n; i++)
        zero &= g->d[i] == '0';
    int exponent = zero ? 0 : g->point - 1;
    buf_printf(b, "%c%c%02d", verb, exponent < 0 ? '-' : '+', exponent < 0 ? -exponent : exponent);
}

static void float_f(struct buf *b, const struct template_digits *g, int precision)
{
    if (g->point <= 0)
        buf_char(b, '0');
    for (int i = 0; i < g->point; i++)
        buf_char(b, i < g->n ? g->d[i] : '0');
    if (precision > 0) {
        buf_char(b, '.');
        for (int i = 0; i < precision; i++) {
            int at = g->point + i;
            buf_char(b, at >= 0 && at < g->n ? g->d[at] : '0');
        }
    }
}

void template_float(struct buf *b, double f, char verb, int precision)
{
    char small = (char)(verb | 32);
    if (isnan(f) || isinf(f)) {
        buf_puts(b, isnan(f) ? "NaN" : f > 0 ? "+Inf" : "-Inf");
        return;
    }
    if (signbit(f))
        buf_char(b, '-');
    f = fabs(f);
    struct template_digits g;
    bool shortest = precision < 0;
    digits_of(f, small, precision, &g);
    while (shortest && g.n > 1 && g.d[g.n - 1] == '0')
        g.n--;
    if (small == 'e') {
        float_e(b, &g, shortest ? g.n - 1 : precision, verb);
    } else if (small == 'f') {
        float_f(b, &g, shortest ? (g.n > g.point ? g.n - g.point : 0) : precision);
    } else {
        int limit = shortest ? 6 : precision ? precision : 1;
        while (!shortest && g.n > 1 && g.d[g.n - 1] == '0')
            g.n--;
        if (limit > g.n && g.n >= g.point && !shortest)
            limit = g.n;
        int exponent = f == 0 ? 0 : g.point - 1;
        if (exponent < -4 || exponent >= limit)
            float_e(b, &g, g.n - 1, verb == 'G' ? 'E' : 'e');
        else
            float_f(b, &g, g.n > g.point ? g.n - g.point : 0);
    }
}

// ---- %v ----

static void print_time(struct buf *b, const struct template_time *t)
{
    struct civil c = zone_civil(t->zone, t->seconds);
    buf_printf(b, "%04lld-%02d-%02d %02d:%02d:%02d", (long long)c.year, c.month, c.day, c.hour,
               c.minute, c.second);
    if (t->ns) {
        char text[16];
        int n = snprintf(text, sizeof text, ".%09d", t->ns);
        while (text[n - 1] == '0')
            n--;
        buf_add(b, text, (size_t)n);
    }
    int offset = c.offset / 60, o = offset < 0 ? -offset : offset;
    buf_printf(b, " %c%02d%02d %.*s", offset < 0 ? '-' : '+', o / 60, o % 60,
               STR_ARG(c.abbreviation));
}

struct template_verb {
    char verb;
    bool plus, sharp, minus, zero, space;
    int width, precision; // -1: none
};

static void print_value(struct buf *b, const struct value *v, const struct template_verb *f,
                        int depth);

static void print_map(struct buf *b, const struct value *v, const struct template_verb *f,
                      int depth)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct member **order = template_sorted(&a, v);
    buf_puts(b, "map[");
    for (uint32_t i = 0; i < v->n; i++) {
        buf_puts(b, i ? " " : "");
        struct value key = {
            .kind = VALUE_STRING, .s = order[i]->key.p, .n = (uint32_t)order[i]->key.n};
        print_value(b, &key, f, depth + 1);
        buf_char(b, ':');
        print_value(b, order[i]->value, f, depth + 1);
    }
    buf_char(b, ']');
}

static void print_value(struct buf *b, const struct value *v, const struct template_verb *f,
                        int depth)
{
    if (depth > 1000 || !buf_ok(b))
        return;
    switch (v ? v->kind : VALUE_NULL) {
    case VALUE_NULL:
        buf_puts(b, "<nil>");
        break;
    case VALUE_BOOL:
        buf_puts(b, v->b ? "true" : "false");
        break;
    case VALUE_INT:
        if (v->cap == TEMPLATE_DURATION)
            duration_write(b, v->i);
        else
            buf_i64(b, v->i);
        break;
    case VALUE_FLOAT:
        template_float(b, v->f, 'g', -1);
        break;
    case VALUE_STRING:
        if (v->b) {
            buf_char(b, '[');
            for (uint32_t i = 0; i < v->n; i++)
                buf_printf(b, "%s%u", i ? " " : "", (unsigned char)v->s[i]);
            buf_char(b, ']');
        } else {
            buf_add(b, v->s ? v->s : "", v->n);
        }
        break;
    case VALUE_ARRAY:
        buf_char(b, '[');
        for (uint32_t i = 0; i < v->n; i++) {
            buf_puts(b, i ? " " : "");
            print_value(b, v->items[i], f, depth + 1);
        }
        buf_char(b, ']');
        break;
    case VALUE_OBJECT:
        print_map(b, v, f, depth);
        break;
    case TEMPLATE_TIME:
        print_time(b, template_time_of(v));
        break;
    default: {
        const struct template_thing *t = template_thing_of(v);
        struct value *text = value_getc(t->fields, "String()"); // fmt.Stringer
        if (text)
            print_value(b, text, f, depth + 1);
        else
            print_value(b, t->fields, f, depth + 1);
    }
    }
}

void template_print(struct buf *b, const struct value *v)
{
    static const struct template_verb plain = {.verb = 'v', .width = -1, .precision = -1};
    if (!v)
        buf_puts(b, "<no value>");
    else
        print_value(b, v, &plain, 0);
}

struct str template_text(struct arena *a, const struct value *v)
{
    static const struct template_verb plain = {.verb = 'v', .width = -1, .precision = -1};
    if (v && v->kind == VALUE_STRING && !v->b)
        return str_n(v->s, v->n);
    _cleanup_buf_ struct buf b = BUF_MAX(TEMPLATE_OUTPUT_MAX);
    print_value(&b, v, &plain, 0);
    return arena_str(a, buf_view(&b));
}

// ---- Sprintf ----

static void pad(struct buf *b, struct str text, const struct template_verb *f, bool numeric)
{
    size_t n = utf8_count(text), width = f->width > 0 ? (size_t)f->width : 0;
    size_t fill = width > n ? width - n : 0;
    bool zero = f->zero && !f->minus;
    if (f->minus) {
        buf_str(b, text);
    } else if (zero && numeric && text.n && strchr("+- ", text.p[0])) {
        buf_char(b, text.p[0]);
        text = str_from(text, 1);
    }
    for (size_t i = 0; i < fill; i++)
        buf_char(b, zero ? '0' : ' ');
    if (!f->minus)
        buf_str(b, text);
}

static void bad_verb(struct buf *b, const struct template_verb *f, const struct value *v)
{
    buf_puts(b, "%!");
    buf_char(b, f->verb);
    buf_char(b, '(');
    if (!v || v->kind == VALUE_NULL) {
        buf_puts(b, "<nil>");
    } else {
        buf_puts(b, template_type_name(v));
        buf_char(b, '=');
        print_value(b, v, f, 0);
    }
    buf_char(b, ')');
}

static void integer_base(struct buf *b, uint64_t u, unsigned base, bool upper)
{
    char text[65];
    size_t at = sizeof text;
    do {
        text[--at] = (upper ? "0123456789ABCDEF" : "0123456789abcdef")[u % base];
        u /= base;
    } while (u);
    buf_add(b, text + at, sizeof text - at);
}

static bool format_integer(struct buf *b, const struct template_verb *f, int64_t i)
{
    _cleanup_buf_ struct buf t = BUF_INIT, digits = BUF_INIT;
    uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    if (i < 0)
        buf_char(&t, '-');
    else if (f->plus && f->verb != 'q' && f->verb != 'U')
        buf_char(&t, '+');
    else if (f->space)
        buf_char(&t, ' ');
    switch (f->verb) {
    case 'v':
    case 'd':
        integer_base(&digits, u, 10, false);
        break;
    case 'b':
        integer_base(&digits, u, 2, false);
        break;
    case 'o':
    case 'O':
        buf_puts(&t, f->verb == 'O' ? "0o" : f->sharp ? "0" : "");
        integer_base(&digits, u, 8, false);
        break;
    case 'x':
    case 'X':
        if (f->sharp)
            buf_puts(&t, f->verb == 'x' ? "0x" : "0X");
        integer_base(&digits, u, 16, f->verb == 'X');
        break;
    case 'c':
        utf8_add(&t, i < 0 || i > UTF8_MAX ? UTF8_ERROR : (uint32_t)i);
        break;
    case 'q':
        go_quote_rune(&t, i < 0 || i > UTF8_MAX ? UTF8_ERROR : (uint32_t)i);
        break;
    case 'U':
        buf_printf(&t, "U+%04llX", (unsigned long long)u);
        break;
    default:
        return false;
    }
    for (int n = (int)digits.n; n < f->precision && n < 1000; n++)
        buf_char(&t, '0');
    buf_str(&t, buf_view(&digits));
    struct template_verb g = *f;
    if (f->precision >= 0)
        g.zero = false;
    pad(b, buf_view(&t), &g, true);
    return true;
}

static bool format_float(struct buf *b, const struct template_verb *f, double d)
{
    char verb = f->verb == 'v' ? 'g' : f->verb == 'F' ? 'f' : f->verb;
    if (!strchr("efgEG", verb))
        return false;
    _cleanup_buf_ struct buf t = BUF_INIT;
    int precision = f->precision >= 0 ? f->precision : (verb | 32) == 'g' ? -1 : 6;
    if (f->plus && !signbit(d))
        buf_char(&t, '+');
    else if (f->space && !signbit(d))
        buf_char(&t, ' ');
    template_float(&t, d, verb, precision);
    pad(b, buf_view(&t), f, true);
    return true;
}

static bool format_string(struct buf *b, const struct template_verb *f, struct str s)
{
    _cleanup_buf_ struct buf t = BUF_INIT;
    if (f->precision >= 0 && f->verb != 'x' && f->verb != 'X')
        s = str_sub(s, 0, utf8_offset(s, (size_t)f->precision));
    switch (f->verb) {
    case 'v':
    case 's':
        buf_str(&t, s);
        break;
    case 'q':
        if (f->sharp && !memchr(s.p ? s.p : "", '`', s.n))
            buf_printf(&t, "`%.*s`", STR_ARG(s));
        else if (f->plus)
            go_quote_ascii(&t, s);
        else
            go_quote(&t, s);
        break;
    case 'x':
    case 'X':
        for (size_t i = 0; i < s.n && (f->precision < 0 || i < (size_t)f->precision); i++) {
            buf_puts(&t, f->space && i ? " " : "");
            buf_printf(&t, f->verb == 'x' ? "%02x" : "%02X", (unsigned char)s.p[i]);
        }
        break;
    default:
        return false;
    }
    pad(b, buf_view(&t), f, false);
    return true;
}

static void go_syntax(struct buf *b, const struct value *v, int depth)
{
    if (depth > 1000)
        return;
    switch (v ? v->kind : VALUE_NULL) {
    case VALUE_NULL:
        buf_puts(b, depth ? "interface {}(nil)" : "<nil>");
        break;
    case VALUE_STRING:
        go_quote(b, str_n(v->s, v->n));
        break;
    case VALUE_ARRAY:
        buf_printf(b, "%s{", template_type_name(v));
        for (uint32_t i = 0; i < v->n; i++) {
            buf_puts(b, i ? ", " : "");
            go_syntax(b, v->items[i], depth + 1);
        }
        buf_char(b, '}');
        break;
    case VALUE_OBJECT: {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        struct member **order = template_sorted(&a, v);
        buf_printf(b, "%s{", template_type_name(v));
        for (uint32_t i = 0; i < v->n; i++) {
            buf_puts(b, i ? ", " : "");
            go_quote(b, order[i]->key);
            buf_char(b, ':');
            go_syntax(b, order[i]->value, depth + 1);
        }
        buf_char(b, '}');
        break;
    }
    default:
        template_print(b, v);
    }
}

static void format_one(struct buf *b, const struct template_verb *f, const struct value *v,
                       int depth)
{
    struct template_verb inner = *f;
    bool ok = true;
    if (depth > 100 || !buf_ok(b))
        return;
    if (f->verb == 'T') {
        pad(b, str_of(template_type_name(v)), f, false);
        return;
    }
    if (f->verb == 'v' && f->sharp) {
        _cleanup_buf_ struct buf t = BUF_INIT;
        go_syntax(&t, v, 0);
        pad(b, buf_view(&t), f, false);
        return;
    }
    switch (v ? v->kind : VALUE_NULL) {
    case VALUE_NULL:
        if (f->verb == 'v')
            pad(b, STR("<nil>"), f, false);
        else
            bad_verb(b, f, v);
        return;
    case VALUE_BOOL:
        if ((ok = f->verb == 't' || f->verb == 'v'))
            pad(b, v->b ? STR("true") : STR("false"), f, false);
        break;
    case VALUE_INT:
        if (v->cap == TEMPLATE_DURATION && strchr("vsq", f->verb)) {
            _cleanup_buf_ struct buf t = BUF_INIT;
            duration_write(&t, v->i);
            format_string(b, f, buf_view(&t));
        } else {
            ok = format_integer(b, f, v->i);
        }
        break;
    case VALUE_FLOAT:
        ok = format_float(b, f, v->f);
        break;
    case VALUE_STRING:
        ok = format_string(b, f, str_n(v->s, v->n));
        break;
    case VALUE_ARRAY:
        buf_char(b, '[');
        for (uint32_t i = 0; i < v->n; i++) {
            buf_puts(b, i ? " " : "");
            format_one(b, &inner, v->items[i], depth + 1);
        }
        buf_char(b, ']');
        break;
    case VALUE_OBJECT: {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        struct member **order = template_sorted(&a, v);
        buf_puts(b, "map[");
        for (uint32_t i = 0; i < v->n; i++) {
            buf_puts(b, i ? " " : "");
            format_string(b, &inner, order[i]->key);
            buf_char(b, ':');
            format_one(b, &inner, order[i]->value, depth + 1);
        }
        buf_char(b, ']');
        break;
    }
    default: {
        _cleanup_buf_ struct buf t = BUF_INIT;
        print_value(&t, v, f, 0);
        ok = format_string(b, f, buf_view(&t));
    }
    }
    if (!ok)
        bad_verb(b, f, v);
}

struct template_format {
    struct str s;
    size_t at;
    struct value **args;
    size_t nargs, arg;
    bool reordered, good_index;
};

static int format_number(struct template_format *p)
{
    if (p->at >= p->s.n || p->s.p[p->at] < '0' || p->s.p[p->at] > '9')
        return -1;
    int v = 0;
    for (; p->at < p->s.n && p->s.p[p->at] >= '0' && p->s.p[p->at] <= '9'; p->at++)
        v = v > 100000 ? v : v * 10 + (p->s.p[p->at] - '0');
    return v > 100000 ? 100000 : v;
}

// [n]
static void format_index(struct template_format *p)
{
    if (p->at >= p->s.n || p->s.p[p->at] != '[')
        return;
    p->reordered = true;
    p->at++;
    int v = format_number(p);
    bool closed = p->at < p->s.n && p->s.p[p->at] == ']';
    while (p->at < p->s.n && p->s.p[p->at] != ']')
        p->at++;
    p->at += p->at < p->s.n;
    if (closed && v >= 1 && (size_t)v <= p->nargs)
        p->arg = (size_t)v - 1;
    else
        p->good_index = false;
}

static int format_star(struct template_format *p, struct buf *b, const char *bad)
{
    p->at++;
    const struct value *v = p->arg < p->nargs ? p->args[p->arg++] : NULL;
    if (value_is(v, VALUE_INT) && v->i > -1000000 && v->i < 1000000)
        return (int)v->i;
    buf_puts(b, bad);
    return -1;
}

static void format_verb(struct template_format *p, struct buf *b)
{
    struct template_verb f = {.width = -1, .precision = -1};
    p->good_index = true;
    for (; p->at < p->s.n; p->at++) {
        char c = p->s.p[p->at];
        if (c == '+')
            f.plus = true;
        else if (c == '-')
            f.minus = true;
        else if (c == '#')
            f.sharp = true;
        else if (c == ' ')
            f.space = true;
        else if (c == '0')
            f.zero = true;
        else
            break;
    }
    format_index(p);
    if (p->at < p->s.n && p->s.p[p->at] == '*') {
        f.width = format_star(p, b, "%!(BADWIDTH)");
        if (f.width < 0 && f.width != -1) {
            f.minus = true;
            f.width = -f.width;
        }
    } else {
        f.width = format_number(p);
    }
    if (p->at < p->s.n && p->s.p[p->at] == '.') {
        p->at++;
        format_index(p);
        if (p->at < p->s.n && p->s.p[p->at] == '*') {
            f.precision = format_star(p, b, "%!(BADPREC)");
        } else {
            f.precision = format_number(p);
            if (f.precision < 0)
                f.precision = 0;
        }
    }
    format_index(p);
    if (p->at >= p->s.n) {
        buf_puts(b, "%!(NOVERB)");
        return;
    }
    size_t width;
    uint32_t c = utf8_at(p->s, p->at, &width);
    struct str verb = str_sub(p->s, p->at, width);
    p->at += width;
    f.verb = c < 128 ? (char)c : '?';
    if (f.verb == '%') {
        buf_char(b, '%');
    } else if (!p->good_index) {
        buf_printf(b, "%%!%.*s(BADINDEX)", STR_ARG(verb));
    } else if (p->arg >= p->nargs) {
        buf_printf(b, "%%!%.*s(MISSING)", STR_ARG(verb));
    } else {
        format_one(b, &f, p->args[p->arg++], 0);
    }
}

void template_sprintf(struct buf *b, struct str format, struct value **args, size_t n)
{
    struct template_format p = {.s = format, .args = args, .nargs = n};
    while (p.at < format.n) {
        ptrdiff_t percent = str_chr(str_from(format, p.at), '%');
        size_t end = percent < 0 ? format.n : p.at + (size_t)percent;
        buf_add(b, format.p + p.at, end - p.at);
        p.at = end + 1;
        if (percent >= 0)
            format_verb(&p, b);
    }
    if (p.reordered || p.arg >= n)
        return;
    buf_puts(b, "%!(EXTRA ");
    for (size_t i = p.arg; i < n; i++) {
        buf_puts(b, i > p.arg ? ", " : "");
        if (!args[i] || args[i]->kind == VALUE_NULL) {
            buf_puts(b, "<nil>");
        } else {
            buf_printf(b, "%s=", template_type_name(args[i]));
            template_print(b, args[i]);
        }
    }
    buf_char(b, ')');
}

void template_sprint(struct buf *b, struct value **args, size_t n)
{
    bool string = true;
    for (size_t i = 0; i < n; i++) {
        bool is = value_is(args[i], VALUE_STRING) && !args[i]->b;
        if (i && !is && !string)
            buf_char(b, ' ');
        if (args[i])
            template_print(b, args[i]);
        else
            buf_puts(b, "<nil>");
        string = is;
    }
}
