// Sprig's numbers: whatever is given is cast, as spf13/cast does it; integers are int64.
#include "template/sprig.h"
#include <math.h>

#define ARENA(c) template_arena(c)
#define FN(name) static struct value *name(struct template_call *c, struct value **args, size_t n)
#define UNUSED_N (void)n

static int64_t from_double(double f)
{
    return f >= 9.2233720368547758e18 || f <= -9.2233720368547758e18 || isnan(f) ? INT64_MIN
                                                                                 : (int64_t)f;
}

static int64_t int_text(struct str s)
{
    char text[64];
    ptrdiff_t dot = str_chr(s, '.'); // "1.000" is 1
    if (dot > 0) {
        for (size_t i = (size_t)dot + 1; i < s.n; i++)
            if (s.p[i] != '0')
                return 0;
        s = str_sub(s, 0, (size_t)dot);
    }
    if (!s.n || s.n >= sizeof text || s.p[0] == ' ')
        return 0;
    memcpy(text, s.p, s.n);
    text[s.n] = 0;
    char *end, *digits = text + (text[0] == '-' || text[0] == '+');
    int base = 0;
    if (digits[0] == '0' && (digits[1] == 'b' || digits[1] == 'o')) {
        base = digits[1] == 'b' ? 2 : 8;
        memmove(digits, digits + 2, strlen(digits + 2) + 1);
    }
    long long v = strtoll(text, &end, base);
    return *end || end == text ? 0 : v;
}

int64_t sprig_int(const struct value *v)
{
    switch (v ? v->kind : VALUE_NULL) {
    case VALUE_BOOL:
        return v->b;
    case VALUE_INT:
        return v->i;
    case VALUE_FLOAT:
        return from_double(v->f);
    case VALUE_STRING:
        return int_text(str_n(v->s, v->n));
    default:
        return 0;
    }
}

double sprig_float(const struct value *v)
{
    switch (v ? v->kind : VALUE_NULL) {
    case VALUE_BOOL:
        return v->b;
    case VALUE_INT:
        return (double)v->i;
    case VALUE_FLOAT:
        return v->f;
    case VALUE_STRING: {
        char text[64], *end;
        if (!v->n || v->n >= sizeof text || v->s[0] == ' ')
            return 0;
        memcpy(text, v->s, v->n);
        text[v->n] = 0;
        double f = strtod(text, &end);
        return *end ? 0 : f;
    }
    default:
        return 0;
    }
}

static struct value *int64(struct template_call *c, int64_t i)
{
    return template_int_value(ARENA(c), TEMPLATE_INT64, i);
}

FN(fn_int)
{
    UNUSED_N;
    return template_int_value(ARENA(c), template_param(c), sprig_int(args[0]));
}
FN(fn_float64)
{
    UNUSED_N;
    return value_float(ARENA(c), sprig_float(args[0]));
}
FN(fn_atoi)
{
    UNUSED_N;
    int64_t i = 0;
    struct str s = value_string(args[0]);
    if (s.n && s.p[0] == '+')
        s = str_from(s, 1);
    str_to_i64(s, &i);
    return template_int_value(ARENA(c), TEMPLATE_INT, i);
}
FN(fn_to_decimal)
{
    UNUSED_N;
    struct str s = sprig_text(c, args[0]);
    int64_t v = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '7')
            return int64(c, 0);
        if (__builtin_mul_overflow(v, 8, &v) || __builtin_add_overflow(v, s.p[i] - '0', &v))
            return int64(c, 0);
    }
    return int64(c, v);
}

enum { ADD, SUB, MUL, DIV, MOD, MAX, MIN };

static int64_t wrap(int op, int64_t a, int64_t b)
{
    uint64_t x = (uint64_t)a, y = (uint64_t)b;
    return (int64_t)(op == ADD ? x + y : op == SUB ? x - y : x * y);
}

FN(fn_arith)
{
    int op = template_param(c);
    int64_t r = op == ADD ? 0 : sprig_int(args[0]);
    for (size_t i = op == ADD ? 0 : 1; i < n; i++) {
        int64_t v = sprig_int(args[i]);
        if ((op == DIV || op == MOD) && v == 0)
            return template_fail(c, "runtime error: integer divide by zero");
        switch (op) {
        case DIV:
            r = v == -1 ? wrap(SUB, 0, r) : r / v;
            break;
        case MOD:
            r = v == -1 ? 0 : r % v;
            break;
        case MAX:
            r = v > r ? v : r;
            break;
        case MIN:
            r = v < r ? v : r;
            break;
        default:
            r = wrap(op, r, v);
        }
    }
    return int64(c, r);
}
FN(fn_add1)
{
    UNUSED_N;
    return int64(c, wrap(ADD, sprig_int(args[0]), 1));
}

FN(fn_arith_float)
{
    int op = template_param(c);
    double r = op == ADD ? 0 : sprig_float(args[0]);
    for (size_t i = op == ADD ? 0 : 1; i < n; i++) {
        double v = sprig_float(args[i]);
        if (op == DIV && v == 0)
            return template_fail(c, "decimal division by 0");
        r = op == ADD   ? r + v
            : op == SUB ? r - v
            : op == MUL ? r * v
            : op == DIV ? r / v
            : op == MAX ? fmax(r, v)
                        : fmin(r, v);
    }
    if (op <= DIV) { // decimals: what binary fractions add is taken away again
        char text[64];
        snprintf(text, sizeof text, "%.15g", r);
        r = strtod(text, NULL);
    }
    return value_float(ARENA(c), r);
}
FN(fn_add1f)
{
    UNUSED_N;
    return value_float(ARENA(c), sprig_float(args[0]) + 1);
}
// param: 0 floor, 1 ceil
FN(fn_floor)
{
    UNUSED_N;
    double f = sprig_float(args[0]);
    return value_float(ARENA(c), template_param(c) ? ceil(f) : floor(f));
}
FN(fn_round)
{
    double half = n > 2 ? sprig_float(args[2]) : .5, f = sprig_float(args[0]);
    double power = pow(10, (double)args[1]->i), digit = power * f, whole;
    double fraction = modf(digit, &whole);
    double r = fraction >= half ? ceil(digit) : floor(digit);
    (void)whole;
    return value_float(ARENA(c), r / power);
}

static const struct template_function rows[] = {
    {"add", "a*", fn_arith, ADD},
    {"add1", "a", fn_add1},
    {"add1f", "a", fn_add1f},
    {"addf", "a*", fn_arith_float, ADD},
    {"atoi", "s", fn_atoi},
    {"biggest", "aa*", fn_arith, MAX},
    {"ceil", "a", fn_floor, 1},
    {"div", "aa", fn_arith, DIV},
    {"divf", "aa*", fn_arith_float, DIV},
    {"float64", "a", fn_float64},
    {"floor", "a", fn_floor, 0},
    {"int", "a", fn_int, TEMPLATE_INT},
    {"int64", "a", fn_int, TEMPLATE_INT64},
    {"max", "aa*", fn_arith, MAX},
    {"maxf", "aa*", fn_arith_float, MAX},
    {"min", "aa*", fn_arith, MIN},
    {"minf", "aa*", fn_arith_float, MIN},
    {"mod", "aa", fn_arith, MOD},
    {"mul", "aa*", fn_arith, MUL},
    {"mulf", "aa*", fn_arith_float, MUL},
    {"round", "aia*", fn_round},
    {"sub", "aa", fn_arith, SUB},
    {"subf", "aa*", fn_arith_float, SUB},
    {"toDecimal", "a", fn_to_decimal},
};
const struct template_functions sprig_math = {rows, sizeof rows / sizeof *rows};
