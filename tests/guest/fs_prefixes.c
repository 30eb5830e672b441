/* SPDX-License-Identifier: Apache-2.0 */
/* Names with a long common beginning, while the directories on the way change: a kernel that
 * remembers where a beginning led must notice. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char base[64];

static const char *at(const char *rest)
{
    static char text[4][256];
    static unsigned next;
    char *to = text[next++ % 4];

    snprintf(to, sizeof(text[0]), "%s/%s", base, rest);
    return to;
}

static void make(const char *rest)
{
    int fd = open(at(rest), O_CREAT | O_WRONLY, 0644);

    if (fd < 0 || write(fd, rest, strlen(rest)) < 0) {
        printf("make %s: %s\n", rest, strerror(errno));
    }
    close(fd);
}

/* Twice: the second look finds what the first one left behind. */
static void look(const char *what, const char *rest)
{
    for (int i = 0; i < 2; i++) {
        struct stat s;

        if (stat(at(rest), &s) < 0) {
            printf("%s: %s: %s\n", what, rest, strerror(errno));
        } else {
            printf("%s: %s: %lld bytes\n", what, rest,
                   S_ISDIR(s.st_mode) ? 0 : (long long)s.st_size);
        }
    }
}

static void as_somebody(const char *what, const char *rest)
{
    fflush(stdout);
    pid_t child = fork();

    if (child == 0) {
        if (setgid(1000) < 0 || setuid(1000) < 0) {
            printf("cannot be somebody else\n");
        }
        look(what, rest);
        fflush(stdout);
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

int main(void)
{
    strcpy(base, "/tmp/prefixes-XXXXXX");
    if (!mkdtemp(base) || chmod(base, 0755) < 0) {
        return 1;
    }
    mkdir(at("directory"), 0755);
    mkdir(at("directory/below"), 0755);
    make("directory/below/a");
    make("directory/below/longer");
    look("made", "directory/below/a");
    look("made", "directory/below/longer");
    look("absent", "directory/below/b");
    look("dots", "directory/below/../below/./a");
    look("slashes", "directory//below///a");
    look("a file as directory", "directory/below/a/");

    rename(at("directory/below"), at("directory/moved"));
    look("moved", "directory/below/a");
    look("moved", "directory/moved/a");
    rename(at("directory"), at("elsewhere"));
    look("above moved", "directory/moved/a");
    look("above moved", "elsewhere/moved/a");
    mkdir(at("directory"), 0755);
    mkdir(at("directory/moved"), 0755);
    make("directory/moved/a");
    look("made anew", "directory/moved/a");

    as_somebody("everybody", "elsewhere/moved/a");
    chmod(at("elsewhere"), 0700);
    as_somebody("closed", "elsewhere/moved/a");
    look("closed to others", "elsewhere/moved/a");
    as_somebody("still closed", "elsewhere/moved/a");
    chmod(at("elsewhere"), 0755);
    as_somebody("open", "elsewhere/moved/a");

    symlink("elsewhere", at("link"));
    look("by a link", "link/moved/longer");
    unlink(at("link"));
    look("link gone", "link/moved/longer");
    symlink("directory", at("link"));
    look("another link", "link/moved/longer");
    look("another link", "link/moved/a");

    unlink(at("directory/moved/a"));
    rmdir(at("directory/moved"));
    look("removed", "directory/moved/a");
    make("directory/moved");
    look("a file now", "directory/moved/a");

    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        char below[128];

        mkdir(at("tmp"), 0755);
        snprintf(below, sizeof(below), "%s/tmp/%s", base, strrchr(base, '/') + 1);
        mkdir(below, 0755);
        look("outside", "elsewhere/moved/a");
        if (chroot(base) < 0) {
            printf("chroot: %s\n", strerror(errno));
        }
        look("inside", "elsewhere/moved/a");
        fflush(stdout);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    look("outside again", "elsewhere/moved/a");
    if (chdir("/") == 0) {
        char command[128];

        snprintf(command, sizeof(command), "rm -rf %s", base);
        if (access("/bin/rm", X_OK) == 0 && system(command) != 0) {
            printf("left behind\n");
        }
    }
    return 0;
}
