// Whether one set of PolicyRules holds all that another grants.
//
// A rule grants every combination of its groups, resources, names and verbs, so one of 6 kB can
// stand for 15 million of them; they are never written out. Instead each word that is asked for is
// described by the set of own rules that have it, as bits, and words of the same set are one class:
// 250 resources that no rule knows are one class, and so are all of "*". What is then compared are
// classes, of which there are as many as the own rules tell apart. A combination is held when the
// sets of its words have a rule in common.
//
// Looking at each word once is linear. Classes may still multiply where somebody holds many rules
// that overlap; that work is counted and given up at STEPS_MAX, which counts as not held. It also
// ends as soon as RBAC_SHORTFALL_MAX missing rules are known.
#include "apiserver/rbac.h"
#include "base/map.h"

#define STEPS_MAX ((uint64_t)1 << 22) // words of bits looked at: some milliseconds

// Which own rules have a word: their numbers, rising.
struct rule_set {
    uint32_t *rules;
    uint32_t n, cap;
};

enum word { WORD_GROUP, WORD_RESOURCE, WORD_SUBRESOURCE, WORD_NAME, WORD_VERB, WORD_URL, WORDS };

struct prefix {
    struct str text; // what stands before the final "*" of a URL
    struct rule_set holders;
};

// The words of one kind of a wanted rule that the same own rules have.
struct class
{
    uint64_t *mask;
    const struct value **words;
    size_t n, cap;
};
struct classes {
    struct class *list;
    size_t n, cap;
    // The words in the order in which they were asked for, and the class of each.
    const struct value **words;
    size_t *of, nwords;
};

struct cover {
    struct arena *a;
    struct map words[WORDS]; // word -> struct rule_set
    struct rule_set any[WORDS];
    struct prefix *prefixes;
    size_t nprefixes, cap_prefixes;
    size_t nmask; // words of 64 bits in a set of own rules
    struct rbac_shortfall *missing;
    bool all;
};

// ---- the index of the own rules

static void hold(struct cover *c, struct rule_set *h, uint32_t rule)
{
    if (h->n && h->rules[h->n - 1] == rule)
        return;
    if (h->n == h->cap) {
        uint32_t cap = h->cap ? h->cap * 2 : 4;
        h->rules = arena_grow(c->a, h->rules, h->cap * sizeof *h->rules, cap * sizeof *h->rules);
        h->cap = cap;
    }
    h->rules[h->n++] = rule;
}

static void hold_word(struct cover *c, enum word kind, struct str word, uint32_t rule)
{
    struct rule_set *h = map_get(&c->words[kind], word);
    if (!h)
        map_set(&c->words[kind], word, h = arena_new(c->a, struct rule_set));
    hold(c, h, rule);
}

static void hold_url(struct cover *c, struct str url, uint32_t rule)
{
    hold_word(c, WORD_URL, url, rule);
    if (!str_ends(url, STR("*")))
        return;
    if (c->nprefixes == c->cap_prefixes) {
        size_t cap = c->cap_prefixes ? c->cap_prefixes * 2 : 4;
        c->prefixes = arena_grow(c->a, c->prefixes, c->cap_prefixes * sizeof *c->prefixes,
                                 cap * sizeof *c->prefixes);
        c->cap_prefixes = cap;
    }
    struct prefix *p = &c->prefixes[c->nprefixes++];
    *p = (struct prefix){.text = str_sub(url, 0, url.n - 1)};
    hold(c, &p->holders, rule);
}

static void index_words(struct cover *c, enum word kind, const struct value *list, uint32_t rule)
{
    value_each_item (list, it) {
        struct str word = value_string(it);
        if (str_eqc(word, "*") && kind != WORD_NAME)
            hold(c, &c->any[kind], rule);
        else if (kind == WORD_RESOURCE && str_starts(word, STR("*/")))
            hold_word(c, WORD_SUBRESOURCE, str_from(word, 2), rule);
        else if (kind == WORD_URL)
            hold_url(c, word, rule);
        else
            hold_word(c, kind, word, rule);
    }
}

static void index_rules(struct cover *c, const struct value *have)
{
    value_each_item (have, rule) {
        uint32_t i = (uint32_t)rule_i;
        index_words(c, WORD_GROUP, value_getc(rule, "apiGroups"), i);
        index_words(c, WORD_RESOURCE, value_getc(rule, "resources"), i);
        index_words(c, WORD_VERB, value_getc(rule, "verbs"), i);
        index_words(c, WORD_URL, value_getc(rule, "nonResourceURLs"), i);
        index_words(c, WORD_NAME, value_getc(rule, "resourceNames"), i);
        if (!value_len(value_getc(rule, "resourceNames")))
            hold(c, &c->any[WORD_NAME], i);
    }
    c->nmask = value_len(have) / 64 + 1;
}

// ---- classes of wanted words

static void work(struct cover *c, uint64_t n)
{
    c->missing->steps += n;
    if (c->missing->steps > STEPS_MAX)
        c->missing->too_large = true;
}

static void add_holders(struct cover *c, uint64_t *mask, const struct rule_set *h)
{
    for (uint32_t i = 0; h && i < h->n; i++)
        mask[h->rules[i] / 64] |= (uint64_t)1 << (h->rules[i] % 64);
    work(c, h ? h->n / 64 : 0);
}

// The own rules that have the word. false: only those that have all words of its kind.
static bool mask_of(struct cover *c, enum word kind, struct str word, uint64_t *mask)
{
    const struct rule_set *exact = map_get(&c->words[kind], word), *sub = NULL;
    if (kind == WORD_RESOURCE && str_chr(word, '/') >= 0)
        sub = map_get(&c->words[WORD_SUBRESOURCE], str_from(word, (size_t)str_chr(word, '/') + 1));
    if (!exact && !sub && !(kind == WORD_URL && c->nprefixes))
        return false;
    memset(mask, 0, c->nmask * sizeof *mask);
    add_holders(c, mask, &c->any[kind]);
    add_holders(c, mask, exact);
    add_holders(c, mask, sub);
    for (size_t i = 0; kind == WORD_URL && i < c->nprefixes; i++)
        if (str_starts(word, c->prefixes[i].text))
            add_holders(c, mask, &c->prefixes[i].holders);
    work(c, c->nmask + (kind == WORD_URL ? c->nprefixes : 0));
    return true;
}

static size_t class_new(struct cover *c, struct classes *to, const uint64_t *mask)
{
    if (to->n == to->cap) {
        size_t cap = to->cap ? to->cap * 2 : 4;
        to->list = arena_grow(c->a, to->list, to->cap * sizeof *to->list, cap * sizeof *to->list);
        to->cap = cap;
    }
    struct class *k = &to->list[to->n];
    *k = (struct class){.mask = arena_array(c->a, uint64_t, c->nmask)};
    memcpy(k->mask, mask, c->nmask * sizeof *mask);
    return to->n++;
}

static void class_add(struct cover *c, struct classes *to, size_t at, const struct value *word)
{
    struct class *k = &to->list[at];
    to->words[to->nwords] = word;
    to->of[to->nwords++] = at;
    if (k->n == k->cap) {
        size_t cap = k->cap ? k->cap * 2 : 4;
        k->words = arena_grow(c->a, k->words, k->cap * sizeof *k->words, cap * sizeof *k->words);
        k->cap = cap;
    }
    k->words[k->n++] = word;
}

static struct classes classes_of(struct cover *c, enum word kind, const struct value *list)
{
    struct classes ret = {.words = arena_array(c->a, const struct value *, value_len(list) + 1),
                          .of = arena_array(c->a, size_t, value_len(list) + 1)};
    struct map seen = MAP_INIT, by_mask = MAP_INIT;
    uint64_t *mask = arena_array(c->a, uint64_t, c->nmask),
             *any = arena_array(c->a, uint64_t, c->nmask);
    memset(any, 0, c->nmask * sizeof *any);
    add_holders(c, any, &c->any[kind]);
    size_t unknown = SIZE_MAX; // the class of the words that no own rule names
    value_each_item (list, it) {
        struct str word = value_string(it);
        if (c->missing->too_large || map_set(&seen, word, &seen))
            continue;
        if (!mask_of(c, kind, word, mask)) {
            if (unknown == SIZE_MAX)
                unknown = class_new(c, &ret, any);
            class_add(c, &ret, unknown, it);
            continue;
        }
        struct str key = str_n(mask, c->nmask * sizeof *mask);
        uintptr_t at = (uintptr_t)map_get(&by_mask, key); // one more than the index
        if (!at)
            map_set(&by_mask, key, (void *)(at = class_new(c, &ret, mask) + 1));
        class_add(c, &ret, at - 1, it);
    }
    map_done(&seen);
    map_done(&by_mask);
    return ret;
}

// ---- what is missing

static bool enough(const struct cover *c)
{
    return c->missing->too_large || c->missing->more;
}

static void both(struct cover *c, uint64_t *to, const uint64_t *x, const uint64_t *y)
{
    for (size_t i = 0; i < c->nmask; i++)
        to[i] = x[i] & y[i];
    work(c, c->nmask);
}

static bool meet(struct cover *c, const uint64_t *x, const uint64_t *y)
{
    size_t i = 0;
    while (i < c->nmask && !(x[i] & y[i]))
        i++;
    work(c, i + 1);
    return i < c->nmask;
}

static void push_word(struct cover *c, struct value *rule, const char *field,
                      const struct value *word)
{
    struct value *list = value_array(c->a);
    value_push(c->a, list, value_str(c->a, value_string(word)));
    value_setc(c->a, rule, field, list);
}

static bool has_word(const struct value *list, struct str word)
{
    value_each_item (list, it)
        if (str_eq(value_string(it), word))
            return true;
    return false;
}

static void merge_verbs(struct cover *c, struct value *into, const struct value *verbs)
{
    value_each_item (verbs, v)
        if (into->n < RBAC_SHORTFALL_MAX && !has_word(into, value_string(v)))
            value_push(c->a, into, v);
}

// Verbs on the same thing are told together.
static struct value *find_missing(struct cover *c, const struct value *group,
                                  const struct value *resource, const struct value *name)
{
    value_each_item (c->missing->rules, rule) {
        const struct value *n = value_item(value_getc(rule, "resourceNames"), 0);
        if (has_word(value_getc(rule, "apiGroups"), value_string(group)) &&
            has_word(value_getc(rule, "resources"), value_string(resource)) && !n == !name &&
            (!n || str_eq(value_string(n), value_string(name))))
            return value_getc(rule, "verbs");
    }
    return NULL;
}

static struct value *new_missing(struct cover *c)
{
    struct value *rule = value_object(c->a);
    if (value_len(c->missing->rules) == RBAC_SHORTFALL_MAX) {
        c->missing->more = true;
        return NULL;
    }
    value_push(c->a, c->missing->rules, rule);
    return rule;
}

static void miss_resource(struct cover *c, const struct value *group, const struct value *resource,
                          const struct value *name, const struct value *verbs)
{
    struct value *rule, *have = find_missing(c, group, resource, name);
    if (have) {
        merge_verbs(c, have, verbs);
        return;
    }
    if (!(rule = new_missing(c)))
        return;
    push_word(c, rule, "apiGroups", group);
    push_word(c, rule, "resources", resource);
    if (name)
        push_word(c, rule, "resourceNames", name);
    have = value_array(c->a);
    merge_verbs(c, have, verbs);
    value_setc(c->a, rule, "verbs", have);
}

// The verbs, of those wanted, that none of the rules in `mask` has; NULL: they have all.
static struct value *missing_verbs(struct cover *c, const uint64_t *mask,
                                   const struct classes *verbs)
{
    bool *lacks = arena_array(c->a, bool, verbs->n + 1), any = false;
    for (size_t i = 0; i < verbs->n; i++)
        any |= lacks[i] = !meet(c, mask, verbs->list[i].mask);
    if (!any)
        return NULL;
    struct value *ret = value_array(c->a);
    for (size_t i = 0; i < verbs->nwords && ret->n < RBAC_SHORTFALL_MAX; i++)
        if (lacks[verbs->of[i]])
            value_push(c->a, ret, value_str(c->a, value_string(verbs->words[i])));
    return ret;
}

static void compare_names(struct cover *c, const struct class *group, const struct class *resource,
                          const uint64_t *mask, const struct class *names,
                          const struct classes *verbs)
{
    struct value *missing = missing_verbs(c, mask, verbs);
    if (!missing)
        return;
    c->all = false;
    for (size_t g = 0; g < group->n; g++)
        for (size_t r = 0; r < resource->n; r++)
            for (size_t n = 0; n < (names->n ? names->n : 1) && !enough(c); n++)
                miss_resource(c, group->words[g], resource->words[r],
                              names->n ? names->words[n] : NULL, missing);
}

static void compare_resources(struct cover *c, const struct value *want)
{
    const struct value *name_list = value_getc(want, "resourceNames");
    struct classes groups = classes_of(c, WORD_GROUP, value_getc(want, "apiGroups")),
                   resources = classes_of(c, WORD_RESOURCE, value_getc(want, "resources")),
                   verbs = classes_of(c, WORD_VERB, value_getc(want, "verbs")),
                   names = classes_of(c, WORD_NAME, name_list);
    uint64_t *mask = arena_array(c->a, uint64_t, c->nmask),
             *named = arena_array(c->a, uint64_t, c->nmask);
    if (!value_len(name_list)) { // every name: what rules without names have
        uint64_t *any = arena_array(c->a, uint64_t, c->nmask);
        memset(any, 0, c->nmask * sizeof *any);
        add_holders(c, any, &c->any[WORD_NAME]);
        class_new(c, &names, any);
    }
    for (size_t g = 0; g < groups.n; g++)
        for (size_t r = 0; r < resources.n && !enough(c); r++) {
            both(c, mask, groups.list[g].mask, resources.list[r].mask);
            for (size_t n = 0; n < names.n && !enough(c); n++) {
                both(c, named, mask, names.list[n].mask);
                compare_names(c, &groups.list[g], &resources.list[r], named, &names.list[n],
                              &verbs);
            }
        }
}

static void miss_url(struct cover *c, const struct value *url, const struct value *verb)
{
    struct value *rule = new_missing(c);
    if (!rule)
        return;
    push_word(c, rule, "nonResourceURLs", url);
    push_word(c, rule, "verbs", verb);
}

static void compare_urls(struct cover *c, const struct value *want)
{
    struct classes urls = classes_of(c, WORD_URL, value_getc(want, "nonResourceURLs")),
                   verbs = classes_of(c, WORD_VERB, value_getc(want, "verbs"));
    for (size_t u = 0; u < urls.n && !enough(c); u++) {
        const struct value *missing = missing_verbs(c, urls.list[u].mask, &verbs);
        c->all = c->all && !missing;
        for (size_t i = 0; missing && i < urls.list[u].n && !enough(c); i++)
            value_each_item (missing, verb)
                miss_url(c, urls.list[u].words[i], verb);
    }
}

bool rbac_rules_cover(struct arena *a, const struct value *have, const struct value *want,
                      struct rbac_shortfall *ret)
{
    struct cover c = {.a = a, .missing = ret, .all = true};
    *ret = (struct rbac_shortfall){.rules = value_array(a)};
    index_rules(&c, have);
    value_each_item (want, rule) {
        if (enough(&c))
            break;
        if (value_len(value_getc(rule, "nonResourceURLs")))
            compare_urls(&c, rule);
        compare_resources(&c, rule);
    }
    for (size_t i = 0; i < WORDS; i++)
        map_done(&c.words[i]);
    return c.all && !ret->too_large;
}
