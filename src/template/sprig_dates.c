// Sprig's dates: Go's layouts ("2006-01-02 15:04:05 MST"), written and read.
#include "base/time.h"
#include "template/sprig.h"
#include <math.h>

#define ARENA(c) template_arena(c)
#define FN(name) static struct value *name(struct template_call *c, struct value **args, size_t n)
#define UNUSED_N (void)n

static const char *const months[] = {"January",   "February", "March",    "April",
                                     "May",       "June",     "July",     "August",
                                     "September", "October",  "November", "December"};
static const char *const days[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                   "Thursday", "Friday", "Saturday"};

enum date_part {
    PART_NONE,
    PART_LONG_MONTH,
    PART_MONTH,
    PART_NUM_MONTH,
    PART_ZERO_MONTH,
    PART_LONG_WEEKDAY,
    PART_WEEKDAY,
    PART_DAY,
    PART_UNDER_DAY,
    PART_ZERO_DAY,
    PART_YEARDAY,
    PART_HOUR,
    PART_HOUR12,
    PART_ZERO_HOUR12,
    PART_MINUTE,
    PART_ZERO_MINUTE,
    PART_SECOND,
    PART_ZERO_SECOND,
    PART_LONG_YEAR,
    PART_YEAR,
    PART_PM,
    PART_SMALL_PM,
    PART_ZONE,
    PART_OFFSET,
    PART_FRACTION,
};

static const struct date_word {
    const char *text;
    enum date_part part;
} words[] = {
    // where one begins with another, the longer first
    {"January", PART_LONG_MONTH},
    {"Jan", PART_MONTH},
    {"Monday", PART_LONG_WEEKDAY},
    {"Mon", PART_WEEKDAY},
    {"MST", PART_ZONE},
    {"002", PART_YEARDAY},
    {"01", PART_ZERO_MONTH},
    {"02", PART_ZERO_DAY},
    {"03", PART_ZERO_HOUR12},
    {"04", PART_ZERO_MINUTE},
    {"05", PART_ZERO_SECOND},
    {"06", PART_YEAR},
    {"15", PART_HOUR},
    {"1", PART_NUM_MONTH},
    {"2006", PART_LONG_YEAR},
    {"2", PART_DAY},
    {"_2006", PART_NONE},
    {"_2", PART_UNDER_DAY},
    {"3", PART_HOUR12},
    {"4", PART_MINUTE},
    {"5", PART_SECOND},
    {"PM", PART_PM},
    {"pm", PART_SMALL_PM},
    {"-07:00:00", PART_OFFSET},
    {"-07:00", PART_OFFSET},
    {"-070000", PART_OFFSET},
    {"-0700", PART_OFFSET},
    {"-07", PART_OFFSET},
    {"Z07:00:00", PART_OFFSET},
    {"Z07:00", PART_OFFSET},
    {"Z070000", PART_OFFSET},
    {"Z0700", PART_OFFSET},
    {"Z07", PART_OFFSET},
};

// The part at the beginning of `s`; *size is its length in the layout.
static enum date_part part_at(struct str s, size_t *size)
{
    *size = 1;
    if (s.n > 1 && (s.p[0] == '.' || s.p[0] == ',') && (s.p[1] == '0' || s.p[1] == '9')) {
        size_t n = 1;
        while (n < s.n && s.p[n] == s.p[1])
            n++;
        if (n == s.n || s.p[n] < '0' || s.p[n] > '9') {
            *size = n;
            return PART_FRACTION;
        }
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (str_starts(s, str_of(words[i].text))) {
            *size = words[i].part == PART_NONE ? 1 : strlen(words[i].text);
            // "Jan" within a word ("Janet") is none.
            if (words[i].part == PART_MONTH && s.n > 3 && s.p[3] >= 'a' && s.p[3] <= 'z')
                continue;
            return words[i].part;
        }
    return PART_NONE;
}

static void offset_write(struct buf *b, struct str word, int32_t offset)
{
    if (word.p[0] == 'Z' && !offset) {
        buf_char(b, 'Z');
        return;
    }
    int32_t o = offset < 0 ? -offset : offset;
    bool colon = str_chr(word, ':') >= 0;
    buf_printf(b, "%c%02d", offset < 0 ? '-' : '+', o / 3600);
    if (word.n > 3)
        buf_printf(b, "%s%02d", colon ? ":" : "", o / 60 % 60);
    if (word.n > 6)
        buf_printf(b, "%s%02d", colon ? ":" : "", o % 60);
}

static void fraction_write(struct buf *b, struct str word, int32_t ns)
{
    char text[16];
    size_t n = word.n - 1 < 9 ? word.n - 1 : 9;
    snprintf(text, sizeof text, "%09d", ns);
    if (word.p[1] == '9') {
        while (n && text[n - 1] == '0')
            n--;
        if (!n)
            return;
    }
    buf_char(b, word.p[0]);
    buf_add(b, text, n);
}

void sprig_date_write(struct buf *b, struct template_time t, struct str layout)
{
    struct civil d = zone_civil(t.zone, t.seconds);
    int hour12 = d.hour % 12 ? d.hour % 12 : 12;
    for (size_t size; layout.n; layout = str_from(layout, size)) {
        enum date_part part = part_at(layout, &size);
        struct str word = str_sub(layout, 0, size);
        switch (part) {
        case PART_NONE:
            buf_str(b, word);
            break;
        case PART_LONG_MONTH:
            buf_puts(b, months[d.month - 1]);
            break;
        case PART_MONTH:
            buf_add(b, months[d.month - 1], 3);
            break;
        case PART_NUM_MONTH:
            buf_printf(b, "%d", d.month);
            break;
        case PART_ZERO_MONTH:
            buf_printf(b, "%02d", d.month);
            break;
        case PART_LONG_WEEKDAY:
            buf_puts(b, days[d.weekday]);
            break;
        case PART_WEEKDAY:
            buf_add(b, days[d.weekday], 3);
            break;
        case PART_DAY:
            buf_printf(b, "%d", d.day);
            break;
        case PART_UNDER_DAY:
            buf_printf(b, "%2d", d.day);
            break;
        case PART_ZERO_DAY:
            buf_printf(b, "%02d", d.day);
            break;
        case PART_YEARDAY:
            buf_printf(b, "%03d", d.yearday);
            break;
        case PART_HOUR:
            buf_printf(b, "%02d", d.hour);
            break;
        case PART_HOUR12:
            buf_printf(b, "%d", hour12);
            break;
        case PART_ZERO_HOUR12:
            buf_printf(b, "%02d", hour12);
            break;
        case PART_MINUTE:
            buf_printf(b, "%d", d.minute);
            break;
        case PART_ZERO_MINUTE:
            buf_printf(b, "%02d", d.minute);
            break;
        case PART_SECOND:
            buf_printf(b, "%d", d.second);
            break;
        case PART_ZERO_SECOND:
            buf_printf(b, "%02d", d.second);
            break;
        case PART_LONG_YEAR:
            buf_printf(b, "%04lld", (long long)d.year);
            break;
        case PART_YEAR:
            buf_printf(b, "%02lld", (long long)(((d.year % 100) + 100) % 100));
            break;
        case PART_PM:
            buf_puts(b, d.hour >= 12 ? "PM" : "AM");
            break;
        case PART_SMALL_PM:
            buf_puts(b, d.hour >= 12 ? "pm" : "am");
            break;
        case PART_ZONE:
            buf_str(b, d.abbreviation);
            break;
        case PART_OFFSET:
            offset_write(b, word, d.offset);
            break;
        case PART_FRACTION:
            fraction_write(b, word, t.ns);
            break;
        }
    }
}

// ---- Reading ----

static bool number(struct str *s, size_t least, size_t most, int *ret)
{
    int v = 0;
    size_t n = 0;
    while (n < s->n && n < most && s->p[n] >= '0' && s->p[n] <= '9')
        v = v * 10 + (s->p[n++] - '0');
    *s = str_from(*s, n);
    *ret = v;
    return n >= least;
}

static bool name(struct str *s, const char *const *names, int count, bool brief, int *ret)
{
    for (int i = 0; i < count; i++) {
        size_t n = brief ? 3 : strlen(names[i]);
        if (str_ieq(str_sub(*s, 0, n), str_n(names[i], n))) {
            *s = str_from(*s, n);
            *ret = i;
            return true;
        }
    }
    return false;
}

static bool offset_read(struct str *s, struct str word, int32_t *ret)
{
    if (word.p[0] == 'Z' && s->n && s->p[0] == 'Z') {
        *s = str_from(*s, 1);
        *ret = 0;
        return true;
    }
    int h, m = 0;
    bool negative = s->n && s->p[0] == '-';
    if (!s->n || (s->p[0] != '-' && s->p[0] != '+'))
        return false;
    *s = str_from(*s, 1);
    if (!number(s, 2, 2, &h))
        return false;
    if (word.n > 3) {
        if (str_chr(word, ':') >= 0) {
            if (!s->n || s->p[0] != ':')
                return false;
            *s = str_from(*s, 1);
        }
        if (!number(s, 2, 2, &m))
            return false;
    }
    *ret = (negative ? -1 : 1) * (h * 3600 + m * 60);
    return true;
}

static bool date_read(struct template_call *c, struct str layout, struct str s,
                      const struct zone *zone, struct template_time *ret)
{
    struct civil d = {.year = 0, .month = 1, .day = 1};
    int v, pm = -1;
    int32_t ns = 0, offset = 0;
    bool has_offset = false;
    for (size_t size; layout.n; layout = str_from(layout, size)) {
        enum date_part part = part_at(layout, &size);
        struct str word = str_sub(layout, 0, size);
        bool ok = true;
        switch (part) {
        case PART_NONE:
            ok = str_starts(s, word);
            s = str_from(s, size);
            break;
        case PART_LONG_MONTH:
        case PART_MONTH:
            ok = name(&s, months, 12, part == PART_MONTH, &v);
            d.month = v + 1;
            break;
        case PART_LONG_WEEKDAY:
        case PART_WEEKDAY:
            ok = name(&s, days, 7, part == PART_WEEKDAY, &v);
            break;
        case PART_NUM_MONTH:
        case PART_ZERO_MONTH:
            ok = number(&s, part == PART_ZERO_MONTH ? 2 : 1, 2, &d.month) && d.month >= 1 &&
                 d.month <= 12;
            break;
        case PART_DAY:
        case PART_UNDER_DAY:
        case PART_ZERO_DAY:
            if (part == PART_UNDER_DAY && s.n && s.p[0] == ' ')
                s = str_from(s, 1);
            ok = number(&s, part == PART_ZERO_DAY ? 2 : 1, 2, &d.day);
            break;
        case PART_HOUR:
        case PART_HOUR12:
        case PART_ZERO_HOUR12:
            ok = number(&s, part == PART_HOUR12 ? 1 : 2, 2, &d.hour) && d.hour < 24;
            break;
        case PART_MINUTE:
        case PART_ZERO_MINUTE:
            ok = number(&s, part == PART_MINUTE ? 1 : 2, 2, &d.minute) && d.minute < 60;
            break;
        case PART_SECOND:
        case PART_ZERO_SECOND:
            ok = number(&s, part == PART_SECOND ? 1 : 2, 2, &d.second) && d.second < 60;
            if (ok && s.n > 1 && s.p[0] == '.' && s.p[1] >= '0' && s.p[1] <= '9') {
                int scale = 100000000; // a fraction is read though the layout has none
                for (s = str_from(s, 1); s.n && s.p[0] >= '0' && s.p[0] <= '9';
                     s = str_from(s, 1), scale /= 10)
                    ns += (s.p[0] - '0') * scale;
            }
            break;
        case PART_LONG_YEAR:
            ok = number(&s, 4, 4, &v);
            d.year = v;
            break;
        case PART_YEAR:
            ok = number(&s, 2, 2, &v);
            d.year = v + (v >= 69 ? 1900 : 2000);
            break;
        case PART_PM:
        case PART_SMALL_PM:
            ok = s.n >= 2 && (s.p[1] | 32) == 'm' && ((s.p[0] | 32) == 'p' || (s.p[0] | 32) == 'a');
            pm = ok && (s.p[0] | 32) == 'p';
            s = str_from(s, 2);
            break;
        case PART_ZONE: {
            size_t letters = 0;
            while (letters < s.n && s.p[letters] >= 'A' && s.p[letters] <= 'Z')
                letters++;
            ok = letters >= 3;
            has_offset |= str_eq(str_sub(s, 0, letters), STR("UTC"));
            s = str_from(s, letters);
            break;
        }
        case PART_OFFSET:
            ok = offset_read(&s, word, &offset);
            has_offset = true;
            break;
        default:
            break;
        }
        if (!ok)
            return false;
    }
    if (s.n)
        return false;
    if (pm == 1 && d.hour < 12)
        d.hour += 12;
    else if (pm == 0 && d.hour == 12)
        d.hour = 0;
    const struct zone *z = has_offset && offset ? zone_fixed(ARENA(c), STR(""), offset)
                           : has_offset         ? zone_utc()
                                                : zone;
    *ret = (struct template_time){zone_unix(z, &d), ns, z};
    struct civil check = zone_civil(z, ret->seconds);
    return check.day == d.day && check.month == d.month; // no February 30th
}

// ---- Functions ----

static const struct zone *local(struct template_call *c)
{
    const struct zone *z = zone_utc();
    zone_load(ARENA(c), STR("Local"), &z, NULL);
    return z;
}

static struct template_time now(struct template_call *c)
{
    int64_t ns = env_now(template_env(c));
    return (struct template_time){ns / NS_PER_S, (int32_t)(ns % NS_PER_S), local(c)};
}

static struct template_time when(struct template_call *c, const struct value *v)
{
    if (v && v->kind == TEMPLATE_TIME)
        return *template_time_of(v);
    if (value_is(v, VALUE_INT))
        return (struct template_time){v->i, 0, local(c)};
    return now(c);
}

static struct value *written(struct template_call *c, struct template_time t, struct str layout)
{
    struct buf b = BUF_MAX((size_t)1 << 20);
    sprig_date_write(&b, t, layout);
    return sprig_take(c, &b);
}

static const struct zone *zone_named(struct template_call *c, const struct value *v)
{
    const struct zone *z = zone_utc();
    zone_load(ARENA(c), value_string(v), &z, NULL); // an unknown one is UTC
    return z;
}

FN(fn_now)
{
    (void)args;
    UNUSED_N;
    return template_time_value(ARENA(c), now(c));
}
FN(fn_date)
{
    UNUSED_N;
    struct template_time t = when(c, args[1]);
    t.zone = local(c);
    return written(c, t, value_string(args[0]));
}
FN(fn_date_in_zone)
{
    UNUSED_N;
    struct template_time t = when(c, args[1]);
    t.zone = zone_named(c, args[2]);
    return written(c, t, value_string(args[0]));
}
FN(fn_html_date)
{
    UNUSED_N;
    struct template_time t = when(c, args[0]);
    t.zone = local(c);
    return written(c, t, STR("2006-01-02"));
}
FN(fn_html_date_in_zone)
{
    UNUSED_N;
    struct template_time t = when(c, args[0]);
    t.zone = zone_named(c, args[1]);
    return written(c, t, STR("2006-01-02"));
}

static struct template_time moved(struct template_time t, int64_t ns)
{
    int64_t all = t.ns + ns % NS_PER_S;
    t.seconds += ns / NS_PER_S + (all >= NS_PER_S) - (all < 0);
    t.ns = (int32_t)((all % NS_PER_S + NS_PER_S) % NS_PER_S);
    return t;
}
// param: 1 a fault where the duration cannot be read
FN(fn_date_modify)
{
    UNUSED_N;
    int64_t ns;
    if (!duration_parse(value_string(args[0]), &ns)) {
        if (template_param(c))
            return template_fail(c, "time: invalid duration \"%.*s\"",
                                 STR_ARG(value_string(args[0])));
        return args[1];
    }
    return template_time_value(ARENA(c), moved(*template_time_of(args[1]), ns));
}

FN(fn_to_date)
{
    UNUSED_N;
    struct template_time t = {-62135596800, 0, zone_utc()};
    if (!date_read(c, value_string(args[0]), value_string(args[1]), local(c), &t) &&
        template_param(c))
        return template_fail(c, "parsing time \"%.*s\" as \"%.*s\": cannot parse \"%.*s\"",
                             STR_ARG(value_string(args[1])), STR_ARG(value_string(args[0])),
                             STR_ARG(value_string(args[1])));
    return template_time_value(ARENA(c), t);
}
FN(fn_unix_epoch)
{
    UNUSED_N;
    struct buf b = BUF_MAX(64);
    buf_i64(&b, template_time_of(args[0])->seconds);
    return sprig_take(c, &b);
}

static int64_t elapsed(struct template_call *c, const struct value *v)
{
    if (value_is(v, VALUE_STRING)) {
        int64_t ns = 0;
        duration_parse(value_string(v), &ns);
        return ns;
    }
    if (value_is(v, VALUE_INT))
        return v->i;
    if (v->kind == TEMPLATE_TIME) {
        struct template_time t = now(c), then = *template_time_of(v);
        return (t.seconds - then.seconds) * NS_PER_S + t.ns - then.ns;
    }
    return 0;
}
FN(fn_ago)
{
    UNUSED_N;
    struct template_time t = now(c), then = when(c, args[0]);
    struct buf b = BUF_MAX(64);
    int64_t seconds = t.seconds - then.seconds + (t.ns - then.ns >= 500000000);
    duration_write(&b, seconds * NS_PER_S);
    return sprig_take(c, &b);
}
FN(fn_duration)
{
    UNUSED_N;
    struct buf b = BUF_MAX(64);
    int64_t seconds = value_is(args[0], VALUE_STRING) ? sprig_int(args[0])
                      : value_is(args[0], VALUE_INT)  ? args[0]->i
                                                      : 0;
    if (seconds > INT64_MAX / NS_PER_S || seconds < -(INT64_MAX / NS_PER_S))
        seconds = 0;
    duration_write(&b, seconds * NS_PER_S);
    return sprig_take(c, &b);
}
FN(fn_duration_round)
{
    UNUSED_N;
    static const struct {
        const char *unit;
        uint64_t ns;
    } units[] = {{"y", 31536000000000000}, {"mo", 2592000000000000}, {"d", 86400000000000},
                 {"h", 3600000000000},     {"m", 60000000000},       {"s", 1000000000}};
    int64_t ns = elapsed(c, args[0]);
    uint64_t u = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (u > units[i].ns)
            return sprig_string(c,
                                arena_printf(ARENA(c), "%s%llu%s", ns < 0 ? "-" : "",
                                             (unsigned long long)(u / units[i].ns), units[i].unit));
    return sprig_string(c, STR("0s"));
}

static const struct template_function rows[] = {
    {"ago", "a", fn_ago},
    {"date", "sa", fn_date},
    {"dateInZone", "sas", fn_date_in_zone},
    {"dateModify", "st", fn_date_modify, 0},
    {"date_in_zone", "sas", fn_date_in_zone},
    {"date_modify", "st", fn_date_modify, 0},
    {"duration", "a", fn_duration},
    {"durationRound", "a", fn_duration_round},
    {"htmlDate", "a", fn_html_date},
    {"htmlDateInZone", "as", fn_html_date_in_zone},
    {"mustDateModify", "st", fn_date_modify, 1},
    {"mustToDate", "ss", fn_to_date, 1},
    {"must_date_modify", "st", fn_date_modify, 1},
    {"now", "", fn_now},
    {"toDate", "ss", fn_to_date, 0},
    {"unixEpoch", "t", fn_unix_epoch},
};
const struct template_functions sprig_dates = {rows, sizeof rows / sizeof *rows};
