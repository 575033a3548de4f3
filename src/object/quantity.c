// Quantities: a decimal number of nano units in 128 bits, and the family of suffixes to write it
// in.
//
// The grammar is apimachinery's: sign, digits, at most one point, then one of n u m k M G T P E (or
// nothing), Ki Mi Gi Ti Pi Ei, or an exponent (e3, E-6). It accepts what the originals accept, odd
// forms included ("1.", ".5", "+1", "G" is zero). What is finer than nano is rounded away from
// zero; what is larger than 2^63-1 units in binary form, or than the 128 bits hold, is capped at
// 2^63-1, as the originals cap what leaves their quick path.
//
// Canonical form: no fraction, the largest suffix of the family for which the mantissa is whole. A
// binary amount that is not whole, or lies within ±1024, is written in decimal SI.
#include "object/quantity.h"
#include <string.h>

typedef __int128 i128;
typedef unsigned __int128 u128;
#define NANO ((i128)1000000000)
#define CAP  ((i128)INT64_MAX * NANO)

static const struct suffix {
    char text[3];
    uint8_t format;
    int8_t exponent; // of 10, or of 2
} suffixes[] = {
    {"n", QUANTITY_DECIMAL_SI, -9}, {"u", QUANTITY_DECIMAL_SI, -6}, {"m", QUANTITY_DECIMAL_SI, -3},
    {"", QUANTITY_DECIMAL_SI, 0},   {"k", QUANTITY_DECIMAL_SI, 3},  {"M", QUANTITY_DECIMAL_SI, 6},
    {"G", QUANTITY_DECIMAL_SI, 9},  {"T", QUANTITY_DECIMAL_SI, 12}, {"P", QUANTITY_DECIMAL_SI, 15},
    {"E", QUANTITY_DECIMAL_SI, 18}, {"Ki", QUANTITY_BINARY_SI, 10}, {"Mi", QUANTITY_BINARY_SI, 20},
    {"Gi", QUANTITY_BINARY_SI, 30}, {"Ti", QUANTITY_BINARY_SI, 40}, {"Pi", QUANTITY_BINARY_SI, 50},
    {"Ei", QUANTITY_BINARY_SI, 60},
};
enum { NSUFFIXES = sizeof suffixes / sizeof *suffixes };

static bool suffix_parse(struct str s, uint8_t *format, int *exponent)
{
    for (size_t i = 0; i < NSUFFIXES; i++)
        if (str_eqc(s, suffixes[i].text)) {
            *format = suffixes[i].format;
            *exponent = suffixes[i].exponent;
            return true;
        }
    if (s.n < 2 || (s.p[0] != 'e' && s.p[0] != 'E'))
        return false;
    size_t i = 1;
    bool minus = s.p[i] == '-';
    if (s.p[i] == '-' || s.p[i] == '+')
        i++;
    if (i == s.n)
        return false;
    int v = 0;
    for (; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        if (v < 1000000) // beyond any use; the value is capped or rounded by then
            v = v * 10 + (s.p[i] - '0');
    }
    *format = QUANTITY_DECIMAL_EXPONENT;
    *exponent = minus ? -v : v;
    return true;
}

// u * 10^power, for power of either sign; rounds up; false on overflow.
static bool scale_ten(u128 u, int power, u128 *ret)
{
    bool rest = false;
    for (; power > 0 && u; power--)
        if (__builtin_mul_overflow(u, (u128)10, &u))
            return false;
    for (; power < 0 && u; power++) {
        rest |= u % 10 != 0;
        u /= 10;
    }
    *ret = u + (rest ? 1 : 0);
    return true;
}

// digits * 2^shift * 10^-decimals, in nano; rounds up.
static bool scale_two(u128 digits, int shift, int decimals, u128 *ret)
{
    // The product of digits and 10^9 over 10^decimals first where that is exact, else long division
    // bit by bit, so that 0.1Ki (102.4) and 1.000000000001Gi come out exact or rounded up once.
    u128 numerator;
    int nine = 9;
    while (nine > 0 && decimals > 0) {
        nine--;
        decimals--;
    }
    if (!scale_ten(digits, nine, &numerator))
        return false;
    u128 divisor = 1;
    for (; decimals > 0; decimals--)
        if (__builtin_mul_overflow(divisor, (u128)10, &divisor))
            return false;
    u128 whole = numerator / divisor, rest = numerator % divisor;
    for (; shift > 0; shift--) {
        if (whole >> 126)
            return false;
        whole <<= 1;
        rest <<= 1;
        if (rest >= divisor) {
            rest -= divisor;
            whole++;
        }
    }
    *ret = whole + (rest ? 1 : 0);
    return true;
}

bool quantity_parse(struct str s, struct quantity *ret)
{
    if (!s.n)
        return false;
    size_t i = 0;
    bool minus = s.p[0] == '-';
    if (s.p[0] == '-' || s.p[0] == '+')
        i++;
    u128 digits = 0;
    int decimals = 0, dropped = 0; // dropped: whole digits that no longer fitted
    bool point = false, overflow = false, rest = false;
    for (; i < s.n; i++) {
        char c = s.p[i];
        if (c == '.' && !point) {
            point = true;
            continue;
        }
        if (c < '0' || c > '9')
            break;
        if (digits >= (u128)1 << 120) { // 36 digits are kept
            rest |= c != '0';
            if (!point && dropped < 1000000)
                dropped++;
            continue;
        }
        digits = digits * 10 + (u128)(c - '0');
        if (point)
            decimals++;
    }
    uint8_t format;
    int exponent;
    if (!suffix_parse(str_from(s, i), &format, &exponent))
        return false;
    if (rest)
        digits++;
    while (decimals > 0 && digits % 10 == 0 && !rest) {
        digits /= 10;
        decimals--;
    }
    u128 nano = 0;
    if (format == QUANTITY_BINARY_SI)
        overflow = dropped || !scale_two(digits, exponent, decimals, &nano) || nano > (u128)CAP;
    else
        overflow = !scale_ten(digits, exponent - decimals + dropped + 9, &nano) || nano >> 126;
    if (overflow && digits)
        nano = (u128)CAP;
    // Below one the binary family has no meaning: 0.5Mi is 524288 but 0.0001Ki is 102400u.
    if (format == QUANTITY_BINARY_SI && nano > 0 && nano < (u128)NANO)
        format = QUANTITY_DECIMAL_SI;
    ret->nano = minus ? -(i128)nano : (i128)nano;
    ret->format = format;
    return true;
}

static void write_u128(struct buf *b, u128 u)
{
    char text[40], *p = text + sizeof text;
    do {
        *--p = (char)('0' + (int)(u % 10));
        u /= 10;
    } while (u);
    buf_add(b, p, (size_t)(text + sizeof text - p));
}

static void write_suffix(struct buf *b, uint8_t format, int exponent)
{
    for (size_t i = 0; i < NSUFFIXES; i++)
        if (suffixes[i].format == format && suffixes[i].exponent == exponent)
            buf_puts(b, suffixes[i].text);
}

void quantity_write(struct buf *b, const struct quantity *q)
{
    if (q->nano == 0) {
        buf_char(b, '0');
        return;
    }
    u128 u = q->nano < 0 ? -(u128)q->nano : (u128)q->nano;
    if (q->nano < 0)
        buf_char(b, '-');
    uint8_t format = q->format;
    if (format == QUANTITY_BINARY_SI && (u < 1024 * (u128)NANO || u % (u128)NANO != 0))
        format = QUANTITY_DECIMAL_SI;
    if (format == QUANTITY_BINARY_SI) {
        u /= (u128)NANO;
        int exponent = 0;
        for (; u % 1024 == 0 && exponent < 60; exponent += 10)
            u /= 1024;
        write_u128(b, u);
        write_suffix(b, format, exponent);
        return;
    }
    int exponent = -9;
    int most = format == QUANTITY_DECIMAL_SI ? 18 : 36;
    for (; u % 1000 == 0 && exponent < most; exponent += 3)
        u /= 1000;
    write_u128(b, u);
    if (format == QUANTITY_DECIMAL_SI)
        write_suffix(b, format, exponent);
    else if (exponent)
        buf_printf(b, "e%d", exponent);
}

// Sign, digits and suffix of a text; false: other characters follow.
static bool split(struct str s, struct str *digits, struct str *suffix)
{
    size_t i = s.n && (s.p[0] == '-' || s.p[0] == '+');
    size_t from = i;
    bool point = false;
    for (; i < s.n && ((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] == '.' && !point)); i++)
        point |= s.p[i] == '.';
    *digits = str_sub(s, from, i - from);
    *suffix = str_from(s, i);
    while (i < s.n && strchr("eEinumkKMGTP", s.p[i]))
        i++;
    i += i < s.n && (s.p[i] == '-' || s.p[i] == '+');
    while (i < s.n && s.p[i] >= '0' && s.p[i] <= '9')
        i++;
    return i == s.n && s.n;
}

const char *quantity_fault(struct str s)
{
    struct str digits, suffix;
    uint8_t format;
    int exponent;
    if (!split(s, &digits, &suffix))
        return "quantities must match the regular expression "
               "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
    if (!suffix_parse(suffix, &format, &exponent))
        return "unable to parse quantity's suffix";
    return "unable to parse numeric part of quantity";
}

// An amount of the decimal families beyond 128 bits: its digits are moved, never computed.
static bool write_large(struct buf *b, struct str s, struct str digits, uint8_t format,
                        int exponent)
{
    ptrdiff_t point = str_chr(digits, '.');
    size_t n = 0, lead = 0;
    _cleanup_buf_ struct buf kept = BUF_INIT;
    for (size_t i = 0; i < digits.n; i++)
        if (digits.p[i] != '.')
            buf_char(&kept, digits.p[i]);
    int64_t power = exponent - (point < 0 ? 0 : (int64_t)digits.n - point - 1);
    for (n = kept.n; n && kept.p[n - 1] == '0'; n--)
        power++;
    while (lead < n && kept.p[lead] == '0')
        lead++;
    int64_t shown = power - power % 3;
    if (format == QUANTITY_DECIMAL_SI && shown > 18)
        shown = 18;
    if (lead == n || power < 0 || power - shown > 4096)
        return false;
    if (s.p[0] == '-')
        buf_char(b, '-');
    buf_add(b, kept.p + lead, n - lead);
    for (int64_t i = shown; i < power; i++)
        buf_char(b, '0');
    if (format == QUANTITY_DECIMAL_SI)
        write_suffix(b, format, (int)shown);
    else
        buf_printf(b, "e%lld", (long long)shown);
    return true;
}

bool quantity_canonical(struct buf *b, struct str s)
{
    struct quantity q;
    struct str digits, suffix;
    uint8_t format;
    int exponent;
    if (!quantity_parse(s, &q))
        return false;
    bool capped = q.nano == CAP || q.nano == -CAP;
    if (capped && split(s, &digits, &suffix) && suffix_parse(suffix, &format, &exponent) &&
        format != QUANTITY_BINARY_SI && write_large(b, s, digits, format, exponent))
        return true;
    quantity_write(b, &q);
    return true;
}

int quantity_cmp(const struct quantity *a, const struct quantity *b)
{
    return a->nano < b->nano ? -1 : a->nano > b->nano;
}

static i128 clamped_sum(i128 a, i128 b)
{
    i128 r;
    if (!__builtin_add_overflow(a, b, &r))
        return r;
    i128 most = (i128)(~(u128)0 >> 1);
    return a > 0 ? most : -most;
}

void quantity_add(struct quantity *a, const struct quantity *b)
{
    if (a->nano == 0)
        a->format = b->format;
    a->nano = clamped_sum(a->nano, b->nano);
}

void quantity_sub(struct quantity *a, const struct quantity *b)
{
    if (a->nano == 0)
        a->format = b->format;
    a->nano = clamped_sum(a->nano, -b->nano);
}

// In units of `unit` nanos, away from zero.
static int64_t in_units(i128 nano, i128 unit)
{
    i128 whole = nano / unit;
    if (nano % unit)
        whole += nano > 0 ? 1 : -1;
    return whole > INT64_MAX ? INT64_MAX : whole < INT64_MIN ? INT64_MIN : (int64_t)whole;
}

int64_t quantity_value(const struct quantity *q)
{
    return in_units(q->nano, NANO);
}

int64_t quantity_milli(const struct quantity *q)
{
    return in_units(q->nano, NANO / 1000);
}
