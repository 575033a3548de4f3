// From syntax to program. A program is a list of instructions, each naming the next; an
// alternative names two, the first of which is tried first (leftmost-first, as Perl). Repetitions
// with counts are written out, which is why their product is bounded by the parser and the program
// by REGEX_PROGRAM.
//
// Fragments are compiled from the end to the beginning: compile(node, next) returns where `node`
// begins when `next` follows it, so nothing has to be patched but loops.
#include "text/regex_private.h"
#include "text/utf8.h"

struct regex_compiler {
    struct arena *a;
    struct regex_inst *program;
    uint32_t n, cap;
    bool too_large;
};

static uint32_t emit(struct regex_compiler *c, struct regex_inst inst)
{
    if (c->n == REGEX_PROGRAM) {
        c->too_large = true;
        return 0;
    }
    if (c->n == c->cap) {
        uint32_t cap = c->cap ? c->cap * 2 : 32;
        c->program =
            arena_grow(c->a, c->program, c->cap * sizeof *c->program, cap * sizeof *c->program);
        c->cap = cap;
    }
    c->program[c->n] = inst;
    return c->n++;
}

static uint32_t compile(struct regex_compiler *c, const struct regex_node *n, uint32_t next);

static bool nullable(const struct regex_node *n)
{
    switch (n->op) {
    case REGEX_EMPTY:
    case REGEX_ASSERT:
        return true;
    case REGEX_CAPTURE:
        return nullable(n->first);
    case REGEX_REPEAT:
        return n->min == 0 || nullable(n->first);
    case REGEX_CONCAT:
        for (const struct regex_node *x = n->first; x; x = x->next)
            if (!nullable(x))
                return false;
        return true;
    case REGEX_ALTERNATE:
        for (const struct regex_node *x = n->first; x; x = x->next)
            if (nullable(x))
                return true;
        return false;
    default:
        return false;
    }
}

static uint32_t fork_to(struct regex_compiler *c, bool greedy, uint32_t body, uint32_t next)
{
    return emit(c, (struct regex_inst){
                       .code = CODE_ALT, .out = greedy ? body : next, .arg = greedy ? next : body});
}

// x+ : the body, then a fork that goes back.
static uint32_t plus(struct regex_compiler *c, const struct regex_node *n, uint32_t next)
{
    uint32_t back = fork_to(c, n->greedy, 0, next);
    uint32_t body = compile(c, n->first, back);
    if (c->too_large)
        return 0;
    *(n->greedy ? &c->program[back].out : &c->program[back].arg) = body;
    return body;
}

// x* : a fork before the body. Where the body may be empty, (x+)? keeps the order of preference.
static uint32_t star(struct regex_compiler *c, const struct regex_node *n, uint32_t next)
{
    if (nullable(n->first))
        return fork_to(c, n->greedy, plus(c, n, next), next);
    uint32_t loop = fork_to(c, n->greedy, 0, next);
    uint32_t body = compile(c, n->first, loop);
    if (c->too_large)
        return 0;
    *(n->greedy ? &c->program[loop].out : &c->program[loop].arg) = body;
    return loop;
}

static uint32_t repeat(struct regex_compiler *c, const struct regex_node *n, uint32_t next)
{
    if (n->max < 0) {
        next = n->min == 0 ? star(c, n, next) : plus(c, n, next);
        for (int i = 1; i < n->min && !c->too_large; i++)
            next = compile(c, n->first, next);
        return next;
    }
    uint32_t end = next;
    for (int i = n->min; i < n->max && !c->too_large; i++)
        next = fork_to(c, n->greedy, compile(c, n->first, next), end);
    for (int i = 0; i < n->min && !c->too_large; i++)
        next = compile(c, n->first, next);
    return next;
}

static uint32_t sequence(struct regex_compiler *c, const struct regex_node *n, uint32_t next)
{
    size_t count = 0;
    for (const struct regex_node *x = n->first; x; x = x->next)
        count++;
    const struct regex_node **all = mem_alloc(count * sizeof *all);
    count = 0;
    for (const struct regex_node *x = n->first; x; x = x->next)
        all[count++] = x;
    while (count > 0 && !c->too_large)
        next = compile(c, all[--count], next);
    free(all);
    return next;
}

static uint32_t alternatives(struct regex_compiler *c, const struct regex_node *first,
                             uint32_t next)
{
    uint32_t head = UINT32_MAX, last = 0;
    for (const struct regex_node *x = first; x && !c->too_large; x = x->next) {
        uint32_t begin = compile(c, x, next);
        if (!x->next) {
            if (head == UINT32_MAX)
                return begin;
            c->program[last].arg = begin;
            break;
        }
        uint32_t alt = emit(c, (struct regex_inst){.code = CODE_ALT, .out = begin});
        if (head == UINT32_MAX)
            head = alt;
        else
            c->program[last].arg = alt;
        last = alt;
    }
    return head;
}

static uint32_t compile(struct regex_compiler *c, const struct regex_node *n, uint32_t next)
{
    switch (n->op) {
    case REGEX_EMPTY:
        return next;
    case REGEX_NOTHING:
        return emit(c, (struct regex_inst){.code = CODE_FAIL});
    case REGEX_RUNE:
        return emit(c, (struct regex_inst){.code = CODE_RUNE, .out = next, .arg = n->rune});
    case REGEX_CLASS:
        return emit(c, (struct regex_inst){.code = CODE_CLASS, .out = next, .set = n->set});
    case REGEX_ASSERT:
        return emit(c, (struct regex_inst){.code = CODE_ASSERT, .out = next, .arg = n->assert});
    case REGEX_CAPTURE: {
        uint32_t slot = (uint32_t)n->capture * 2;
        next = emit(c, (struct regex_inst){.code = CODE_CAPTURE, .out = next, .arg = slot + 1});
        next = compile(c, n->first, next);
        return emit(c, (struct regex_inst){.code = CODE_CAPTURE, .out = next, .arg = slot});
    }
    case REGEX_REPEAT:
        return repeat(c, n, next);
    case REGEX_CONCAT:
        return sequence(c, n, next);
    case REGEX_ALTERNATE:
        return alternatives(c, n->first, next);
    }
    return next;
}

// The bytes that every match begins with, read off the beginning of the program.
static struct str find_prefix(struct arena *a, struct regex *re)
{
    struct buf b = BUF_MAX(256);
    uint32_t at = re->start;
    for (; re->program[at].code == CODE_RUNE && b.n < 200; at = re->program[at].out) {
        if (re->program[at].arg == UTF8_ERROR)
            break; // malformed text reads as this character too
        utf8_add(&b, re->program[at].arg);
    }
    struct str prefix = arena_str(a, buf_view(&b));
    buf_done(&b);
    return prefix;
}

int regex_compile(struct arena *a, struct str pattern, struct regex **ret, struct err *e)
{
    struct regex_syntax syntax;
    struct str kept = arena_str(a, pattern);
    int r = regex_parse(a, kept, &syntax, e);
    if (r < 0)
        return r;
    struct regex_compiler c = {.a = a};
    uint32_t match = emit(&c, (struct regex_inst){.code = CODE_MATCH});
    uint32_t start = compile(&c, syntax.root, match);
    if (c.too_large)
        return err_set(e, ERR_INVALID, "error parsing regexp: expression too large");
    struct regex *re = arena_new(a, struct regex);
    re->program = c.program;
    re->n = c.n;
    re->start = start;
    re->groups = syntax.groups;
    re->names = syntax.names;
    re->anchored =
        re->program[start].code == CODE_ASSERT && re->program[start].arg == ASSERT_BEGIN_TEXT;
    re->prefix = find_prefix(a, re);
    *ret = re;
    return 0;
}

size_t regex_groups(const struct regex *re)
{
    return re->groups;
}

struct str regex_group_name(const struct regex *re, size_t group)
{
    return group < re->groups ? re->names[group] : STR_NULL;
}
