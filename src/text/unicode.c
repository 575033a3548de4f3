// Lookups in the tables of unicode_tables.c, by halves. Case comes in runs: most alphabets
// alternate capital and small letters, so that a run is every second character.
#include "text/unicode.h"
#include "text/unicode_tables.h"

#define FIND(table, count, c, first, last)                                                         \
    ({                                                                                             \
        size_t low_ = 0, high_ = (count), at_ = SIZE_MAX;                                          \
        while (low_ < high_) {                                                                     \
            size_t middle_ = low_ + (high_ - low_) / 2;                                            \
            if ((c) < (table)[middle_].first)                                                      \
                high_ = middle_;                                                                   \
            else if ((c) > (table)[middle_].last)                                                  \
                low_ = middle_ + 1;                                                                \
            else {                                                                                 \
                at_ = middle_;                                                                     \
                break;                                                                             \
            }                                                                                      \
        }                                                                                          \
        at_;                                                                                       \
    })

const char *unicode_category(uint32_t c)
{
    size_t at = FIND(unicode_categories, unicode_ncategories, c, lo, hi);
    return at == SIZE_MAX ? "Cn" : unicode_categories[at].category;
}

bool unicode_is_letter(uint32_t c)
{
    return unicode_category(c)[0] == 'L';
}

bool unicode_is_upper(uint32_t c)
{
    const char *category = unicode_category(c);
    return category[0] == 'L' && category[1] == 'u';
}

bool unicode_is_lower(uint32_t c)
{
    const char *category = unicode_category(c);
    return category[0] == 'L' && category[1] == 'l';
}

bool unicode_is_digit(uint32_t c)
{
    const char *category = unicode_category(c);
    return category[0] == 'N' && category[1] == 'd';
}

bool unicode_is_punct(uint32_t c)
{
    return unicode_category(c)[0] == 'P';
}

bool unicode_is_space(uint32_t c)
{
    return (c >= '\t' && c <= '\r') || c == 0x85 || unicode_category(c)[0] == 'Z';
}

// Runs of capital and small letters interleave, so that up to two runs span a character.
static const struct unicode_case_run *case_run(uint32_t c)
{
    size_t low = 0, high = unicode_ncases; // runs before `low` begin at or before c
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (unicode_cases[middle].lo <= c)
            low = middle + 1;
        else
            high = middle;
    }
    for (size_t back = 0; back < 3 && low > 0; back++) {
        const struct unicode_case_run *r = &unicode_cases[--low];
        if (c <= r->hi && (c - r->lo) % r->stride == 0)
            return r;
    }
    return NULL;
}

uint32_t unicode_upper(uint32_t c)
{
    const struct unicode_case_run *r = case_run(c);
    return r ? c + (uint32_t)r->upper : c;
}

uint32_t unicode_lower(uint32_t c)
{
    const struct unicode_case_run *r = case_run(c);
    return r ? c + (uint32_t)r->lower : c;
}

uint32_t unicode_title(uint32_t c)
{
    const struct unicode_case_run *r = case_run(c);
    return r ? c + (uint32_t)r->title : c;
}

uint32_t unicode_fold(uint32_t c)
{
    if (c < 0x80 && !((c | 32) >= 'a' && (c | 32) <= 'z'))
        return c;
    size_t at = FIND(unicode_folds, unicode_nfolds, c, from, from);
    if (at != SIZE_MAX)
        return unicode_folds[at].to;
    uint32_t lower = unicode_lower(c);
    return lower != c ? lower : unicode_upper(c);
}

bool unicode_class(struct str name, void (*fn)(void *ctx, uint32_t lo, uint32_t hi), void *ctx)
{
    bool found = false;
    if (str_eqc(name, "Any")) {
        fn(ctx, 0, 0x10FFFF);
        return true;
    }
    for (size_t i = 0; name.n && name.n <= 2 && i < unicode_ncategories; i++) {
        const struct unicode_span *s = &unicode_categories[i];
        if (s->category[0] == name.p[0] && (name.n == 1 || s->category[1] == name.p[1])) {
            fn(ctx, s->lo, s->hi);
            found = true;
        }
    }
    for (uint16_t script = 0; !found && script < unicode_nscript_names; script++) {
        if (!str_eqc(name, unicode_script_names[script]))
            continue;
        found = true;
        for (size_t i = 0; i < unicode_nscripts; i++)
            if (unicode_scripts[i].script == script)
                fn(ctx, unicode_scripts[i].lo, unicode_scripts[i].hi);
    }
    return found;
}
