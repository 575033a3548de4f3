// The parser of templates, by descent over the tokens of one text. It knows the functions' names
// and the variables in scope, so that a template which parses can fail only by what its data are.
// Words of errors, and which part of the text they blame, are the original's.
#include "object/json.h"
#include "template/template_node.h"
#include "text/go_quote.h"
#include "text/utf8.h"
#include <math.h>

struct template_parser {
    struct template_set *set;
    struct arena *a;
    struct template_token *tokens;
    size_t n, at;
    struct template_tree *tree;  // being made
    struct template_tree **made; // by this text, kept once the whole is parsed
    size_t nmade;
    struct str parse_name, text;
    struct str *vars;
    size_t nvars, cap_vars;
    int range_depth, nesting;
    int action_line;
    struct err *e;
    bool failed;
};

// Lists end at {{end}} or {{else}}.
enum template_stop { STOP_EOF, STOP_END, STOP_ELSE };

static void *fault(struct template_parser *p, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void *fault(struct template_parser *p, const char *fmt, ...)
{
    if (p->failed)
        return NULL;
    p->failed = true;
    _cleanup_arena_ struct arena scratch = ARENA_INIT;
    va_list ap;
    va_start(ap, fmt);
    struct str text = arena_vprintf(&scratch, fmt, ap);
    va_end(ap);
    size_t last = p->at ? p->at - 1 : 0;
    err_set(p->e, ERR_INVALID, "template: %.*s:%d: %.*s", STR_ARG(p->parse_name),
            p->tokens[last].line, STR_ARG(text));
    return NULL;
}

static const char *quoted(struct template_parser *p, struct str s)
{
    struct buf b = BUF_INIT;
    go_quote(&b, s);
    const char *text = arena_cstr(p->a, buf_view(&b));
    buf_done(&b);
    return text;
}

static struct template_token next(struct template_parser *p)
{
    struct template_token t = p->tokens[p->at];
    if (p->at < p->n)
        p->at++;
    return t;
}

static struct template_token peek(const struct template_parser *p)
{
    return p->tokens[p->at < p->n ? p->at : p->n - 1];
}

static void skip_space(struct template_parser *p)
{
    if (peek(p).kind == TOKEN_SPACE)
        p->at++;
}

static struct template_token next_word(struct template_parser *p)
{
    skip_space(p);
    return next(p);
}

static struct template_token peek_word(struct template_parser *p)
{
    skip_space(p);
    return peek(p);
}

static const char *token_text(struct template_parser *p, const struct template_token *t)
{
    switch (t->kind) {
    case TOKEN_EOF:
        return "EOF";
    case TOKEN_ERROR:
        return arena_cstr(p->a, t->text);
    case TOKEN_KEYWORD:
        return arena_printf(p->a, "<%.*s>", STR_ARG(t->text)).p;
    default:
        if (t->text.n > 10)
            return arena_printf(p->a, "%s...",
                                quoted(p, str_sub(t->text, 0, utf8_offset(t->text, 10))))
                .p;
        return quoted(p, t->text);
    }
}

static void *unexpected(struct template_parser *p, struct template_token t, const char *context)
{
    if (t.kind != TOKEN_ERROR)
        return fault(p, "unexpected %s in %s", token_text(p, &t), context);
    if (!p->action_line || p->action_line == t.line)
        return fault(p, "%s", token_text(p, &t));
    return fault(p, "%s%s started at %.*s:%d", token_text(p, &t),
                 str_ends(t.text, STR(" action")) ? "" : " in action", STR_ARG(p->parse_name),
                 p->action_line);
}

static bool keyword(const struct template_token *t, const char *word)
{
    return t->kind == TOKEN_KEYWORD && str_eqc(t->text, word);
}

static struct template_node *node(struct template_parser *p, enum template_node_kind kind,
                                  size_t pos, struct str text)
{
    struct template_node *n = arena_new(p->a, struct template_node);
    n->kind = kind;
    n->pos = pos;
    n->tree = p->tree;
    n->text = text;
    return n;
}

static void add_child(struct template_parser *p, struct template_node *n,
                      struct template_node *child)
{
    if ((n->nchildren & (n->nchildren - 1)) == 0)
        n->children = arena_grow(p->a, n->children, n->nchildren * sizeof *n->children,
                                 (n->nchildren ? n->nchildren * 2 : 1) * sizeof *n->children);
    n->children[n->nchildren++] = child;
}

static void add_name(struct template_parser *p, struct template_node *n, struct str name)
{
    n->names = arena_grow(p->a, n->names, n->nnames * sizeof *n->names,
                          (n->nnames + 1) * sizeof *n->names);
    n->names[n->nnames++] = name;
}

static void var_push(struct template_parser *p, struct str name)
{
    if (p->nvars == p->cap_vars) {
        size_t cap = p->cap_vars ? p->cap_vars * 2 : 16;
        p->vars = arena_grow(p->a, p->vars, p->cap_vars * sizeof *p->vars, cap * sizeof *p->vars);
        p->cap_vars = cap;
    }
    p->vars[p->nvars++] = name;
}

// ---- Constants ----

static int hex_digit(int c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// A Go string or character literal between its quotes. false: invalid syntax.
static bool unquote(struct buf *b, struct str s, char quote)
{
    for (size_t i = 1; i + 1 < s.n; i++) {
        if (s.p[i] != '\\') {
            buf_char(b, s.p[i]);
            continue;
        }
        char c = s.p[++i];
        static const char letters[] = "abfnrtv\\'\"", meanings[] = "\a\b\f\n\r\t\v\\'\"";
        const char *letter = c ? strchr(letters, c) : NULL;
        int digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
        uint32_t v = 0;
        if (letter) {
            if ((c == '"' || c == '\'') && c != quote)
                return false;
            buf_char(b, meanings[letter - letters]);
        } else if (digits) {
            for (int k = 0; k < digits; k++) {
                int d = i + 2 < s.n ? hex_digit(s.p[++i]) : -1;
                if (d < 0)
                    return false;
                v = v << 4 | (uint32_t)d;
            }
            if (c == 'x')
                buf_char(b, (char)v);
            else if (v > UTF8_MAX || (v >= 0xd800 && v < 0xe000))
                return false;
            else
                utf8_add(b, v);
        } else if (c >= '0' && c <= '7') {
            for (int k = 0; k < 3; k++, i++) {
                if (i + 1 >= s.n || s.p[i] < '0' || s.p[i] > '7')
                    return false;
                v = v * 8 + (uint32_t)(s.p[i] - '0');
            }
            i--;
            if (v > 255)
                return false;
            buf_char(b, (char)v);
        } else {
            return false;
        }
    }
    return true;
}

static bool literal(struct template_parser *p, struct template_token t, struct str *ret)
{
    if (t.kind == TOKEN_RAW_STRING) {
        *ret = str_sub(t.text, 1, t.text.n - 2);
        return true;
    }
    struct buf b = BUF_INIT;
    bool ok = unquote(&b, t.text, t.text.p[0]);
    *ret = arena_str(p->a, buf_view(&b));
    buf_done(&b);
    return ok;
}

// Digits of Go's integer literals (0x, 0b, 0o, leading 0, underscores) without a sign.
static bool integer(struct str s, uint64_t *ret)
{
    unsigned base = 10;
    if (s.n > 1 && s.p[0] == '0') {
        char c = s.p[1] | 32;
        base = c == 'x' ? 16 : c == 'b' ? 2 : 8;
        s = str_from(s, c == 'x' || c == 'b' || c == 'o' ? 2 : 1);
    }
    uint64_t v = 0;
    bool digit = false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '_')
            continue;
        int d = hex_digit(s.p[i]);
        if (d < 0 || (unsigned)d >= base || __builtin_mul_overflow(v, base, &v) ||
            __builtin_add_overflow(v, (uint64_t)d, &v))
            return false;
        digit = true;
    }
    *ret = v;
    return digit;
}

static struct template_node *number(struct template_parser *p, struct template_token t)
{
    struct template_node *n = node(p, NODE_NUMBER, t.pos, t.text);
    if (t.kind == TOKEN_CHAR_CONSTANT) {
        struct str c;
        size_t width;
        if (!literal(p, t, &c) || !c.n || (n->i = utf8_at(c, 0, &width), width != c.n))
            return fault(p, "malformed character constant: %.*s", STR_ARG(t.text));
        n->is_int = n->is_uint = n->is_float = true;
        n->f = (double)n->i;
        return n;
    }
    bool sign = t.text.n && (t.text.p[0] == '+' || t.text.p[0] == '-');
    bool negative = sign && t.text.p[0] == '-';
    struct str digits = str_from(t.text, sign);
    uint64_t u;
    bool hex = digits.n > 1 && (digits.p[1] | 32) == 'x';
    n->looks_float = strpbrk(arena_cstr(p->a, digits), hex ? ".pP" : ".eEpP") != NULL;
    if (integer(digits, &u)) {
        n->is_uint = !sign;
        n->is_int = u <= (uint64_t)INT64_MAX + negative;
        n->i = negative ? (int64_t)(0 - u) : (int64_t)u;
        n->is_float = true;
        n->f = negative ? -(double)u : (double)u;
        if (n->is_int || n->is_uint)
            return n;
    }
    _cleanup_buf_ struct buf plain = BUF_INIT;
    for (size_t i = 0; i < t.text.n; i++)
        if (t.text.p[i] != '_')
            buf_char(&plain, t.text.p[i]);
    char *end;
    double f = strtod(buf_cstr(&plain), &end);
    if (*end || isinf(f))
        return fault(p, "illegal number syntax: %s", quoted(p, t.text));
    if (!n->looks_float)
        return fault(p, "integer overflow: %s", quoted(p, t.text));
    n->is_float = true;
    n->f = f;
    if (f == floor(f) && fabs(f) < 9.2e18) {
        n->is_int = true;
        n->i = (int64_t)f;
        n->is_uint = f >= 0;
    }
    return n;
}

// ---- Pipelines ----

static struct template_node *pipeline(struct template_parser *p, const char *context,
                                      enum template_token_kind end);

static struct template_node *variable(struct template_parser *p, struct template_token t)
{
    for (size_t i = p->nvars; i-- > 0;)
        if (str_eq(p->vars[i], t.text)) {
            struct template_node *n = node(p, NODE_VARIABLE, t.pos, t.text);
            add_name(p, n, t.text);
            return n;
        }
    return fault(p, "undefined variable %s", quoted(p, t.text));
}

static struct template_node *term(struct template_parser *p)
{
    struct template_token t = next_word(p);
    struct template_node *n;
    switch (t.kind) {
    case TOKEN_IDENTIFIER:
        n = node(p, NODE_IDENTIFIER, t.pos, t.text);
        n->function = template_function_find(p->set, t.text);
        return n->function ? n : fault(p, "function %s not defined", quoted(p, t.text));
    case TOKEN_DOT:
        return node(p, NODE_DOT, t.pos, t.text);
    case TOKEN_VARIABLE:
        return variable(p, t);
    case TOKEN_FIELD:
        n = node(p, NODE_FIELD, t.pos, t.text);
        add_name(p, n, str_from(t.text, 1));
        return n;
    case TOKEN_BOOL:
        n = node(p, NODE_BOOL, t.pos, t.text);
        n->value = value_bool(p->a, str_eqc(t.text, "true"));
        return n;
    case TOKEN_CHAR_CONSTANT:
    case TOKEN_NUMBER:
        return number(p, t);
    case TOKEN_LEFT_PAREN:
        return pipeline(p, "parenthesized pipeline", TOKEN_RIGHT_PAREN);
    case TOKEN_STRING:
    case TOKEN_RAW_STRING: {
        struct str s;
        n = node(p, NODE_STRING, t.pos, t.text);
        if (!literal(p, t, &s))
            return fault(p, "invalid syntax");
        n->value = value_str(p->a, s);
        return n;
    }
    default:
        if (keyword(&t, "nil"))
            return node(p, NODE_NIL, t.pos, t.text);
        p->at--;
        return NULL;
    }
}

static struct template_node *operand(struct template_parser *p)
{
    struct template_node *n = term(p);
    if (!n || peek(p).kind != TOKEN_FIELD)
        return n;
    size_t pos = peek(p).pos;
    struct template_node *chain = n;
    switch (n->kind) {
    case NODE_FIELD:
    case NODE_VARIABLE:
        n->pos = pos;
        break;
    case NODE_BOOL:
    case NODE_STRING:
    case NODE_NUMBER:
    case NODE_NIL:
    case NODE_DOT: {
        _cleanup_buf_ struct buf b = BUF_INIT;
        template_node_text(&b, n);
        return fault(p, "unexpected . after term %s", quoted(p, buf_view(&b)));
    }
    default:
        chain = node(p, NODE_CHAIN, pos, STR(""));
        add_child(p, chain, n);
    }
    while (peek(p).kind == TOKEN_FIELD)
        add_name(p, chain, str_from(next(p).text, 1));
    return chain;
}

static struct template_node *command(struct template_parser *p)
{
    struct template_node *n = node(p, NODE_COMMAND, peek_word(p).pos, STR(""));
    while (!p->failed) {
        skip_space(p);
        struct template_node *arg = operand(p);
        if (p->failed)
            return NULL;
        if (arg)
            add_child(p, n, arg);
        struct template_token t = next(p);
        if (t.kind == TOKEN_SPACE)
            continue;
        if (t.kind == TOKEN_RIGHT || t.kind == TOKEN_RIGHT_PAREN)
            p->at--;
        else if (t.kind != TOKEN_PIPE)
            return unexpected(p, t, "operand");
        break;
    }
    return n->nchildren ? n : fault(p, "empty command");
}

// $x :=   $x =   $i, $x :=
static bool declarations(struct template_parser *p, struct template_node *pipe, const char *context)
{
    for (;;) {
        size_t start = p->at;
        struct template_token v = peek_word(p);
        if (v.kind != TOKEN_VARIABLE)
            return true;
        p->at++;
        struct template_token t = peek_word(p);
        bool comma = t.kind == TOKEN_CHAR && str_eqc(t.text, ",");
        if (t.kind != TOKEN_ASSIGN && t.kind != TOKEN_DECLARE && !comma) {
            p->at = start;
            return true;
        }
        p->at++;
        add_name(p, pipe, v.text);
        var_push(p, v.text);
        if (!comma) {
            pipe->assign = t.kind == TOKEN_ASSIGN;
            return true;
        }
        if (strcmp(context, "range") != 0 || pipe->nnames >= 2)
            return fault(p, "too many declarations in %s", context), false;
        enum template_token_kind after = peek_word(p).kind;
        if (after != TOKEN_VARIABLE && after != TOKEN_RIGHT && after != TOKEN_RIGHT_PAREN)
            return fault(p, "range can only initialize variables"), false;
    }
}

static struct template_node *check_pipeline(struct template_parser *p, struct template_node *pipe,
                                            const char *context)
{
    if (!pipe->nchildren)
        return fault(p, "missing value for %s", context);
    for (size_t i = 1; i < pipe->nchildren; i++)
        switch (pipe->children[i]->children[0]->kind) {
        case NODE_BOOL:
        case NODE_DOT:
        case NODE_NIL:
        case NODE_NUMBER:
        case NODE_STRING:
            return fault(p, "non executable command in pipeline stage %zu", i + 1);
        default:
            break;
        }
    return pipe;
}

static struct template_node *pipeline(struct template_parser *p, const char *context,
                                      enum template_token_kind end)
{
    struct template_node *pipe = node(p, NODE_PIPE, peek_word(p).pos, STR(""));
    if (p->nesting >= TEMPLATE_NESTING)
        return fault(p, "nested too deeply");
    p->nesting++;
    if (!declarations(p, pipe, context))
        return NULL;
    while (!p->failed) {
        struct template_token t = next_word(p);
        if (t.kind == end) {
            p->nesting--;
            return check_pipeline(p, pipe, context);
        }
        bool begins = (t.kind >= TOKEN_FIELD && t.kind <= TOKEN_BOOL) ||
                      t.kind == TOKEN_LEFT_PAREN || keyword(&t, "nil");
        if (!begins)
            return unexpected(p, t, context);
        p->at--;
        struct template_node *c = command(p);
        if (!c)
            return NULL;
        add_child(p, pipe, c);
    }
    return NULL;
}

// ---- Actions ----

static struct template_node *item_list(struct template_parser *p, enum template_stop *stop);
static struct template_node *action(struct template_parser *p, enum template_stop *stop);

static const char *stop_text(enum template_stop stop)
{
    return stop == STOP_END ? "{{end}}" : "{{else}}";
}

static struct template_node *control(struct template_parser *p, enum template_node_kind kind,
                                     const char *context, size_t pos)
{
    struct template_node *n = node(p, kind, pos, STR(""));
    size_t vars = p->nvars;
    enum template_stop stop;
    n->pipe = pipeline(p, context, TOKEN_RIGHT);
    if (!n->pipe)
        return NULL;
    p->range_depth += kind == NODE_RANGE;
    n->list = item_list(p, &stop);
    p->range_depth -= kind == NODE_RANGE;
    if (p->failed)
        return NULL;
    if (stop == STOP_ELSE) {
        struct template_token t = peek(p);
        if ((kind == NODE_IF && keyword(&t, "if")) || (kind == NODE_WITH && keyword(&t, "with"))) {
            next(p);
            n->other = node(p, NODE_LIST, t.pos, STR(""));
            struct template_node *inner = control(p, kind, context, t.pos);
            if (inner)
                add_child(p, n->other, inner);
        } else {
            n->other = item_list(p, &stop);
            if (!p->failed && stop != STOP_END)
                return fault(p, "expected end; found %s", stop_text(stop));
        }
    }
    p->nvars = vars;
    return p->failed ? NULL : n;
}

static bool expect_right(struct template_parser *p, const char *context)
{
    struct template_token t = next_word(p);
    if (t.kind != TOKEN_RIGHT)
        unexpected(p, t, context);
    return !p->failed;
}

static bool template_name(struct template_parser *p, const char *context, struct str *name)
{
    struct template_token t = next_word(p);
    if (t.kind != TOKEN_STRING && t.kind != TOKEN_RAW_STRING)
        unexpected(p, t, context);
    else if (!literal(p, t, name))
        fault(p, "invalid syntax");
    return !p->failed;
}

// A name is defined once in a text; an empty body does not count.
static void made_add(struct template_parser *p, struct template_tree *tree)
{
    for (size_t i = 0; i < p->nmade; i++) {
        if (!str_eq(p->made[i]->name, tree->name))
            continue;
        if (template_empty(p->made[i]->root))
            p->made[i] = tree;
        else if (!template_empty(tree->root))
            fault(p, "template: multiple definition of template %s", quoted(p, tree->name));
        return;
    }
    p->made =
        arena_grow(p->a, p->made, p->nmade * sizeof *p->made, (p->nmade + 1) * sizeof *p->made);
    p->made[p->nmade++] = tree;
}

// A body of its own: {{define}} and {{block}}.
static void body(struct template_parser *p, struct str name, const char *context)
{
    struct template_tree *outer = p->tree, *tree = arena_new(p->a, struct template_tree);
    size_t vars = p->nvars;
    int depth = p->range_depth;
    enum template_stop stop;
    *tree = (struct template_tree){name, p->parse_name, p->text, NULL};
    p->tree = tree;
    p->nvars = 0;
    p->range_depth = 0;
    var_push(p, STR("$"));
    tree->root = item_list(p, &stop);
    p->nvars = vars;
    p->range_depth = depth;
    p->tree = outer;
    if (p->failed)
        return;
    if (stop != STOP_END) {
        fault(p, "unexpected %s in %s", stop_text(stop), context);
        return;
    }
    made_add(p, tree);
}

static struct template_node *template_clause(struct template_parser *p, bool block)
{
    const char *context = block ? "block clause" : "template clause";
    struct str name;
    size_t name_pos = peek_word(p).pos;
    if (!template_name(p, context, &name))
        return NULL;
    struct template_node *n = node(p, NODE_TEMPLATE, name_pos, name);

    if (block || peek_word(p).kind != TOKEN_RIGHT) {
        n->pipe = pipeline(p, context, TOKEN_RIGHT);
        if (!n->pipe)
            return NULL;
    } else {
        next_word(p);
    }
    if (block)
        body(p, name, context);
    return p->failed ? NULL : n;
}

static struct template_node *loop_word(struct template_parser *p, struct template_token t)
{
    bool is_break = keyword(&t, "break");
    struct template_token after = next_word(p);
    const char *word = is_break ? "break" : "continue";
    if (after.kind != TOKEN_RIGHT)
        return unexpected(p, after, arena_printf(p->a, "{{%s}}", word).p);
    if (!p->range_depth)
        return fault(p, "{{%s}} outside {{range}}", word);
    return node(p, is_break ? NODE_BREAK : NODE_CONTINUE, t.pos, t.text);
}

static struct template_node *action(struct template_parser *p, enum template_stop *stop)
{
    struct template_token t = next_word(p);
    *stop = STOP_EOF;
    p->action_line = t.line;
    if (t.kind == TOKEN_KEYWORD) {
        if (keyword(&t, "if"))
            return control(p, NODE_IF, "if", t.pos);
        if (keyword(&t, "range"))
            return control(p, NODE_RANGE, "range", t.pos);
        if (keyword(&t, "with"))
            return control(p, NODE_WITH, "with", t.pos);
        if (keyword(&t, "template"))
            return template_clause(p, false);
        if (keyword(&t, "block"))
            return template_clause(p, true);
        if (keyword(&t, "break") || keyword(&t, "continue"))
            return loop_word(p, t);
        if (keyword(&t, "end")) {
            *stop = STOP_END;
            return expect_right(p, "end") ? NULL : NULL;
        }
        if (keyword(&t, "else")) {
            struct template_token after = peek_word(p);
            *stop = STOP_ELSE;
            if (!keyword(&after, "if") && !keyword(&after, "with"))
                expect_right(p, "else");
            return NULL;
        }
    }
    p->at--;
    struct template_node *n = node(p, NODE_ACTION, peek(p).pos, STR(""));
    n->pipe = pipeline(p, "command", TOKEN_RIGHT);
    return n->pipe ? n : NULL;
}

// Up to {{end}} or {{else}}.
static struct template_node *item_list(struct template_parser *p, enum template_stop *stop)
{
    struct template_node *list = node(p, NODE_LIST, peek_word(p).pos, STR(""));
    if (p->nesting >= TEMPLATE_NESTING)
        return fault(p, "nested too deeply");
    p->nesting++;
    while (!p->failed && peek_word(p).kind != TOKEN_EOF) {
        struct template_token t = next_word(p);
        if (t.kind == TOKEN_TEXT) {
            add_child(p, list, node(p, NODE_TEXT, t.pos, t.text));
        } else if (t.kind == TOKEN_LEFT) {
            struct template_node *n = action(p, stop);
            p->action_line = 0;
            if (p->failed)
                return NULL;
            if (*stop != STOP_EOF) {
                p->nesting--;
                return list;
            }
            add_child(p, list, n);
        } else {
            return unexpected(p, t, "input");
        }
    }
    return fault(p, "unexpected EOF");
}

static void definition(struct template_parser *p)
{
    struct str name;
    if (template_name(p, "define clause", &name) && expect_right(p, "define clause"))
        body(p, name, "define clause");
}

static void whole(struct template_parser *p)
{
    p->tree->root = node(p, NODE_LIST, 0, STR(""));
    while (!p->failed && peek(p).kind != TOKEN_EOF) {
        struct template_token t = next(p);
        if (t.kind == TOKEN_TEXT) {
            add_child(p, p->tree->root, node(p, NODE_TEXT, t.pos, t.text));
            continue;
        }
        if (t.kind != TOKEN_LEFT) {
            unexpected(p, t, "input");
            return;
        }
        struct template_token word = peek_word(p);
        if (keyword(&word, "define")) {
            next(p);
            definition(p);
            continue;
        }
        enum template_stop stop;
        struct template_node *n = action(p, &stop);
        p->action_line = 0;
        if (p->failed)
            return;
        if (stop != STOP_EOF) {
            fault(p, "unexpected %s", stop_text(stop));
            return;
        }
        add_child(p, p->tree->root, n);
    }
}

static void tokens_read(struct template_parser *p)
{
    struct template_lexer l = {.a = p->a, .s = p->text, .line = 1, .start_line = 1};
    size_t cap = 0;
    enum template_token_kind kind;
    do {
        if (p->n == cap) {
            size_t more = cap ? cap * 2 : 64;
            p->tokens =
                arena_grow(p->a, p->tokens, cap * sizeof *p->tokens, more * sizeof *p->tokens);
            cap = more;
        }
        p->tokens[p->n++] = template_lex(&l);
        kind = p->tokens[p->n - 1].kind;
    } while (kind != TOKEN_EOF && kind != TOKEN_ERROR);
}

int template_parse(struct template_set *set, struct str name, struct str text, struct err *e)
{
    if (text.n > TEMPLATE_TEXT_MAX)
        return err_set(e, ERR_TOO_LARGE, "template: %.*s: text is longer than %zu bytes",
                       STR_ARG(name), TEMPLATE_TEXT_MAX);
    struct template_parser p = {.set = set, .a = set->a, .e = e};
    p.text = arena_str(set->a, text);
    p.parse_name = arena_str(set->a, name);
    p.tree = arena_new(set->a, struct template_tree);
    *p.tree = (struct template_tree){p.parse_name, p.parse_name, p.text, NULL};
    tokens_read(&p);
    var_push(&p, STR("$"));
    whole(&p);
    if (!p.failed)
        made_add(&p, p.tree);
    if (p.failed)
        return -422;
    for (size_t i = 0; i < p.nmade; i++)
        template_tree_set(set, p.made[i]);
    return 0;
}
