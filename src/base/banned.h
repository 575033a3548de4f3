// Functions that STYLE bans, made into compile errors whose name says what to use. Force-included
// into every file. Function-like macros, so that only calls are caught: a field may be called
// `system`. The headers that declare them come first.
#pragma once
#include <alloca.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#undef alloca
#undef strcpy
#undef strcat
#define strcpy(...)   banned_strcpy_use_memcpy_or_struct_str(__VA_ARGS__)
#define strcat(...)   banned_strcat_use_struct_buf(__VA_ARGS__)
#define sprintf(...)  banned_sprintf_use_snprintf_or_buf_printf(__VA_ARGS__)
#define vsprintf(...) banned_vsprintf_use_vsnprintf_or_buf_vprintf(__VA_ARGS__)
#define strtok(...)   banned_strtok_use_str_cut(__VA_ARGS__)
#define atoi(...)     banned_atoi_use_str_to_i64(__VA_ARGS__)
#define atol(...)     banned_atol_use_str_to_i64(__VA_ARGS__)
#define gets(...)     banned_gets_use_read(__VA_ARGS__)
#define alloca(...)   banned_alloca_use_an_arena(__VA_ARGS__)
#define system(...)   banned_system_use_posix_spawn(__VA_ARGS__)
#define tmpnam(...)   banned_tmpnam_use_mkstemp(__VA_ARGS__)
#define mktemp(...)   banned_mktemp_use_mkstemp(__VA_ARGS__)
