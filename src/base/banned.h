// Functions that STYLE bans, made into compile errors whose name says why. Force-included.
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC poison strcpy strcat sprintf vsprintf strtok atoi atol gets alloca system tmpnam mktemp
#endif
