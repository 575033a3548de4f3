// Durations as text: Go's time.Duration both ways, and the ages that kubectl prints (declared in
// time.h).
#include "base/guard.h"
#include "base/time.h"

// v / unit with up to `width` decimals, without trailing zeros.
static void write_decimal(struct buf *b, uint64_t v, uint64_t unit, int width)
{
    buf_u64(b, v / unit);
    uint64_t rest = v % unit;
    if (!rest)
        return;
    char digits[24];
    snprintf(digits, sizeof digits, "%0*llu", width, (unsigned long long)rest);
    while (digits[width - 1] == '0')
        width--;
    buf_char(b, '.');
    buf_add(b, digits, (size_t)width);
}

void duration_write(struct buf *b, int64_t ns)
{
    uint64_t u = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    if (ns < 0)
        buf_char(b, '-');
    if (u == 0) {
        buf_puts(b, "0s");
    } else if (u < NS_PER_US) {
        buf_printf(b, "%luns", (unsigned long)u);
    } else if (u < NS_PER_MS) {
        write_decimal(b, u, NS_PER_US, 3);
        buf_puts(b, "\xc2\xb5s"); // Go writes U+00B5
    } else if (u < NS_PER_S) {
        write_decimal(b, u, NS_PER_MS, 6);
        buf_puts(b, "ms");
    } else {
        uint64_t minutes = u / (60 * NS_PER_S);
        if (minutes >= 60)
            buf_printf(b, "%luh", (unsigned long)(minutes / 60));
        if (minutes)
            buf_printf(b, "%lum", (unsigned long)(minutes % 60));
        write_decimal(b, u % (60 * NS_PER_S), NS_PER_S, 9);
        buf_char(b, 's');
    }
}

static const struct {
    struct str name;
    int64_t ns;
} duration_units[] = {
    {STR("ns"), 1},
    {STR("us"), NS_PER_US},
    {STR("\xc2\xb5s"), NS_PER_US},
    {STR("\xce\xbcs"), NS_PER_US},
    {STR("ms"), NS_PER_MS},
    {STR("s"), NS_PER_S},
    {STR("m"), 60 * NS_PER_S},
    {STR("h"), 3600 * NS_PER_S},
};

bool duration_parse(struct str s, int64_t *ret_ns)
{
    bool negative = s.n && s.p[0] == '-';
    if (s.n && (s.p[0] == '-' || s.p[0] == '+'))
        s = str_from(s, 1);
    if (str_eq(s, STR("0"))) {
        *ret_ns = 0;
        return true;
    }
    if (!s.n)
        return false;
    uint64_t total = 0;
    while (s.n) {
        size_t i = 0;
        while (i < s.n && s.p[i] >= '0' && s.p[i] <= '9')
            i++;
        uint64_t whole = 0, part = 0, scale = 1;
        if (i && !str_to_u64(str_sub(s, 0, i), &whole))
            return false;
        bool any = i > 0;
        if (i < s.n && s.p[i] == '.') {
            for (i++; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++) {
                if (scale < 1000000000000000u) { // digits below that cannot matter
                    part = part * 10 + (uint64_t)(s.p[i] - '0');
                    scale *= 10;
                }
                any = true;
            }
        }
        if (!any)
            return false;
        s = str_from(s, i);
        size_t n = 0;
        while (n < s.n && s.p[n] != '.' && !(s.p[n] >= '0' && s.p[n] <= '9'))
            n++;
        int64_t unit = 0;
        for (size_t u = 0; u < ARRAY_LEN(duration_units); u++)
            if (str_eq(str_sub(s, 0, n), duration_units[u].name))
                unit = duration_units[u].ns;
        s = str_from(s, n);
        if (!unit || __builtin_mul_overflow(whole, (uint64_t)unit, &whole) ||
            __builtin_add_overflow(whole, (uint64_t)((double)part * ((double)unit / (double)scale)),
                                   &whole) ||
            __builtin_add_overflow(total, whole, &total))
            return false;
    }
    if (total > (uint64_t)INT64_MAX + negative)
        return false;
    *ret_ns = negative ? (int64_t)(0 - total) : (int64_t)total;
    return true;
}

// The steps of apimachinery's duration.HumanDuration: two units while the first is small.
void duration_write_human(struct buf *b, int64_t ns)
{
    long s = (long)(ns / NS_PER_S), m = s / 60, h = m / 60, d = h / 24;
    if (s < -1)
        buf_puts(b, "<invalid>");
    else if (s < 0)
        buf_puts(b, "0s");
    else if (s < 120)
        buf_printf(b, "%lds", s);
    else if (m < 10 && s % 60)
        buf_printf(b, "%ldm%lds", m, s % 60);
    else if (m < 180)
        buf_printf(b, "%ldm", m);
    else if (h < 8 && m % 60)
        buf_printf(b, "%ldh%ldm", h, m % 60);
    else if (h < 48)
        buf_printf(b, "%ldh", h);
    else if (h < 192 && h % 24)
        buf_printf(b, "%ldd%ldh", d, h % 24);
    else if (h < 24 * 365 * 2)
        buf_printf(b, "%ldd", d);
    else if (h < 24 * 365 * 8 && d % 365)
        buf_printf(b, "%ldy%ldd", d / 365, d % 365);
    else
        buf_printf(b, "%ldy", d / 365);
}
