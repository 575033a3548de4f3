// Time zones: the rules of the IANA database as the system's tzdata holds them (TZif, RFC 8536),
// with Go's meaning of local times that exist twice or never, because schedules and dates of the
// originals are computed by it.
//
//     struct zone *z;
//     if (zone_load(&arena, STR("Europe/Berlin"), &z, &e) < 0) ...
//     struct civil c = zone_civil(z, unix_seconds);
//     c.hour++;
//     unix_seconds = zone_unix(z, &c);
//
// A zone is immutable once made and lives in the arena that it was made in. Times are seconds since
// 1970 UTC; any int64 within +-2^55 is accepted.
#pragma once
#include "base/arena.h"
#include "base/err.h"

#define ZONE_FILE_MAX    ((size_t)256 << 10) // bytes of a TZif file; the largest has 4 kB
#define ZONE_TRANSITIONS 4096                // changes of offset in one file
#define ZONE_DIR         "/usr/share/zoneinfo"

struct zone;

// A date and time of day on some wall. For zone_unix the fields may lie outside their ranges and
// are carried (month 13 is January of the next year, hour -1 is 23 of the day before).
struct civil {
    int64_t year;
    int month, day;           // from 1
    int hour, minute, second; // from 0
    // Set by zone_civil and civil_of, ignored by zone_unix:
    int weekday;             // 0 is Sunday
    int yearday;             // from 1
    int32_t offset;          // seconds east of UTC
    struct str abbreviation; // "CEST"; lives as long as the zone
};

const struct zone *zone_utc(void);
// A fixed offset in seconds east of UTC, named as given.
struct zone *zone_fixed(struct arena *a, struct str name, int32_t offset);
// By name: "" and "UTC" are UTC; "Local" is the system's zone (/etc/localtime, UTC where there is
// none). Other names are files below ZONE_DIR. Errors carry Go's texts: "unknown time zone X" and
// "time: invalid location name" (empty parts, "..", a leading slash or a backslash).
int zone_load(struct arena *a, struct str name, const struct zone **ret, struct err *e);
// From the bytes of a TZif file, versions 1 to 4. The bytes may be freed afterwards.
int zone_parse(struct arena *a, struct str name, struct str tzif, struct zone **ret, struct err *e);
struct str zone_name(const struct zone *z);

struct civil zone_civil(const struct zone *z, int64_t unix_seconds);
// A local time that a change of offset left out or repeated is taken as Go's time.Date takes it: by
// the offset that holds before the change, or the one after, whichever its two lookups meet first.
int64_t zone_unix(const struct zone *z, const struct civil *c);
