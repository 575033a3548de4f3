// Trace context in W3C's form (https://www.w3.org/TR/trace-context/, version 00) and, for what
// comes from Zipkin's older clients, the single B3 header: "<16 or 32 hex>-<16 hex>[-<0|1|d>[-<16
// hex>]]".
#include "base/trace.h"
#include "base/env.h"

// Exactly n lower- or upper-case hex digits.
static bool hex(struct str s, size_t n, uint64_t *ret)
{
    uint64_t v = 0;
    if (s.n != n)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = s.p[i];
        unsigned digit;
        if (c >= '0' && c <= '9')
            digit = (unsigned)(c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            digit = (unsigned)((c | 0x20) - 'a' + 10);
        else
            return false;
        v = v << 4 | digit;
    }
    *ret = v;
    return true;
}

static bool hex128(struct str s, uint64_t *hi, uint64_t *lo)
{
    return s.n == 32 && hex(str_sub(s, 0, 16), 16, hi) && hex(str_from(s, 16), 16, lo);
}

static bool parse_w3c(struct str s, struct trace_context *t)
{
    uint64_t version, flags;
    // Versions above 00 may append fields; ff is invalid.
    if (s.n < 55 || !hex(str_sub(s, 0, 2), 2, &version) || version == 0xff || s.p[2] != '-' ||
        s.p[35] != '-' || s.p[52] != '-' || (s.n > 55 && (version == 0 || s.p[55] != '-')))
        return false;
    if (!hex128(str_sub(s, 3, 32), &t->trace_hi, &t->trace_lo) ||
        !hex(str_sub(s, 36, 16), 16, &t->span) || !hex(str_sub(s, 53, 2), 2, &flags))
        return false;
    t->sampled = flags & 1;
    return true;
}

static bool parse_b3(struct str s, struct trace_context *t)
{
    struct str trace = str_cut(&s, '-'), span = str_cut(&s, '-');
    struct str sampled = str_cut(&s, '-'), parent = s;
    uint64_t ignored;
    t->trace_hi = 0;
    if (!hex128(trace, &t->trace_hi, &t->trace_lo) && !hex(trace, 16, &t->trace_lo))
        return false;
    if (!hex(span, 16, &t->span) || (parent.p && !hex(parent, 16, &ignored)))
        return false;
    // Absent: the decision is left to us, and we trace what arrives with ids.
    t->sampled = !sampled.p || str_eq(sampled, STR("1")) || str_eq(sampled, STR("d"));
    return t->sampled || str_eq(sampled, STR("0"));
}

bool trace_parse(struct str traceparent, struct trace_context *ret)
{
    struct trace_context t = {0};
    struct str s = str_trim(traceparent);
    if (!parse_w3c(s, &t) && !parse_b3(s, &t))
        return false;
    if (!(t.trace_hi | t.trace_lo) || !t.span)
        return false;
    *ret = t;
    return true;
}

void trace_write(struct buf *b, const struct trace_context *t)
{
    buf_printf(b, "00-%016lx%016lx-%016lx-%02x", (unsigned long)t->trace_hi,
               (unsigned long)t->trace_lo, (unsigned long)t->span, t->sampled ? 1u : 0u);
}

static uint64_t random_id(struct env *env)
{
    uint64_t id = 0;
    while (!id) // zero means "none" on the wire
        env_random(env, &id, sizeof id);
    return id;
}

struct trace_context trace_child(struct env *env, const struct trace_context *parent)
{
    struct trace_context t = {.sampled = true};
    if (parent && (parent->trace_hi | parent->trace_lo)) {
        t = *parent;
    } else {
        t.trace_hi = random_id(env);
        t.trace_lo = random_id(env);
    }
    t.span = random_id(env);
    return t;
}
