// What every unit test includes: cmocka, after the four headers that it wants first (in this order,
// which sorting the includes of a test file would destroy).
#pragma once
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
