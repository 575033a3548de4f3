// What regex_parse.c makes, regex_compile.c turns into a program and regex_match.c runs.
#pragma once
#include "text/regex.h"

enum regex_op {
    REGEX_EMPTY,
    REGEX_NOTHING, // matches no text at all: [^\x00-\x{10FFFF}]
    REGEX_RUNE,
    REGEX_CLASS,
    REGEX_ASSERT,
    REGEX_CAPTURE,
    REGEX_REPEAT, // min, max (-1: no end), greedy
    REGEX_CONCAT,
    REGEX_ALTERNATE,
};

enum {
    ASSERT_BEGIN_LINE = 1,
    ASSERT_END_LINE = 2,
    ASSERT_BEGIN_TEXT = 4,
    ASSERT_END_TEXT = 8,
    ASSERT_WORD = 16,
    ASSERT_NOT_WORD = 32,
};

struct regex_range {
    uint32_t lo, hi;
};

// A set of characters: ranges ascending and apart; the first 128 once more as bits.
struct regex_class {
    struct regex_range *ranges;
    size_t n, cap;
    uint64_t ascii[2];
};

struct regex_node {
    enum regex_op op;
    uint32_t rune;   // REGEX_RUNE
    unsigned assert; // REGEX_ASSERT
    bool greedy;     // REGEX_REPEAT
    int min, max;    // REGEX_REPEAT
    int capture;     // REGEX_CAPTURE
    struct regex_class *set;
    struct regex_node *first, *next; // children and siblings
};

struct regex_syntax {
    struct regex_node *root;
    struct str *names; // by group
    size_t groups;
};

int regex_parse(struct arena *a, struct str pattern, struct regex_syntax *ret, struct err *e);

enum regex_code {
    CODE_MATCH,
    CODE_RUNE,
    CODE_CLASS,
    CODE_ALT,
    CODE_CAPTURE,
    CODE_ASSERT,
    CODE_FAIL
};
struct regex_inst {
    enum regex_code code;
    uint32_t out, arg; // arg: second way, rune, capture slot, assertion
    const struct regex_class *set;
};

struct regex {
    struct regex_inst *program;
    uint32_t n, start;
    size_t groups;
    struct str *names;
    bool anchored;     // begins with \A
    struct str prefix; // every match begins with these bytes
};
bool regex_class_has(const struct regex_class *set, uint32_t c);
