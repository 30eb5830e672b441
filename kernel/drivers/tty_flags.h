/* SPDX-License-Identifier: Apache-2.0 */
/* Terminal modes and requests, and what the parts of the tty share. Numbers:
 * asm-generic/termbits.h, ioctls.h (octal as there). */
#pragma once

#include <core/types.h>

struct file;
struct tty;

enum {
    VINTR,
    VQUIT,
    VERASE,
    VKILL,
    VEOF,
    VTIME,
    VMIN,
    VSWTC,
    VSTART,
    VSTOP,
    VSUSP,
    VEOL,
    VREPRINT,
    VDISCARD,
    VWERASE,
    VLNEXT,
    VEOL2
};

/* iflag */
#define ISTRIP 0000040u
#define INLCR  0000100u
#define IGNCR  0000200u
#define ICRNL  0000400u
#define IXON   0002000u
#define IXANY  0004000u
#define IUTF8  0040000u

/* oflag */
#define OPOST  0000001u
#define ONLCR  0000004u
#define OCRNL  0000010u
#define ONOCR  0000020u
#define ONLRET 0000040u
#define TABDLY 0014000u
#define XTABS  0014000u

/* cflag */
#define B38400 0000017u
#define CS8    0000060u
#define CREAD  0000200u
#define HUPCL  0002000u

/* lflag */
#define ISIG    0000001u
#define ICANON  0000002u
#define ECHO    0000010u
#define ECHOE   0000020u
#define ECHOK   0000040u
#define ECHONL  0000100u
#define NOFLSH  0000200u
#define TOSTOP  0000400u
#define ECHOCTL 0001000u
#define ECHOKE  0004000u
#define IEXTEN  0100000u

/* requests */
#define TCGETS     0x5401u
#define TCSETS     0x5402u
#define TCSETSW    0x5403u
#define TCSETSF    0x5404u
#define TCSBRK     0x5409u
#define TCXONC     0x540au
#define TCFLSH     0x540bu
#define TIOCSCTTY  0x540eu
#define TIOCGPGRP  0x540fu
#define TIOCSPGRP  0x5410u
#define TIOCSTI    0x5412u
#define TIOCGWINSZ 0x5413u
#define TIOCSWINSZ 0x5414u
#define FIONREAD   0x541bu
#define TIOCNOTTY  0x5422u
#define TCSBRKP    0x5425u
#define TIOCGSID   0x5429u
#define TCGETS2    0x802c542au
#define TCSETS2    0x402c542bu
#define TCSETSW2   0x402c542cu
#define TCSETSF2   0x402c542du

long tty_ioctl(struct file *f, unsigned request, uint64_t arg);

/*
 * Job control: may the current process use t now? 0; or the signal was sent to its group:
 * -ERESTARTSYS; -EIO: orphaned or ignoring. SIGTTOU counts only with TOSTOP, unless `always` asks
 * (changes of the terminal).
 */
int tty_check_background(struct tty *t, int signo);
int tty_check_change(struct tty *t);
