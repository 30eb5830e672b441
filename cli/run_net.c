/* SPDX-License-Identifier: Apache-2.0 */
/* Network interfaces: --net tap=NAME[,mac=XX:XX:XX:XX:XX:XX][,mtu=N]. */

#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "run_internal.h"

static int bad_net(const char *verb, const char *text)
{
    return complain(STATUS_USAGE, "%s: --net %s: give tap=NAME[,mac=XX:XX:XX:XX:XX:XX][,mtu=N]",
                    verb, text);
}

static bool parse_mac(const char *text, uint8_t out[6])
{
    for (unsigned i = 0; i < 6; i++) {
        char *end = NULL;
        unsigned long value = strtoul(text, &end, 16);

        if (text[0] == '-' || text[0] == '+' || end != text + 2 || value > UINT8_MAX ||
            *end != (i == 5 ? '\0' : ':')) {
            return false;
        }
        out[i] = (uint8_t)value;
        text = end + 1;
    }
    return true;
}

static bool parse_mtu(const char *text, uint16_t *out)
{
    char *end = NULL;
    unsigned long value = strtoul(text, &end, 10);

    if (text[0] < '0' || text[0] > '9' || *end != '\0' || value < DRUPE_MTU_MIN ||
        value > UINT16_MAX) {
        return false;
    }
    *out = (uint16_t)value;
    return true;
}

/* One word of the option; takes what it needs as a copy. */
static bool take_word(struct drupe_net *n, const char *word)
{
    if (strncmp(word, "tap=", 4) == 0 && word[4] != '\0' && !n->tap) {
        n->tap = text_copy(word + 4);
        return true;
    }
    if (strncmp(word, "mac=", 4) == 0) {
        n->has_mac = true;
        return parse_mac(word + 4, n->mac);
    }
    return strncmp(word, "mtu=", 4) == 0 && parse_mtu(word + 4, &n->mtu);
}

static int add_net(struct job *j, const char *verb, const char *text)
{
    CLEANUP_FREE char *copy = text_copy(text);
    struct drupe_net n = { 0 };
    bool is_good = true;
    char *rest = NULL;

    if (j->net_count == DRUPE_NETS_MAX) {
        return complain(STATUS_USAGE, "%s: more than %u network interfaces", verb, DRUPE_NETS_MAX);
    }
    for (char *word = strtok_r(copy, ",", &rest); is_good && word;
         word = strtok_r(NULL, ",", &rest)) {
        is_good = take_word(&n, word);
    }
    if (!is_good || !n.tap) {
        free((char *)(uintptr_t)n.tap);
        return bad_net(verb, text);
    }
    j->nets[j->net_count++] = n;
    return 0;
}

int job_add_nets(struct job *j, const char *verb, const struct strings *nets)
{
    int status = 0;

    for (size_t i = 0; status == 0 && i < nets->count; i++) {
        status = add_net(j, verb, nets->items[i]);
    }
    return status;
}

int job_check_kernel_nets(const struct job *j, const struct run_options *o)
{
    if (j->net_count == 0 || o->kernel) {
        return 0;
    }
    return complain(STATUS_USAGE,
                    "%s: --net needs --kernel: the kernel inside drupe has no "
                    "network driver yet",
                    verb_running());
}

void job_free_nets(struct job *j)
{
    for (unsigned i = 0; i < j->net_count; i++) {
        free((char *)(uintptr_t)j->nets[i].tap);
    }
}
