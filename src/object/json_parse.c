// The JSON reader: one pass over the bytes into an arena.
//
// What makes it quick: strings are scanned sixteen bytes at a time for anything that is not plain
// ASCII; strings without escapes are views of the input (of one private copy of it, unless the
// caller lends the input itself), so there is one memcpy for a document and none for a string;
// members and items are gathered on a growing stack and copied to the arena once, when their number
// is known; values are bumped off the arena inline.
//
// Invariants: p <= end always, and nothing reads at or past end (fuzzed under AddressSanitizer with
// exact-size inputs); recursion is at most JSON_DEPTH deep; every string that enters a tree is
// valid UTF-8. Lone surrogate escapes become U+FFFD, as in Go.
#include "object/json.h"
#include "object/key_index.h"
#include <ctype.h>
#include <math.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

struct frame { // where we are, for the paths of duplicates
    const struct frame *up;
    struct str key; // .p NULL: `index` of an array
    size_t index;
};

struct parser {
    const char *start, *p, *end;
    char *own; // the private copy that start points into, or NULL: the input is lent
    struct arena *a;
    struct value *duplicates;
    struct err *e;
    struct member *members; // gathered, of all open objects
    size_t nmembers, cmembers;
    struct value **items; // gathered, of all open arrays
    size_t nitems, citems;
    size_t left, max; // values that may still come, of how many
};

static int fail(struct parser *s, const char *at, const char *what)
{
    size_t line = 1;
    const char *bol = s->start;
    for (const char *p = s->start; p < at; p++)
        if (*p == '\n') {
            line++;
            bol = p + 1;
        }
    return err_set(s->e, ERR_BAD_REQUEST, "line %zu, column %zu: %s", line, (size_t)(at - bol) + 1,
                   what);
}

// "invalid character 'x' <where>", or the end of the input, as Go says it.
static int unexpected(struct parser *s, const char *at, const char *where)
{
    char what[128];
    if (at >= s->end)
        return fail(s, at, "unexpected end of JSON input");
    unsigned char c = (unsigned char)*at;
    if (c == '\'')
        snprintf(what, sizeof what, "invalid character '\\'' %s", where);
    else if (c == '\n' || c == '\t' || c == '\r')
        snprintf(what, sizeof what, "invalid character '\\%c' %s",
                 c == '\n'   ? 'n'
                 : c == '\t' ? 't'
                             : 'r',
                 where);
    else if (isprint(c))
        snprintf(what, sizeof what, "invalid character '%c' %s", c, where);
    else
        snprintf(what, sizeof what, "invalid character '\\x%02x' %s", c, where);
    return fail(s, at, what);
}

static inline void *bump(struct arena *a, size_t size)
{
    size = (size + 15) & ~(size_t)15;
    char *p = (char *)(((uintptr_t)a->at + 15) & ~(uintptr_t)15);
    if (__builtin_expect(a->at && p + size <= a->end, 1)) {
        a->at = p + size;
        return p;
    }
    return arena_alloc(a, size);
}

static inline struct value *make(struct parser *s, enum value_kind kind)
{
    struct value *v = bump(s->a, sizeof *v);
    v->kind = (uint8_t)kind;
    v->b = false;
    v->n = v->cap = 0;
    v->f = 0;
    v->text = NULL;
    return v;
}

static inline void skip_space(struct parser *s)
{
    const char *p = s->p, *end = s->end;
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r'))
        p++;
    s->p = p;
}

// The length of the valid UTF-8 sequence of two or more bytes at p, or 0. RFC 3629: no surrogates,
// no overlong forms, nothing above U+10FFFF.
static size_t utf8_sequence(const char *at, const char *end)
{
    const unsigned char *p = (const unsigned char *)at;
    size_t left = (size_t)(end - at);
#define TAIL(i) ((p[i] & 0xc0) == 0x80)
    if (p[0] >= 0xc2 && p[0] <= 0xdf)
        return left >= 2 && TAIL(1) ? 2 : 0;
    if ((p[0] & 0xf0) == 0xe0) {
        if (left < 3 || !TAIL(1) || !TAIL(2))
            return 0;
        if (p[0] == 0xe0 && p[1] < 0xa0)
            return 0;
        return p[0] == 0xed && p[1] >= 0xa0 ? 0 : 3;
    }
    if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        if (left < 4 || !TAIL(1) || !TAIL(2) || !TAIL(3))
            return 0;
        if (p[0] == 0xf0 && p[1] < 0x90)
            return 0;
        return p[0] == 0xf4 && p[1] >= 0x90 ? 0 : 4;
    }
#undef TAIL
    return 0;
}

bool json_utf8_valid(struct str text)
{
    if (!text.n)
        return true;
    const char *p = text.p, *end = p + text.n;
    while (p < end) {
        if (!(*p & 0x80)) {
            p++;
            continue;
        }
        size_t n = utf8_sequence(p, end);
        if (!n)
            return false;
        p += n;
    }
    return true;
}

// The first byte that is not plain inside a string: quote, backslash, control, or not ASCII.
static inline const char *scan_plain(const char *p, const char *end)
{
#if defined(__SSE2__)
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    const __m128i space = _mm_set1_epi8(0x20);
    while (end - p >= 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)p);
        // Signed: bytes of 0x80 and more are negative, so one comparison finds them and controls.
        __m128i odd = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash)),
                                   _mm_cmplt_epi8(v, space));
        unsigned mask = (unsigned)_mm_movemask_epi8(odd);
        if (mask)
            return p + __builtin_ctz(mask);
        p += 16;
    }
#else
    while (end - p >= 8) {
        uint64_t v;
        memcpy(&v, p, 8);
#define LOW(x)  (0x0101010101010101u * (x))
#define HAS0(x) (((x)-LOW(1)) & ~(x)&LOW(0x80))
        uint64_t odd = HAS0(v ^ LOW('"')) | HAS0(v ^ LOW('\\')) | ((v - LOW(0x20)) & LOW(0x80)) |
                       (v & LOW(0x80));
#undef HAS0
#undef LOW
        if (odd)
            break;
        p += 8;
    }
#endif
    while (p < end && *p != '"' && *p != '\\' && *p >= 0x20)
        p++;
    return p;
}

static int hex4(struct parser *s, const char *p, unsigned *ret)
{
    unsigned v = 0;
    for (int i = 0; i < 4; i++) {
        if (p + i >= s->end || !isxdigit((unsigned char)p[i]))
            return unexpected(s, p + i, "in \\u hexadecimal character escape");
        unsigned char c = (unsigned char)p[i];
        v = v << 4 | (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    *ret = v;
    return 0;
}

static size_t put_utf8(char *out, unsigned c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

// The escape at s->p (behind the backslash), written to out. Never more bytes than it took.
static int unescape(struct parser *s, char **out)
{
    static const char plain[128] = {['"'] = '"',  ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b',
                                    ['f'] = '\f', ['n'] = '\n',  ['r'] = '\r', ['t'] = '\t'};
    unsigned char c = s->p < s->end ? (unsigned char)*s->p : 0;
    if (s->p < s->end && c < 128 && plain[c]) {
        *(*out)++ = plain[c];
        s->p++;
        return 0;
    }
    if (c != 'u')
        return unexpected(s, s->p, "in string escape code");
    unsigned u = 0, low = 0;
    int r = hex4(s, s->p + 1, &u);
    if (r < 0)
        return r;
    s->p += 5;
    if (u >= 0xd800 && u < 0xe000) {
        unsigned high = u;
        u = 0xfffd;
        if (high < 0xdc00 && s->end - s->p >= 6 && s->p[0] == '\\' && s->p[1] == 'u') {
            r = hex4(s, s->p + 2, &low);
            if (r < 0)
                return r;
            if (low >= 0xdc00 && low < 0xe000) {
                u = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                s->p += 6;
            }
        }
    }
    *out += put_utf8(*out, u);
    return 0;
}

// s->p is behind the opening quote.
static int parse_string(struct parser *s, struct str *ret)
{
    const char *begin = s->p, *p = s->p;
    char *out = NULL, *text = NULL; // once there was an escape
    for (;;) {
        const char *from = p;
        p = scan_plain(p, s->end);
        while (p < s->end && (*p & 0x80)) {
            size_t n = utf8_sequence(p, s->end);
            if (!n)
                return fail(s, p, "invalid UTF-8 in string");
            p = scan_plain(p + n, s->end);
        }
        if (out) {
            memmove(out, from, (size_t)(p - from));
            out += p - from;
        }
        if (p >= s->end || (unsigned char)*p < 0x20)
            return unexpected(s, p, "in string literal");
        if (*p == '"')
            break;
        if (!out) {
            if (s->own) { // unescape in place: what comes out is never longer
                text = s->own + (begin - s->start);
                out = text + (p - begin);
            } else {
                // Up to the closing quote: an escaped quote is not it.
                const char *q = p;
                while (q < s->end && *q != '"')
                    q += *q == '\\' && s->end - q > 1 ? 2 : 1;
                text = arena_alloc(s->a, (size_t)(q - begin) + 1);
                memcpy(text, begin, (size_t)(p - begin));
                out = text + (p - begin);
            }
        }
        s->p = p + 1;
        int r = unescape(s, &out);
        if (r < 0)
            return r;
        p = s->p;
    }
    s->p = p + 1;
    *ret = out ? str_n(text, (size_t)(out - text)) : str_n(begin, (size_t)(p - begin));
    if (ret->n > UINT32_MAX)
        return fail(s, begin, "string too long");
    return 0;
}

// Everything but integers of up to 18 digits.
static int parse_number_slowly(struct parser *s, const char *begin, struct value **ret)
{
    const char *p = begin;
    bool integer = true;
    if (*p == '-')
        p++;
    if (p >= s->end || !isdigit((unsigned char)*p))
        return unexpected(s, p, "in numeric literal");
    if (*p == '0')
        p++;
    else
        while (p < s->end && isdigit((unsigned char)*p))
            p++;
    if (p < s->end && *p == '.') {
        integer = false;
        p++;
        if (p >= s->end || !isdigit((unsigned char)*p))
            return unexpected(s, p, "after decimal point in numeric literal");
        while (p < s->end && isdigit((unsigned char)*p))
            p++;
    }
    if (p < s->end && (*p == 'e' || *p == 'E')) {
        integer = false;
        p++;
        if (p < s->end && (*p == '+' || *p == '-'))
            p++;
        if (p >= s->end || !isdigit((unsigned char)*p))
            return unexpected(s, p, "in exponent of numeric literal");
        while (p < s->end && isdigit((unsigned char)*p))
            p++;
    }
    s->p = p;
    struct str text = str_n(begin, (size_t)(p - begin));
    int64_t i;
    if (integer && str_to_i64(text, &i)) {
        *ret = make(s, VALUE_INT);
        (*ret)->i = i;
        return 0;
    }
    char small[64];
    _cleanup_free_ char *big = NULL;
    char *z = text.n < sizeof small ? small : (big = mem_alloc(text.n + 1));
    memcpy(z, text.p, text.n);
    z[text.n] = 0;
    double f = strtod(z, NULL);
    if (!isfinite(f)) {
        char what[96];
        snprintf(what, sizeof what, "number %.40s%s cannot be represented", z,
                 text.n > 40 ? "..." : "");
        return fail(s, begin, what);
    }
    struct value *v = make(s, VALUE_FLOAT);
    v->f = f;
    v->text = text.p;
    v->n = v->cap = (uint32_t)text.n;
    *ret = v;
    return 0;
}

static inline int parse_number(struct parser *s, struct value **ret)
{
    const char *begin = s->p, *p = begin;
    bool minus = *p == '-';
    if (minus)
        p++;
    const char *digits = p;
    uint64_t u = 0;
    while (p < s->end && p - digits < 19 && *p >= '0' && *p <= '9')
        u = u * 10 + (uint64_t)(*p++ - '0');
    ptrdiff_t n = p - digits;
    if (n == 0 || n > 18 || (*digits == '0' && n > 1) ||
        (p < s->end && (*p == '.' || *p == 'e' || *p == 'E')))
        return parse_number_slowly(s, begin, ret);
    s->p = p;
    struct value *v = make(s, VALUE_INT);
    v->i = minus ? -(int64_t)u : (int64_t)u;
    *ret = v;
    return 0;
}

static int parse_literal(struct parser *s, const char *word, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (s->p + i >= s->end || s->p[i] != word[i]) {
            char where[64];
            snprintf(where, sizeof where, "in literal %s (expecting '%c')", word, word[i]);
            return unexpected(s, s->p + i, where);
        }
    s->p += n;
    return 0;
}

static void path_of(struct buf *b, const struct frame *f)
{
    if (!f)
        return;
    path_of(b, f->up);
    if (f->key.p) {
        if (b->n)
            buf_char(b, '.');
        buf_str(b, f->key);
    } else {
        buf_printf(b, "[%zu]", f->index);
    }
}

static void report_duplicate(struct parser *s, const struct frame *object, struct str key)
{
    if (!s->duplicates || s->duplicates->n >= JSON_DUPLICATES)
        return;
    _cleanup_buf_ struct buf b = BUF_MAX(4096); // cut short where keys are absurd
    struct frame last = {.up = object, .key = key.n ? key : STR("")};
    path_of(&b, &last);
    value_push(s->a, s->duplicates, value_str(s->a, arena_str(s->a, buf_view(&b))));
}

static int parse_value(struct parser *s, const struct frame *f, int depth, struct value **ret);

static int parse_array(struct parser *s, const struct frame *up, int depth, struct value **ret)
{
    size_t base = s->nitems;
    struct frame f = {.up = up};
    s->p++;
    skip_space(s);
    if (s->p < s->end && *s->p == ']') {
        s->p++;
        *ret = make(s, VALUE_ARRAY);
        return 0;
    }
    for (;; f.index++) {
        struct value *v;
        int r = parse_value(s, &f, depth, &v);
        if (r < 0)
            return r;
        if (s->nitems == s->citems) {
            s->citems = s->citems ? s->citems * 2 : 64;
            s->items = mem_realloc(s->items, s->citems * sizeof *s->items);
        }
        s->items[s->nitems++] = v;
        skip_space(s);
        if (s->p < s->end && *s->p == ',') {
            s->p++;
            skip_space(s);
            continue;
        }
        if (s->p < s->end && *s->p == ']')
            break;
        return unexpected(s, s->p, "after array element");
    }
    s->p++;
    size_t n = s->nitems - base;
    struct value *v = make(s, VALUE_ARRAY);
    v->n = v->cap = (uint32_t)n;
    v->items = bump(s->a, n * sizeof *v->items);
    memcpy(v->items, s->items + base, n * sizeof *v->items);
    s->nitems = base;
    *ret = v;
    return 0;
}

// Where key stands among the members gathered since base, or -1. Past KEY_INDEX_SMALL members an
// index is made, so that a hundred thousand keys do not cost their square.
static inline ptrdiff_t seen(struct parser *s, size_t base, struct str key,
                             struct key_index **index)
{
    size_t n = s->nmembers - base;
    if (!n)
        return -1;
    const struct member *m = s->members + base;
    if (n < KEY_INDEX_SMALL) {
        for (size_t i = 0; i < n; i++)
            if (m[i].key.n == key.n && memcmp(m[i].key.p, key.p, key.n) == 0)
                return (ptrdiff_t)i;
        return -1;
    }
    if (!*index) {
        *index = mem_zalloc(sizeof **index);
        for (size_t i = 0; i < n; i++)
            key_index_add(*index, m[i].key);
    }
    return key_index_add(*index, key);
}

static int parse_members(struct parser *s, const struct frame *up, int depth, size_t base,
                         struct key_index **index)
{
    struct frame f = {.up = up};
    for (;;) {
        if (s->p >= s->end || *s->p != '"')
            return unexpected(s, s->p, "looking for beginning of object key string");
        s->p++;
        struct str key;
        int r = parse_string(s, &key);
        if (r < 0)
            return r;
        skip_space(s);
        if (s->p >= s->end || *s->p != ':')
            return unexpected(s, s->p, "after object key");
        s->p++;
        skip_space(s);
        f.key = key;
        ptrdiff_t at = seen(s, base, key, index);
        if (at >= 0)
            report_duplicate(s, up, key);
        struct value *v;
        r = parse_value(s, &f, depth, &v);
        if (r < 0)
            return r;
        if (at >= 0) {
            s->members[base + (size_t)at].value = v;
        } else {
            if (s->nmembers == s->cmembers) {
                s->cmembers = s->cmembers ? s->cmembers * 2 : 64;
                s->members = mem_realloc(s->members, s->cmembers * sizeof *s->members);
            }
            s->members[s->nmembers++] = (struct member){key, v};
        }
        skip_space(s);
        if (s->p < s->end && *s->p == ',') {
            s->p++;
            skip_space(s);
            continue;
        }
        if (s->p < s->end && *s->p == '}')
            return 0;
        return unexpected(s, s->p, "after object key:value pair");
    }
}

static int parse_object(struct parser *s, const struct frame *up, int depth, struct value **ret)
{
    size_t base = s->nmembers;
    s->p++;
    skip_space(s);
    if (s->p < s->end && *s->p == '}') {
        s->p++;
        *ret = make(s, VALUE_OBJECT);
        return 0;
    }
    struct key_index *index = NULL;
    int r = parse_members(s, up, depth, base, &index);
    if (index) {
        key_index_done(index);
        free(index);
    }
    if (r < 0)
        return r;
    s->p++;
    size_t n = s->nmembers - base;
    struct value *v = make(s, VALUE_OBJECT);
    v->n = v->cap = (uint32_t)n;
    v->members = bump(s->a, n * sizeof *v->members);
    memcpy(v->members, s->members + base, n * sizeof *v->members);
    s->nmembers = base;
    *ret = v;
    return 0;
}

static int parse_value(struct parser *s, const struct frame *f, int depth, struct value **ret)
{
    if (s->p >= s->end)
        return unexpected(s, s->p, "");
    if (!s->left)
        return err_set(s->e, ERR_TOO_LARGE, "the JSON text has more than %zu values", s->max);
    s->left--;
    int r;
    switch (*s->p) {
    case '"': {
        struct str text;
        s->p++;
        r = parse_string(s, &text);
        if (r < 0)
            return r;
        struct value *v = make(s, VALUE_STRING);
        v->n = v->cap = (uint32_t)text.n;
        v->s = text.p;
        *ret = v;
        return 0;
    }
    case '{':
    case '[':
        if (depth >= JSON_DEPTH)
            return fail(s, s->p, "exceeded max depth");
        return *s->p == '{' ? parse_object(s, f, depth + 1, ret)
                            : parse_array(s, f, depth + 1, ret);
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9':
        return parse_number(s, ret);
    case 't':
        r = parse_literal(s, "true", 4);
        if (r == 0) {
            *ret = make(s, VALUE_BOOL);
            (*ret)->b = true;
        }
        return r;
    case 'f':
        r = parse_literal(s, "false", 5);
        if (r == 0)
            *ret = make(s, VALUE_BOOL);
        return r;
    case 'n':
        r = parse_literal(s, "null", 4);
        if (r == 0)
            *ret = make(s, VALUE_NULL);
        return r;
    default:
        return unexpected(s, s->p, "looking for beginning of value");
    }
}

int json_parse_prefix(struct arena *a, struct str in, const struct json_options *opt,
                      struct value **ret, size_t *ret_used, struct err *e)
{
    struct parser s = {.a = a, .e = e, .duplicates = opt ? opt->duplicates : NULL};
    s.left = s.max = opt && opt->max_values ? opt->max_values : SIZE_MAX;
    if (in.n && !(opt && opt->borrow)) {
        in = arena_str(a, in);
        s.own = (char *)in.p;
    }
    s.start = s.p = in.p ? in.p : "";
    s.end = s.start + in.n;
    skip_space(&s);
    struct value *v = NULL;
    int r = parse_value(&s, NULL, 0, &v);
    free(s.members);
    free(s.items);
    if (r < 0)
        return r;
    skip_space(&s);
    if (ret_used)
        *ret_used = (size_t)(s.p - s.start);
    else if (s.p < s.end)
        return unexpected(&s, s.p, "after top-level value");
    *ret = v;
    return 0;
}

int json_parse(struct arena *a, struct str in, const struct json_options *opt, struct value **ret,
               struct err *e)
{
    return json_parse_prefix(a, in, opt, ret, NULL, e);
}
