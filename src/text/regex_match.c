// Running a program, in two ways with the same answers:
//
//   marks    for short texts: try the alternatives in their order, marking each pair of instruction
//            and position that was seen, so that none is tried twice. Quick, and memory for the
//            marks is small where program times text is.
//   threads  for all others: a list of threads in order of preference moves through the text a
//            character at a time; an instruction is on the list at most once. Pike's machine.
//
// Both are linear in program times text. The walks over instructions that take no character keep a
// stack of their own, bounded by the size of the program.
#include "text/regex_private.h"
#include "text/utf8.h"

bool regex_class_has(const struct regex_class *set, uint32_t c)
{
    if (c < 128)
        return set->ascii[c / 64] >> (c % 64) & 1;
    size_t low = 0, high = set->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (c < set->ranges[middle].lo)
            high = middle;
        else if (c > set->ranges[middle].hi)
            low = middle + 1;
        else
            return true;
    }
    return false;
}

static bool is_word(struct str s, size_t at)
{
    unsigned char c = at < s.n ? (unsigned char)s.p[at] : 0;
    return c == '_' || (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z' && c < 128);
}

static bool holds(unsigned assert, struct str s, size_t at)
{
    switch (assert) {
    case ASSERT_BEGIN_TEXT:
        return at == 0;
    case ASSERT_END_TEXT:
        return at == s.n;
    case ASSERT_BEGIN_LINE:
        return at == 0 || s.p[at - 1] == '\n';
    case ASSERT_END_LINE:
        return at == s.n || s.p[at] == '\n';
    default: {
        bool boundary = (at > 0 && is_word(s, at - 1)) != is_word(s, at);
        return boundary == (assert == ASSERT_WORD);
    }
    }
}

static bool takes(const struct regex_inst *i, uint32_t c)
{
    return i->code == CODE_RUNE ? i->arg == c : regex_class_has(i->set, c);
}

// Where a match can begin at or after `at`; false: nowhere.
static bool next_start(const struct regex *re, struct str s, size_t *at)
{
    if (re->anchored)
        return *at == 0;
    if (!re->prefix.n || *at > s.n)
        return *at <= s.n;
    const char *p = *at < s.n ? memmem(s.p + *at, s.n - *at, re->prefix.p, re->prefix.n) : NULL;
    if (!p)
        return false;
    *at = (size_t)(p - s.p);
    return true;
}

// ---- Marks ----

#define MARKS_MAX ((size_t)256 * 1024) // bits

struct regex_job { // an instruction to run, or (pc == UINT32_MAX) a capture to put back
    uint32_t pc, slot;
    size_t at;
};

struct regex_marks {
    const struct regex *re;
    struct str s;
    size_t base; // position of the first column
    uint64_t *seen;
    struct regex_job *jobs;
    size_t njobs, cap;
    size_t *captures, ncaptures;
};

static void job_push(struct regex_marks *m, uint32_t pc, uint32_t slot, size_t at)
{
    if (m->njobs == m->cap) {
        m->cap = m->cap ? m->cap * 2 : 64;
        m->jobs = mem_realloc(m->jobs, m->cap * sizeof *m->jobs);
    }
    m->jobs[m->njobs++] = (struct regex_job){pc, slot, at};
}

static bool mark(struct regex_marks *m, uint32_t pc, size_t at)
{
    size_t bit = (at - m->base) * m->re->n + pc;
    uint64_t one = (uint64_t)1 << (bit % 64);
    if (m->seen[bit / 64] & one)
        return false;
    m->seen[bit / 64] |= one;
    return true;
}

// From one job on, until it fails or matches.
static bool marks_follow(struct regex_marks *m, uint32_t pc, size_t at)
{
    while (mark(m, pc, at)) {
        const struct regex_inst *i = &m->re->program[pc];
        size_t width;
        switch (i->code) {
        case CODE_MATCH:
            if (m->ncaptures > 1)
                m->captures[1] = at;
            return true;
        case CODE_FAIL:
            return false;
        case CODE_ALT:
            job_push(m, i->arg, 0, at);
            break;
        case CODE_CAPTURE:
            if (i->arg < m->ncaptures) {
                job_push(m, UINT32_MAX, i->arg, m->captures[i->arg]);
                m->captures[i->arg] = at;
            }
            break;
        case CODE_ASSERT:
            if (!holds(i->arg, m->s, at))
                return false;
            break;
        default:
            if (at == m->s.n || !takes(i, utf8_at(m->s, at, &width)))
                return false;
            at += width;
        }
        pc = i->out;
    }
    return false;
}

static bool marks_from(struct regex_marks *m, size_t at)
{
    m->njobs = 0;
    job_push(m, m->re->start, 0, at);
    while (m->njobs) {
        struct regex_job j = m->jobs[--m->njobs];
        if (j.pc == UINT32_MAX)
            m->captures[j.slot] = j.at;
        else if (marks_follow(m, j.pc, j.at))
            return true;
    }
    return false;
}

static bool run_marks(const struct regex *re, struct str s, size_t from, size_t *captures,
                      size_t ncaptures)
{
    struct regex_marks m = {
        .re = re, .s = s, .base = from, .captures = captures, .ncaptures = ncaptures};
    m.seen = mem_zalloc(((s.n - from + 1) * re->n + 63) / 64 * sizeof *m.seen);
    bool found = false;
    for (size_t at = from; next_start(re, s, &at) && !found;) {
        for (size_t i = 0; i < ncaptures; i++)
            captures[i] = REGEX_NONE;
        found = marks_from(&m, at);
        if (found && ncaptures)
            captures[0] = at;
        size_t width = 1;
        if (at < s.n)
            utf8_at(s, at, &width);
        at += width;
        if (at > s.n || re->anchored)
            break;
    }
    free(m.seen);
    free(m.jobs);
    return found;
}

// ---- Threads ----

struct regex_list { // a sparse set of instructions in order, each with captures
    uint32_t *dense, *sparse, n;
    size_t *captures;
};

struct regex_threads {
    const struct regex *re;
    struct str s;
    struct regex_list lists[2];
    size_t ncaptures;
    struct regex_job *jobs;
    size_t njobs, cap;
    size_t *current;
};

static void thread_push(struct regex_threads *t, uint32_t pc, uint32_t slot, size_t at)
{
    if (t->njobs == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 64;
        t->jobs = mem_realloc(t->jobs, t->cap * sizeof *t->jobs);
    }
    t->jobs[t->njobs++] = (struct regex_job){pc, slot, at};
}

static bool list_add(struct regex_list *l, uint32_t pc)
{
    uint32_t j = l->sparse[pc];
    if (j < l->n && l->dense[j] == pc)
        return false;
    l->sparse[pc] = l->n;
    l->dense[l->n++] = pc;
    return true;
}

// Adds pc and all that it leads to without taking a character. t->current: the captures.
static void thread_add(struct regex_threads *t, struct regex_list *l, uint32_t pc, size_t at)
{
    t->njobs = 0;
    thread_push(t, pc, 0, 0);
    while (t->njobs) {
        struct regex_job j = t->jobs[--t->njobs];
        if (j.pc == UINT32_MAX) {
            t->current[j.slot] = j.at;
            continue;
        }
        if (!list_add(l, j.pc))
            continue;
        const struct regex_inst *i = &t->re->program[j.pc];
        switch (i->code) {
        case CODE_ALT:
            thread_push(t, i->arg, 0, 0);
            thread_push(t, i->out, 0, 0);
            break;
        case CODE_ASSERT:
            if (holds(i->arg, t->s, at))
                thread_push(t, i->out, 0, 0);
            break;
        case CODE_CAPTURE:
            if (i->arg < t->ncaptures) {
                thread_push(t, UINT32_MAX, i->arg, t->current[i->arg]);
                t->current[i->arg] = at;
            }
            thread_push(t, i->out, 0, 0);
            break;
        default:
            memcpy(l->captures + (size_t)(l->n - 1) * t->ncaptures, t->current,
                   t->ncaptures * sizeof *t->current);
        }
    }
}

// One character for all threads; a match ends those behind it.
static bool threads_step(struct regex_threads *t, struct regex_list *from, struct regex_list *to,
                         size_t at, uint32_t c, size_t width, size_t *captures)
{
    for (uint32_t k = 0; k < from->n; k++) {
        const struct regex_inst *i = &t->re->program[from->dense[k]];
        size_t *mine = from->captures + (size_t)k * t->ncaptures;
        if (i->code == CODE_MATCH) {
            memcpy(captures, mine, t->ncaptures * sizeof *mine);
            if (t->ncaptures > 1)
                captures[1] = at;
            return true;
        }
        if ((i->code == CODE_RUNE || i->code == CODE_CLASS) && width && takes(i, c)) {
            memcpy(t->current, mine, t->ncaptures * sizeof *mine);
            thread_add(t, to, i->out, at + width);
        }
    }
    return false;
}

static bool threads_run(struct regex_threads *t, size_t from, size_t *captures)
{
    struct regex_list *now = &t->lists[0], *next = &t->lists[1];
    bool found = false;
    for (size_t at = from, width;; at += width) {
        if (!now->n && (found || !next_start(t->re, t->s, &at)))
            break;
        if (!found && (!t->re->anchored || at == 0)) {
            for (size_t i = 0; i < t->ncaptures; i++)
                t->current[i] = REGEX_NONE;
            if (t->ncaptures)
                t->current[0] = at;
            thread_add(t, now, t->re->start, at);
        }
        width = 0;
        uint32_t c = at < t->s.n ? utf8_at(t->s, at, &width) : 0;
        next->n = 0;
        found |= threads_step(t, now, next, at, c, width, captures);
        struct regex_list *swap = now;
        now = next;
        next = swap;
        if (at >= t->s.n)
            break;
    }
    return found;
}

static bool run_threads(const struct regex *re, struct str s, size_t from, size_t *captures,
                        size_t ncaptures)
{
    struct regex_threads t = {.re = re, .s = s, .ncaptures = ncaptures};
    for (int i = 0; i < 2; i++) {
        t.lists[i].dense = mem_alloc(re->n * sizeof(uint32_t));
        t.lists[i].sparse = mem_zalloc(re->n * sizeof(uint32_t));
        t.lists[i].captures = mem_alloc((re->n * ncaptures + 1) * sizeof(size_t));
    }
    t.current = mem_alloc((ncaptures + 1) * sizeof(size_t));
    bool found = threads_run(&t, from, captures);
    for (int i = 0; i < 2; i++) {
        free(t.lists[i].dense);
        free(t.lists[i].sparse);
        free(t.lists[i].captures);
    }
    free(t.current);
    free(t.jobs);
    return found;
}

bool regex_find(const struct regex *re, struct str text, size_t from, size_t *ret, size_t n)
{
    if (from > text.n)
        return false;
    if (!text.p)
        text = STR("");
    if (n > 2 * re->groups) {
        for (size_t i = 2 * re->groups; i < n; i++)
            ret[i] = REGEX_NONE;
        n = 2 * re->groups;
    }
    if ((text.n - from + 1) <= MARKS_MAX / re->n)
        return run_marks(re, text, from, ret, n);
    size_t unused[2];
    return run_threads(re, text, from, n ? ret : unused, n);
}

bool regex_match(const struct regex *re, struct str text)
{
    return regex_find(re, text, 0, NULL, 0);
}
