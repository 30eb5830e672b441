/* SPDX-License-Identifier: Apache-2.0 */
/* Says hello and where it runs. */

#include <stdio.h>
#include <sys/utsname.h>

int main(void)
{
    struct utsname name;

    if (uname(&name) < 0) {
        perror("uname");
        return 1;
    }
    (void)printf("hello from %s %s on %s\n", name.sysname, name.release, name.machine);
    return 0;
}
