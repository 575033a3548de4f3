// Time zones from TZif files (RFC 8536). A file is: a header of counts, the moments at which the
// offset changes, the index of the type that begins at each, the types (offset, summer time,
// abbreviation), the abbreviations; from version 2 on all that once more with 64-bit times, then a
// line with the rule for all later times in the form of POSIX' TZ variable ("CET-1CEST,M3.5.0,
// M10.5.0/3"). We read the last block that the version promises and the rule.
//
// Lookups answer the offset and how long it holds: zone_unix needs the second to decide whether its
// first guess was right. Behind the last change the rule decides; a year's two changes are computed
// from it on the spot, with a guard of a day around the ends of the year as Go has none: there the
// year of UTC decides, and so it does here.
//
// A file is a stranger's input as little as /etc is, but names come from API objects, and so the
// reader trusts nothing: counts are checked against the length before anything is read, indices
// against counts, moments must ascend.
#include "text/zone.h"
#include "base/env.h"
#include "base/time.h"

#define DAY 86400

struct zone_type {
    int32_t offset;
    bool dst;
    struct str abbreviation;
};

// When summer time begins or ends in a year (POSIX TZ).
struct zone_rule {
    enum { RULE_JULIAN, RULE_DAY, RULE_MONTH } kind; // Jn, n, Mm.w.d
    int day, week, month;
    int32_t time; // seconds behind midnight, local
};

struct zone_tail {
    bool set, has_dst;
    struct zone_type std, dst;
    struct zone_rule begin, end;
};

struct zone {
    struct str name;
    struct zone_type *types;
    size_t ntypes;
    int64_t *at; // ascending
    uint8_t *index;
    size_t n;
    size_t first; // the type that holds before at[0]
    struct zone_tail tail;
};

// What holds at a moment, from `start` on and before `end`.
struct zone_span {
    const struct zone_type *type;
    int64_t start, end;
};

static struct zone_type utc_type = {0, false, {"UTC", 3}};
static const struct zone utc = {.name = {"UTC", 3}, .types = &utc_type, .ntypes = 1};

const struct zone *zone_utc(void)
{
    return &utc;
}

struct str zone_name(const struct zone *z)
{
    return z->name;
}

struct zone *zone_fixed(struct arena *a, struct str name, int32_t offset)
{
    struct zone *z = arena_new(a, struct zone);
    z->name = arena_str(a, name);
    z->types = arena_new(a, struct zone_type);
    z->types[0] = (struct zone_type){offset, false, z->name};
    z->ntypes = 1;
    return z;
}

// ---- The rule behind the last change ----

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool number(struct str *s, int low, int high, int *ret)
{
    int v = 0;
    size_t i = 0;
    for (; i < s->n && digit(s->p[i]) && v <= high; i++)
        v = v * 10 + (s->p[i] - '0');
    *s = str_from(*s, i);
    *ret = v;
    return i && v >= low && v <= high;
}

static bool skip(struct str *s, char c)
{
    if (!s->n || s->p[0] != c)
        return false;
    *s = str_from(*s, 1);
    return true;
}

static bool tail_name(struct str *s, struct str *ret)
{
    size_t n = 0;
    if (skip(s, '<')) {
        ptrdiff_t end = str_chr(*s, '>');
        if (end < 0)
            return false;
        *ret = str_sub(*s, 0, (size_t)end);
        *s = str_from(*s, (size_t)end + 1);
        return true;
    }
    while (n < s->n && !digit(s->p[n]) && !memchr(",-+", s->p[n], 3))
        n++;
    *ret = str_sub(*s, 0, n);
    *s = str_from(*s, n);
    return n >= 3;
}

// [+-]hh[:mm[:ss]]
static bool tail_time(struct str *s, int32_t *ret)
{
    int h, m = 0, sec = 0;
    bool negative = skip(s, '-');
    if (!negative)
        skip(s, '+');
    if (!number(s, 0, 24 * 7, &h) || (skip(s, ':') && !number(s, 0, 59, &m)) ||
        (skip(s, ':') && !number(s, 0, 59, &sec)))
        return false;
    int32_t t = h * 3600 + m * 60 + sec;
    *ret = negative ? -t : t;
    return true;
}

static bool tail_rule(struct str *s, struct zone_rule *ret)
{
    struct zone_rule r = {.time = 2 * 3600};
    bool ok;
    if (skip(s, 'J')) {
        r.kind = RULE_JULIAN;
        ok = number(s, 1, 365, &r.day);
    } else if (skip(s, 'M')) {
        r.kind = RULE_MONTH;
        ok = number(s, 1, 12, &r.month) && skip(s, '.') && number(s, 1, 5, &r.week) &&
             skip(s, '.') && number(s, 0, 6, &r.day);
    } else {
        r.kind = RULE_DAY;
        ok = number(s, 0, 365, &r.day);
    }
    if (!ok || (skip(s, '/') && !tail_time(s, &r.time)))
        return false;
    *ret = r;
    return true;
}

static bool tail_parse(struct str s, struct zone_tail *t)
{
    int32_t offset;
    if (!tail_name(&s, &t->std.abbreviation) || !tail_time(&s, &offset))
        return false;
    t->std.offset = -offset;
    t->set = true;
    if (!s.n || s.p[0] == ',')
        return true;
    if (!tail_name(&s, &t->dst.abbreviation))
        return false;
    t->has_dst = t->dst.dst = true;
    t->dst.offset = t->std.offset + 3600;
    if (s.n && s.p[0] != ',') {
        if (!tail_time(&s, &offset))
            return false;
        t->dst.offset = -offset;
    }
    if (!s.n)
        s = STR(",M3.2.0,M11.1.0");
    return skip(&s, ',') && tail_rule(&s, &t->begin) && skip(&s, ',') && tail_rule(&s, &t->end) &&
           !s.n;
}

static bool leap(int64_t y)
{
    return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

// Seconds from the beginning of the year (as UTC) to the change, by the clock that held before.
static int64_t rule_seconds(int64_t year, const struct zone_rule *r, int32_t offset)
{
    int64_t day = r->day;
    if (r->kind == RULE_JULIAN) {
        day = r->day - 1 + (leap(year) && r->day >= 60);
    } else if (r->kind == RULE_MONTH) {
        int64_t first = time_days_from_civil(year, r->month, 1);
        int weekday = (int)(((first + 4) % 7 + 7) % 7);
        int64_t next = r->month < 12 ? time_days_from_civil(year, r->month + 1, 1)
                                     : time_days_from_civil(year + 1, 1, 1);
        int64_t d = (r->day - weekday + 7) % 7 + 7 * (r->week - 1);
        while (d >= next - first)
            d -= 7;
        day = first + d - time_days_from_civil(year, 1, 1);
    }
    return day * DAY + r->time - offset;
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static struct zone_span tail_span(const struct zone_tail *t, int64_t from, int64_t when)
{
    if (!t->has_dst)
        return (struct zone_span){&t->std, from, INT64_MAX};
    int64_t y;
    int m, d;
    time_civil_from_days(floor_div(when, DAY), &y, &m, &d);
    int64_t year = time_days_from_civil(y, 1, 1) * DAY;
    int64_t begin = year + rule_seconds(y, &t->begin, t->std.offset);
    int64_t end = year + rule_seconds(y, &t->end, t->dst.offset);
    const struct zone_type *outside = &t->std, *inside = &t->dst;
    if (end < begin) {
        int64_t swap = begin;
        begin = end;
        end = swap;
        outside = &t->dst;
        inside = &t->std;
    }
    int64_t next_year = time_days_from_civil(y + 1, 1, 1) * DAY;
    if (when < begin)
        return (struct zone_span){outside, year, begin};
    if (when >= end)
        return (struct zone_span){outside, end, next_year};
    return (struct zone_span){inside, begin, end};
}

static struct zone_span lookup(const struct zone *z, int64_t when)
{
    if (!z->n || when < z->at[0]) {
        if (!z->n && z->tail.set)
            return tail_span(&z->tail, INT64_MIN, when);
        return (struct zone_span){&z->types[z->first], INT64_MIN, z->n ? z->at[0] : INT64_MAX};
    }
    size_t low = 0, high = z->n; // at[low] <= when < at[high]
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (z->at[middle] <= when)
            low = middle;
        else
            high = middle;
    }
    if (low == z->n - 1 && z->tail.set)
        return tail_span(&z->tail, z->at[low], when);
    return (struct zone_span){&z->types[z->index[low]], z->at[low],
                              low + 1 < z->n ? z->at[low + 1] : INT64_MAX};
}

struct civil zone_civil(const struct zone *z, int64_t unix_seconds)
{
    struct zone_span span = lookup(z, unix_seconds);
    int64_t local = unix_seconds + span.type->offset;
    int64_t days = floor_div(local, DAY), second = local - days * DAY;
    struct civil c = {.hour = (int)(second / 3600),
                      .minute = (int)(second / 60 % 60),
                      .second = (int)(second % 60),
                      .weekday = (int)(((days + 4) % 7 + 7) % 7),
                      .offset = span.type->offset,
                      .abbreviation = span.type->abbreviation};
    time_civil_from_days(days, &c.year, &c.month, &c.day);
    c.yearday = (int)(days - time_days_from_civil(c.year, 1, 1)) + 1;
    return c;
}

int64_t zone_unix(const struct zone *z, const struct civil *c)
{
    int64_t month = c->month - 1, year = c->year + floor_div(month, 12);
    month -= floor_div(month, 12) * 12;
    int64_t days = time_days_from_civil(year, (int)month + 1, 1) + c->day - 1;
    int64_t local = days * DAY + c->hour * 3600LL + c->minute * 60LL + c->second;
    struct zone_span span = lookup(z, local);
    int64_t t = local - span.type->offset;
    if (span.type->offset && (t < span.start || t >= span.end))
        t = local - lookup(z, t).type->offset;
    return t;
}

// ---- The file ----

struct counts {
    size_t isut, isstd, leap, time, type, chars;
};

#define HEADER 44

static uint32_t be32(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;
    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

static bool counts_read(struct str s, struct counts *c)
{
    if (s.n < HEADER || memcmp(s.p, "TZif", 4) != 0)
        return false;
    size_t *const fields[] = {&c->isut, &c->isstd, &c->leap, &c->time, &c->type, &c->chars};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        *fields[i] = be32(s.p + 20 + 4 * i);
    return c->time <= ZONE_TRANSITIONS && c->type >= 1 && c->type <= 256 && c->chars <= 4096 &&
           c->leap <= 4096 && c->isut <= 256 && c->isstd <= 256;
}

static size_t block_size(const struct counts *c, size_t width)
{
    return c->time * (width + 1) + c->type * 6 + c->chars + c->leap * (width + 4) + c->isstd +
           c->isut;
}

static bool types_read(struct arena *a, struct zone *z, struct str types, struct str chars)
{
    struct str names = arena_str(a, chars);
    z->ntypes = types.n / 6;
    z->types = arena_array(a, struct zone_type, z->ntypes);
    for (size_t i = 0; i < z->ntypes; i++) {
        const char *p = types.p + 6 * i;
        size_t at = (unsigned char)p[5];
        if (at >= names.n)
            return false;
        struct str name = str_from(names, at);
        ptrdiff_t end = str_chr(name, '\0');
        if (end < 0)
            return false;
        z->types[i] =
            (struct zone_type){(int32_t)be32(p), p[4] != 0, str_sub(name, 0, (size_t)end)};
        if (z->types[i].offset < -26 * 3600 || z->types[i].offset > 26 * 3600)
            return false;
    }
    return true;
}

static bool times_read(struct arena *a, struct zone *z, const struct counts *c, struct str s,
                       size_t width)
{
    z->n = c->time;
    z->at = arena_array(a, int64_t, z->n + 1);
    z->index = arena_array(a, uint8_t, z->n + 1);
    for (size_t i = 0; i < z->n; i++) {
        const char *p = s.p + i * width;
        z->at[i] = width == 8 ? (int64_t)((uint64_t)be32(p) << 32 | be32(p + 4))
                              : (int64_t)(int32_t)be32(p);
        z->index[i] = (uint8_t)s.p[c->time * width + i];
        if (z->index[i] >= c->type || (i && z->at[i] <= z->at[i - 1]))
            return false;
    }
    return true;
}

// The type before the first change: type 0 if no change begins it; else, where the first change
// begins summer time, the nearest other type listed before it; else the first that is not summer
// time.
static size_t first_type(const struct zone *z)
{
    bool used = false;
    for (size_t i = 0; i < z->n; i++)
        used |= z->index[i] == 0;
    if (!used)
        return 0;
    if (z->n && z->types[z->index[0]].dst)
        for (size_t i = z->index[0]; i-- > 0;)
            if (!z->types[i].dst)
                return i;
    for (size_t i = 0; i < z->ntypes; i++)
        if (!z->types[i].dst)
            return i;
    return 0;
}

int zone_parse(struct arena *a, struct str name, struct str tzif, struct zone **ret, struct err *e)
{
    struct counts c;
    struct zone *z = arena_new(a, struct zone);
    size_t width = 4;
    struct str s = tzif;
    if (!counts_read(s, &c))
        goto malformed;
    if (s.p[4] >= '2') {
        size_t first = HEADER + block_size(&c, 4);
        if (first > s.n)
            goto malformed;
        s = str_from(s, first);
        width = 8;
        if (!counts_read(s, &c))
            goto malformed;
    }
    s = str_from(s, HEADER);
    if (s.n < block_size(&c, width))
        goto malformed;
    z->name = arena_str(a, name);
    if (!types_read(a, z, str_sub(s, c.time * (width + 1), c.type * 6),
                    str_sub(s, c.time * (width + 1) + c.type * 6, c.chars)) ||
        !times_read(a, z, &c, s, width))
        goto malformed;
    z->first = first_type(z);
    s = str_from(s, block_size(&c, width));
    if (width == 8 && skip(&s, '\n')) {
        // A rule that cannot be read is as good as none: the last type goes on.
        struct zone_tail tail = {0};
        struct str line = arena_str(a, str_cut(&s, '\n'));
        if (line.n && tail_parse(line, &tail))
            z->tail = tail;
    }
    *ret = z;
    return 0;
malformed:
    return err_set(e, ERR_INVALID, "malformed time zone information");
}

static bool name_valid(struct str name)
{
    if (name.p[0] == '/' || str_chr(name, '\\') >= 0 || str_chr(name, '\0') >= 0)
        return false;
    for (struct str rest = name; rest.p;)
        if (str_eqc(str_cut(&rest, '/'), ".."))
            return false;
    return true;
}

int zone_load(struct arena *a, struct str name, const struct zone **ret, struct err *e)
{
    struct str data;
    struct zone *z;
    if (!name.n || str_eqc(name, "UTC")) {
        *ret = &utc;
        return 0;
    }
    bool local = str_eqc(name, "Local");
    if (!name_valid(name))
        return err_set(e, ERR_INVALID, "time: invalid location name");
    if (name.n > 255)
        return err_set(e, ERR_INVALID, "unknown time zone %.*s", STR_ARG(name));
    const char *path = local ? "/etc/localtime"
                             : arena_cstr(a, arena_printf(a, "%s/%.*s", ZONE_DIR, STR_ARG(name)));
    if (file_read_all(a, path, ZONE_FILE_MAX, &data, NULL) < 0) {
        if (!local)
            return err_set(e, ERR_INVALID, "unknown time zone %.*s", STR_ARG(name));
        *ret = &utc;
        return 0;
    }
    int r = zone_parse(a, name, data, &z, e);
    if (r < 0)
        return r;
    *ret = z;
    return 0;
}
