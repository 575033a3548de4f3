// Rules of jobs' policies on failure and success: what stands inside podFailurePolicy and
// successPolicy. The rest of a job is check_workloads.c's.
#include "object/key_index.h"
#include "schema/check_pod.h"
#include "schema/fields.h"
#include "schema/tables.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

// ---- failure ----------------------------------------------------------------------------------

static void check_exit_codes(struct check *c, const struct value *codes, const struct value *spec)
{
    static const char *const lists[] = {"containers", "initContainers"};
    const struct value *values = value_getc(codes, "values");
    struct value *name = value_getc(codes, "containerName");
    bool in = str_eqc(value_str_at(codes, "operator"), "In"), ordered = true;
    _cleanup_key_index_ struct key_index seen = KEY_INDEX_INIT;
    if (!value_len(values))
        check_invalid(c, "values", values ? values : value_array(c->arena),
                      "at least one value is required");
    if (value_len(values) > 255)
        check_too_many(c, "values", value_len(values), 255);
    int64_t last = INT64_MIN;
    value_each_item (values, v) {
        size_t mark = check_push_index(c, "values", v_i);
        if (in && !value_int_or(v, 1))
            check_invalid(c, NULL, v, "must not be 0 for the In operator");
        if (key_index_add(&seen, check_key_of(c, v)) >= 0)
            check_duplicate(c, NULL, v);
        ordered &= value_int_or(v, 0) >= last;
        last = value_int_or(v, 0);
        check_pop(c, mark);
    }
    if (!ordered)
        check_invalid(c, "values", values, "must be ordered");
    if (!has(codes, "containerName"))
        return;
    for (size_t l = 0; l < COUNT(lists); l++)
        value_each_item (value_getc(value_at(spec, "template.spec"), lists[l]), container)
            if (str_eq(value_str_at(container, "name"), value_string(name)))
                return;
    check_invalid(c, "containerName", name,
                  "must be one of the container or initContainer names in the pod template");
}

static void check_conditions(struct check *c, const struct value *conditions)
{
    static const struct str states[] = {STR("False"), STR("True"), STR("Unknown"), STR_NULL};
    value_each_item (conditions, condition) {
        struct value *status = value_getc(condition, "status");
        const struct str *known = states;
        size_t mark = check_push_index(c, "onPodConditions", condition_i);
        while (known->p && !str_eq(*known, value_string(status)))
            known++;
        if (!value_string(status).n)
            check_required(c, "status", NULL);
        else if (!known->p)
            check_not_supported(c, "status", status, states);
        check_pop(c, mark);
    }
}

void check_job_failure_policy(struct check *c, const struct value *spec)
{
    value_each_item (value_at(spec, "podFailurePolicy.rules"), rule) {
        bool codes = has(rule, "onExitCodes"),
             conditions = value_len(value_getc(rule, "onPodConditions"));
        struct value *action = value_getc(rule, "action");
        size_t mark = check_push_index(c, "podFailurePolicy.rules", rule_i);
        if (str_eqc(value_string(action), "FailIndex") && !has(spec, "backoffLimitPerIndex"))
            check_invalid(c, "action", action, "requires the backoffLimitPerIndex to be set");
        if (codes) {
            size_t inner = check_push(c, "onExitCodes");
            check_exit_codes(c, value_getc(rule, "onExitCodes"), spec);
            check_pop(c, inner);
        }
        check_conditions(c, value_getc(rule, "onPodConditions"));
        // The originals show these sentences in the place of a value.
        if (codes && conditions)
            check_bad(c, NULL, "specifying both OnExitCodes and OnPodConditions is not supported");
        if (!codes && !conditions)
            check_bad(c, NULL, "specifying one of OnExitCodes and OnPodConditions is required");
        check_pop(c, mark);
    }
    if (has(spec, "podFailurePolicy") && has(spec, "podReplacementPolicy") &&
        !str_eqc(value_str_at(spec, "podReplacementPolicy"), "Failed"))
        check_not_supported(c, "podReplacementPolicy", value_getc(spec, "podReplacementPolicy"),
                            (const struct str[]){STR("Failed"), STR_NULL});
}

// ---- success ----------------------------------------------------------------------------------

// "0,2-4": ascending, below `completions`. Why not, and how many indexes it names.
static const char *parse_indexes(struct check *c, struct str text, int64_t completions,
                                 int64_t *ret_count)
{
    int64_t last = -1;
    *ret_count = 0;
    for (struct str rest = text; rest.p && rest.n;) {
        struct str part = str_cut(&rest, ','), to = part, from = str_cut(&to, '-');
        uint64_t low, high;
        if (!str_to_u64(from, &low) || (to.p && !str_to_u64(to, &high)))
            return arena_cstr(c->arena, arena_printf(c->arena,
                                                     "cannot convert string to integer for index: "
                                                     "\"%.*s\"",
                                                     STR_ARG(part)));
        high = to.p ? high : low;
        if ((int64_t)low >= completions || (int64_t)high >= completions)
            return arena_cstr(c->arena,
                              arena_printf(c->arena, "too large index: \"%.*s\"",
                                           STR_ARG((int64_t)low >= completions ? from : to)));
        if ((int64_t)low <= last || high < low)
            return arena_cstr(c->arena, arena_printf(c->arena,
                                                     "non-increasing order, previous: %lld, "
                                                     "current: %lld",
                                                     (long long)last, (long long)low));
        *ret_count += (int64_t)(high - low) + 1;
        last = (int64_t)high;
    }
    return NULL;
}

void check_job_success_policy(struct check *c, const struct value *spec)
{
    const struct value *rules = value_at(spec, "successPolicy.rules");
    if (!value_is(value_getc(spec, "successPolicy"), VALUE_OBJECT))
        return;
    if (!value_len(rules))
        check_required(c, "successPolicy.rules",
                       "at least one rules must be specified when the successPolicy is specified");
    int64_t completions = value_int_at(spec, "completions", 0);
    value_each_item (rules, rule) {
        struct value *count = value_getc(rule, "succeededCount");
        struct value *indexes = value_getc(rule, "succeededIndexes");
        int64_t named = 0, wanted = value_int_or(count, 0);
        size_t mark = check_push_index(c, "successPolicy.rules", rule_i);
        if (!count && !indexes)
            check_required(c, NULL,
                           "at least one of succeededCount or succeededIndexes must be specified");
        const char *why =
            indexes ? parse_indexes(c, value_string(indexes), completions, &named) : NULL;
        if (why)
            check_invalid(c, "succeededIndexes", indexes, "error parsing succeededIndexes: %s",
                          why);
        if (count && wanted < 0)
            check_invalid(c, "succeededCount", count, MUST_NOT_BE_NEGATIVE);
        if (count && wanted > completions)
            check_invalid(c, "succeededCount", count,
                          "must be less than or equal to %lld (the number of specified "
                          "completions)",
                          (long long)completions);
        if (count && indexes && !why && wanted > named)
            check_invalid(c, "succeededCount", count,
                          "must be less than or equal to %lld (the number of indexes in the "
                          "specified succeededIndexes field)",
                          (long long)named);
        check_pop(c, mark);
    }
}
