// A namespace of templates, and the text of nodes as errors quote it.
#include "template/template_node.h"

struct template_set *template_set_new(struct arena *a, const struct template_options *o)
{
    struct template_set *set = arena_new(a, struct template_set);
    set->a = a;
    set->o = *o;
    if (!set->o.env)
        set->o.env = env_system();
    for (size_t t = 0; o->tables && o->tables[t]; t++)
        for (size_t i = 1; i < o->tables[t]->n; i++)
            BUG_ON(strcmp(o->tables[t]->rows[i - 1].name, o->tables[t]->rows[i].name) >= 0);
    return set;
}

const struct template_function *template_function_find(const struct template_set *set,
                                                       struct str name)
{
    for (size_t t = 0; set->o.tables && set->o.tables[t]; t++) {
        const struct template_functions *f = set->o.tables[t];
        size_t low = 0, high = f->n;
        while (low < high) {
            size_t middle = low + (high - low) / 2;
            int r = str_cmp(name, str_of(f->rows[middle].name));
            if (!r)
                return &f->rows[middle];
            if (r < 0)
                high = middle;
            else
                low = middle + 1;
        }
    }
    return NULL;
}

// Trees are kept sorted by name.
static size_t tree_place(const struct template_set *set, struct str name, bool *is)
{
    size_t low = 0, high = set->ntrees;
    *is = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int r = str_cmp(name, set->trees[middle]->name);
        if (!r) {
            *is = true;
            return middle;
        }
        if (r < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

struct template_tree *template_find(const struct template_set *set, struct str name)
{
    bool is;
    size_t at = tree_place(set, name, &is);
    return is ? set->trees[at] : NULL;
}

bool template_defined(const struct template_set *set, struct str name)
{
    return template_find(set, name) != NULL;
}

void template_tree_set(struct template_set *set, struct template_tree *tree)
{
    bool is;
    size_t at = tree_place(set, tree->name, &is);
    if (is) {
        if (!template_empty(tree->root))
            set->trees[at] = tree;
        return;
    }
    if (set->ntrees == set->cap) {
        size_t cap = set->cap ? set->cap * 2 : 16;
        set->trees =
            arena_grow(set->a, set->trees, set->cap * sizeof *set->trees, cap * sizeof *set->trees);
        set->cap = cap;
    }
    memmove(set->trees + at + 1, set->trees + at, (set->ntrees - at) * sizeof *set->trees);
    set->trees[at] = tree;
    set->ntrees++;
}

bool template_empty(const struct template_node *n)
{
    for (size_t i = 0; n && i < n->nchildren; i++)
        if (n->children[i]->kind != NODE_TEXT || str_trim(n->children[i]->text).n)
            return false;
    return true;
}

static void names_text(struct buf *b, const struct template_node *n, size_t from)
{
    for (size_t i = from; i < n->nnames; i++) {
        buf_char(b, '.');
        buf_str(b, n->names[i]);
    }
}

static void pipe_text(struct buf *b, const struct template_node *n)
{
    for (size_t i = 0; i < n->nnames; i++) {
        buf_puts(b, i ? ", " : "");
        buf_str(b, n->names[i]);
    }
    if (n->nnames)
        buf_puts(b, n->assign ? " = " : " := ");
    for (size_t i = 0; i < n->nchildren; i++) {
        buf_puts(b, i ? " | " : "");
        template_node_text(b, n->children[i]);
    }
}

void template_node_text(struct buf *b, const struct template_node *n)
{
    switch (n->kind) {
    case NODE_PIPE:
        pipe_text(b, n);
        break;
    case NODE_COMMAND:
        for (size_t i = 0; i < n->nchildren; i++) {
            bool inner = n->children[i]->kind == NODE_PIPE;
            buf_puts(b, i ? " " : "");
            buf_puts(b, inner ? "(" : "");
            template_node_text(b, n->children[i]);
            buf_puts(b, inner ? ")" : "");
        }
        break;
    case NODE_FIELD:
        names_text(b, n, 0);
        break;
    case NODE_VARIABLE:
        buf_str(b, n->names[0]);
        names_text(b, n, 1);
        break;
    case NODE_CHAIN: {
        bool inner = n->children[0]->kind == NODE_PIPE;
        buf_puts(b, inner ? "(" : "");
        template_node_text(b, n->children[0]);
        buf_puts(b, inner ? ")" : "");
        names_text(b, n, 0);
        break;
    }
    case NODE_ACTION:
        buf_puts(b, "{{");
        pipe_text(b, n->pipe);
        buf_puts(b, "}}");
        break;
    case NODE_TEMPLATE: {
        buf_puts(b, "{{template ");
        struct value name = {.kind = VALUE_STRING, .s = n->text.p, .n = (uint32_t)n->text.n};
        struct value *args[] = {&name};
        template_sprintf(b, STR("%q"), args, 1);
        if (n->pipe) {
            buf_char(b, ' ');
            pipe_text(b, n->pipe);
        }
        buf_puts(b, "}}");
        break;
    }
    case NODE_DOT:
        buf_char(b, '.');
        break;
    case NODE_IF:
    case NODE_RANGE:
    case NODE_WITH:
        buf_puts(b, n->kind == NODE_IF ? "{{if " : n->kind == NODE_RANGE ? "{{range " : "{{with ");
        pipe_text(b, n->pipe);
        buf_puts(b, "}}");
        break;
    default:
        buf_str(b, n->text);
    }
}
