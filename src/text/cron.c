// Cron schedules. A field is a set of bits and a mark: "said as *". Parsing fills five of them from
// a table; the next activation is found by moving forward from the coarsest field that does not
// match (month, day, hour, minute), each move setting the finer ones to their beginning. The first
// such move cuts the time to the beginning of its unit; later moves only add. That order decides
// what happens at changes of summer time, and is therefore kept as the original has it: an
// activation in an hour that is left out does not happen, one in a repeated hour happens twice if
// the hour is `*`. After a day's move the hour is brought back to midnight, since midnight itself
// may be left out.
#include "text/cron.h"
#include "base/time.h"
#include <openssl/evp.h>

#define YEARS_AHEAD 5
#define HOUR        3600

enum { MINUTE, HOUR_FIELD, DAY, MONTH, WEEKDAY, FIELDS };

struct field {
    uint64_t bits;
    bool star;
};

struct cron {
    struct field fields[FIELDS];
    bool both_days; // Jenkins: day of month and day of week must both match
    const struct zone *zone;
    int64_t every;
};

static const char *const month_names[] = {"jan", "feb", "mar", "apr", "may", "jun",
                                          "jul", "aug", "sep", "oct", "nov", "dec"};
static const char *const day_names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

static const struct bounds {
    unsigned min, max;
    const char *const *names;
    unsigned nnames; // names[0] is min
    unsigned jenkins_max, hash_max;
} bounds[FIELDS] = {
    [MINUTE] = {0, 59, .jenkins_max = 59, .hash_max = 59},
    [HOUR_FIELD] = {0, 23, .jenkins_max = 23, .hash_max = 23},
    [DAY] = {1, 31, .jenkins_max = 31, .hash_max = 28}, // H: a day that every month has
    [MONTH] = {1, 12, month_names, 12, 12, 12},
    [WEEKDAY] = {0, 6, day_names, 7, 7, 6},
};

static uint64_t range_bits(unsigned start, unsigned end, unsigned step)
{
    uint64_t bits = 0;
    for (unsigned i = start; i <= end; i += step) {
        bits |= (uint64_t)1 << i;
        if (step > 63)
            break;
    }
    return bits;
}

// ---- The standard dialect ----

// strconv.Atoi, then: not negative. Larger than an int32 is still a number, to be out of range.
static int number(struct str s, struct str whole, int64_t *ret, struct err *e)
{
    struct str digits = s;
    bool negative = false;
    if (digits.n && (digits.p[0] == '+' || digits.p[0] == '-')) {
        negative = digits.p[0] == '-';
        digits = str_from(digits, 1);
    }
    bool numeric = digits.n > 0;
    for (size_t i = 0; i < digits.n; i++)
        numeric &= digits.p[i] >= '0' && digits.p[i] <= '9';
    const char *fault = numeric ? "value out of range" : "invalid syntax";
    int64_t v = 0;
    if (!numeric || !str_to_i64(digits, &v))
        return err_set(e, ERR_INVALID,
                       "failed to parse int from %.*s: strconv.Atoi: parsing \"%.*s\": %s",
                       STR_ARG(whole), STR_ARG(s), fault);
    if (negative && v)
        return err_set(e, ERR_INVALID, "negative number (-%lld) not allowed: %.*s", (long long)v,
                       STR_ARG(whole));
    *ret = v;
    return 0;
}

static int number_or_name(struct str s, const struct bounds *b, int64_t *ret, struct err *e)
{
    for (unsigned i = 0; i < b->nnames; i++)
        if (str_ieq(s, str_of(b->names[i]))) {
            *ret = b->min + i;
            return 0;
        }
    return number(s, s, ret, e);
}

static size_t split(struct str s, char sep, struct str *parts, size_t max)
{
    size_t n = 0;
    for (struct str rest = s.p ? s : STR(""); rest.p; n++) {
        struct str part = str_cut(&rest, sep);
        if (n < max)
            parts[n] = part;
    }
    return n;
}

// number | number "-" number [ "/" number ], * or ? for the first
static int standard_range(struct str text, const struct bounds *b, struct field *f, struct err *e)
{
    struct str steps[2] = {0}, ends[2] = {0};
    int64_t start, end, step = 1;
    size_t nsteps = split(text, '/', steps, 2), nends = split(steps[0], '-', ends, 2);
    bool star = str_eqc(ends[0], "*") || str_eqc(ends[0], "?");
    int r;
    if (star) {
        start = b->min;
        end = b->max;
    } else {
        if ((r = number_or_name(ends[0], b, &start, e)) < 0)
            return r;
        end = start;
        if (nends > 2)
            return err_set(e, ERR_INVALID, "too many hyphens: %.*s", STR_ARG(text));
        if (nends == 2 && (r = number_or_name(ends[1], b, &end, e)) < 0)
            return r;
    }
    if (nsteps > 2)
        return err_set(e, ERR_INVALID, "too many slashes: %.*s", STR_ARG(text));
    if (nsteps == 2) {
        if ((r = number(steps[1], steps[1], &step, e)) < 0)
            return r;
        if (nends == 1)
            end = b->max; // "N/step" is "N-max/step"
        star &= step <= 1;
    }
    if (start < b->min)
        return err_set(e, ERR_INVALID, "beginning of range (%lld) below minimum (%u): %.*s",
                       (long long)start, b->min, STR_ARG(text));
    if (end > b->max)
        return err_set(e, ERR_INVALID, "end of range (%lld) above maximum (%u): %.*s",
                       (long long)end, b->max, STR_ARG(text));
    if (start > end)
        return err_set(e, ERR_INVALID, "beginning of range (%lld) beyond end of range (%lld): %.*s",
                       (long long)start, (long long)end, STR_ARG(text));
    if (step == 0)
        return err_set(e, ERR_INVALID, "step of range should be a positive number: %.*s",
                       STR_ARG(text));
    f->bits |= range_bits((unsigned)start, (unsigned)end, step > 64 ? 64 : (unsigned)step);
    f->star |= star;
    return 0;
}

static int standard_field(struct str text, const struct bounds *b, struct field *f, struct err *e)
{
    for (struct str rest = text; rest.p;) {
        struct str part = str_cut(&rest, ',');
        int r = part.n ? standard_range(part, b, f, e) : 0; // empty parts say nothing
        if (r < 0)
            return r;
    }
    return 0;
}

// ---- Jenkins' dialect ----

// java.util.Random, whose draws the original makes.
struct draw {
    uint64_t seed;
};

static struct draw draw_seed(struct str name)
{
    unsigned char md[EVP_MAX_MD_SIZE] = {0};
    uint64_t folded = 0;
    EVP_Digest(name.p ? name.p : "", name.n, md, NULL, EVP_md5(), NULL);
    for (int i = 0; i < 8; i++)
        folded = folded << 8 | (uint8_t)(md[i] ^ md[i + 8]);
    return (struct draw){(folded ^ 0x5DEECE66DULL) & (((uint64_t)1 << 48) - 1)};
}

static int32_t draw_31(struct draw *d)
{
    d->seed = (d->seed * 0x5DEECE66DULL + 0xB) & (((uint64_t)1 << 48) - 1);
    return (int32_t)(d->seed >> 17);
}

static unsigned draw_below(struct draw *d, unsigned n)
{
    if ((n & (n - 1)) == 0)
        return (unsigned)((uint64_t)n * (uint64_t)draw_31(d) >> 31);
    int64_t bits, v;
    do {
        bits = draw_31(d);
        v = bits % n;
    } while (bits - v + (n - 1) > INT32_MAX);
    return (unsigned)v;
}

struct jenkins {
    struct str text;
    size_t at;
    struct draw draw;
    struct err *e;
};

static int jenkins_fault(struct jenkins *j, const char *what)
{
    return err_set(j->e, ERR_INVALID, "Invalid input: \"%.*s\": column %zu: %s", STR_ARG(j->text),
                   j->at + 1, what);
}

static char peek(const struct jenkins *j)
{
    return j->at < j->text.n ? j->text.p[j->at] : 0;
}

static bool take(struct jenkins *j, char c)
{
    bool is = peek(j) == c && c;
    j->at += is;
    return is;
}

static int jenkins_number(struct jenkins *j, unsigned *ret)
{
    unsigned v = 0, n = 0;
    for (; peek(j) >= '0' && peek(j) <= '9' && n < 9; n++, j->at++)
        v = v * 10 + (unsigned)(peek(j) - '0');
    *ret = v;
    return n ? 0 : jenkins_fault(j, "expecting a number");
}

static int jenkins_in(struct jenkins *j, unsigned v, unsigned min, unsigned max)
{
    if (v >= min && v <= max)
        return 0;
    return err_set(j->e, ERR_INVALID,
                   "%u is an invalid value. Must be within the range of %u and %u", v, min, max);
}

// [ "/" number ]; 0 where there is none.
static int jenkins_step(struct jenkins *j, unsigned *step)
{
    *step = 0;
    if (!take(j, '/'))
        return 0;
    int r = jenkins_number(j, step);
    return r < 0 || *step ? r : jenkins_in(j, 0, 1, 60);
}

// H [ "(" number "-" number ")" ] [ "/" number ]
static int jenkins_hash(struct jenkins *j, const struct bounds *b, struct field *f)
{
    unsigned start = b->min, end = b->hash_max, step;
    if (take(j, '(')) {
        if (jenkins_number(j, &start) < 0)
            return -1;
        if (!take(j, '-'))
            return jenkins_fault(j, "expecting '-'");
        if (jenkins_number(j, &end) < 0)
            return -1;
        if (!take(j, ')'))
            return jenkins_fault(j, "expecting ')'");
        if (jenkins_in(j, start, b->min, b->jenkins_max) < 0 ||
            jenkins_in(j, end, b->min, b->jenkins_max) < 0)
            return -1;
        if (start > end)
            return err_set(j->e, ERR_INVALID, "You mean %u-%u?", end, start);
    }
    if (jenkins_step(j, &step) < 0)
        return -1;
    if (step && jenkins_in(j, step, 1, end - start + 1) < 0)
        return -1;
    if (step > 1)
        f->bits |= range_bits(draw_below(&j->draw, step) + start, end, step);
    else
        f->bits |= (uint64_t)1 << (start + draw_below(&j->draw, end + 1 - start));
    return 0;
}

static int jenkins_term(struct jenkins *j, const struct bounds *b, struct field *f)
{
    unsigned start = b->min, end = b->jenkins_max, step;
    if (take(j, 'H'))
        return jenkins_hash(j, b, f);
    if (!take(j, '*')) {
        if (jenkins_number(j, &start) < 0 || jenkins_in(j, start, b->min, b->jenkins_max) < 0)
            return -1;
        end = start;
        if (take(j, '-') &&
            (jenkins_number(j, &end) < 0 || jenkins_in(j, end, b->min, b->jenkins_max) < 0))
            return -1;
        if (start > end)
            return err_set(j->e, ERR_INVALID, "You mean %u-%u?", end, start);
    }
    if (jenkins_step(j, &step) < 0)
        return -1;
    if (step > end - start + 1)
        return jenkins_in(j, step, 1, end - start + 1);
    f->bits |= range_bits(start, end, step ? step : 1);
    return 0;
}

static int jenkins_line(struct jenkins *j, struct cron *c)
{
    for (int i = 0; i < FIELDS; i++) {
        size_t before = j->at;
        while (peek(j) == ' ' || peek(j) == '\t')
            j->at++;
        if (i && j->at == before)
            return jenkins_fault(j, "expecting space");
        do {
            if (jenkins_term(j, &bounds[i], &c->fields[i]) < 0)
                return -1;
        } while (take(j, ','));
    }
    if (j->at < j->text.n)
        return jenkins_fault(j, "expecting end of line");
    if (c->fields[WEEKDAY].bits >> 7 & 1)
        c->fields[WEEKDAY].bits |= 1; // 7 is Sunday too
    return 0;
}

// ---- Descriptors ----

static const struct descriptor {
    const char *name, *standard, *jenkins;
} descriptors[] = {
    {"@yearly", "0 0 1 1 *", "H H H H *"},  {"@annually", "0 0 1 1 *", "H H H H *"},
    {"@monthly", "0 0 1 * *", "H H H * *"}, {"@weekly", "0 0 * * 0", "H H * * H"},
    {"@daily", "0 0 * * *", "H H * * *"},   {"@midnight", "0 0 * * *", "H H(0-2) * * *"},
    {"@hourly", "0 * * * *", "H * * * *"},
};

static const struct descriptor *descriptor_find(struct str s)
{
    for (size_t i = 0; i < sizeof descriptors / sizeof *descriptors; i++)
        if (str_eqc(s, descriptors[i].name))
            return &descriptors[i];
    return NULL;
}

static int every_parse(struct str spec, struct cron *c, struct err *e)
{
    struct str text = str_from(spec, strlen("@every "));
    int64_t ns;
    if (!duration_parse(text, &ns))
        return err_set(e, ERR_INVALID,
                       "failed to parse duration %.*s: time: invalid duration \"%.*s\"",
                       STR_ARG(spec), STR_ARG(text));
    c->every = ns < NS_PER_S ? 1 : ns / NS_PER_S; // whole seconds, at least one
    return 0;
}

static int fields_parse(struct str spec, struct cron *c, struct err *e)
{
    struct str words[FIELDS];
    size_t n = 0;
    _cleanup_arena_ struct arena scratch = ARENA_INIT;
    struct buf said = BUF_INIT;
    for (size_t i = 0; i < spec.n;) {
        size_t start = i;
        while (i < spec.n && !strchr(" \t\n\v\f\r", spec.p[i]))
            i++;
        if (i > start) {
            if (n < FIELDS)
                words[n] = str_sub(spec, start, i - start);
            buf_puts(&said, n++ ? " " : "");
            buf_str(&said, str_sub(spec, start, i - start));
        }
        i++;
    }
    struct str text = arena_str(&scratch, buf_view(&said));
    buf_done(&said);
    if (n != FIELDS)
        return err_set(e, ERR_INVALID, "expected exactly %d fields, found %zu: [%.*s]", FIELDS, n,
                       STR_ARG(text));
    for (int i = 0; i < FIELDS; i++) {
        int r = standard_field(words[i], &bounds[i], &c->fields[i], e);
        if (r < 0)
            return r;
    }
    return 0;
}

static int zone_prefix(struct arena *a, struct str *spec, struct cron *c, struct err *e)
{
    if (!str_starts(*spec, STR("TZ=")) && !str_starts(*spec, STR("CRON_TZ=")))
        return 0;
    struct str rest = *spec;
    str_cut(&rest, '=');
    struct str name = str_cut(&rest, ' ');
    _cleanup_err_ struct err fault = ERR_INIT;
    if (!rest.p)
        return err_set(e, ERR_INVALID, "provided bad location %.*s: no schedule follows",
                       STR_ARG(name));
    if (zone_load(a, name, &c->zone, &fault) < 0)
        return err_wrap(e, &fault, "provided bad location %.*s", STR_ARG(name));
    *spec = str_trim(rest);
    return 0;
}

static int standard_parse(struct arena *a, struct str spec, struct cron *c, struct err *e)
{
    int r = zone_prefix(a, &spec, c, e);
    if (r < 0)
        return r;
    if (str_starts(spec, STR("@every ")))
        return every_parse(spec, c, e);
    if (!str_starts(spec, STR("@")))
        return fields_parse(spec, c, e);
    const struct descriptor *d = descriptor_find(spec);
    if (!d)
        return err_set(e, ERR_INVALID, "unrecognized descriptor: %.*s", STR_ARG(spec));
    return fields_parse(str_of(d->standard), c, e);
}

static int jenkins_parse(struct str spec, struct str hash, struct cron *c, struct err *e)
{
    struct str text = str_trim(spec);
    const struct descriptor *d = descriptor_find(text);
    struct jenkins j = {.text = d ? str_of(d->jenkins) : text, .draw = draw_seed(hash), .e = e};
    c->both_days = true;
    return jenkins_line(&j, c) < 0 ? err_code(e) ? err_code(e) : -422 : 0;
}

int cron_parse(struct arena *a, struct str spec, const struct cron_options *o, struct cron **ret,
               struct err *e)
{
    struct cron *c = arena_new(a, struct cron);
    c->zone = o->zone ? o->zone : zone_utc();
    if (!spec.n)
        return err_set(e, ERR_INVALID, "empty spec string");
    if (spec.n > CRON_SPEC_MAX)
        return err_set(e, ERR_INVALID, "schedule is longer than %d bytes", CRON_SPEC_MAX);
    int r = o->dialect == CRON_JENKINS ? jenkins_parse(spec, o->hash, c, e)
                                       : standard_parse(a, spec, c, e);
    if (r < 0)
        return r;
    *ret = c;
    return 0;
}

// ---- The next activation ----

static bool has(const struct cron *c, int field, int value)
{
    return c->fields[field].bits >> value & 1;
}

static bool day_matches(const struct cron *c, const struct civil *at)
{
    bool day = has(c, DAY, at->day), weekday = has(c, WEEKDAY, at->weekday);
    if (c->both_days || c->fields[DAY].star || c->fields[WEEKDAY].star)
        return day && weekday;
    return day || weekday;
}

struct walk {
    const struct zone *zone;
    int64_t t;
    struct civil at;
    bool cut; // the time has been cut to the beginning of some unit
};

static void walk_to(struct walk *w, int64_t t)
{
    w->t = t;
    w->at = zone_civil(w->zone, t);
}

static void next_month(struct walk *w)
{
    struct civil c = w->at;
    if (!w->cut) {
        c = (struct civil){.year = c.year, .month = c.month, .day = 1};
        walk_to(w, zone_unix(w->zone, &c));
        w->cut = true;
        c = w->at;
    }
    c.month++;
    walk_to(w, zone_unix(w->zone, &c));
}

static void next_day(struct walk *w)
{
    struct civil c = w->at;
    if (!w->cut) {
        c.hour = c.minute = c.second = 0;
        walk_to(w, zone_unix(w->zone, &c));
        w->cut = true;
        c = w->at;
    }
    c.day++;
    walk_to(w, zone_unix(w->zone, &c));
    if (w->at.hour > 12)
        walk_to(w, w->t + (24 - w->at.hour) * HOUR);
    else if (w->at.hour)
        walk_to(w, w->t - w->at.hour * HOUR);
}

static void next_hour(struct walk *w)
{
    struct civil c = w->at;
    if (!w->cut) {
        c.minute = c.second = 0;
        walk_to(w, zone_unix(w->zone, &c));
        w->cut = true;
    }
    walk_to(w, w->t + HOUR);
}

static void next_minute(struct walk *w)
{
    if (!w->cut) {
        int64_t over = w->t % 60;
        walk_to(w, w->t - (over < 0 ? over + 60 : over));
        w->cut = true;
    }
    walk_to(w, w->t + 60);
}

bool cron_next(const struct cron *c, int64_t after, int64_t *ret)
{
    if (c->every) {
        *ret = after + c->every;
        return true;
    }
    for (int i = 0; i < FIELDS; i++)
        if (!c->fields[i].bits)
            return false; // "," is a field without values
    struct walk w = {.zone = c->zone};
    walk_to(&w, after + 1);
    int64_t last = w.at.year + YEARS_AHEAD;
    // The moves that a walk over all days, and over all hours of the days that match, can take.
    for (int moves = 0; w.at.year <= last && moves < 200000; moves++) {
        if (!has(c, MONTH, w.at.month))
            next_month(&w);
        else if (!day_matches(c, &w.at))
            next_day(&w);
        else if (!has(c, HOUR_FIELD, w.at.hour))
            next_hour(&w);
        else if (!has(c, MINUTE, w.at.minute))
            next_minute(&w);
        else if (w.at.second) { // seconds: always 0
            walk_to(&w, w.t + 60 - w.at.second);
            w.cut = true;
        } else {
            *ret = w.t;
            return true;
        }
    }
    return false;
}

bool cron_last(const struct cron *c, int64_t earliest, int64_t at, size_t limit, int64_t *ret)
{
    bool found = false;
    int64_t t = earliest, next;
    for (size_t i = 0; i < limit && cron_next(c, t, &next) && next <= at; i++) {
        *ret = t = next;
        found = true;
    }
    return found;
}

int64_t cron_every(const struct cron *c)
{
    return c->every;
}
