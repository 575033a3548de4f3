// Label selectors: the text of ?labelSelector= and -l, and metav1.LabelSelector objects.
//
// The grammar, with its odd corners, is that of apimachinery's labels.Parse, because the error
// texts come from where its parser stands: words are cut at white space and at = ! ( ) , > <; runs
// of those signs are cut into the longest known operator; `in` and `notin` are operators only where
// an operator is expected. Requirements are sorted by key, values within one too.
//
//     a   !a   a=v   a==v   a!=v   a>1   a<1   a in (v,w)   a notin (v,w)
#include "object/selector.h"
#include "base/buf.h"
#include "object/key_index.h"
#include "object/label.h"

enum op {
    OP_IN,
    OP_NOT_IN,
    OP_EQUALS,
    OP_DOUBLE_EQUALS,
    OP_NOT_EQUALS,
    OP_GT,
    OP_LT,
    OP_EXISTS,
    OP_NOT_EXISTS
};

struct requirement {
    struct str key;
    enum op op;
    struct str *values; // sorted, without duplicates
    size_t nvalues, cap;
    int64_t number; // OP_GT, OP_LT
};

struct selector {
    struct requirement *requirements;
    size_t n, cap;
    bool nothing;
};

enum token {
    T_END,
    T_WORD,
    T_COMMA,
    T_OPEN,
    T_CLOSE,
    T_NOT,
    T_EQ,
    T_DOUBLE_EQ,
    T_NOT_EQ,
    T_GT,
    T_LT,
    T_IN,
    T_NOT_IN,
    T_ERROR
};

static const struct {
    const char *text;
    enum token token;
} tokens[] = {
    {")", T_CLOSE}, {",", T_COMMA}, {"!", T_NOT},     {"==", T_DOUBLE_EQ},
    {"=", T_EQ},    {"in", T_IN},   {"!=", T_NOT_EQ}, {"notin", T_NOT_IN},
    {"(", T_OPEN},  {">", T_GT},    {"<", T_LT},
};

static enum token token_of(struct str s)
{
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++)
        if (str_eqc(s, tokens[i].text))
            return tokens[i].token;
    return T_ERROR;
}

struct parser {
    struct arena *a;
    struct err *e;
    struct str text;
    size_t at;
    enum token token; // what lies ahead
    struct str literal;
    struct selector *selector;
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_sign(char c)
{
    return memchr("=!(),><", c, 7) != NULL;
}

static void advance(struct parser *p)
{
    while (p->at < p->text.n && is_space(p->text.p[p->at]))
        p->at++;
    size_t begin = p->at;
    if (begin == p->text.n) {
        p->token = T_END;
        p->literal = STR("");
        return;
    }
    if (!is_sign(p->text.p[begin])) {
        while (p->at < p->text.n && !is_sign(p->text.p[p->at]) && !is_space(p->text.p[p->at]))
            p->at++;
        p->literal = str_sub(p->text, begin, p->at - begin);
        p->token = token_of(p->literal);
        if (p->token == T_ERROR)
            p->token = T_WORD;
        return;
    }
    // Every sign but none alone is an operator, so the longest one is at most two long.
    struct str two = str_sub(p->text, begin, 2), one = str_sub(p->text, begin, 1);
    p->literal = token_of(two) != T_ERROR ? two : one;
    p->token = token_of(p->literal);
    p->at = begin + p->literal.n;
}

// Where a value or a key stands, `in` and `notin` are words.
static enum token as_value(const struct parser *p)
{
    return p->token == T_IN || p->token == T_NOT_IN ? T_WORD : p->token;
}

static int bad(struct parser *p, const char *fmt, struct str found)
{
    return err_set(p->e, ERR_BAD_REQUEST, fmt, STR_ARG(found));
}

static int check_key(struct str key, const char *path, struct err *e)
{
    char why[600];
    if (label_key_check(key, why, sizeof why))
        return 0;
    return err_set(e, ERR_BAD_REQUEST, "%s: Invalid value: \"%.*s\": %s", path, STR_ARG(key), why);
}

static void add_value(struct arena *a, struct requirement *r, struct str v)
{
    if (r->nvalues == r->cap) {
        size_t was = r->cap;
        r->cap = was ? was * 2 : 4;
        r->values = was ? arena_grow(a, r->values, was * sizeof v, r->cap * sizeof v)
                        : arena_alloc(a, r->cap * sizeof v);
    }
    r->values[r->nvalues++] = v;
}

static int values_order(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static void sort_values(struct requirement *r)
{
    size_t n = 0;
    if (r->nvalues > 1)
        qsort(r->values, r->nvalues, sizeof *r->values, values_order);
    for (size_t i = 0; i < r->nvalues; i++)
        if (i == 0 || !str_eq(r->values[i], r->values[n - 1]))
            r->values[n++] = r->values[i];
    r->nvalues = n;
}

// labels.NewRequirement: what the parser cannot see. The first fault of a requirement is reported
// (the originals give all of them in brackets; one is what a person mends at a time).
static int check(struct requirement *r, struct err *e)
{
    sort_values(r);
    int rc = check_key(r->key, "key", e);
    if (rc < 0)
        return rc;
    if ((r->op == OP_IN || r->op == OP_NOT_IN) && r->nvalues == 0)
        return err_set(
            e, ERR_BAD_REQUEST,
            "values: Invalid value: []: for 'in', 'notin' operators, values set can't be "
            "empty");
    if ((r->op == OP_EXISTS || r->op == OP_NOT_EXISTS) && r->nvalues != 0)
        return err_set(e, ERR_BAD_REQUEST,
                       "values: Invalid value: [\"%.*s\"]: values set must be empty for exists and "
                       "does not exist",
                       STR_ARG(r->values[0]));
    if ((r->op == OP_GT || r->op == OP_LT) && !str_to_i64(r->values[0], &r->number))
        return err_set(
            e, ERR_BAD_REQUEST,
            "values[0]: Invalid value: \"%.*s\": for 'Gt', 'Lt' operators, the value must "
            "be an integer",
            STR_ARG(r->values[0]));
    for (size_t i = 0; i < r->nvalues; i++) {
        char why[600];
        if (!label_value_check(r->values[i], why, sizeof why))
            return err_set(e, ERR_BAD_REQUEST, "values[%zu][%.*s]: Invalid value: \"%.*s\": %s", i,
                           STR_ARG(r->key), STR_ARG(r->values[i]), why);
    }
    return 0;
}

static void add(struct arena *a, struct selector *s, const struct requirement *r)
{
    if (s->n == s->cap) {
        size_t was = s->cap;
        s->cap = was ? was * 2 : 4;
        s->requirements = was ? arena_grow(a, s->requirements, was * sizeof *r, s->cap * sizeof *r)
                              : arena_alloc(a, s->cap * sizeof *r);
    }
    s->requirements[s->n++] = *r;
}

static int requirements_order(const void *pa, const void *pb)
{
    const struct requirement *a = pa, *b = pb;
    int c = str_cmp(a->key, b->key);
    return c ? c : (int)a->op - (int)b->op;
}

static void sort(struct selector *s)
{
    if (s->n > 1)
        qsort(s->requirements, s->n, sizeof *s->requirements, requirements_order);
}

// "(a,b)", "()" and the forms with missing values: "(,)", "(a,)", which mean the empty string.
static int parse_values(struct parser *p, struct requirement *r)
{
    if (p->token != T_OPEN)
        return bad(p, "unable to parse requirement: found '%.*s' expected: '('", p->literal);
    advance(p);
    if (as_value(p) == T_CLOSE) {
        advance(p);
        return 0;
    }
    if (as_value(p) != T_WORD && p->token != T_COMMA)
        return bad(p, "unable to parse requirement: found '%.*s', expected: ',', ')' or identifier",
                   p->literal);
    for (;;) {
        if (as_value(p) == T_WORD) {
            add_value(p->a, r, p->literal);
            advance(p);
            if (as_value(p) == T_COMMA)
                continue;
            if (p->token == T_CLOSE)
                break;
            return bad(p, "unable to parse requirement: found '%.*s', expected: ',' or ')'",
                       p->literal);
        }
        if (p->token != T_COMMA)
            return bad(p, "unable to parse requirement: found '%.*s', expected: ',', or identifier",
                       p->literal);
        if (r->nvalues == 0)
            add_value(p->a, r, STR(""));
        advance(p);
        if (p->token == T_CLOSE) {
            add_value(p->a, r, STR(""));
            break;
        }
        if (p->token == T_COMMA) {
            advance(p);
            add_value(p->a, r, STR(""));
        }
    }
    advance(p);
    return 0;
}

static int parse_requirement(struct parser *p, struct requirement *r)
{
    *r = (struct requirement){.op = OP_EXISTS};
    if (p->token == T_NOT) {
        r->op = OP_NOT_EXISTS;
        advance(p);
    }
    if (as_value(p) != T_WORD)
        return bad(p, "unable to parse requirement: found '%.*s', expected: identifier",
                   p->literal);
    r->key = p->literal;
    _cleanup_err_ struct err inner = ERR_INIT;
    if (check_key(r->key, "<nil>", &inner) < 0)
        return err_wrap(p->e, &inner, "unable to parse requirement");
    advance(p);
    if (r->op == OP_NOT_EXISTS || p->token == T_END || p->token == T_COMMA)
        return 0;
    static const struct {
        enum token token;
        enum op op;
    } operators[] = {{T_IN, OP_IN},
                     {T_NOT_IN, OP_NOT_IN},
                     {T_EQ, OP_EQUALS},
                     {T_GT, OP_GT},
                     {T_DOUBLE_EQ, OP_DOUBLE_EQUALS},
                     {T_LT, OP_LT},
                     {T_NOT_EQ, OP_NOT_EQUALS}};
    size_t i = 0;
    while (i < sizeof operators / sizeof *operators && operators[i].token != p->token)
        i++;
    if (i == sizeof operators / sizeof *operators)
        return bad(
            p, "unable to parse requirement: found '%.*s', expected: in, notin, =, ==, !=, gt, lt",
            p->literal);
    r->op = operators[i].op;
    advance(p);
    int rc = 0;
    if (r->op == OP_IN || r->op == OP_NOT_IN) {
        rc = parse_values(p, r);
    } else {
        if (as_value(p) == T_WORD) {
            add_value(p->a, r, p->literal);
            advance(p);
        } else if (p->token == T_END || p->token == T_COMMA) {
            add_value(p->a, r, STR(""));
        } else {
            return bad(p, "unable to parse requirement: found '%.*s', expected: identifier",
                       p->literal);
        }
    }
    if (rc < 0)
        return rc;
    if (check(r, &inner) < 0)
        return err_wrap(p->e, &inner, "unable to parse requirement");
    return 0;
}

int selector_parse(struct arena *a, struct str text, struct selector **ret, struct err *e)
{
    struct parser p = {.a = a, .e = e, .text = arena_str(a, text)};
    p.selector = arena_new(a, struct selector);
    advance(&p);
    while (p.token != T_END) {
        if (as_value(&p) != T_WORD && p.token != T_NOT)
            return bad(&p, "found '%.*s', expected: !, identifier, or 'end of string'", p.literal);
        struct requirement r;
        int rc = parse_requirement(&p, &r);
        if (rc < 0)
            return rc;
        add(a, p.selector, &r);
        if (p.token == T_END)
            break;
        if (p.token != T_COMMA)
            return bad(&p, "found '%.*s', expected: ',' or 'end of string'", p.literal);
        advance(&p);
        if (as_value(&p) != T_WORD && p.token != T_NOT)
            return bad(&p, "found '%.*s', expected: identifier after ','", p.literal);
    }
    sort(p.selector);
    *ret = p.selector;
    return 0;
}

static int add_expression(struct arena *a, struct selector *s, const struct value *x, struct err *e)
{
    static const struct {
        const char *name;
        enum op op;
    } names[] = {{"In", OP_IN},
                 {"NotIn", OP_NOT_IN},
                 {"Exists", OP_EXISTS},
                 {"DoesNotExist", OP_NOT_EXISTS}};
    struct requirement r = {.key = arena_str(a, value_str_at(x, "key"))};
    struct str name = value_str_at(x, "operator");
    size_t i = 0;
    while (i < 4 && !str_eqc(name, names[i].name))
        i++;
    if (i == 4)
        return err_set(e, ERR_BAD_REQUEST, "\"%.*s\" is not a valid label selector operator",
                       STR_ARG(name));
    r.op = names[i].op;
    value_each_item (value_getc(x, "values"), v)
        add_value(a, &r, arena_str(a, value_string(v)));
    int rc = check(&r, e);
    if (rc < 0)
        return rc;
    add(a, s, &r);
    return 0;
}

int selector_from_value(struct arena *a, const struct value *label_selector, struct selector **ret,
                        struct err *e)
{
    struct selector *s = arena_new(a, struct selector);
    s->nothing = !label_selector || label_selector->kind == VALUE_NULL;
    value_each_field (value_getc(label_selector, "matchLabels"), m) {
        struct requirement r = {.key = arena_str(a, m->key), .op = OP_EQUALS};
        add_value(a, &r, arena_str(a, value_string(m->value)));
        int rc = check(&r, e);
        if (rc < 0)
            return rc;
        add(a, s, &r);
    }
    value_each_item (value_getc(label_selector, "matchExpressions"), x) {
        int rc = add_expression(a, s, x, e);
        if (rc < 0)
            return rc;
    }
    sort(s);
    *ret = s;
    return 0;
}

static bool has(const struct requirement *r, struct str v)
{
    for (size_t i = 0; i < r->nvalues; i++)
        if (str_eq(r->values[i], v))
            return true;
    return false;
}

static bool requirement_matches(const struct requirement *r, const struct value *label)
{
    struct str v = value_string(label);
    int64_t number;
    switch (r->op) {
    case OP_IN:
    case OP_EQUALS:
    case OP_DOUBLE_EQUALS:
        return label && has(r, v);
    case OP_NOT_IN:
    case OP_NOT_EQUALS:
        return !label || !has(r, v);
    case OP_EXISTS:
        return label != NULL;
    case OP_NOT_EXISTS:
        return label == NULL;
    case OP_GT:
        return label && str_to_i64(v, &number) && number > r->number;
    case OP_LT:
        return label && str_to_i64(v, &number) && number < r->number;
    }
    return false;
}

bool selector_matches(const struct selector *s, const struct value *labels)
{
    if (s->nothing)
        return false;
    bool many = s->n > KEY_INDEX_SMALL && value_len(labels) > KEY_INDEX_SMALL;
    _cleanup_key_index_ struct key_index index = KEY_INDEX_INIT;
    if (many)
        key_index_object(&index, labels);
    for (size_t i = 0; i < s->n; i++) {
        const struct requirement *r = &s->requirements[i];
        ptrdiff_t at = many ? key_index_find(&index, r->key) : 0;
        const struct value *label = !many     ? value_get(labels, r->key)
                                    : at >= 0 ? labels->members[at].value
                                              : NULL;
        if (!requirement_matches(r, label))
            return false;
    }
    return true;
}

bool selector_empty(const struct selector *s)
{
    return !s->nothing && s->n == 0;
}

void selector_write(struct buf *b, const struct selector *s)
{
    static const char *const signs[] = {[OP_IN] = " in ",       [OP_NOT_IN] = " notin ",
                                        [OP_EQUALS] = "=",      [OP_DOUBLE_EQUALS] = "==",
                                        [OP_NOT_EQUALS] = "!=", [OP_GT] = ">",
                                        [OP_LT] = "<",          [OP_EXISTS] = "",
                                        [OP_NOT_EXISTS] = ""};
    for (size_t i = 0; i < s->n; i++) {
        const struct requirement *r = &s->requirements[i];
        bool set = r->op == OP_IN || r->op == OP_NOT_IN;
        if (i)
            buf_char(b, ',');
        if (r->op == OP_NOT_EXISTS)
            buf_char(b, '!');
        buf_str(b, r->key);
        buf_puts(b, signs[r->op]);
        if (set)
            buf_char(b, '(');
        for (size_t j = 0; j < r->nvalues; j++) {
            if (j)
                buf_char(b, ',');
            buf_str(b, r->values[j]);
        }
        if (set && r->nvalues == 1 && !r->values[0].n)
            buf_char(b, ','); // "(,)" is the empty string; "()" would be nothing
        if (set)
            buf_char(b, ')');
    }
}
