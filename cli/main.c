/* SPDX-License-Identifier: Apache-2.0 */
/* drupe: run a program in a virtual machine of its own. This file finds the verb. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

/* What other programs call it, for fingers that are used to those. */
static const struct {
    const char *word;
    const char *here;
} elsewhere[] = {
    { "attach", "logs -f, or drupe exec -it" },
    { "commit", "snapshot" },
    { "images", "template ls" },
    { "inspect", "ps --json" },
    { "list", "ps" },
    { "ls", "ps" },
    { "shell", "exec -it MACHINE -- sh" },
    { "ssh", "exec -it MACHINE -- sh" },
    { "start", "run -d, or drupe resume" },
    { "stats", "top" },
    { "suspend", "pause" },
    { "unpause", "resume" },
};

static int refuse_verb(const char *word)
{
    const char *names[64] = { NULL };
    const struct verb *v = NULL;

    for (unsigned i = 0; i + 1 < array_size(names) && (v = verb_at(i)) != NULL; i++) {
        names[i] = v->name;
    }
    const char *near = nearest_word(word, names);

    for (size_t i = 0; i < array_size(elsewhere); i++) {
        if (strcmp(word, elsewhere[i].word) == 0) {
            return complain(STATUS_USAGE, "unknown command \"%s\"; here it is drupe %s", word,
                            elsewhere[i].here);
        }
    }
    if (near) {
        return complain(STATUS_USAGE, "unknown command \"%s\" (did you mean %s?)", word, near);
    }
    return complain(STATUS_USAGE, "unknown command \"%s\"; drupe help lists them", word);
}

/*
 * Under the names that Firecracker's clients start, drupe is what they expect. Also under any name
 * with "firecracker" in it, as their wrappers add versions.
 */
static const struct verb *verb_of_program(const char *path)
{
    const char *slash = path ? strrchr(path, '/') : NULL;
    const char *name = slash ? slash + 1 : path;

    if (!name) {
        return NULL;
    }
    if (strncmp(name, "jailer", 6) == 0) {
        return &verb_jailer;
    }
    return strncmp(name, "drupe-vmm", 9) == 0 || strstr(name, "firecracker") ? &verb_vmm : NULL;
}

int main(int argc, char **argv)
{
    const struct verb *own = verb_of_program(argv[0]);

    if (own) {
        return own->run(argc, argv);
    }
    /* drupe -C DIR VERB ...: as if started there. */
    while (argc >= 2 && strcmp(argv[1], "-C") == 0) {
        if (argc < 3) {
            return complain(STATUS_USAGE, "-C needs a directory");
        }
        if (chdir(argv[2]) < 0) {
            return complain(STATUS_FAILED, "-C %s: %s", argv[2], strerror(errno));
        }
        argc -= 2;
        argv += 2;
    }
    if (argc < 2) {
        (void)verb_help.run(1, (char *[]){ (char *)(uintptr_t) "help", NULL });
        return STATUS_USAGE;
    }
    const char *word = argv[1];

    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        word = "help";
    } else if (strcmp(word, "--version") == 0) {
        word = "version";
    }
    const struct verb *verb = verb_find(word);

    if (!verb) {
        return word[0] == '-' ? complain(STATUS_USAGE, "unknown option %s; see drupe help", word)
                              : refuse_verb(word);
    }
    verb_set_running(verb->name);
    int status = verb->run(argc - 1, argv + 1);

    if (fflush(stdout) != 0 || ferror(stdout)) {
        return complain(STATUS_FAILED, "cannot write to standard output: %s", strerror(errno));
    }
    return status;
}
