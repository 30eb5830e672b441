/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The jail's root: an empty read-only tmpfs, or a directory that the caller filled. After
 * pivot_root the old root is detached, so that no path leads to it; what the monitor works with are
 * the descriptors that it was given.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <base/fmt.h>

#include "jail/jail_internal.h"

/*
 * Any directory that every host has: the mount is seen in this namespace alone. Not one of the
 * jail's own, as removing a directory on which something is mounted anywhere waits for a grace
 * period of the kernel, milliseconds each time.
 */
#define MOUNT_POINT "/tmp"

struct node {
    const char *path; /* in the jail and, with a slash before it, on the host */
    unsigned major;
    unsigned minor;
};

static const struct node kvm_node = { "dev/kvm", 10, 232 };
static const struct node tun_node = { "dev/net/tun", 10, 200 };

static bool has_devices(const struct jail_setup *s)
{
    return s->wants_kvm || s->wants_tun || s->wants_userfaultfd;
}

static drupe_vm_err_t mount_root(const struct jail_setup *s, struct drupe_error *err)
{
    const unsigned long flags =
        MS_NOSUID | MS_NOEXEC | (has_devices(s) && s->is_root ? 0ul : (unsigned long)MS_NODEV);

    if (s->root[0] != '\0') {
        return mount(s->root, MOUNT_POINT, NULL, MS_BIND, NULL) < 0
                   ? jail_failed(err, "mount", errno, "bind %s", s->root)
                   : DRUPE_OK;
    }
    /* A page of data and a few names are more than enough for device nodes. */
    return mount("drupe", MOUNT_POINT, "tmpfs", flags, "size=16k,nr_inodes=16,mode=0755") < 0
               ? jail_failed(err, "mount", errno, "an empty root")
               : DRUPE_OK;
}

/* Ordinary users may make no nodes: they get the host's, bound, where they can open it. */
static drupe_vm_err_t bind_node(const struct node *n, struct drupe_error *err)
{
    char host[32];
    const int fd = open(n->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    (void)fmt_snprintf(host, sizeof(host), "/%s", n->path);
    if (fd < 0) {
        return jail_failed(err, "devices", errno, "make %s", n->path);
    }
    (void)close(fd);
    return mount(host, n->path, NULL, MS_BIND, NULL) < 0
               ? jail_failed(err, "devices", errno, "bind %s", host)
               : DRUPE_OK;
}

static drupe_vm_err_t make_node(const struct jail_setup *s, const struct node *n,
                                struct drupe_error *err)
{
    if (!s->is_root) {
        return bind_node(n, err);
    }
    /* Made anew: what stands there in a directory of the caller's may be anything. */
    (void)unlink(n->path);
    if (mknod(n->path, S_IFCHR | 0600, makedev(n->major, n->minor)) < 0 ||
        lchown(n->path, s->uid, s->gid) < 0) {
        return jail_failed(err, "devices", errno, "make %s", n->path);
    }
    return DRUPE_OK;
}

/* Its number is given out when the host starts; a host or user without it goes without. */
static drupe_vm_err_t make_userfaultfd(const struct jail_setup *s, struct drupe_error *err)
{
    struct node n = { "dev/userfaultfd", 0, 0 };
    struct stat st;

    if (stat("/dev/userfaultfd", &st) < 0 || !S_ISCHR(st.st_mode) ||
        (!s->is_root && access("/dev/userfaultfd", R_OK | W_OK) < 0)) {
        return DRUPE_OK;
    }
    n.major = major(st.st_rdev);
    n.minor = minor(st.st_rdev);
    return make_node(s, &n, err);
}

/* The working directory is the new root, not yet pivoted to. */
static drupe_vm_err_t make_devices(const struct jail_setup *s, struct drupe_error *err)
{
    drupe_vm_err_t r = DRUPE_OK;

    if (!has_devices(s)) {
        return DRUPE_OK;
    }
    if ((mkdir("dev", 0755) < 0 && errno != EEXIST) ||
        (s->wants_tun && mkdir("dev/net", 0755) < 0 && errno != EEXIST)) {
        return jail_failed(err, "devices", errno, "make dev");
    }
    if (s->wants_kvm) {
        r = make_node(s, &kvm_node, err);
    }
    if (r == DRUPE_OK && s->wants_tun) {
        r = make_node(s, &tun_node, err);
    }
    if (r == DRUPE_OK && s->wants_userfaultfd) {
        r = make_userfaultfd(s, err);
    }
    return r;
}

/* What is open is opened again through it; live snapshots ask which pages are there. */
static bool needs_proc(const struct jail_setup *s)
{
    return s->folder_count > 0 || s->wants_userfaultfd;
}

static drupe_vm_err_t mount_proc(const char *at, struct drupe_error *err)
{
    return mount("proc", at, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "subset=pid") < 0
               ? jail_failed(err, "mount", errno, "/proc of the jail")
               : DRUPE_OK;
}

drupe_vm_err_t jail_proc_mount(const struct jail_setup *s, struct drupe_error *err)
{
    return needs_proc(s) && s->is_root ? mount_proc("/proc", err) : DRUPE_OK;
}

/*
 * The place for /proc. An ordinary user may mount one only while another can still be seen, and is
 * in the PID namespace by now; root's maker is not.
 */
static drupe_vm_err_t make_proc(const struct jail_setup *s, struct drupe_error *err)
{
    if (s->root[0] != '\0') {
        return DRUPE_OK;
    }
    if (mkdir("proc", 0555) < 0) {
        return jail_failed(err, "mount", errno, "make /proc");
    }
    return needs_proc(s) && !s->is_root ? mount_proc("proc", err) : DRUPE_OK;
}

static drupe_vm_err_t pivot(const struct jail_setup *s, struct drupe_error *err)
{
    /* Stacked on itself and detached: no directory for the old root is needed. */
    if (syscall(SYS_pivot_root, ".", ".") < 0) {
        return jail_failed(err, "pivot_root", errno, "from the host's root");
    }
    if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0) {
        return jail_failed(err, "pivot_root", errno, "detach the host's root");
    }
    if (s->root[0] == '\0') {
        const unsigned long kept =
            MS_NOSUID | MS_NOEXEC | (has_devices(s) && s->is_root ? 0ul : (unsigned long)MS_NODEV);

        if (mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | kept, NULL) < 0) {
            return jail_failed(err, "mount", errno, "make the root read-only");
        }
    }
    return DRUPE_OK;
}

drupe_vm_err_t jail_root_enter(struct jail_setup *s, struct drupe_error *err)
{
    drupe_vm_err_t r = DRUPE_OK;

    if (s->is_daemon) {
        s->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (s->null_fd < 0) {
            return jail_failed(err, "session", errno, "open /dev/null");
        }
    }
    /* What is mounted here from now on is seen nowhere else. */
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        return jail_failed(err, "mount", errno, "make the mounts private");
    }
    r = mount_root(s, err);
    if (r == DRUPE_OK && chdir(MOUNT_POINT) < 0) {
        r = jail_failed(err, "mount", errno, "enter " MOUNT_POINT);
    }
    if (r == DRUPE_OK && s->root[0] != '\0' && s->is_root && chown(".", s->uid, s->gid) < 0) {
        r = jail_failed(err, "mount", errno, "give %s to the jail's ids", s->root);
    }
    if (r == DRUPE_OK) {
        r = make_devices(s, err);
    }
    if (r == DRUPE_OK) {
        r = make_proc(s, err);
    }
    if (r == DRUPE_OK) {
        r = pivot(s, err);
    }
    if (r == DRUPE_OK && (s->root[0] != '\0' || has_devices(s))) {
        s->root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (s->root_fd < 0) {
            r = jail_failed(err, "landlock", errno, "open the new root");
        }
    }
    return r;
}
