/* SPDX-License-Identifier: Apache-2.0 */
#include "fault.h"

#include <stdio.h>
#include <string.h>

#include <base/assert.h>

#include "internal.h"

#define RULES_MAX 32u

struct rule {
    struct sim_fault_rule says;
    struct sim_random stream;
    struct sim_fault_stats stats;
};

static struct rule rules[RULES_MAX];
static unsigned rule_count;
static uint64_t kinds_present;
static bool is_paused;

static const char *const fault_names[SIM_FAULT_KINDS] = { [SIM_FAULT_NONE] = "none",
#define SIM_FAULT_NAME(kind, name, param) [FAULT_##kind] = (name),
                                                          SIM_FAULTS(SIM_FAULT_NAME)
#undef SIM_FAULT_NAME
};

static const char *const op_names[SIM_OP_KINDS] = { [SIM_OP_ANY] = "any",
#define SIM_OP_NAME(op) [OP_##op] = #op,
                                                    SIM_OPS(SIM_OP_NAME)
#undef SIM_OP_NAME
};

const char *sim_fault_name(enum sim_fault kind)
{
    return fault_names[kind];
}

const char *sim_op_name(enum sim_op op)
{
    return op_names[op];
}

void sim_faults_init(void)
{
    rule_count = 0;
    kinds_present = 0;
    is_paused = false;
}

void sim_faults_deinit(void)
{
    sim_faults_init();
}

unsigned sim_fault_add(const struct sim_fault_rule *rule)
{
    char name[80];
    struct rule *r = &rules[rule_count];

    assert(rule_count < RULES_MAX);
    assert(rule->kind != SIM_FAULT_NONE);
    memset(r, 0, sizeof(*r));
    r->says = *rule;
    (void)snprintf(name, sizeof(name), "fault %u %s %s", rule_count, fault_names[rule->kind],
                   op_names[rule->op]);
    sim_random_init(&r->stream, sim_seed(), name);
    r->says.is_disabled |= (sim_disabled_rules() >> rule_count & 1) != 0;
    kinds_present |= UINT64_C(1) << rule->kind;
    return rule_count++;
}

void sim_fault_enable(unsigned rule, bool is_enabled)
{
    assert(rule < rule_count);
    rules[rule].says.is_disabled = !is_enabled || (sim_disabled_rules() >> rule & 1) != 0;
}

void sim_faults_pause(bool pause)
{
    is_paused = pause;
}

struct sim_fault_stats sim_fault_stats(unsigned rule)
{
    assert(rule < rule_count);
    return rules[rule].stats;
}

static bool has_fired(const struct rule *r)
{
    return r->stats.fired > 0 || r->says.is_optional || r->says.is_disabled;
}

bool sim_faults_all_fired(void)
{
    return sim_faults_unfired() == NULL;
}

const char *sim_faults_unfired(void)
{
    for (unsigned i = 0; i < rule_count; i++) {
        if (!has_fired(&rules[i])) {
            return fault_names[rules[i].says.kind];
        }
    }
    return NULL;
}

void sim_faults_report(struct sim_result *out)
{
    out->rule_count = rule_count;
    for (unsigned i = 0; i < rule_count; i++) {
        out->rule_kinds[i] = (uint8_t)rules[i].says.kind;
        out->fault_counts[rules[i].says.kind] += rules[i].stats.fired;
    }
}

bool sim_fault_has(enum sim_fault kind)
{
    return (kinds_present >> kind & 1) != 0;
}

static bool applies(const struct rule *r, enum sim_op op, uint64_t kinds)
{
    return !r->says.is_disabled && (kinds >> r->says.kind & 1) != 0 &&
           (r->says.op == SIM_OP_ANY || r->says.op == op);
}

/* Every applicable rule draws, so that one rule's luck does not move another's stream. */
static bool draw(struct rule *r)
{
    bool is_hit = sim_random_chance(&r->stream, r->says.probability);

    r->stats.applicable++;
    return is_hit && r->stats.applicable > r->says.skip &&
           (r->says.max == 0 || r->stats.fired < r->says.max);
}

enum sim_fault sim_fault_draw(enum sim_op op, uint64_t kinds, uint64_t *param)
{
    struct rule *fires = NULL;

    if ((kinds & kinds_present) == 0 || is_paused || !sim_is_active()) {
        return SIM_FAULT_NONE;
    }
    for (unsigned i = 0; i < rule_count; i++) {
        if (applies(&rules[i], op, kinds) && draw(&rules[i]) && fires == NULL) {
            fires = &rules[i];
        }
    }
    if (fires == NULL) {
        return SIM_FAULT_NONE;
    }
    fires->stats.fired++;
    if (param != NULL) {
        *param = fires->says.param;
    }
    sim_trace("fault %s at %s", fault_names[fires->says.kind], op_names[op]);
    return fires->says.kind;
}
