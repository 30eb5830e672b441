// SPDX-License-Identifier: Apache-2.0
/* Names: links, rename and its flags, removal, listing from a cookie, times, permissions. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *outcome(long result)
{
    return result < 0 ? strerrorname_np(errno) : "ok";
}

static void touch(const char *name)
{
    close(open(name, O_CREAT | O_WRONLY, 0644));
}

static unsigned long links(const char *name)
{
    struct stat s;

    return lstat(name, &s) == 0 ? (unsigned long)s.st_nlink : 0;
}

static void renames(void)
{
    struct stat a;
    struct stat b;

    touch("a");
    touch("b");
    mkdir("d", 0755);
    mkdir("e", 0755);
    touch("e/x");
    stat("a", &a);
    printf("file over file %s\n", outcome(rename("a", "b")));
    stat("b", &b);
    printf("same inode %d\n", a.st_ino == b.st_ino);
    printf("file over directory %s\n", outcome(rename("b", "d")));
    printf("directory over file %s\n", outcome(rename("d", "b")));
    printf("over a full directory %s\n", outcome(rename("d", "e")));
    printf("over an empty one %s\n", outcome(rename("e", "d")));
    printf("into itself %s\n", outcome(rename("d", "d/y")));
    printf("over its parent %s\n", outcome(rename("d/x", "d")));
    touch("c");
    printf("noreplace %s", outcome(renameat2(AT_FDCWD, "b", AT_FDCWD, "c", RENAME_NOREPLACE)));
    printf(" exchange %s", outcome(renameat2(AT_FDCWD, "b", AT_FDCWD, "d", RENAME_EXCHANGE)));
    stat("d", &b);
    printf(" %d", S_ISREG(b.st_mode));
    printf(" both %s\n",
           outcome(renameat2(AT_FDCWD, "b", AT_FDCWD, "d", RENAME_EXCHANGE | RENAME_NOREPLACE)));
    printf("missing %s\n", outcome(rename("nothing", "x")));
    printf("dot %s\n", outcome(rename("b/.", "x")));
}

static void hard_links(void)
{
    touch("one");
    printf("link %s", outcome(link("one", "two")));
    printf(" count %lu", links("one"));
    printf(" again %s", outcome(link("one", "two")));
    printf(" directory %s", outcome(link("b", "three")));
    unlink("one");
    printf(" left %lu\n", links("two"));
    symlink("two", "soft");
    printf("to the link itself %s", outcome(linkat(AT_FDCWD, "soft", AT_FDCWD, "soft2", 0)));
    printf(" %lu\n", links("soft"));
    printf("unlink a directory %s\n", outcome(unlink("b")));
    printf("rmdir a file %s\n", outcome(rmdir("two")));
    printf("rmdir full %s\n", outcome(rmdir("b")));
    printf("slash %s %s\n", outcome(unlink("two/")), outcome(mkdir("new/", 0755)));
}

static void listing(void)
{
    char names[64][16];
    struct dirent *e;
    long cookie = 0;
    unsigned count = 0;
    DIR *d;

    mkdir("many", 0755);
    for (int i = 0; i < 40; i++) {
        char name[32];

        snprintf(name, sizeof(name), "many/n%02d", i);
        touch(name);
    }
    d = opendir("many");
    while ((e = readdir(d)) != NULL && count < 10) {
        snprintf(names[count++], 16, "%s", e->d_name);
    }
    cookie = telldir(d);
    while ((e = readdir(d)) != NULL) {
        count++;
    }
    printf("listed %u\n", count + 1); /* the one that ended the first loop */
    seekdir(d, cookie);
    unlink("many/n39");
    count = 0;
    while ((e = readdir(d)) != NULL) {
        count++;
        if (e->d_type != DT_REG && e->d_name[0] != '.') {
            printf("type %d\n", e->d_type);
        }
    }
    printf("from the cookie %s\n", count >= 28 && count <= 31 ? "as many as are left" : "wrong");
    closedir(d);
}

static void times_and_modes(void)
{
    struct timespec t[2] = { { 1000000000, 5 }, { 1200000000, 123456789 } };
    struct stat s;

    touch("t");
    printf("utimens %s", outcome(utimensat(AT_FDCWD, "t", t, 0)));
    stat("t", &s);
    printf(" %ld.%09ld %ld.%09ld\n", (long)s.st_atim.tv_sec, s.st_atim.tv_nsec,
           (long)s.st_mtim.tv_sec, s.st_mtim.tv_nsec);
    t[0].tv_nsec = UTIME_OMIT;
    t[1].tv_sec = 7;
    t[1].tv_nsec = 0;
    utimensat(AT_FDCWD, "t", t, 0);
    stat("t", &s);
    printf("omit %ld %ld\n", (long)s.st_atim.tv_sec, (long)s.st_mtim.tv_sec);
    printf("missing %s\n", outcome(utimensat(AT_FDCWD, "no", NULL, 0)));
    printf("chmod %s", outcome(chmod("t", 04751)));
    stat("t", &s);
    printf(" %o", s.st_mode);
    printf(" chown %s", outcome(chown("t", 12, 34)));
    stat("t", &s);
    printf(" %o %u %u\n", s.st_mode, s.st_uid, s.st_gid);
    printf("fifo %s", outcome(mkfifo("p", 0600)));
    printf(" device %s", outcome(mknod("null", S_IFCHR | 0666, makedev(1, 3))));
    stat("null", &s);
    printf(" %o %u:%u\n", s.st_mode, major(s.st_rdev), minor(s.st_rdev));
}

/* As somebody else. */
static void permissions(void)
{
    mkdir("private", 0700);
    touch("private/x");
    mkdir("sticky", 01777);
    chmod("sticky", 01777);
    touch("sticky/x");
    touch("secret");
    chmod("secret", 0600);
    chmod(".", 0755);
    fflush(stdout);
    if (fork() == 0) {
        if (setgid(1000) != 0 || setuid(1000) != 0) {
            printf("setuid\n");
            _exit(1);
        }
        printf("open secret %s\n", outcome(open("secret", O_RDONLY)));
        printf("look inside %s\n", outcome(access("private/x", F_OK)));
        printf("create %s\n", outcome(open("mine", O_CREAT | O_WRONLY, 0600)));
        printf("create in sticky %s\n", outcome(open("sticky/mine", O_CREAT | O_WRONLY, 0600)));
        printf("remove in sticky %s\n", outcome(unlink("sticky/x")));
        printf("chmod %s chown %s\n", outcome(chmod("secret", 0666)),
               outcome(chown("sticky/mine", 0, -1)));
        printf("own chmod %s\n", outcome(chmod("sticky/mine", 0644)));
        fflush(stdout);
        _exit(0);
    }
    wait(NULL);
    printf("root executes a plain file %s\n", outcome(access("secret", X_OK)));
}

static void working_directory(void)
{
    char buf[256];
    char *end;

    mkdir("w", 0755);
    printf("chdir %s\n", outcome(chdir("w")));
    end = getcwd(buf, sizeof(buf)) ? strrchr(buf, '/') : NULL;
    printf("cwd ends in %s\n", end ? end : "?");
    printf("small buffer %s\n", getcwd(buf, 3) ? "?" : strerrorname_np(errno));
    rmdir("../w");
    printf("gone %s\n", getcwd(buf, sizeof(buf)) ? "?" : strerrorname_np(errno));
    printf("create in it %s\n", outcome(open("x", O_CREAT | O_WRONLY, 0600)));
    printf("up %s\n", outcome(chdir("..")));
    printf("file %s\n", outcome(chdir("two")));
}

int main(void)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    umask(022);
    mkdir("fs_names", 0755);
    if (chdir("fs_names") != 0) {
        return 1;
    }
    renames();
    hard_links();
    listing();
    times_and_modes();
    permissions();
    working_directory();
    return 0;
}
