// Sprig's functions, a table for each family; what they share.
#pragma once
#include "template/template_value.h"

extern const struct template_functions sprig_strings, sprig_lists, sprig_dicts, sprig_math,
    sprig_dates, sprig_encode, sprig_match, sprig_random, sprig_toml, sprig_crypto;

// strval: a string as it is, anything else as %v.
struct str sprig_text(struct template_call *c, const struct value *v);
// strslice: the texts of a list's elements that are not nil; anything else is a list of one.
struct value *sprig_texts(struct template_call *c, const struct value *v);
bool sprig_empty(const struct value *v);
int64_t sprig_int(const struct value *v); // cast.ToInt64: 0 where it is no number
double sprig_float(const struct value *v);
bool sprig_equal(const struct value *a, const struct value *b);    // reflect.DeepEqual
struct value *sprig_string(struct template_call *c, struct str s); // not copied
struct value *sprig_take(struct template_call *c, struct buf *b);  // copied; the buffer is freed
struct value *sprig_clone(struct arena *a, const struct value *v, int depth);
// Numbers become float64, as Go reads JSON.
void sprig_floats(struct value *v);
void sprig_date_write(struct buf *b, struct template_time t, struct str layout); // Time.Format
