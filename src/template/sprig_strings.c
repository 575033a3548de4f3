// Sprig's strings.
#include "template/sprig.h"
#include "text/go_quote.h"
#include "text/unicode.h"
#include "text/utf8.h"

#define ARENA(c)    template_arena(c)
#define STRINGS_MAX ((size_t)64 << 20)

struct str sprig_text(struct template_call *c, const struct value *v)
{
    return template_text(ARENA(c), v);
}

struct value *sprig_string(struct template_call *c, struct str s)
{
    return value_str(ARENA(c), s);
}

struct value *sprig_take(struct template_call *c, struct buf *b)
{
    if (!buf_ok(b)) {
        buf_done(b);
        return template_fail(c, "result is too long");
    }
    struct value *v = sprig_string(c, arena_str(ARENA(c), buf_view(b)));
    buf_done(b);
    return v;
}

struct value *sprig_texts(struct template_call *c, const struct value *v)
{
    struct value *out = value_array(ARENA(c));
    out->b = true;
    if (value_is(v, VALUE_ARRAY)) {
        for (uint32_t i = 0; i < v->n; i++)
            if (v->items[i] && v->items[i]->kind != VALUE_NULL)
                value_push(ARENA(c), out, sprig_string(c, sprig_text(c, v->items[i])));
    } else if (v && v->kind != VALUE_NULL) {
        value_push(ARENA(c), out, sprig_string(c, sprig_text(c, v)));
    }
    return out;
}

#define FN(name) static struct value *name(struct template_call *c, struct value **args, size_t n)
#define S(i)     value_string(args[i])
#define UNUSED_N (void)n

static bool in_set(uint32_t r, struct str set)
{
    for (size_t at = 0, width; at < set.n; at += width)
        if (utf8_at(set, at, &width) == r)
            return true;
    return false;
}

static struct str trim_set(struct str s, struct str set, bool spaces)
{
    size_t begin = 0, end = s.n, width;
    while (begin < end) {
        uint32_t r = utf8_at(s, begin, &width);
        if (!(spaces ? unicode_is_space(r) : in_set(r, set)))
            break;
        begin += width;
    }
    while (end > begin) {
        uint32_t r = utf8_before(s, end, &width);
        if (!(spaces ? unicode_is_space(r) : in_set(r, set)))
            break;
        end -= width;
    }
    return str_sub(s, begin, end - begin);
}

FN(fn_trim)
{
    UNUSED_N;
    return sprig_string(c, trim_set(S(0), STR(""), true));
}
FN(fn_trim_all)
{
    UNUSED_N;
    return sprig_string(c, trim_set(S(1), S(0), false));
}
FN(fn_trim_prefix)
{
    UNUSED_N;
    return sprig_string(c, str_starts(S(1), S(0)) ? str_from(S(1), S(0).n) : S(1));
}
FN(fn_trim_suffix)
{
    UNUSED_N;
    return sprig_string(c, str_ends(S(1), S(0)) ? str_sub(S(1), 0, S(1).n - S(0).n) : S(1));
}

// param: 0 upper, 1 lower, 2 title, 3 untitle, 4 swapcase, 5 nospace, 6 initials
FN(fn_case)
{
    UNUSED_N;
    struct str s = S(0);
    struct buf b = BUF_MAX(STRINGS_MAX);
    uint32_t previous = ' ';
    for (size_t at = 0, width; at < s.n; at += width) {
        uint32_t r = utf8_at(s, at, &width), out = r;
        bool word = unicode_is_letter(previous) || unicode_is_digit(previous) || previous == '_' ||
                    (previous == '\'');
        bool after_space = unicode_is_space(previous);
        switch (template_param(c)) {
        case 0:
            out = unicode_upper(r);
            break;
        case 1:
            out = unicode_lower(r);
            break;
        case 2:
            // strings.Title: words end at what is no letter, digit or underscore.
            if (previous < 128 ? !word || previous == '\'' : after_space)
                out = unicode_title(r);
            break;
        case 3:
            if (after_space)
                out = unicode_lower(r);
            break;
        case 4:
            out = unicode_is_upper(r)   ? unicode_lower(r)
                  : unicode_is_lower(r) ? (after_space ? unicode_title(r) : unicode_upper(r))
                                        : r;
            break;
        case 5:
            if (unicode_is_space(r))
                continue;
            break;
        default:
            if (!after_space || unicode_is_space(r)) {
                previous = r;
                continue;
            }
        }
        utf8_add(&b, out);
        previous = r;
    }
    return sprig_take(c, &b);
}

FN(fn_repeat)
{
    UNUSED_N;
    int64_t count = args[0]->i;
    struct str s = S(1);
    if (count < 0)
        return template_fail(c, "strings: negative Repeat count");
    if (s.n && (uint64_t)count > STRINGS_MAX / s.n)
        return template_fail(c, "result is too long");
    struct buf b = BUF_MAX(STRINGS_MAX);
    for (int64_t i = 0; i < count && s.n; i++)
        buf_str(&b, s);
    return sprig_take(c, &b);
}

FN(fn_substr)
{
    UNUSED_N;
    int64_t start = args[0]->i, end = args[1]->i;
    struct str s = S(2);
    if (start < 0)
        return end < 0 || (uint64_t)end > s.n
                   ? template_fail(c, "slice bounds out of range [:%lld]", (long long)end)
                   : sprig_string(c, str_sub(s, 0, (size_t)end));
    if (end < 0 || (uint64_t)end > s.n)
        end = (int64_t)s.n;
    if (start > end)
        return template_fail(c, "runtime error: slice bounds out of range [%lld:%lld]",
                             (long long)start, (long long)end);
    return sprig_string(c, str_sub(s, (size_t)start, (size_t)(end - start)));
}

FN(fn_trunc)
{
    UNUSED_N;
    int64_t count = args[0]->i;
    struct str s = S(1);
    if (count < 0 && (int64_t)s.n + count > 0)
        return sprig_string(c, str_from(s, s.n - (size_t)-count));
    return sprig_string(c, count >= 0 ? str_sub(s, 0, (size_t)count) : s);
}

FN(fn_abbrev)
{
    UNUSED_N;
    int64_t width = args[0]->i;
    struct str s = S(1);
    if (width < 4 || (uint64_t)width >= s.n)
        return args[1];
    return sprig_string(c, arena_printf(ARENA(c), "%.*s...", (int)width - 3, s.p));
}

FN(fn_abbrevboth)
{
    UNUSED_N;
    int64_t left = args[0]->i, right = args[1]->i, size;
    struct str s = S(2);
    if (right < 4 || (left > 0 && right < 7) || right >= (int64_t)s.n)
        return args[2];
    size = (int64_t)s.n;
    if (left > size)
        left = size;
    if (size - left < right - 3)
        left = size - (right - 3);
    if (left <= 4)
        return sprig_string(c, arena_printf(ARENA(c), "%.*s...", (int)right - 3, s.p));
    if (left + right - 3 < size)
        return sprig_string(c, arena_printf(ARENA(c), "...%.*s...", (int)right - 6, s.p + left));
    return sprig_string(
        c, arena_printf(ARENA(c), "...%.*s", (int)right - 3, s.p + size - (right - 3)));
}

// param: 0 contains, 1 hasPrefix, 2 hasSuffix
FN(fn_has)
{
    UNUSED_N;
    bool is = template_param(c) == 0   ? str_find(S(1), S(0)) >= 0 || !S(0).n
              : template_param(c) == 1 ? str_starts(S(1), S(0))
                                       : str_ends(S(1), S(0));
    return value_bool(ARENA(c), is);
}

// param: 0 quote, 1 squote, 2 cat
FN(fn_quote)
{
    struct buf b = BUF_MAX(STRINGS_MAX);
    for (size_t i = 0; i < n; i++) {
        if (args[i]->kind == VALUE_NULL)
            continue;
        buf_puts(&b, b.n ? " " : "");
        struct str s = sprig_text(c, args[i]);
        if (template_param(c) == 0)
            go_quote(&b, s);
        else if (template_param(c) == 1)
            buf_printf(&b, "'%.*s'", STR_ARG(s));
        else
            buf_str(&b, s);
    }
    if (template_param(c) == 2) {
        struct value *v = sprig_take(c, &b);
        return v ? sprig_string(c, trim_set(value_string(v), STR(""), true)) : NULL;
    }
    return sprig_take(c, &b);
}

// param: 1 begins with a line break
FN(fn_indent)
{
    UNUSED_N;
    int64_t spaces = args[0]->i;
    struct str s = S(1);
    struct buf b = BUF_MAX(STRINGS_MAX);
    if (spaces < 0)
        return template_fail(c, "strings: negative Repeat count");
    if (spaces > 10000)
        return template_fail(c, "result is too long");
    if (template_param(c))
        buf_char(&b, '\n');
    for (struct str rest = s.p ? s : STR(""); rest.p && buf_ok(&b);) {
        struct str line = str_cut(&rest, '\n');
        for (int64_t i = 0; i < spaces; i++)
            buf_char(&b, ' ');
        buf_str(&b, line);
        buf_puts(&b, rest.p ? "\n" : "");
    }
    return sprig_take(c, &b);
}

FN(fn_replace)
{
    UNUSED_N;
    struct str old = S(0), with = S(1), s = S(2);
    struct buf b = BUF_MAX(STRINGS_MAX);
    if (!old.n) { // before each character and at the end
        for (size_t at = 0, width; at < s.n; at += width) {
            utf8_at(s, at, &width);
            buf_str(&b, with);
            buf_add(&b, s.p + at, width);
        }
        buf_str(&b, with);
        return sprig_take(c, &b);
    }
    for (ptrdiff_t at; (at = str_find(s, old)) >= 0; s = str_from(s, (size_t)at + old.n)) {
        buf_add(&b, s.p, (size_t)at);
        buf_str(&b, with);
    }
    buf_str(&b, s);
    return sprig_take(c, &b);
}

FN(fn_plural)
{
    (void)c;
    UNUSED_N;
    return args[2]->i == 1 ? args[0] : args[1];
}

// Words of an identifier: at signs, before a capital behind a small letter or a digit, before the
// last capital of several. param: the sign between them; '^': none and capitals.
FN(fn_words)
{
    UNUSED_N;
    struct str s = S(0);
    struct buf b = BUF_MAX(STRINGS_MAX);
    char sign = (char)template_param(c);
    uint32_t previous = 0;
    bool begun = false, fresh = true;
    for (size_t at = 0, width; at < s.n; at += width) {
        uint32_t r = utf8_at(s, at, &width), next = 0;
        size_t next_width;
        if (at + width < s.n)
            next = utf8_at(s, at + width, &next_width);
        bool connector = r == '_' || r == '-' || unicode_is_space(r);
        if (connector) {
            if (!begun && sign != '^')
                buf_char(&b, sign);
            else if (!begun)
                utf8_add(&b, r);
            else if (sign != '^' && (!next || previous != r))
                buf_char(&b, sign);
            fresh = true;
            previous = r;
            continue;
        }
        bool upper = unicode_is_upper(r);
        bool boundary = begun && !fresh && upper &&
                        (unicode_is_lower(previous) || unicode_is_digit(previous) ||
                         (unicode_is_upper(previous) && next && unicode_is_lower(next)));
        if (sign == '^') {
            utf8_add(&b, fresh || boundary            ? unicode_upper(r)
                         : unicode_is_upper(previous) ? unicode_lower(r)
                                                      : r);
        } else {
            if (boundary)
                buf_char(&b, sign);
            utf8_add(&b, unicode_lower(r));
        }
        begun = true;
        fresh = false;
        previous = r;
    }
    return sprig_take(c, &b);
}

// goutils.WrapCustom. args: width, [line break,] text
FN(fn_wrap)
{
    int64_t width = args[0]->i < 1 ? 1 : args[0]->i;
    struct str s = S(n - 1), line_break = n == 3 ? S(1) : STR("\n");
    bool cut_long = n == 3;
    struct buf b = BUF_MAX(STRINGS_MAX);
    size_t offset = 0;
    while ((int64_t)(s.n - offset) > width) {
        if (s.p[offset] == ' ') {
            offset++;
            continue;
        }
        size_t end = offset + (size_t)width, at = end;
        while (at > offset && s.p[at] != ' ')
            at--;
        if (at > offset || s.p[at] == ' ') {
            buf_add(&b, s.p + offset, at - offset);
            buf_str(&b, line_break);
            offset = at + 1;
        } else if (cut_long) {
            buf_add(&b, s.p + offset, (size_t)width);
            buf_str(&b, line_break);
            offset += (size_t)width;
        } else {
            ptrdiff_t space = str_chr(str_from(s, end), ' ');
            if (space < 0) {
                break;
            }
            at = end + (size_t)space;
            buf_add(&b, s.p + offset, at - offset);
            buf_str(&b, line_break);
            offset = at + 1;
        }
    }
    buf_str(&b, str_from(s, offset));
    return sprig_take(c, &b);
}

FN(fn_to_string)
{
    UNUSED_N;
    return sprig_string(c, sprig_text(c, args[0]));
}
FN(fn_to_strings)
{
    UNUSED_N;
    return sprig_texts(c, args[0]);
}

FN(fn_join)
{
    UNUSED_N;
    struct buf b = BUF_MAX(STRINGS_MAX);
    struct value *list = sprig_texts(c, args[1]);
    for (uint32_t i = 0; i < list->n; i++) {
        if (i)
            buf_str(&b, S(0));
        buf_str(&b, value_string(list->items[i]));
    }
    return sprig_take(c, &b);
}

// param: 0 splitList (a list), 1 split, 2 splitn (objects _0, _1, ...)
FN(fn_split)
{
    UNUSED_N;
    bool limited = template_param(c) == 2;
    struct str sep = S(0), s = S(limited ? 2 : 1);
    int64_t limit = limited ? args[1]->i : -1;
    bool list = template_param(c) == 0;
    struct value *out = list ? value_array(ARENA(c)) : value_object(ARENA(c));
    out->b = true;
    for (int64_t i = 0; limit; i++) {
        size_t width = 0;
        ptrdiff_t at = sep.n ? str_find(s, sep)
                       : s.n ? (utf8_at(s, 0, &width), (ptrdiff_t)width)
                             : -1;
        if (!sep.n && at >= 0 && (size_t)at == s.n)
            at = -1;
        bool last = at < 0 || i == limit - 1;
        struct str part = last ? s : str_sub(s, 0, (size_t)at);
        if (!sep.n && !part.n)
            break;
        struct value *v = sprig_string(c, part);
        if (list)
            value_push(ARENA(c), out, v);
        else
            value_push_member(ARENA(c), out, arena_printf(ARENA(c), "_%lld", (long long)i), v);
        if (last)
            break;
        s = str_from(s, (size_t)at + sep.n);
    }
    return out;
}

FN(fn_hello)
{
    UNUSED_N;
    (void)args;
    return sprig_string(c, STR("Hello!"));
}

FN(fn_fail)
{
    UNUSED_N;
    return template_fail_text(c, S(0));
}

static const struct template_function rows[] = {
    {"abbrev", "is", fn_abbrev},
    {"abbrevboth", "iis", fn_abbrevboth},
    {"camelcase", "s", fn_words, '^'},
    {"cat", "a*", fn_quote, 2},
    {"contains", "ss", fn_has, 0},
    {"fail", "s", fn_fail},
    {"hasPrefix", "ss", fn_has, 1},
    {"hasSuffix", "ss", fn_has, 2},
    {"hello", "", fn_hello},
    {"indent", "is", fn_indent, 0},
    {"initials", "s", fn_case, 6},
    {"join", "sa", fn_join},
    {"kebabcase", "s", fn_words, '-'},
    {"lower", "s", fn_case, 1},
    {"nindent", "is", fn_indent, 1},
    {"nospace", "s", fn_case, 5},
    {"plural", "ssi", fn_plural},
    {"quote", "a*", fn_quote, 0},
    {"repeat", "is", fn_repeat},
    {"replace", "sss", fn_replace},
    {"snakecase", "s", fn_words, '_'},
    {"split", "ss", fn_split, 1},
    {"splitList", "ss", fn_split, 0},
    {"splitn", "sis", fn_split, 2},
    {"squote", "a*", fn_quote, 1},
    {"substr", "iis", fn_substr},
    {"swapcase", "s", fn_case, 4},
    {"title", "s", fn_case, 2},
    {"toString", "a", fn_to_string},
    {"toStrings", "a", fn_to_strings},
    {"trim", "s", fn_trim},
    {"trimAll", "ss", fn_trim_all},
    {"trimPrefix", "ss", fn_trim_prefix},
    {"trimSuffix", "ss", fn_trim_suffix},
    {"trimall", "ss", fn_trim_all},
    {"trunc", "is", fn_trunc},
    {"untitle", "s", fn_case, 3},
    {"upper", "s", fn_case, 0},
    {"wrap", "is", fn_wrap},
    {"wrapWith", "iss", fn_wrap},
};
const struct template_functions sprig_strings = {rows, sizeof rows / sizeof *rows};
