/* SPDX-License-Identifier: Apache-2.0 */
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/virtio_net.h"

#define TUN_PATH "/dev/net/tun"

static int named(const char *name, struct ifreq *out)
{
    size_t length = strnlen(name, IFNAMSIZ);

    memset(out, 0, sizeof(*out));
    if (length == 0 || length >= IFNAMSIZ) {
        return -EINVAL;
    }
    memcpy(out->ifr_name, name, length);
    return 0;
}

/* Attaching would make an interface that is missing, and nobody would find it connected. */
static int check_exists(const char *name)
{
    struct ifreq request;
    int fd = -1;
    int r = named(name, &request);

    if (r < 0) {
        return r;
    }
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    r = ioctl(fd, SIOCGIFINDEX, &request) < 0 ? -errno : 0;
    (void)close(fd);
    return r;
}

static int set_header(int fd)
{
    int size = VIRTIO_NET_HEADER_SIZE;

    return ioctl(fd, TUNSETVNETHDRSZ, &size) < 0 ? -errno : 0;
}

static int attach(int fd, const char *name)
{
    struct ifreq request;
    int r = named(name, &request);

    if (r < 0) {
        return r;
    }
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    if (ioctl(fd, TUNSETIFF, &request) == 0) {
        return 0;
    }
    if (errno != EINVAL) {
        return -errno;
    }
    request.ifr_flags = (short)(request.ifr_flags | IFF_MULTI_QUEUE); /* made to be shared */
    return ioctl(fd, TUNSETIFF, &request) < 0 ? -errno : 0;
}

int tap_attach(const char *name)
{
    int r = check_exists(name);
    int fd = -1;

    if (r < 0) {
        return r;
    }
    fd = open(TUN_PATH, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return errno == ENOENT ? -EOPNOTSUPP : -errno; /* not the tap is missing */
    }
    r = attach(fd, name);
    if (r == 0) {
        r = set_header(fd);
    }
    if (r < 0) {
        (void)close(fd);
        return r;
    }
    return fd;
}

int tap_adopt(int fd)
{
    struct ifreq request;
    int copy = -1;
    int flags = fcntl(fd, F_GETFL);
    int r = 0;

    memset(&request, 0, sizeof(request));
    if (flags < 0) {
        return -errno;
    }
    if (ioctl(fd, TUNGETIFF, &request) < 0) {
        return errno == ENOTTY ? -EINVAL : -errno;
    }
    if ((request.ifr_flags & (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)) !=
            (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR) ||
        (flags & O_ACCMODE) != O_RDWR) {
        return -EINVAL;
    }
    copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0) {
        return -errno;
    }
    r = set_header(copy);
    if (r == 0 && fcntl(copy, F_SETFL, flags | O_NONBLOCK) < 0) {
        r = -errno;
    }
    if (r < 0) {
        (void)close(copy);
        return r;
    }
    return copy;
}
