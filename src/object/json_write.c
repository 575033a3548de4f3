// The JSON writer: compact, or indented as Go's MarshalIndent. Strings are copied in runs between
// the few bytes that need an escape; which ones is Go's choice with HTML escaping off: the quote,
// the backslash, controls (short forms for \b \f \n \r \t), and U+2028 and U+2029.
#include "object/json.h"
#include <math.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

// The first byte that may need an escape; 0xe2 begins U+2028 and U+2029.
static inline const char *scan(const char *p, const char *end)
{
#if defined(__SSE2__)
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    const __m128i last = _mm_set1_epi8(0x1f), e2 = _mm_set1_epi8((char)0xe2);
    while (end - p >= 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)p);
        __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(v, last), v);
        __m128i odd = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash)),
                                   _mm_or_si128(control, _mm_cmpeq_epi8(v, e2)));
        unsigned mask = (unsigned)_mm_movemask_epi8(odd);
        if (mask)
            return p + __builtin_ctz(mask);
        p += 16;
    }
#endif
    while (p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20 &&
           (unsigned char)*p != 0xe2)
        p++;
    return p;
}

// As buf_char, without the call where there is room.
static inline void put(struct buf *b, char c)
{
    if (__builtin_expect(b->n < b->cap && !b->failed, 1))
        b->p[b->n++] = c;
    else
        buf_char(b, c);
}

void json_write_string(struct buf *b, struct str s)
{
    static const char hex[] = "0123456789abcdef";
    static const char plain[0x20] = {
        ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't'};
    const char *p = s.p ? s.p : "", *end = p + s.n;
    char *out = buf_reserve(b, s.n + 2);
    if (!out)
        return;
    const char *q = scan(p, end);
    out[0] = '"';
    if (q == end) { // nearly always
        memcpy(out + 1, p, s.n);
        out[s.n + 1] = '"';
        b->n += s.n + 2;
        return;
    }
    b->n++;
    for (; p < end; q = scan(p, end)) {
        if (q < end && (unsigned char)*q == 0xe2) { // mostly some other character
            bool separator =
                end - q >= 3 && (unsigned char)q[1] == 0x80 && ((unsigned char)q[2] & 0xfe) == 0xa8;
            if (!separator) {
                buf_add(b, p, (size_t)(q + 1 - p));
                p = q + 1;
                continue;
            }
            buf_add(b, p, (size_t)(q - p));
            buf_puts(b, (unsigned char)q[2] == 0xa8 ? "\\u2028" : "\\u2029");
            p = q + 3;
            continue;
        }
        if (q > p)
            buf_add(b, p, (size_t)(q - p));
        if (q >= end)
            break;
        unsigned char c = (unsigned char)*q;
        char esc[6] = {'\\', (char)c, '0', '0'};
        size_t n = 2;
        if (c < 0x20) {
            esc[1] = plain[c];
            if (!plain[c]) {
                esc[1] = 'u';
                esc[2] = '0';
                esc[3] = '0';
                esc[4] = hex[c >> 4];
                esc[5] = hex[c & 15];
                n = 6;
            }
        }
        buf_add(b, esc, n);
        p = q + 1;
    }
    buf_char(b, '"');
}

void json_write_double(struct buf *b, double f)
{
    char text[40];
    if (!isfinite(f)) { // never in a tree that a reader made
        buf_puts(b, "null");
        return;
    }
    int digits = 1;
    for (; digits < 17; digits++) {
        snprintf(text, sizeof text, "%.*e", digits - 1, f);
        if (strtod(text, NULL) == f)
            break;
    }
    double size = fabs(f);
    if (size != 0 && (size < 1e-6 || size >= 1e21)) {
        snprintf(text, sizeof text, "%.*e", digits - 1, f);
        char *e = strchr(text, 'e'); // e-09 is written e-9
        if (e && e[2] == '0')
            memmove(e + 2, e + 3, strlen(e + 3) + 1);
        buf_puts(b, text);
        return;
    }
    snprintf(text, sizeof text, "%.*e", digits - 1, f);
    int exponent = (int)strtol(strchr(text, 'e') + 1, NULL, 10);
    int decimals = digits - 1 - exponent;
    buf_printf(b, "%.*f", decimals > 0 ? decimals : 0, f);
}

static void write_scalar(struct buf *b, const struct value *v)
{
    switch (v ? v->kind : VALUE_NULL) {
    case VALUE_NULL:
        buf_add(b, "null", 4);
        break;
    case VALUE_BOOL:
        buf_puts(b, v->b ? "true" : "false");
        break;
    case VALUE_INT:
        buf_i64(b, v->i);
        break;
    case VALUE_FLOAT:
        if (v->text)
            buf_add(b, v->text, v->n);
        else
            json_write_double(b, v->f);
        break;
    case VALUE_STRING:
        json_write_string(b, str_n(v->s, v->n));
        break;
    }
}

void json_write(struct buf *b, const struct value *v)
{
    if (value_is(v, VALUE_ARRAY)) {
        put(b, '[');
        for (uint32_t i = 0; i < v->n; i++) {
            if (i)
                put(b, ',');
            json_write(b, v->items[i]);
        }
        put(b, ']');
    } else if (value_is(v, VALUE_OBJECT)) {
        put(b, '{');
        for (uint32_t i = 0; i < v->n; i++) {
            if (i)
                put(b, ',');
            json_write_string(b, v->members[i].key);
            put(b, ':');
            json_write(b, v->members[i].value);
        }
        put(b, '}');
    } else {
        write_scalar(b, v);
    }
}

static void newline(struct buf *b, int columns)
{
    char *p = buf_reserve(b, (size_t)columns + 1);
    if (!p)
        return;
    p[0] = '\n';
    memset(p + 1, ' ', (size_t)columns);
    b->n += (size_t)columns + 1;
}

static void write_pretty(struct buf *b, const struct value *v, int indent, int columns)
{
    if (value_len(v) == 0) {
        json_write(b, v);
        return;
    }
    int inner = columns + indent;
    buf_char(b, v->kind == VALUE_ARRAY ? '[' : '{');
    for (uint32_t i = 0; i < v->n; i++) {
        if (i)
            buf_char(b, ',');
        newline(b, inner);
        if (v->kind == VALUE_OBJECT) {
            json_write_string(b, v->members[i].key);
            buf_add(b, ": ", 2);
            write_pretty(b, v->members[i].value, indent, inner);
        } else {
            write_pretty(b, v->items[i], indent, inner);
        }
    }
    newline(b, columns);
    buf_char(b, v->kind == VALUE_ARRAY ? ']' : '}');
}

void json_write_pretty(struct buf *b, const struct value *v, int indent)
{
    write_pretty(b, v, indent, 0);
}

struct str json_text(struct arena *a, const struct value *v)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    json_write(&b, v);
    return arena_str(a, buf_view(&b));
}
