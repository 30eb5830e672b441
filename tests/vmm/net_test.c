/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network device under KVM: the test guest on one end of a tap, this host's own stack on the
 * other, in a network namespace of the test's. As root; otherwise visibly skipped.
 */
#include "run.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define TAP       "drupe0"
#define ECHO_PORT 7

static const char *why_not; /* NULL: there is a namespace with a tap */
static int echo_fd = -1;

/* ---- The world: made once, before any thread ---- */

static void set_name(struct ifreq *r)
{
    memset(r, 0, sizeof(*r));
    memcpy(r->ifr_name, TAP, sizeof(TAP));
}

static bool make_tap(void)
{
    struct ifreq r;
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    bool is_made;

    if (fd < 0) {
        return false;
    }
    set_name(&r);
    r.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    is_made = ioctl(fd, TUNSETIFF, &r) == 0 && ioctl(fd, TUNSETPERSIST, 1) == 0;
    (void)close(fd);
    return is_made;
}

static bool bring_up(void)
{
    struct ifreq r;
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a000001) };
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool is_up;

    set_name(&r);
    memcpy(&r.ifr_addr, &at, sizeof(at));
    is_up = ioctl(fd, SIOCSIFADDR, &r) == 0;
    at.sin_addr.s_addr = htonl(0xffffff00);
    memcpy(&r.ifr_netmask, &at, sizeof(at));
    is_up = is_up && ioctl(fd, SIOCSIFNETMASK, &r) == 0;
    set_name(&r);
    r.ifr_flags = IFF_UP | IFF_RUNNING;
    is_up = is_up && ioctl(fd, SIOCSIFFLAGS, &r) == 0;
    (void)close(fd);
    return is_up;
}

static void *echo_main(void *arg)
{
    uint8_t bytes[2048];
    struct sockaddr_in from;

    (void)arg;
    for (;;) {
        socklen_t size = sizeof(from);
        ssize_t n = recvfrom(echo_fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&from, &size);

        if (n <= 0) {
            return NULL;
        }
        (void)sendto(echo_fd, bytes, (size_t)n, 0, (struct sockaddr *)&from, size);
    }
}

static bool start_echo(void)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(ECHO_PORT) };
    pthread_t thread;

    echo_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return bind(echo_fd, (const struct sockaddr *)&at, sizeof(at)) == 0 &&
           pthread_create(&thread, NULL, echo_main, NULL) == 0 && pthread_detach(thread) == 0;
}

static void make_world(void)
{
    if (access("/dev/kvm", R_OK | W_OK) != 0) {
        why_not = "/dev/kvm does not open";
    } else if (unshare(CLONE_NEWNET) < 0) {
        why_not = "no network namespace of one's own: not root";
    } else if (!make_tap()) {
        why_not = "no tap: /dev/net/tun does not open";
    } else if (!bring_up() || !start_echo()) {
        why_not = "the namespace's network does not come up";
    }
}

static void need_world(void)
{
    if (why_not != NULL) {
        print_message("%s\n", why_not);
        skip();
    }
}

/* ---- Tests ---- */

static void net_init(struct run *r, const struct drupe_net *net, const char *mode)
{
    run_init(r, DRUPE_ACCEL_KVM, GUEST, mode);
    r->cfg.stdio = DRUPE_STDIO_NONE;
    r->cfg.nets = net;
    r->cfg.net_count = 1;
}

static struct drupe_net_stats run_net(const struct drupe_net *net, const char *mode)
{
    struct run r;
    struct drupe_vm_stats stats;

    net_init(&r, net, mode);
    run_start(&r);
    run_end(&r);
    if (r.end.kind != DRUPE_END_EXIT || r.end.status != 0) {
        fail_msg("kind %d status %d (%s), printed:\n%s", (int)r.end.kind, r.end.status, r.end.text,
                 r.output);
    }
    assert_int_equal(drupe_vm_stats(r.vm, &stats, &r.err), DRUPE_OK);
    assert_int_equal(stats.net_count, 1);
    run_free(&r);
    return stats.nets[0];
}

static void test_echo(void **state)
{
    const struct drupe_net net = { .tap = TAP, .has_mac = true, .mac = { 2, 0, 0, 0, 0, 7 } };
    struct drupe_net_stats s;

    (void)state;
    need_world();
    s = run_net(&net, "net");
    assert_true(s.rx_packets >= 21 && s.tx_packets >= 21);
    assert_true(s.rx_bytes > s.rx_packets * 42);
    assert_int_equal(s.tx_spoofed_mac_count, 0);
    assert_int_equal(s.tx_fails + s.rx_fails + s.tap_read_fails, 0);
}

/* The same guest on QEMU's device, which has the tap from us; what it cannot do is refused. */
static void test_qemu(void **state)
{
    struct drupe_net net = { .tap = TAP, .has_mac = true, .mac = { 2, 0, 0, 0, 0, 7 } };
    struct run r;

    (void)state;
    need_world();
    need_qemu();
    net_init(&r, &net, "net");
    r.cfg.accel = DRUPE_ACCEL_QEMU;
    run_start(&r);
    run_end(&r);
    if (r.end.kind != DRUPE_END_EXIT || r.end.status != 0) {
        fail_msg("kind %d status %d (%s), printed:\n%s", (int)r.end.kind, r.end.status, r.end.text,
                 r.output);
    }
    run_free(&r);
    net.rx_limit.ops = (struct drupe_token_bucket){ .size = 1, .refill_ms = 1 };
    net_init(&r, &net, "net");
    r.cfg.accel = DRUPE_ACCEL_QEMU;
    assert_int_equal(drupe_vm_create(&r.cfg, &r.vm, &r.err), DRUPE_OK);
    assert_int_equal(drupe_vm_start(r.vm, &r.err), DRUPE_UNSUPPORTED);
    run_free(&r);
}

/* The tap by descriptor, and a second machine finds it free again. */
static void test_descriptor(void **state)
{
    struct drupe_net net = { .tap = "fd:999" };
    char name[16];
    int fd = -1;

    (void)state;
    need_world();
    fd = drupe_tap_open(TAP);
    assert_true(fd >= 0);
    assert_int_equal(drupe_tap_open(TAP), -EBUSY);
    (void)snprintf(name, sizeof(name), "fd:%d", fd);
    net.tap = name;
    (void)run_net(&net, "net");
    (void)close(fd);
    net.tap = TAP;
    (void)run_net(&net, "net");
}

static void test_limits(void **state)
{
    struct drupe_net net = { .tap = TAP };
    struct drupe_net_stats s;

    (void)state;
    need_world();
    net.tx_limit.ops = (struct drupe_token_bucket){ .size = 20, .refill_ms = 2000 };
    net.rx_limit.bandwidth = (struct drupe_token_bucket){ .size = 2000, .refill_ms = 200 };
    s = run_net(&net, "net-flood");
    assert_true(s.tx_packets >= 60);
    assert_true(s.tx_rate_limiter_throttled > 0);
    assert_true(s.rx_rate_limiter_throttled > 0);
}

static void test_broken_rings(void **state)
{
    const struct drupe_net net = { .tap = TAP };

    (void)state;
    need_world();
    (void)run_net(&net, "net-break");
}

/* The guest asks for metadata; nothing of it reaches the tap, and the host answers as before. */
static void test_metadata(void **state)
{
    static const char first[] = "{\"latest\":{\"id\":\"before\"}}";
    static const char second[] = "{\"latest\":{\"id\":\"i-0123456789\"}}";
    const struct drupe_metadata metadata = { .document = first,
                                             .document_size = sizeof(first) - 1 };
    const struct drupe_net net = { .tap = TAP, .has_metadata = true };
    struct drupe_vm_stats stats;
    struct run r;

    (void)state;
    need_world();
    net_init(&r, &net, "net-mmds");
    r.cfg.metadata = &metadata;
    assert_int_equal(drupe_vm_create(&r.cfg, &r.vm, &r.err), DRUPE_OK);
    assert_int_equal(drupe_vm_set_metadata(r.vm, "{", 1, &r.err), DRUPE_CONFIG_INVALID);
    assert_int_equal(drupe_vm_set_metadata(r.vm, second, sizeof(second) - 1, &r.err), DRUPE_OK);
    assert_int_equal(drupe_vm_start(r.vm, &r.err), DRUPE_OK);
    run_end(&r);
    if (r.end.status != 0 || strstr(r.output, "\r\n\r\ni-0123456789") == NULL) {
        fail_msg("status %d, printed:\n%s", r.end.status, r.output);
    }
    assert_int_equal(drupe_vm_stats(r.vm, &stats, &r.err), DRUPE_OK);
    assert_int_equal(stats.metadata.connections_created, 1);
    assert_int_equal(stats.metadata.connections_destroyed, 1);
    assert_int_equal(stats.metadata.tx_count, 1);
    assert_int_equal(stats.metadata.rx_accepted_err, 0);
    assert_int_equal(stats.nets[0].tx_spoofed_mac_count, 0);
    run_free(&r);
}

/* Limits that change under a running guest. */
static void test_update(void **state)
{
    const struct drupe_net net = { .tap = TAP };
    const struct drupe_rate_limit limit = { .ops = { .size = 10, .refill_ms = 100 } };
    struct run r;

    (void)state;
    need_world();
    net_init(&r, &net, "net-flood");
    run_start(&r);
    assert_int_equal(drupe_vm_update_net(r.vm, 1, &limit, NULL, &r.err), DRUPE_CONFIG_INVALID);
    assert_int_equal(drupe_vm_update_net(r.vm, 0, NULL, &limit, &r.err), DRUPE_OK);
    run_end(&r);
    assert_int_equal(r.end.status, 0);
    run_free(&r);
}

static void test_refusals(void **state)
{
    static const struct {
        struct drupe_net net;
        drupe_vm_err_t code;
    } cases[] = {
        { { .tap = NULL }, DRUPE_CONFIG_INVALID },
        { { .tap = "" }, DRUPE_CONFIG_INVALID },
        { { .tap = "a-name-of-16-byt" }, DRUPE_CONFIG_INVALID },
        { { .tap = "nosuchtap" }, DRUPE_NOT_FOUND },
        { { .tap = "fd:0" }, DRUPE_NO_ACCESS },
        { { .tap = "fd:9999" }, DRUPE_NO_ACCESS },
        { { .tap = "lo" }, DRUPE_NO_ACCESS },
        { { .tap = TAP, .mtu = 67 }, DRUPE_CONFIG_INVALID },
        { { .tap = TAP, .has_mac = true, .mac = { 1 } }, DRUPE_CONFIG_INVALID },
    };
    const struct drupe_net twins[] = {
        { .tap = "a", .has_mac = true, .mac = { 2 } },
        { .tap = "b", .has_mac = true, .mac = { 2 } },
    };
    const struct drupe_net lost = { .tap = TAP, .has_metadata = true };
    struct run r;

    (void)state;
    need_world();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        net_init(&r, &cases[i].net, "net");
        if (drupe_vm_create(&r.cfg, &r.vm, &r.err) != cases[i].code) {
            fail_msg("case %zu: %s", i, r.err.text);
        }
        (void)close(r.cfg.serial_log);
    }
    net_init(&r, &lost, "net");
    assert_int_equal(drupe_vm_create(&r.cfg, &r.vm, &r.err), DRUPE_CONFIG_INVALID);
    (void)close(r.cfg.serial_log);
    net_init(&r, twins, "net");
    r.cfg.net_count = 2;
    assert_int_equal(drupe_vm_create(&r.cfg, &r.vm, &r.err), DRUPE_CONFIG_INVALID);
    r.cfg.net_count = DRUPE_NETS_MAX + 1;
    assert_int_equal(drupe_vm_create(&r.cfg, &r.vm, &r.err), DRUPE_CONFIG_INVALID);
    (void)close(r.cfg.serial_log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo),     cmocka_unit_test(test_descriptor),
        cmocka_unit_test(test_limits),   cmocka_unit_test(test_broken_rings),
        cmocka_unit_test(test_update),   cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_metadata), cmocka_unit_test(test_qemu),
    };

    make_world();
    return cmocka_run_group_tests_name("net", tests, NULL, NULL);
}
