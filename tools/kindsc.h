// kindsc's model of api/*.kinds: what kindsc.c reads and resolves and kindsc_write.c writes.
#pragma once
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#define COUNT(a)   (sizeof(a) / sizeof *(a))
#define MAX_WORDS  64
#define MAX_INLINE 3

struct place {
    const char *file;
    int line;
};

struct package {
    char *name, *group, *version, *openapi; // group NULL: serves nothing (meta.v1)
    int rank;
    struct place at;
};

enum name_kind { NAME_TYPE, NAME_PART, NAME_ANY, NAME_UNION, NAME_ENUM };

struct attribute {
    char *name, *value; // value NULL: bare word
};

struct row { // a field as written, or an inline
    struct place at;
    bool is_inline;
    char *name; // JSON name; inline: NULL
    int pb[MAX_INLINE];
    char *spec; // type as written
    struct attribute *attributes;
    int nattributes;
    char *doc;
    // resolved
    struct name *inlined;
};

struct field {
    struct row *row;
    int pb[MAX_INLINE];
    const char *kind;  // "FIELD_STRING"
    const char *shape; // "SHAPE_ONE"
    struct name *type; // message or any
    struct name *values;
    bool pointer, list_of_list;
};

struct name { // anything with a name that a field can have as its type
    struct place at;
    enum name_kind kind;
    struct package *package;
    char *local, *full;
    struct row *rows;
    int nrows;
    char **values; // enum
    int nvalues;
    bool open;
    char *doc, *defaults, *check, *oneof;
    struct field *fields; // flattened
    int nfields;
    int index;
    bool flattening, flat;
};

struct sub {
    struct place at;
    char *name, *body; // "policy/v1/Eviction" or "-"
    char **verbs;
    int nverbs;
    char *scale[3];
};

struct column {
    struct place at;
    char *name, *type, *source, *doc;
    bool wide;
};

struct kind {
    struct place at;
    struct package *package;
    char *name, *resource, *singular, *storage, *stored_as;
    char **shorts, **categories, **selects; // selects: name, path pairs
    int nshorts, ncategories, nselects;
    bool namespaced, has_scope;
    char *names; // format of metadata.name
    unsigned verbs, flags;
    struct sub *subs;
    int nsubs;
    struct column *columns;
    int ncolumns;
    struct name *type;
    int index;
};

struct word {
    const char *word, *constant;
    unsigned bit;
};
extern const struct word verb_words[], flag_words[]; // end with {0}; rw is the last verb

extern struct package *packages[64];
extern int npackages;
extern struct name *names[4096];
extern int nnames;
extern struct kind *kinds[1024];
extern int nkinds;
extern int faults;
extern uint64_t fingerprint; // of all input

void *grow(void *p, size_t size);
void *make(size_t size);
char *copy(const char *s);
char *print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void fault(struct place at, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
unsigned verb_bit(struct place at, const char *word);
struct name *find_name(struct package *package, const char *word); // word: local, or with a package
struct package *find_api_version(const char *text);                // "apps/v1" or "v1"
void write_tables(FILE *file);
