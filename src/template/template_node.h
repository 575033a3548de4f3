// The parse tree. Positions are bytes from the beginning of the text.
#pragma once
#include "template/template_value.h"

enum template_node_kind {
    NODE_TEXT,
    NODE_ACTION, // pipe
    NODE_IF,     // pipe, list, other
    NODE_RANGE,
    NODE_WITH,
    NODE_TEMPLATE, // name, pipe
    NODE_BREAK,
    NODE_CONTINUE,
    NODE_LIST,    // children
    NODE_PIPE,    // children: commands; declared variables in `names`
    NODE_COMMAND, // children: operands
    NODE_DOT,
    NODE_NIL,
    NODE_BOOL,
    NODE_NUMBER,
    NODE_STRING,
    NODE_FIELD,      // names: .a.b
    NODE_VARIABLE,   // names: $x .a .b
    NODE_CHAIN,      // children[0], names
    NODE_IDENTIFIER, // text; function
};

struct template_tree;
struct template_node {
    enum template_node_kind kind;
    size_t pos;
    const struct template_tree *tree;
    struct str text; // as written; NODE_STRING: with its quotes; NODE_TEMPLATE: the name
    struct template_node *pipe, *list, *other;
    struct template_node **children;
    size_t nchildren;
    struct str *names;
    size_t nnames;
    bool assign;         // NODE_PIPE: "=" instead of ":="
    struct value *value; // constants: NODE_STRING, NODE_BOOL
    bool is_int, is_float, is_uint, looks_float;
    int64_t i;
    double f;
    const struct template_function *function;
};

struct template_tree {
    struct str name;       // of the template
    struct str parse_name; // of the text that it stands in
    struct str text;
    struct template_node *root;
};

struct template_set {
    struct arena *a;
    struct template_options o;
    struct template_tree **trees;
    size_t ntrees, cap;
    struct template_exec *running;
};

struct template_tree *template_find(const struct template_set *set, struct str name);
const struct template_function *template_function_find(const struct template_set *set,
                                                       struct str name);
void template_tree_set(struct template_set *set, struct template_tree *tree);
void template_node_text(struct buf *b, const struct template_node *n); // Go's Node.String
bool template_empty(const struct template_node *n); // white space and definitions only

// ---- The lexer ----

enum template_token_kind {
    TOKEN_ERROR,
    TOKEN_EOF,
    TOKEN_TEXT,
    TOKEN_LEFT,
    TOKEN_RIGHT,
    TOKEN_SPACE,
    TOKEN_FIELD,      // .x
    TOKEN_IDENTIFIER, // also keywords
    TOKEN_VARIABLE,   // $x
    TOKEN_DOT,
    TOKEN_NUMBER,
    TOKEN_CHAR_CONSTANT,
    TOKEN_STRING,
    TOKEN_RAW_STRING,
    TOKEN_BOOL,
    TOKEN_PIPE,
    TOKEN_LEFT_PAREN,
    TOKEN_RIGHT_PAREN,
    TOKEN_DECLARE,
    TOKEN_ASSIGN,
    TOKEN_CHAR,
    TOKEN_KEYWORD,
};
struct template_token {
    enum template_token_kind kind;
    size_t pos;
    int line;
    struct str text;
};
struct template_lexer {
    struct arena *a;
    struct str s;
    size_t at, start;
    int line, start_line;
    int parens;
    bool inside;    // between delimiters
    bool trim_next; // the delimiter just read trims
};
struct template_token template_lex(struct template_lexer *l);
