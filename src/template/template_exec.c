// Execution of templates: a walk over the tree with a stack of variables. A failure is remembered
// in the execution and ends every loop on the way up.
//
// Go's reflection tells a value from an interface that holds it, and its templates show it: a nil
// in a map is "nil pointer evaluating interface {}.x" where an absent variable is "no value" and
// silent. So an operand here is a value with the mark "seen through an interface": elements of maps
// and lists are, results of pipelines and functions are not.
#include "template/template_node.h"
#include "text/go_quote.h"
#include <math.h>

struct template_operand {
    struct value *v; // NULL: no value
    bool iface;
};
static const struct template_operand nothing = {NULL, false};

struct template_variable {
    struct str name;
    struct template_operand at;
};

enum template_flow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE };

struct template_exec {
    struct template_set *set;
    struct arena *a;
    struct buf *out;
    struct err *e;
    bool failed;
    const struct template_tree *tree;
    const struct template_node *node; // where an error is
    struct template_variable *vars;
    size_t nvars, cap_vars;
    size_t depth, steps;
    size_t memory; // the arena's size at the beginning
    enum template_flow flow;
};

struct template_call {
    struct template_exec *x;
    const char *name;
    int param;
    bool failed;
};

// ---- Faults ----

static struct template_operand fault(struct template_exec *x, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static struct template_operand fault(struct template_exec *x, const char *fmt, ...)
{
    if (x->failed)
        return nothing;
    x->failed = true;
    _cleanup_arena_ struct arena scratch = ARENA_INIT;
    va_list ap;
    va_start(ap, fmt);
    struct str text = arena_vprintf(&scratch, fmt, ap);
    va_end(ap);
    if (!x->node) {
        err_set(x->e, ERR_INVALID, "template: %.*s: %.*s", STR_ARG(x->tree->name), STR_ARG(text));
        return nothing;
    }
    const struct template_tree *t = x->node->tree;
    size_t line = 1, begin = 0;
    for (size_t i = 0; i < x->node->pos && i < t->text.n; i++)
        if (t->text.p[i] == '\n') {
            line++;
            begin = i + 1;
        }
    _cleanup_buf_ struct buf name = BUF_INIT, context = BUF_INIT;
    go_quote(&name, x->tree->name);
    template_node_text(&context, x->node);
    err_set(x->e, ERR_INVALID, "template: %.*s:%zu:%zu: executing %s at <%s>: %.*s",
            STR_ARG(t->parse_name), line, x->node->pos - begin, buf_cstr(&name), buf_cstr(&context),
            STR_ARG(text));
    return nothing;
}

static const char *quoted(struct template_exec *x, struct str s)
{
    struct buf b = BUF_INIT;
    go_quote(&b, s);
    const char *text = arena_cstr(x->a, buf_view(&b));
    buf_done(&b);
    return text;
}

static bool step(struct template_exec *x)
{
    if (x->failed)
        return false;
    if (++x->steps > TEMPLATE_STEPS)
        fault(x, "execution takes more than %d steps", TEMPLATE_STEPS);
    else if (x->a->total - x->memory > TEMPLATE_MEMORY_MAX)
        fault(x, "execution takes more than %zu bytes of memory", TEMPLATE_MEMORY_MAX);
    else if (!buf_ok(x->out))
        fault(x, "output is longer than %zu bytes", x->out->max);
    return !x->failed;
}

static const char *type_of(struct template_operand o)
{
    return o.iface ? "interface {}" : template_type_name(o.v);
}

// ---- Variables ----

static void var_push(struct template_exec *x, struct str name, struct template_operand at)
{
    if (x->nvars == x->cap_vars) {
        x->cap_vars = x->cap_vars ? x->cap_vars * 2 : 32;
        x->vars = mem_realloc(x->vars, x->cap_vars * sizeof *x->vars);
    }
    x->vars[x->nvars++] = (struct template_variable){name, at};
}

static struct template_variable *var_find(struct template_exec *x, struct str name)
{
    for (size_t i = x->nvars; i-- > 0;)
        if (str_eq(x->vars[i].name, name))
            return &x->vars[i];
    fault(x, "undefined variable: %.*s", STR_ARG(name));
    return NULL;
}

// ---- Operands ----

static struct template_operand pipeline(struct template_exec *x, struct template_operand dot,
                                        const struct template_node *pipe);
static struct template_operand argument(struct template_exec *x, struct template_operand dot,
                                        const struct template_node *n);

static struct template_operand missing_key(struct template_exec *x, struct str key)
{
    if (x->set->o.missing == TEMPLATE_MISSING_ERROR)
        return fault(x, "map has no entry for key %s", quoted(x, key));
    if (x->set->o.missing == TEMPLATE_MISSING_ZERO)
        return (struct template_operand){value_null(x->a), true};
    return nothing;
}

static struct template_operand
call(struct template_exec *x, struct template_operand dot, const char *name, const char *params,
     const struct template_function *f, const struct template_method *m,
     struct template_thing *self, const struct template_node *const *args, size_t nargs,
     const struct template_operand *final, const struct template_node *whole);

static struct template_operand thing_field(struct template_exec *x, struct template_operand dot,
                                           struct template_operand o, struct str name,
                                           const struct template_node *const *args, size_t nargs,
                                           const struct template_operand *final, bool *found)
{
    struct template_thing *t = template_thing_of(o.v);
    for (size_t i = 0; i < t->type->nmethods; i++)
        if (str_eqc(name, t->type->methods[i].name)) {
            *found = true;
            const struct template_method *m = &t->type->methods[i];
            return call(x, dot, m->name, m->params, NULL, m, t, args, nargs, final, NULL);
        }
    struct value *v = value_get(t->fields, name);
    *found = v || t->type->map;
    if (*found && (nargs || final))
        return fault(x, "%.*s is not a method but has arguments", STR_ARG(name));
    // Fields of structs have their own types: what they hold is seen as it is.
    return v        ? (struct template_operand){v, t->type->map || v->kind == VALUE_NULL}
           : *found ? missing_key(x, name)
                    : nothing;
}

static struct template_operand field(struct template_exec *x, struct template_operand dot,
                                     struct str name, const struct template_node *const *args,
                                     size_t nargs, const struct template_operand *final,
                                     struct template_operand receiver)
{
    if (!receiver.v) {
        if (x->set->o.missing == TEMPLATE_MISSING_ERROR)
            return fault(x, "nil data; no entry for key %s", quoted(x, name));
        return nothing;
    }
    if (receiver.v->kind == VALUE_NULL)
        return fault(x, "nil pointer evaluating interface {}.%.*s", STR_ARG(name));
    if (receiver.v->kind == VALUE_OBJECT) {
        if (nargs || final)
            return fault(x, "%.*s is not a method but has arguments", STR_ARG(name));
        struct value *v = value_get(receiver.v, name);
        if (!v)
            return missing_key(x, name);
        return (struct template_operand){v, !receiver.v->b};
    }
    if (receiver.v->kind == TEMPLATE_HOST) {
        bool found;
        struct template_operand r = thing_field(x, dot, receiver, name, args, nargs, final, &found);
        if (found || x->failed)
            return r;
    }
    return fault(x, "can't evaluate field %.*s in type %s", STR_ARG(name), type_of(receiver));
}

static struct template_operand fields(struct template_exec *x, struct template_operand dot,
                                      struct template_operand receiver,
                                      const struct template_node *n, size_t from,
                                      const struct template_node *const *args, size_t nargs,
                                      const struct template_operand *final)
{
    for (size_t i = from; i < n->nnames && !x->failed; i++) {
        bool last = i + 1 == n->nnames;
        receiver = field(x, dot, n->names[i], last ? args : NULL, last ? nargs : 0,
                         last ? final : NULL, receiver);
    }
    return receiver;
}

static struct template_operand number(struct template_exec *x, const struct template_node *n)
{
    x->node = n;
    if (n->is_float && n->looks_float && n->text.p[0] != '\'')
        return (struct template_operand){value_float(x->a, n->f), false};
    if (n->is_int)
        return (struct template_operand){
            template_int_value(x->a, n->text.p[0] == '\'' ? TEMPLATE_INT32 : TEMPLATE_INT, n->i),
            false};
    return fault(x, "integer overflow: %.*s", STR_ARG(n->text));
}

static struct template_operand with_arguments(struct template_exec *x, struct template_operand dot,
                                              const struct template_node *first,
                                              const struct template_node *const *args, size_t nargs,
                                              const struct template_operand *final,
                                              const struct template_node *whole)
{
    x->node = first;
    switch (first->kind) {
    case NODE_FIELD:
        return fields(x, dot, dot, first, 0, args, nargs, final);
    case NODE_CHAIN: {
        struct template_operand o = argument(x, dot, first->children[0]);
        return x->failed ? nothing : fields(x, dot, o, first, 0, args, nargs, final);
    }
    case NODE_VARIABLE: {
        struct template_variable *v = var_find(x, first->names[0]);
        if (!v)
            return nothing;
        if (first->nnames == 1) {
            if (nargs || final)
                return fault(x, "can't give argument to non-function %.*s",
                             STR_ARG(first->names[0]));
            return v->at;
        }
        return fields(x, dot, v->at, first, 1, args, nargs, final);
    }
    default: {
        const struct template_function *f = first->function;
        x->node = first;
        return call(x, dot, f->name, f->params, f, NULL, NULL, args, nargs, final, whole);
    }
    }
}

// What stands alone as an argument.
static struct template_operand argument(struct template_exec *x, struct template_operand dot,
                                        const struct template_node *n)
{
    x->node = n;
    switch (n->kind) {
    case NODE_DOT:
        return dot;
    case NODE_NIL:
        return (struct template_operand){value_null(x->a), true};
    case NODE_BOOL:
    case NODE_STRING:
        return (struct template_operand){n->value, false};
    case NODE_NUMBER:
        return number(x, n);
    case NODE_PIPE:
        return pipeline(x, dot, n);
    default:
        return with_arguments(x, dot, n, NULL, 0, NULL, n);
    }
}

// ---- Calls ----

static const char *param_type(char c)
{
    switch (c) {
    case 's':
        return "string";
    case 'i':
        return "int";
    case 'I':
        return "int64";
    case 'b':
        return "bool";
    case 'f':
        return "float64";
    case 'l':
        return "[]interface {}";
    case 'm':
        return "map[string]interface {}";
    case 'd':
        return "time.Duration";
    case 't':
        return "time.Time";
    default:
        return "interface {}";
    }
}

static bool fits(char param, const struct value *v)
{
    switch (param) {
    case 's':
        return v->kind == VALUE_STRING && !v->b;
    case 'i':
        return v->kind == VALUE_INT && v->cap == TEMPLATE_INT;
    case 'I':
        return v->kind == VALUE_INT && v->cap == TEMPLATE_INT64;
    case 'd':
        return v->kind == VALUE_INT && v->cap == TEMPLATE_DURATION;
    case 'b':
        return v->kind == VALUE_BOOL;
    case 'f':
        return v->kind == VALUE_FLOAT;
    case 'l':
        return v->kind == VALUE_ARRAY && !v->b;
    case 'm':
        return v->kind == VALUE_OBJECT && !v->b;
    case 't':
        return v->kind == TEMPLATE_TIME;
    default:
        return true;
    }
}

// A value for a parameter: as reflection would let it in.
static struct value *checked(struct template_exec *x, char param, struct template_operand o)
{
    if (x->failed)
        return NULL;
    if (param == 'a')
        return o.v ? o.v : value_null(x->a);
    if (!o.v) {
        if (param == 'l' || param == 'm')
            return param == 'l' ? value_array(x->a) : value_object(x->a);
        fault(x, "invalid value; expected %s", param_type(param));
        return NULL;
    }
    if (fits(param, o.v))
        return o.v;
    fault(x, "wrong type for value; expected %s; got %s", param_type(param),
          o.v->kind == VALUE_NULL ? "interface {}" : template_type_name(o.v));
    return NULL;
}

// Constants are typed by the parameter that they stand for.
static struct value *constant_argument(struct template_exec *x, char param,
                                       const struct template_node *n)
{
    x->node = n;
    bool ok = true;
    const char *expected = "";
    struct value *v = NULL;
    switch (param) {
    case 's':
        expected = "string";
        ok = n->kind == NODE_STRING;
        v = n->value;
        break;
    case 'b':
        expected = "bool";
        ok = n->kind == NODE_BOOL;
        v = n->value;
        break;
    case 'i':
    case 'I':
    case 'd':
        expected = "integer";
        ok = n->kind == NODE_NUMBER && n->is_int;
        v = template_int_value(x->a,
                               param == 'i'   ? TEMPLATE_INT
                               : param == 'I' ? TEMPLATE_INT64
                                              : TEMPLATE_DURATION,
                               n->i);
        break;
    case 'f':
        expected = "float";
        ok = n->kind == NODE_NUMBER && n->is_float;
        v = value_float(x->a, n->f);
        break;
    default:
        fault(x, "can't handle %s for arg of type %s", quoted(x, n->text), param_type(param));
        return NULL;
    }
    if (ok)
        return v;
    _cleanup_buf_ struct buf b = BUF_INIT;
    template_node_text(&b, n);
    fault(x, "expected %s; found %s", expected, buf_cstr(&b));
    return NULL;
}

static struct value *call_argument(struct template_exec *x, struct template_operand dot, char param,
                                   const struct template_node *n)
{
    bool constant = n->kind == NODE_BOOL || n->kind == NODE_STRING || n->kind == NODE_NUMBER;
    if (param != 'a' && constant)
        return constant_argument(x, param, n);
    if (n->kind == NODE_NIL && param != 'a' && param != 'l' && param != 'm') {
        x->node = n;
        fault(x, "cannot assign nil to %s", param_type(param));
        return NULL;
    }
    struct template_operand o = argument(x, dot, n);
    if (n->kind == NODE_NIL && param != 'a')
        o = nothing;
    return checked(x, param, o);
}

struct template_params {
    size_t fixed;
    bool variadic;
};

static struct template_params params_of(const char *params)
{
    size_t n = strlen(params);
    bool variadic = n && params[n - 1] == '*';
    return (struct template_params){variadic ? n - 2 : n, variadic};
}

static char param_at(const char *params, struct template_params p, size_t i)
{
    return params[i < p.fixed ? i : p.variadic ? p.fixed : p.fixed - 1];
}

// and, or: stop at the first that decides.
static struct template_operand short_circuit(struct template_exec *x, struct template_operand dot,
                                             bool is_or, const struct template_node *const *args,
                                             size_t nargs, const struct template_operand *final)
{
    struct template_operand o = nothing;
    for (size_t i = 0; i < nargs && !x->failed; i++) {
        o = argument(x, dot, args[i]);
        if (template_true(o.v) == is_or)
            return o;
    }
    return final && !x->failed ? *final : o;
}

static struct template_operand
call(struct template_exec *x, struct template_operand dot, const char *name, const char *params,
     const struct template_function *f, const struct template_method *m,
     struct template_thing *self, const struct template_node *const *args, size_t nargs,
     const struct template_operand *final, const struct template_node *whole)
{
    const struct template_node *at = whole ? whole : x->node;
    size_t n = nargs + (final != NULL);
    struct template_params p = params_of(params);
    if (p.variadic && n < p.fixed)
        return fault(x, "wrong number of args for %s: want at least %zu got %zu", name, p.fixed, n);
    if (!p.variadic && n != p.fixed)
        return fault(x, "wrong number of args for %s: want %zu got %zu", name, p.fixed, n);
    if (f && (strcmp(name, "and") == 0 || strcmp(name, "or") == 0))
        return short_circuit(x, dot, name[0] == 'o', args, nargs, final);
    struct value **values = arena_array(x->a, struct value *, n + 1);
    for (size_t i = 0; i < nargs && !x->failed; i++)
        values[i] = call_argument(x, dot, param_at(params, p, i), args[i]);
    if (final && !x->failed)
        values[nargs] = checked(x, param_at(params, p, nargs), *final);
    if (!step(x))
        return nothing;
    const struct template_node *last = x->node;
    x->node = at;
    struct template_call c = {.x = x, .name = name, .param = f ? f->param : 0};
    struct value *r = f ? f->fn(&c, values, n) : m->fn(&c, self, values, n);
    x->node = last;
    return x->failed ? nothing : (struct template_operand){r, false};
}

static struct template_operand command(struct template_exec *x, struct template_operand dot,
                                       const struct template_node *c,
                                       const struct template_operand *final)
{
    const struct template_node *first = c->children[0];
    const struct template_node *const *args = (const struct template_node *const *)c->children + 1;
    size_t nargs = c->nchildren - 1;
    switch (first->kind) {
    case NODE_FIELD:
    case NODE_CHAIN:
    case NODE_IDENTIFIER:
    case NODE_VARIABLE:
        x->node = first;
        return with_arguments(x, dot, first, args, nargs, final, c);
    default:
        break;
    }
    x->node = first;
    if (nargs || final) {
        _cleanup_buf_ struct buf b = BUF_INIT;
        template_node_text(&b, first);
        return fault(x, "can't give argument to non-function %s", buf_cstr(&b));
    }
    if (first->kind == NODE_NIL)
        return fault(x, "nil is not a command");
    return argument(x, dot, first);
}

static struct template_operand pipeline(struct template_exec *x, struct template_operand dot,
                                        const struct template_node *pipe)
{
    struct template_operand o = nothing;
    x->node = pipe;
    for (size_t i = 0; i < pipe->nchildren && !x->failed; i++) {
        o = command(x, dot, pipe->children[i], i ? &o : NULL);
        // One interface is dug through: a nil in it is no value any more.
        o.iface = false;
        if (o.v && o.v->kind == VALUE_NULL)
            o.v = NULL;
    }
    for (size_t i = 0; i < pipe->nnames && !x->failed; i++) {
        if (!pipe->assign) {
            var_push(x, pipe->names[i], o);
            continue;
        }
        struct template_variable *v = var_find(x, pipe->names[i]);
        if (v)
            v->at = o;
    }
    return x->failed ? nothing : o;
}

// ---- Actions ----

static void walk(struct template_exec *x, struct template_operand dot,
                 const struct template_node *n);

static void list(struct template_exec *x, struct template_operand dot,
                 const struct template_node *n)
{
    for (size_t i = 0; n && i < n->nchildren && !x->failed && x->flow == FLOW_ON; i++)
        walk(x, dot, n->children[i]);
}

static void condition(struct template_exec *x, struct template_operand dot,
                      const struct template_node *n)
{
    size_t vars = x->nvars;
    struct template_operand o = pipeline(x, dot, n->pipe);
    if (x->failed)
        return;
    if (template_true(o.v))
        list(x, n->kind == NODE_WITH ? o : dot, n->list);
    else
        list(x, dot, n->other);
    x->nvars = vars;
}

// false: leave the loop.
static bool iteration(struct template_exec *x, const struct template_node *n, struct value *key,
                      struct template_operand element)
{
    size_t vars = x->nvars;
    if (!step(x))
        return false;
    if (n->pipe->nnames == 1) {
        struct template_operand e = element;
        if (n->pipe->assign)
            var_find(x, n->pipe->names[0])->at = e;
        else
            x->vars[x->nvars - 1].at = e;
    } else if (n->pipe->nnames == 2) {
        struct template_variable *k =
            n->pipe->assign ? var_find(x, n->pipe->names[0]) : &x->vars[x->nvars - 2];
        struct template_variable *e =
            n->pipe->assign ? var_find(x, n->pipe->names[1]) : &x->vars[x->nvars - 1];
        k->at = (struct template_operand){key, false};
        e->at = element;
    }
    list(x, element, n->list);
    x->nvars = vars;
    bool on = !x->failed && x->flow != FLOW_BREAK;
    x->flow = FLOW_ON;
    return on;
}

static void range(struct template_exec *x, struct template_operand dot,
                  const struct template_node *n)
{
    size_t vars = x->nvars, count = 0;
    struct template_operand o = pipeline(x, dot, n->pipe);
    if (x->failed)
        return;
    const struct value *v = o.v;
    if (v && v->kind == TEMPLATE_HOST) {
        const struct template_thing *t = template_thing_of(v);
        const struct value *all = value_getc(t->fields, "String()");
        v = t->type->map ? t->fields : value_is(all, VALUE_ARRAY) ? all : v;
    }
    if (!v) {
        count = 0;
    } else if (v->kind == VALUE_ARRAY) {
        count = v->n;
        for (uint32_t i = 0; i < v->n; i++)
            if (!iteration(x, n, template_int_value(x->a, TEMPLATE_INT, i),
                           (struct template_operand){v->items[i], !v->b}))
                break;
    } else if (v->kind == VALUE_OBJECT) {
        struct member **order = template_sorted(x->a, v);
        count = v->n;
        for (size_t i = 0, keys = v->n; i < keys; i++)
            if (!iteration(x, n, value_str(x->a, order[i]->key),
                           (struct template_operand){order[i]->value, !v->b}))
                break;
    } else if (v->kind == VALUE_INT && n->pipe->nnames < 2) {
        count = v->i > 0;
        for (int64_t i = 0; i < v->i; i++)
            if (!iteration(x, n, NULL,
                           (struct template_operand){template_int_value(x->a, v->cap, i), false}))
                break;
    } else {
        _cleanup_buf_ struct buf b = BUF_INIT;
        template_print(&b, v);
        if (v->kind == VALUE_INT)
            fault(x, "can't use %s to iterate over more than one variable", buf_cstr(&b));
        else
            fault(x, "range can't iterate over %s", buf_cstr(&b));
    }
    if (!count && !x->failed)
        list(x, dot, n->other);
    x->nvars = vars;
}

static void execute(struct template_exec *x, const struct template_tree *tree,
                    struct template_operand data)
{
    struct template_variable *vars = x->vars;
    size_t nvars = x->nvars, cap = x->cap_vars;
    const struct template_tree *outer = x->tree;
    enum template_flow flow = x->flow;
    x->vars = NULL;
    x->nvars = x->cap_vars = 0;
    x->tree = tree;
    x->flow = FLOW_ON;
    var_push(x, STR("$"), data);
    list(x, data, tree->root);
    free(x->vars);
    x->vars = vars;
    x->nvars = nvars;
    x->cap_vars = cap;
    x->tree = outer;
    x->flow = flow;
}

static void invoke(struct template_exec *x, struct template_operand dot,
                   const struct template_node *n)
{
    x->node = n;
    struct template_tree *tree = template_find(x->set, n->text);
    if (!tree) {
        fault(x, "template %s not defined", quoted(x, n->text));
        return;
    }
    if (x->depth >= TEMPLATE_DEPTH) {
        fault(x, "exceeded maximum template depth (%d)", TEMPLATE_DEPTH);
        return;
    }
    struct template_operand data = nothing;
    size_t vars = x->nvars;
    if (n->pipe)
        data = pipeline(x, dot, n->pipe);
    x->nvars = vars;
    if (x->failed)
        return;
    x->depth++;
    execute(x, tree, data);
    x->depth--;
}

static void walk(struct template_exec *x, struct template_operand dot,
                 const struct template_node *n)
{
    x->node = n;
    if (!step(x))
        return;
    switch (n->kind) {
    case NODE_TEXT:
        buf_str(x->out, n->text);
        break;
    case NODE_ACTION: {
        struct template_operand o = pipeline(x, dot, n->pipe);
        if (!x->failed && !n->pipe->nnames)
            template_print(x->out, o.v);
        break;
    }
    case NODE_IF:
    case NODE_WITH:
        condition(x, dot, n);
        break;
    case NODE_RANGE:
        range(x, dot, n);
        break;
    case NODE_TEMPLATE:
        invoke(x, dot, n);
        break;
    case NODE_BREAK:
        x->flow = FLOW_BREAK;
        break;
    case NODE_CONTINUE:
        x->flow = FLOW_CONTINUE;
        break;
    default:
        list(x, dot, n);
    }
}

int template_execute(struct template_set *set, struct str name, struct value *data, struct buf *out,
                     struct err *e)
{
    struct template_tree *tree = template_find(set, name);
    _cleanup_err_ struct err unread = ERR_INIT;
    if (!tree)
        return err_set(e, ERR_INVALID, "template: no template \"%.*s\" associated with template",
                       STR_ARG(name));
    if (!out->max)
        out->max = TEMPLATE_OUTPUT_MAX;
    struct template_exec x = {.set = set,
                              .a = set->a,
                              .out = out,
                              .e = e ? e : &unread,
                              .memory = set->a->total,
                              .tree = tree};
    execute(&x, tree, (struct template_operand){data, false});
    if (!x.failed && !buf_ok(out))
        return err_set(e, ERR_TOO_LARGE, "template: %.*s: output is longer than %zu bytes",
                       STR_ARG(name), out->max);
    return x.failed ? -422 : 0;
}

// ---- For functions ----

struct arena *template_arena(struct template_call *c)
{
    return c->x->a;
}

struct env *template_env(struct template_call *c)
{
    return c->x->set->o.env;
}

void *template_host(struct template_call *c)
{
    return c->x->set->o.host;
}

int template_param(const struct template_call *c)
{
    return c->param;
}

const char *template_function_name(const struct template_call *c)
{
    return c->name;
}

struct value *template_fail_text(struct template_call *c, struct str text)
{
    fault(c->x, "error calling %s: %.*s", c->name, STR_ARG(text));
    return NULL;
}

struct value *template_fail(struct template_call *c, const char *fmt, ...)
{
    _cleanup_arena_ struct arena scratch = ARENA_INIT;
    va_list ap;
    va_start(ap, fmt);
    struct str text = arena_vprintf(&scratch, fmt, ap);
    va_end(ap);
    return template_fail_text(c, text);
}

// The error of an inner execution becomes the text of the call's.
static struct value *inner(struct template_call *c, const struct template_tree *tree,
                           struct value *data, const char *context)
{
    struct template_exec *x = c->x;
    const struct template_node *at = x->node;
    struct buf out = BUF_MAX(TEMPLATE_OUTPUT_MAX), *outer = x->out;
    struct err e = ERR_INIT, *outer_e = x->e;
    x->out = &out;
    x->e = &e;
    x->depth++;
    execute(x, tree,
            (struct template_operand){data && data->kind == VALUE_NULL ? NULL : data, false});
    x->depth--;
    x->out = outer;
    x->e = outer_e;
    x->node = at;
    struct value *r = NULL;
    if (x->failed) {
        x->failed = false;
        template_fail(c, "%s%s", context, e.message);
    } else {
        r = value_str(x->a, arena_str(x->a, buf_view(&out)));
    }
    err_done(&e);
    buf_done(&out);
    return r;
}

struct value *template_include(struct template_call *c, struct str name, struct value *data)
{
    struct template_tree *tree = template_find(c->x->set, name);
    if (!tree)
        return template_fail(c, "template: no template %s associated with template \"gotpl\"",
                             quoted(c->x, name));
    if (c->x->depth >= TEMPLATE_DEPTH)
        return template_fail(c,
                             "rendering template has a nested reference name: %.*s: unable to "
                             "execute template",
                             STR_ARG(name));
    return inner(c, tree, data, "");
}

struct value *template_tpl(struct template_call *c, struct str name, struct str text,
                           struct value *data)
{
    struct template_set *set = c->x->set;
    if (c->x->depth >= TEMPLATE_DEPTH)
        return template_fail(c, "exceeded maximum template depth (%d)", TEMPLATE_DEPTH);
    size_t n = set->ntrees, cap = set->cap;
    struct template_tree **trees = set->trees;
    // What the text defines is seen by it alone.
    set->trees = arena_array(set->a, struct template_tree *, n + 16);
    memcpy(set->trees, trees, n * sizeof *trees);
    set->cap = n + 16;
    _cleanup_err_ struct err e = ERR_INIT;
    struct value *r = NULL;
    if (template_parse(set, name, text, &e) < 0) {
        struct str shown =
            arena_printf(set->a, "cannot parse template %s: %s", quoted(c->x, text), e.message);
        template_fail_text(c, shown);
    } else {
        struct template_tree *tree = template_find(set, name);
        const char *context =
            arena_printf(set->a, "error during tpl function execution for %s: ", quoted(c->x, text))
                .p;
        r = tree ? inner(c, tree, data, context) : value_strc(set->a, "");
    }
    set->trees = trees;
    set->ntrees = n;
    set->cap = cap;
    return r;
}
