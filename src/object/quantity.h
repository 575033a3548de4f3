// resource.Quantity: exact decimal amounts with SI and binary suffixes.
#pragma once
#include "base/buf.h"

// value = digits * 10^-9 (nano units fit in 128 bits); format for writing back canonically.
struct quantity {
    __int128 nano;
    uint8_t format; // enum quantity_format
};
enum quantity_format { QUANTITY_DECIMAL_SI, QUANTITY_BINARY_SI, QUANTITY_DECIMAL_EXPONENT };

// false: not a quantity. Rounds up below nano, as the originals do.
bool quantity_parse(struct str s, struct quantity *ret);
// The canonical form of a text, exact also where the amount is beyond the 128 bits (1e100 is
// "10e99"). false: not a quantity, and quantity_fault says so in the originals' words.
bool quantity_canonical(struct buf *b, struct str s);
const char *quantity_fault(struct str s);
void quantity_write(struct buf *b, const struct quantity *q); // canonical form
int quantity_cmp(const struct quantity *a, const struct quantity *b);
void quantity_add(struct quantity *a, const struct quantity *b); // keeps a's format unless a is 0
void quantity_sub(struct quantity *a, const struct quantity *b);
int64_t quantity_value(const struct quantity *q); // whole units, rounded up, clamped to int64
int64_t quantity_milli(const struct quantity *q); // thousandths, rounded up, clamped
