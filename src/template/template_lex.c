// The lexer of templates: text up to "{{", then words up to "}}". "{{- " trims the white space
// before, " -}}" the one behind; comments disappear. An error is a token, as in the original.
#include "template/template_node.h"
#include "text/go_quote.h"
#include "text/unicode.h"
#include "text/utf8.h"

static bool is_space(int c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_alphanumeric(uint32_t c)
{
    return c == '_' || unicode_is_letter(c) || unicode_is_digit(c);
}

static int at(const struct template_lexer *l, size_t offset)
{
    return l->at + offset < l->s.n ? (unsigned char)l->s.p[l->at + offset] : -1;
}

static uint32_t rune_here(const struct template_lexer *l, size_t *width)
{
    *width = 0;
    return l->at < l->s.n ? utf8_at(l->s, l->at, width) : UINT32_MAX;
}

static struct template_token emit(struct template_lexer *l, enum template_token_kind kind)
{
    struct template_token t = {kind, l->start, l->start_line,
                               str_sub(l->s, l->start, l->at - l->start)};
    for (size_t i = l->start; i < l->at; i++)
        l->line += l->s.p[i] == '\n';
    l->start = l->at;
    l->start_line = l->line;
    return t;
}

static struct template_token error(struct template_lexer *l, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static struct template_token error(struct template_lexer *l, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    struct str text = arena_vprintf(l->a, fmt, ap);
    va_end(ap);
    return (struct template_token){TOKEN_ERROR, l->start, l->start_line, text};
}

static void ignore(struct template_lexer *l)
{
    emit(l, TOKEN_TEXT);
}

static struct str rest(const struct template_lexer *l)
{
    return str_from(l->s, l->at);
}

static bool right_trims(const struct template_lexer *l)
{
    return is_space(at(l, 0)) && at(l, 1) == '-' && at(l, 2) == '}' && at(l, 3) == '}';
}

static size_t leading_space(struct str s)
{
    size_t n = 0;
    while (n < s.n && is_space((unsigned char)s.p[n]))
        n++;
    return n;
}

static struct template_token lex_inside(struct template_lexer *l);

static struct template_token lex_text(struct template_lexer *l)
{
    if (l->trim_next) {
        l->at += leading_space(rest(l));
        ignore(l);
        l->trim_next = false;
    }
    ptrdiff_t left = str_find(rest(l), STR("{{"));
    size_t begin = left < 0 ? l->s.n : l->at + (size_t)left;
    size_t end = begin;
    bool trim = left >= 0 && begin + 3 < l->s.n && l->s.p[begin + 2] == '-' &&
                is_space((unsigned char)l->s.p[begin + 3]);
    while (trim && end > l->start && is_space((unsigned char)l->s.p[end - 1]))
        end--;
    if (end > l->start) {
        l->at = end;
        return emit(l, TOKEN_TEXT);
    }
    l->at = begin;
    ignore(l);
    if (left < 0)
        return emit(l, TOKEN_EOF);
    l->at = begin + 2;
    size_t after = trim ? 2 : 0;
    if (str_starts(str_from(l->s, l->at + after), STR("/*"))) {
        l->at += after;
        ptrdiff_t close = str_find(str_from(l->s, l->at + 2), STR("*/"));
        if (close < 0)
            return error(l, "unclosed comment");
        l->at += 2 + (size_t)close + 2;
        bool trims = right_trims(l);
        if (!trims && !str_starts(rest(l), STR("}}")))
            return error(l, "comment ends before closing delimiter");
        l->at += trims ? 4 : 2;
        l->trim_next = trims;
        ignore(l);
        return lex_text(l);
    }
    struct template_token t = emit(l, TOKEN_LEFT);
    l->at += after;
    ignore(l);
    l->inside = true;
    l->parens = 0;
    return t;
}

static struct template_token lex_right(struct template_lexer *l, bool trims)
{
    if (trims) {
        l->at += 2;
        ignore(l);
    }
    l->at += 2;
    struct template_token t = emit(l, TOKEN_RIGHT);
    l->inside = false;
    l->trim_next = trims;
    return t;
}

// A field, variable or word ends before a space or a sign that may follow it.
static bool at_terminator(const struct template_lexer *l)
{
    int c = at(l, 0);
    return c < 0 || is_space(c) || strchr(".,|:)(", c) || str_starts(rest(l), STR("}}")) ||
           c == '=';
}

static struct template_token bad_character(struct template_lexer *l)
{
    size_t width;
    uint32_t c = rune_here(l, &width);
    struct buf b = BUF_INIT;
    if (c == UINT32_MAX)
        buf_puts(&b, "U+FFFFFFFFFFFFFFFF");
    else if (go_printable(c)) {
        buf_printf(&b, "U+%04X '", c);
        utf8_add(&b, c);
        buf_char(&b, '\'');
    } else {
        buf_printf(&b, "U+%04X", c);
    }
    struct template_token t = error(l, "bad character %s", buf_cstr(&b));
    buf_done(&b);
    return t;
}

static void take_word(struct template_lexer *l)
{
    size_t width;
    while (is_alphanumeric(rune_here(l, &width)) && width)
        l->at += width;
}

static struct template_token lex_field(struct template_lexer *l, enum template_token_kind kind)
{
    if (at_terminator(l))
        return emit(l, kind == TOKEN_VARIABLE ? TOKEN_VARIABLE : TOKEN_DOT);
    take_word(l);
    return at_terminator(l) ? emit(l, kind) : bad_character(l);
}

static const char *const keywords[] = {"block", "break", "continue", "define",   "else", "end",
                                       "if",    "nil",   "range",    "template", "with"};

static struct template_token lex_identifier(struct template_lexer *l)
{
    take_word(l);
    struct str word = str_sub(l->s, l->start, l->at - l->start);
    if (!at_terminator(l))
        return bad_character(l);
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        if (str_eqc(word, keywords[i]))
            return emit(l, TOKEN_KEYWORD);
    bool boolean = str_eqc(word, "true") || str_eqc(word, "false");
    return emit(l, boolean ? TOKEN_BOOL : TOKEN_IDENTIFIER);
}

static struct template_token lex_quote(struct template_lexer *l, char quote,
                                       enum template_token_kind kind, const char *what)
{
    for (;; l->at++) {
        int c = at(l, 0);
        if (c == '\\' && at(l, 1) >= 0 && at(l, 1) != '\n')
            l->at++;
        else if (c < 0 || c == '\n' || c == '\\')
            return error(l, "unterminated %s", what);
        else if (c == quote)
            break;
    }
    l->at++;
    return emit(l, kind);
}

static bool accept_run(struct template_lexer *l, const char *set)
{
    size_t start = l->at;
    while (at(l, 0) > 0 && strchr(set, at(l, 0)))
        l->at++;
    return l->at > start;
}

static bool accept(struct template_lexer *l, const char *set)
{
    bool is = at(l, 0) > 0 && strchr(set, at(l, 0));
    l->at += is;
    return is;
}

static struct template_token lex_number(struct template_lexer *l)
{
    const char *digits = "0123456789_";
    accept(l, "+-");
    if (accept(l, "0")) {
        if (accept(l, "xX"))
            digits = "0123456789abcdefABCDEF_";
        else if (accept(l, "oO"))
            digits = "01234567_";
        else if (accept(l, "bB"))
            digits = "01_";
    }
    accept_run(l, digits);
    if (accept(l, "."))
        accept_run(l, digits);
    if (strlen(digits) == 11 && accept(l, "eE")) {
        accept(l, "+-");
        accept_run(l, "0123456789_");
    }
    if (strlen(digits) == 23 && accept(l, "pP")) {
        accept(l, "+-");
        accept_run(l, "0123456789_");
    }
    size_t width;
    accept(l, "i");
    if (is_alphanumeric(rune_here(l, &width)) && width) {
        l->at += width;
        _cleanup_buf_ struct buf b = BUF_INIT;
        go_quote(&b, str_sub(l->s, l->start, l->at - l->start));
        return error(l, "bad number syntax: %s", buf_cstr(&b));
    }
    return emit(l, TOKEN_NUMBER);
}

static struct template_token one(struct template_lexer *l, size_t n, enum template_token_kind kind)
{
    l->at += n;
    return emit(l, kind);
}

static struct template_token lex_sign(struct template_lexer *l, int c)
{
    switch (c) {
    case '=':
        return one(l, 1, TOKEN_ASSIGN);
    case ':':
        if (at(l, 1) == '=')
            return one(l, 2, TOKEN_DECLARE);
        l->at++;
        return error(l, "expected :=");
    case '|':
        return one(l, 1, TOKEN_PIPE);
    case '(':
        l->parens++;
        return one(l, 1, TOKEN_LEFT_PAREN);
    case ')':
        if (--l->parens < 0) {
            l->at++;
            return error(l, "unexpected right paren");
        }
        return one(l, 1, TOKEN_RIGHT_PAREN);
    default:
        return one(l, 1, TOKEN_CHAR);
    }
}

static struct template_token lex_inside(struct template_lexer *l)
{
    bool trims = right_trims(l);
    if (trims || str_starts(rest(l), STR("}}"))) {
        if (l->parens)
            return error(l, "unclosed left paren");
        return lex_right(l, trims);
    }
    size_t width;
    int c = at(l, 0);
    uint32_t rune = rune_here(l, &width);
    if (c < 0)
        return error(l, "unclosed action");
    if (is_space(c)) {
        while (is_space(at(l, 0)) && !right_trims(l))
            l->at++;
        return emit(l, TOKEN_SPACE);
    }
    switch (c) {
    case '"':
        l->at++;
        return lex_quote(l, '"', TOKEN_STRING, "quoted string");
    case '`': {
        ptrdiff_t end = str_chr(str_from(l->s, l->at + 1), '`');
        if (end < 0)
            return error(l, "unterminated raw quoted string");
        return one(l, (size_t)end + 2, TOKEN_RAW_STRING);
    }
    case '\'':
        l->at++;
        return lex_quote(l, '\'', TOKEN_CHAR_CONSTANT, "character constant");
    case '$':
        l->at++;
        return lex_field(l, TOKEN_VARIABLE);
    case '.':
        if (at(l, 1) < '0' || at(l, 1) > '9') {
            l->at++;
            return lex_field(l, TOKEN_FIELD);
        }
        return lex_number(l);
    default:
        break;
    }
    if (c == '+' || c == '-' || (c >= '0' && c <= '9'))
        return lex_number(l);
    if (is_alphanumeric(rune))
        return lex_identifier(l);
    if (strchr("=:|()", c) || (rune < 128 && go_printable(rune)))
        return lex_sign(l, c);
    struct template_token bad = bad_character(l);
    bad.text = arena_printf(l->a, "unrecognized character in action: %.*s",
                            STR_ARG(str_from(bad.text, strlen("bad character "))));
    return bad;
}

struct template_token template_lex(struct template_lexer *l)
{
    return l->inside ? lex_inside(l) : lex_text(l);
}
