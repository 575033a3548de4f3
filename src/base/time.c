// Times. The calendar is the proleptic Gregorian one, computed with Howard Hinnant's
// days_from_civil arithmetic (era of 400 years, years that begin in March), so nothing depends on
// the C library's time zone or locale. int64 nanoseconds reach from 1677 to 2262: a time outside is
// refused, never wrapped. Where a time is only carried, whole seconds beside nanoseconds reach as
// far as RFC 3339 does.
#include "base/time.h"

int64_t time_days_from_civil(int64_t y, int m, int d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t yoe = y - era * 400;
    int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    int64_t doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + doe - 719468;
}

void time_civil_from_days(int64_t z, int64_t *y, int *m, int *d)
{
    z += 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    *d = (int)(doy - (153 * mp + 2) / 5 + 1);
    *m = (int)(mp < 10 ? mp + 3 : mp - 9);
    *y = yoe + era * 400 + (*m <= 2);
}

static int days_in_month(int64_t y, int m)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    return days[m - 1] + (m == 2 && leap);
}

static char *put(char *to, int64_t v, int width)
{
    for (int i = width - 1; i >= 0; i--, v /= 10)
        to[i] = (char)('0' + v % 10);
    return to + width;
}

void time_write_rfc3339(struct buf *b, int64_t real_ns, int digits)
{
    int64_t s = real_ns / NS_PER_S, ns = real_ns % NS_PER_S;
    if (ns < 0)
        ns += NS_PER_S, s--;
    time_write_rfc3339_at(b, s, ns, digits);
}

void time_write_rfc3339_at(struct buf *b, int64_t s, int64_t ns, int digits)
{
    int64_t days = s / 86400, day_s = s % 86400;
    if (day_s < 0)
        day_s += 86400, days--;
    int64_t y;
    int m, d;
    time_civil_from_days(days, &y, &m, &d);
    char text[40], *at = text;
    at = put(at, y, 4), *at++ = '-';
    at = put(at, m, 2), *at++ = '-';
    at = put(at, d, 2), *at++ = 'T';
    at = put(at, day_s / 3600, 2), *at++ = ':';
    at = put(at, day_s / 60 % 60, 2), *at++ = ':';
    at = put(at, day_s % 60, 2);
    if (digits > 0) {
        if (digits > 9)
            digits = 9;
        for (int i = digits; i < 9; i++)
            ns /= 10;
        *at++ = '.';
        at = put(at, ns, digits);
    }
    *at++ = 'Z';
    buf_add(b, text, (size_t)(at - text));
}

struct str time_rfc3339(struct arena *a, int64_t real_ns, int digits)
{
    char text[40];
    struct buf b = {.p = text, .cap = sizeof text, .max = sizeof text - 1};
    time_write_rfc3339(&b, real_ns, digits);
    return arena_str(a, buf_view(&b));
}

// n digits at *s, within [lo, hi]; moves *s behind them.
static bool digits_in(struct str *s, size_t n, int lo, int hi, int *ret)
{
    int v = 0;
    if (s->n < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        unsigned digit = (unsigned char)s->p[i] - '0';
        if (digit > 9)
            return false;
        v = v * 10 + (int)digit;
    }
    *s = str_from(*s, n);
    *ret = v;
    return v >= lo && v <= hi;
}

static bool skip(struct str *s, char c)
{
    if (!s->n || s->p[0] != c)
        return false;
    *s = str_from(*s, 1);
    return true;
}

bool time_parse_rfc3339_at(struct str s, int64_t *ret_s, int64_t *ret_ns)
{
    int y, mo, d, h, mi, sec, oh = 0, om = 0, sign = 0;
    if (!digits_in(&s, 4, 0, 9999, &y) || !skip(&s, '-') || !digits_in(&s, 2, 1, 12, &mo) ||
        !skip(&s, '-') || !digits_in(&s, 2, 1, days_in_month(y, mo), &d) || !skip(&s, 'T') ||
        !digits_in(&s, 2, 0, 23, &h) || !skip(&s, ':') || !digits_in(&s, 2, 0, 59, &mi) ||
        !skip(&s, ':') || !digits_in(&s, 2, 0, 59, &sec))
        return false;
    int64_t ns = 0;
    if (skip(&s, '.')) {
        int count = 0;
        for (; s.n && s.p[0] >= '0' && s.p[0] <= '9'; s = str_from(s, 1), count++)
            ns = ns * 10 + (s.p[0] - '0');
        if (count == 0 || count > 9)
            return false;
        for (; count < 9; count++)
            ns *= 10;
    }
    if (!skip(&s, 'Z')) {
        if (skip(&s, '+'))
            sign = 1;
        else if (skip(&s, '-'))
            sign = -1;
        else
            return false;
        if (!digits_in(&s, 2, 0, 23, &oh) || !skip(&s, ':') || !digits_in(&s, 2, 0, 59, &om))
            return false;
    }
    if (s.n)
        return false;
    *ret_s = time_days_from_civil(y, mo, d) * 86400 + h * 3600 + mi * 60 + sec -
             sign * (oh * 3600 + om * 60);
    *ret_ns = ns;
    return true;
}

bool time_parse_rfc3339(struct str s, int64_t *ret_real_ns)
{
    int64_t t, ns, whole;
    if (!time_parse_rfc3339_at(s, &t, &ns))
        return false;
    // Before 1970 the fraction counts towards zero: add it to a negative product of whole seconds.
    if (t < 0 && ns)
        t++, ns -= NS_PER_S;
    return !__builtin_mul_overflow(t, NS_PER_S, &whole) &&
           !__builtin_add_overflow(whole, ns, ret_real_ns);
}
