// What the object room's tests share: a tree from text, text from a tree, and comparing views.
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "object/json.h"

static inline struct value *tree(struct arena *a, const char *json)
{
    struct value *v = NULL;
    _cleanup_err_ struct err e = ERR_INIT;
    if (json_parse(a, str_of(json), NULL, &v, &e) < 0)
        fail_msg("%s: %s", json, e.message);
    return v;
}

#define assert_str(view, text)                                                                     \
    do {                                                                                           \
        struct str view_ = (view);                                                                 \
        const char *text_ = (text);                                                                \
        if (!str_eqc(view_, text_))                                                                \
            fail_msg("is: %.*s\nnot: %s", STR_ARG(view_), text_);                                  \
    } while (0)
#define assert_json(a, v, text) assert_str(json_text((a), (v)), (text))
