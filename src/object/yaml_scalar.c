// Plain scalars, in go-yaml v2's order of trial: the words of YAML 1.1; then, by the first
// character, timestamp, integer (underscores dropped; 0x, 0o, 0b, and 0 for octal), float, string.
#include "object/yaml_scalar.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *text;
    enum yaml_scalar_kind kind;
    bool b;
    double f;
} words[] = {
    {"", YAML_NULL},
    {"~", YAML_NULL},
    {"null", YAML_NULL},
    {"Null", YAML_NULL},
    {"NULL", YAML_NULL},
    {"y", YAML_BOOL, true},
    {"Y", YAML_BOOL, true},
    {"yes", YAML_BOOL, true},
    {"Yes", YAML_BOOL, true},
    {"YES", YAML_BOOL, true},
    {"true", YAML_BOOL, true},
    {"True", YAML_BOOL, true},
    {"TRUE", YAML_BOOL, true},
    {"on", YAML_BOOL, true},
    {"On", YAML_BOOL, true},
    {"ON", YAML_BOOL, true},
    {"n", YAML_BOOL},
    {"N", YAML_BOOL},
    {"no", YAML_BOOL},
    {"No", YAML_BOOL},
    {"NO", YAML_BOOL},
    {"false", YAML_BOOL},
    {"False", YAML_BOOL},
    {"FALSE", YAML_BOOL},
    {"off", YAML_BOOL},
    {"Off", YAML_BOOL},
    {"OFF", YAML_BOOL},
    {".nan", YAML_FLOAT, false, NAN},
    {".NaN", YAML_FLOAT, false, NAN},
    {".NAN", YAML_FLOAT, false, NAN},
    {".inf", YAML_FLOAT, false, INFINITY},
    {".Inf", YAML_FLOAT, false, INFINITY},
    {".INF", YAML_FLOAT, false, INFINITY},
    {"+.inf", YAML_FLOAT, false, INFINITY},
    {"+.Inf", YAML_FLOAT, false, INFINITY},
    {"+.INF", YAML_FLOAT, false, INFINITY},
    {"-.inf", YAML_FLOAT, false, -INFINITY},
    {"-.Inf", YAML_FLOAT, false, -INFINITY},
    {"-.INF", YAML_FLOAT, false, -INFINITY},
    {"<<", YAML_MERGE},
};

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

// Up to `most` digits at *at; moves behind them.
static bool number(struct str s, size_t *at, size_t least, size_t most, int *ret)
{
    size_t n = 0;
    int v = 0;
    while (*at < s.n && n < most && digit(s.p[*at])) {
        v = v * 10 + (s.p[(*at)++] - '0');
        n++;
    }
    *ret = v;
    return n >= least;
}

static bool skip(struct str s, size_t *at, char c)
{
    if (*at < s.n && s.p[*at] == c) {
        ++*at;
        return true;
    }
    return false;
}

// 2006-1-2, 2006-1-2 15:4:5.9, 2006-1-2T15:4:5.9Z or with an offset: years of four digits, the rest
// of one or two.
static bool is_timestamp(struct str s)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    size_t at = 0;
    int year, month, day, hour, minute, second, ignored;
    if (!number(s, &at, 4, 4, &year) || !skip(s, &at, '-') || !number(s, &at, 1, 2, &month) ||
        !skip(s, &at, '-') || !number(s, &at, 1, 2, &day) || month < 1 || month > 12 || day < 1)
        return false;
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (day > days[month - 1] + (month == 2 && leap))
        return false;
    if (at == s.n)
        return true;
    bool zone = skip(s, &at, 'T') || skip(s, &at, 't');
    if (!zone && !skip(s, &at, ' '))
        return false;
    if (!number(s, &at, 1, 2, &hour) || !skip(s, &at, ':') || !number(s, &at, 1, 2, &minute) ||
        !skip(s, &at, ':') || !number(s, &at, 1, 2, &second) || hour > 23 || minute > 59 ||
        second > 59)
        return false;
    if ((skip(s, &at, '.') || skip(s, &at, ',')) && !number(s, &at, 1, SIZE_MAX, &ignored))
        return false;
    if (!zone)
        return at == s.n;
    if (skip(s, &at, 'Z'))
        return at == s.n;
    if (!skip(s, &at, '+') && !skip(s, &at, '-'))
        return false;
    return number(s, &at, 2, 2, &hour) && skip(s, &at, ':') && number(s, &at, 2, 2, &minute) &&
           at == s.n && hour <= 24 && minute < 60;
}

// Go's ParseUint with base 0, of text without underscores and sign.
static bool parse_unsigned(const char *p, uint64_t *ret)
{
    unsigned base = 10;
    if (p[0] == '0' && p[1]) {
        char c = (char)(p[1] | 0x20);
        base = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 8;
        p += base == 8 && c != 'o' ? 1 : 2;
    }
    if (!*p)
        return false;
    uint64_t v = 0;
    for (; *p; p++) {
        char c = (char)(*p | 0x20);
        unsigned d = digit(*p)              ? (unsigned)(*p - '0')
                     : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                                            : 99;
        if (d >= base || __builtin_mul_overflow(v, base, &v) || __builtin_add_overflow(v, d, &v))
            return false;
    }
    *ret = v;
    return true;
}

// [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?
static bool is_float(const char *p)
{
    if (*p == '-' || *p == '+')
        p++;
    bool point = *p == '.';
    if (point)
        p++;
    if (!digit(*p))
        return false;
    while (digit(*p))
        p++;
    if (!point && *p == '.') {
        p++;
        while (digit(*p))
            p++;
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        if (*p == '-' || *p == '+')
            p++;
        if (!digit(*p))
            return false;
        while (digit(*p))
            p++;
    }
    return !*p;
}

static struct yaml_scalar resolve_number(struct str s)
{
    struct yaml_scalar r = {.kind = YAML_STRING};
    // Longer than any number that is worth being one.
    char plain[400];
    size_t n = 0;
    if (s.n >= sizeof plain)
        return r;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '_')
            plain[n++] = s.p[i];
    plain[n] = 0;
    if (memchr(plain, 0, n))
        return r;
    if (s.p[0] == '.') { // here only Go's syntax is asked: an underscore stands between digits
        for (size_t i = 0; i < s.n; i++)
            if (s.p[i] == '_' && !(digit(s.p[i - 1]) && i + 1 < s.n && digit(s.p[i + 1])))
                return r;
        if (!is_float(plain))
            return r;
    } else {
        bool minus = plain[0] == '-', sign = minus || plain[0] == '+';
        uint64_t u;
        if (parse_unsigned(plain + sign, &u)) {
            if (u <= INT64_MAX || (minus && u == (uint64_t)INT64_MAX + 1)) {
                r.kind = YAML_INT;
                r.i = minus ? (int64_t)-u : (int64_t)u;
                return r;
            }
            if (!sign) {
                r.kind = YAML_UINT;
                r.u = u;
                return r;
            }
        }
        if (!is_float(plain))
            return r;
    }
    r.f = strtod(plain, NULL);
    if (isfinite(r.f)) // Go's ParseFloat refuses what is out of range
        r.kind = YAML_FLOAT;
    return r;
}

struct yaml_scalar yaml_resolve(struct str s)
{
    struct yaml_scalar r = {.kind = YAML_STRING};
    char c = s.n ? s.p[0] : 0;
    bool may_be_number = digit(c) || c == '+' || c == '-' || c == '.';
    if (s.n <= 5 && (may_be_number || !s.n || strchr("yYnNtTfFoO~<", c)))
        for (size_t i = 0; i < sizeof words / sizeof *words; i++)
            if (str_eqc(s, words[i].text)) {
                r.kind = words[i].kind;
                r.b = words[i].b;
                r.f = words[i].f;
                return r;
            }
    if (!may_be_number)
        return r;
    if (c != '.' && is_timestamp(s)) {
        r.kind = YAML_TIMESTAMP;
        return r;
    }
    return resolve_number(s);
}

// [-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?
bool yaml_base60(struct str s)
{
    size_t at = 0;
    if (at < s.n && (s.p[at] == '-' || s.p[at] == '+'))
        at++;
    if (at == s.n || !digit(s.p[at]))
        return false;
    while (at < s.n && (digit(s.p[at]) || s.p[at] == '_'))
        at++;
    size_t parts = 0;
    while (at < s.n && s.p[at] == ':') {
        at++;
        if (at == s.n || !digit(s.p[at]))
            return false;
        if (at + 1 < s.n && digit(s.p[at + 1])) {
            if (s.p[at] > '5')
                return false;
            at++;
        }
        at++;
        parts++;
    }
    if (!parts)
        return false;
    if (at < s.n && s.p[at] == '.') {
        at++;
        while (at < s.n && (digit(s.p[at]) || s.p[at] == '_'))
            at++;
    }
    return at == s.n;
}
