// The syntax of label keys and values (apimachinery util/validation: IsQualifiedName,
// IsValidLabelValue), for selectors and for validation.
#pragma once
#include "base/str.h"

// false: why (at least 600 bytes) says what is wrong in the originals' words, faults joined by ";
// ".
bool label_key_check(struct str key, char *why, size_t size);
bool label_value_check(struct str value, char *why, size_t size);
