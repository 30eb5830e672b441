/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The line discipline: editing of input, echo, signals, processing of output (termios(3), POSIX
 * 1003.1 chapter 11). Characters are bytes; erasing takes a whole UTF-8 sequence when IUTF8 is set.
 */

#include <core/string.h>
#include <drivers/tty.h>
#include <drivers/tty_flags.h>
#include <ipc/poll.h>
#include <proc/process.h>
#include <sched/task.h>

#define INDEX(i) ((i) & (TTY_INPUT_MAX - 1))

static bool bit_get(const uint64_t *map, uint32_t i)
{
    return map[INDEX(i) / 64] >> (INDEX(i) % 64) & 1;
}

static void bit_set(uint64_t *map, uint32_t i, bool on)
{
    uint64_t bit = UINT64_C(1) << (INDEX(i) % 64);

    map[INDEX(i) / 64] = on ? map[INDEX(i) / 64] | bit : map[INDEX(i) / 64] & ~bit;
}

void tty_init(struct tty *t, const char *name, const struct tty_driver *driver, void *private)
{
    static const uint8_t defaults[TTY_CC_COUNT] = {
        [VINTR] = 3,     [VQUIT] = 28,    [VERASE] = 127, [VKILL] = 21,  [VEOF] = 4,
        [VTIME] = 0,     [VMIN] = 1,      [VSTART] = 17,  [VSTOP] = 19,  [VSUSP] = 26,
        [VREPRINT] = 18, [VDISCARD] = 15, [VWERASE] = 23, [VLNEXT] = 22,
    };

    memset(t, 0, offsetof(struct tty, input)); /* nobody reads bytes outside the ring */
    memset(t->marks, 0, sizeof(*t) - offsetof(struct tty, marks));
    t->driver = driver;
    t->private = private;
    t->name = name;
    mutex_init(&t->write_lock, RANK_TTY);
    spin_init(&t->lock, RANK_TTY);
    wait_queue_init(&t->readers);
    wait_queue_init(&t->unstopped);
    t->termios.iflag = ICRNL | IXON | IUTF8;
    t->termios.oflag = OPOST | ONLCR;
    t->termios.cflag = B38400 | CS8 | CREAD | HUPCL;
    t->termios.lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN;
    memcpy(t->termios.cc, defaults, sizeof(defaults));
}

/* --- output
 * --------------------------------------------------------------------------------------- */

/* Process one byte for output into at most 8 bytes at `to`; returns how many. t->lock held. */
static size_t process_output(struct tty *t, uint8_t c, uint8_t *to)
{
    size_t n = 0;

    if (!(t->termios.oflag & OPOST)) {
        to[0] = c;
        return 1;
    }
    switch (c) {
    case '\n':
        if (t->termios.oflag & ONLCR) {
            to[n++] = '\r';
        }
        if (t->termios.oflag & (ONLCR | ONLRET)) {
            t->column = 0;
        }
        to[n++] = '\n';
        return n;
    case '\r':
        if ((t->termios.oflag & ONOCR) && t->column == 0) {
            return 0;
        }
        if (t->termios.oflag & OCRNL) {
            to[0] = '\n';
            return 1;
        }
        t->column = 0;
        break;
    case '\t':
        if ((t->termios.oflag & TABDLY) == XTABS) {
            do {
                to[n++] = ' ';
            } while (++t->column & 7);
            return n;
        }
        t->column = (t->column | 7) + 1;
        break;
    case '\b':
        t->column -= t->column > 0;
        break;
    default:
        /* Control characters and UTF-8 continuations do not move the cursor. */
        t->column += c >= 32 && c != 127 && (c & 0xc0) != 0x80;
        break;
    }
    to[0] = c;
    return 1;
}

/* Echo never sleeps: it comes from the driver's thread; what does not fit is dropped, as on Linux.
 * t->lock held. */
static void echo(struct tty *t, const uint8_t *bytes, size_t size)
{
    uint8_t out[8];
    size_t done;

    for (size_t i = 0; i < size; i++) {
        size_t n = process_output(t, bytes[i], out);

        (void)t->driver->write(t, out, n, true, &done);
    }
}

static bool is_control(uint8_t c)
{
    return (c < 32 && c != '\t' && c != '\n') || c == 127;
}

static void echo_input(struct tty *t, uint8_t c)
{
    uint32_t lflag = t->termios.lflag;

    if (!(lflag & ECHO) && !(c == '\n' && (lflag & ECHONL) && (lflag & ICANON))) {
        return;
    }
    if ((lflag & ECHOCTL) && is_control(c)) {
        uint8_t text[2] = { '^', (uint8_t)(c ^ 64) };

        echo(t, text, 2);
    } else {
        echo(t, &c, 1);
    }
}

/* Until ^Q, a hang-up (which the write then tells), or a signal. */
static int output_wait(struct tty *t)
{
    struct waiter w;
    int err = 0;

    if (!t->is_stopped) {
        return 0;
    }
    wait_begin(&w, WAIT_INTERRUPTIBLE, TIME_FOREVER);
    wait_add(&t->unstopped, &w, 0);
    while (t->is_stopped && !t->is_hung_up && (err = wait_sleep(&w)) == 0) {
    }
    wait_end(&w);
    return err;
}

static ssize_t tty_write(struct file *f, struct uio *u, int64_t *pos)
{
    struct tty *t = f->private;
    uint8_t raw[256];
    uint8_t cooked[sizeof(raw) * 2 + 8];
    ssize_t total = 0;
    int err = tty_check_background(t, SIGTTOU);

    (void)pos;
    if (err < 0) {
        return err;
    }
    mutex_lock(&t->write_lock);
    while (u->remaining > 0) {
        ssize_t n = uio_copy_in(u, raw, min_of(sizeof(raw), u->remaining));
        ssize_t used = 0;

        if (n <= 0) {
            err = n < 0 ? (int)n : -EFAULT;
            break;
        }
        err = output_wait(t);
        while (err == 0 && used < n) {
            size_t out = 0;
            size_t done = 0;
            uint64_t flags = spin_lock_irqsave(&t->lock);

            while (used < n && out + 8 <= sizeof(cooked)) {
                out += process_output(t, raw[used++], cooked + out);
            }
            spin_unlock_irqrestore(&t->lock, flags);
            err =
                t->is_hung_up ? -EIO : t->driver->write(t, cooked, out, file_is_nonblock(f), &done);
        }
        if (err < 0) {
            break;
        }
        total += n;
    }
    mutex_unlock(&t->write_lock);
    return total > 0 ? total : err;
}

/* --- input
 * ------------------------------------------------------------------------------------------ */

static uint32_t input_count(const struct tty *t)
{
    return t->tail - t->head;
}

static void put(struct tty *t, uint8_t c, bool mark, bool end)
{
    /* One place stays free for the line's end, so that a line that is too long can be finished. */
    if (input_count(t) >= TTY_INPUT_MAX - 1 && !mark) {
        return;
    }
    if (input_count(t) >= TTY_INPUT_MAX) {
        return;
    }
    t->input[INDEX(t->tail)] = c;
    bit_set(t->marks, t->tail, mark);
    bit_set(t->ends, t->tail, end);
    t->tail++;
    if (mark || !(t->termios.lflag & ICANON)) {
        t->line_end = t->tail;
    }
}

/* Columns that the cursor must go back over to remove the byte at index i. */
static void erase_one(struct tty *t)
{
    static const uint8_t back[] = { '\b', ' ', '\b' };
    uint8_t c;

    do {
        t->tail--;
        c = t->input[INDEX(t->tail)];
        /* The rest of a UTF-8 sequence goes with its first byte. */
    } while ((t->termios.iflag & IUTF8) && (c & 0xc0) == 0x80 && t->tail != t->line_end);
    if (!(t->termios.lflag & ECHO)) {
        return;
    }
    if (!(t->termios.lflag & ECHOE)) {
        echo_input(t, t->termios.cc[VERASE]);
        return;
    }
    if (is_control(c) && (t->termios.lflag & ECHOCTL)) {
        echo(t, back, sizeof(back));
    }
    echo(t, back, sizeof(back));
}

static void erase_word(struct tty *t)
{
    bool seen = false;

    while (t->tail != t->line_end) {
        uint8_t c = t->input[INDEX(t->tail - 1)];
        bool is_word = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       c == '_' || c >= 0x80;

        if (seen && !is_word) {
            break;
        }
        seen = seen || is_word;
        erase_one(t);
    }
}

static bool is_cc(const struct tty *t, unsigned which, uint8_t c)
{
    return t->termios.cc[which] != 0 && t->termios.cc[which] == c;
}

static int signal_of(const struct tty *t, uint8_t c)
{
    if (!(t->termios.lflag & ISIG)) {
        return 0;
    }
    return is_cc(t, VINTR, c)   ? SIGINT
           : is_cc(t, VQUIT, c) ? SIGQUIT
           : is_cc(t, VSUSP, c) ? SIGTSTP
                                : 0;
}

/* One byte in canonical mode that edits or ends the line. True if it was one. */
static bool edit(struct tty *t, uint8_t c)
{
    uint32_t lflag = t->termios.lflag;

    if (is_cc(t, VERASE, c)) {
        if (t->tail != t->line_end) {
            erase_one(t);
        }
        return true;
    }
    if ((lflag & IEXTEN) && is_cc(t, VWERASE, c)) {
        erase_word(t);
        return true;
    }
    if (is_cc(t, VKILL, c)) {
        while (t->tail != t->line_end) {
            erase_one(t);
        }
        return true;
    }
    if ((lflag & IEXTEN) && is_cc(t, VREPRINT, c)) {
        echo_input(t, c);
        echo(t, (const uint8_t *)"\n", 1);
        for (uint32_t i = t->line_end; i != t->tail; i++) {
            echo_input(t, t->input[INDEX(i)]);
        }
        return true;
    }
    if (is_cc(t, VEOF, c)) {
        put(t, 0, true, true);
        return true;
    }
    if (c == '\n' || is_cc(t, VEOL, c) || ((lflag & IEXTEN) && is_cc(t, VEOL2, c))) {
        echo_input(t, c);
        put(t, c, true, false);
        return true;
    }
    return false;
}

/* The signal to send to the foreground group for this byte, 0: none. t->lock held. */
static int input_byte(struct tty *t, uint8_t c)
{
    uint32_t iflag = t->termios.iflag;
    int signo;

    if (iflag & ISTRIP) {
        c &= 0x7f;
    }
    if (t->takes_literal) {
        t->takes_literal = false;
        echo_input(t, c);
        put(t, c, false, false);
        return 0;
    }
    if (c == '\r') {
        if (iflag & IGNCR) {
            return 0;
        }
        c = iflag & ICRNL ? '\n' : c;
    } else if (c == '\n' && (iflag & INLCR)) {
        c = '\r';
    }
    signo = signal_of(t, c);
    if (signo) {
        if (!(t->termios.lflag & NOFLSH)) {
            t->head = t->line_end = t->tail;
        }
        echo_input(t, c);
        t->is_stopped = false;
        return signo;
    }
    if ((iflag & IXON) && (is_cc(t, VSTOP, c) || is_cc(t, VSTART, c))) {
        t->is_stopped = is_cc(t, VSTOP, c);
        return 0;
    }
    if ((iflag & IXON) && (iflag & IXANY)) {
        t->is_stopped = false;
    }
    if ((t->termios.lflag & (ICANON | IEXTEN)) == (ICANON | IEXTEN) && is_cc(t, VLNEXT, c)) {
        t->takes_literal = true;
        return 0;
    }
    if ((t->termios.lflag & ICANON) && edit(t, c)) {
        return 0;
    }
    echo_input(t, c);
    put(t, c, false, false);
    return 0;
}

void tty_input(struct tty *t, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        uint64_t flags = spin_lock_irqsave(&t->lock);
        int signo = input_byte(t, bytes[i]);
        pid_t pgid = t->pgid;
        bool is_stopped = t->is_stopped;

        spin_unlock_irqrestore(&t->lock, flags);
        if (signo && pgid > 0) {
            (void)signal_send_group(pgid, signo, NULL);
        }
        if (!is_stopped) {
            wake_all(&t->unstopped, 0);
        }
    }
    wake_all(&t->readers, POLLIN | POLLRDNORM);
}

/* --- reading
 * ------------------------------------------------------------------------------------------ */

/* Bytes that a read may take now; canonical: of whole lines only. t->lock held. */
static bool is_readable(const struct tty *t, uint32_t want)
{
    return t->line_end != t->head && (t->line_end - t->head >= want || (t->termios.lflag & ICANON));
}

/* Move what one read may return into buf. t->lock held. */
static size_t take(struct tty *t, uint8_t *buf, size_t size)
{
    size_t n = 0;

    while (t->head != t->line_end) {
        bool mark = bit_get(t->marks, t->head);
        bool end = bit_get(t->ends, t->head);

        if (end) {
            /* An end-of-file mark after data ends this read and costs no further one. */
            t->head++;
            break;
        }
        if (n == size) {
            break;
        }
        buf[n++] = t->input[INDEX(t->head)];
        t->head++;
        if (mark && (t->termios.lflag & ICANON)) {
            break;
        }
    }
    return n;
}

static int wait_readable(struct tty *t, struct file *f, size_t size)
{
    bool canonical = t->termios.lflag & ICANON;
    uint32_t vmin =
        canonical ? 1 : min_of(t->termios.cc[VMIN], (uint32_t)min_of(size, (size_t)255));
    uint64_t vtime = canonical ? 0 : t->termios.cc[VTIME] * (NSEC_PER_SEC / 10);
    uint32_t want = max_of(vmin, 1u);
    struct waiter w;
    int err = 0;

    if (is_readable(t, want) || t->is_hung_up || (vmin == 0 && vtime == 0)) {
        return 0;
    }
    if (file_is_nonblock(f)) {
        return -EAGAIN;
    }
    for (;;) {
        uint32_t had = t->line_end - t->head;
        /* VTIME counts from the call (VMIN 0) or between bytes (after the first one). */
        bool timed = vtime > 0 && (vmin == 0 || had > 0);

        wait_begin(&w, WAIT_INTERRUPTIBLE, timed ? clock_monotonic_ns() + vtime : TIME_FOREVER);
        wait_add(&t->readers, &w, 0);
        while (!is_readable(t, want) && !t->is_hung_up && t->line_end - t->head == had &&
               (err = wait_sleep(&w)) == 0) {
        }
        wait_end(&w);
        if (is_readable(t, want) || t->is_hung_up || err == -ETIMEDOUT) {
            return 0;
        }
        if (err < 0) {
            return err;
        }
    }
}

static ssize_t tty_read(struct file *f, struct uio *u, int64_t *pos)
{
    struct tty *t = f->private;
    uint8_t buf[256];
    size_t total = 0;
    int err = tty_check_background(t, SIGTTIN);

    (void)pos;
    if (err == 0) {
        err = wait_readable(t, f, u->remaining);
    }
    if (err < 0) {
        return err;
    }
    while (u->remaining > 0) {
        uint64_t flags = spin_lock_irqsave(&t->lock);
        bool canonical = t->termios.lflag & ICANON;
        size_t n = take(t, buf, min_of(sizeof(buf), u->remaining));
        bool ended = n < sizeof(buf) || (canonical && n > 0 && bit_get(t->marks, t->head - 1));
        ssize_t copied;

        spin_unlock_irqrestore(&t->lock, flags);
        copied = uio_copy_out(u, buf, n);
        if (copied < 0) {
            return total > 0 ? (ssize_t)total : copied;
        }
        total += (size_t)copied;
        if (ended || n == 0) {
            break;
        }
    }
    if (t->driver->has_read) {
        t->driver->has_read(t);
    }
    return (ssize_t)total;
}

static uint32_t tty_poll(struct file *f, struct poll_table *pt)
{
    struct tty *t = f->private;
    uint32_t events;

    poll_wait(pt, f, &t->readers);
    events = t->driver->poll_out(t, f, pt);
    if (is_readable(t, 1)) {
        events |= POLLIN | POLLRDNORM;
    }
    if (t->is_hung_up) {
        events |= POLLIN | POLLRDNORM | POLLHUP;
    }
    return events;
}

void tty_set_window(struct tty *t, uint16_t rows, uint16_t cols)
{
    uint64_t flags = spin_lock_irqsave(&t->lock);
    bool changed = t->winsize.rows != rows || t->winsize.cols != cols;
    pid_t pgid = t->pgid;

    t->winsize.rows = rows;
    t->winsize.cols = cols;
    spin_unlock_irqrestore(&t->lock, flags);
    if (changed && pgid > 0) {
        (void)signal_send_group(pgid, SIGWINCH, NULL);
    }
}

void tty_hang_up(struct tty *t)
{
    pid_t pgid = t->pgid;

    t->is_hung_up = true;
    wake_all(&t->readers, POLLIN | POLLHUP);
    wake_all(&t->unstopped, 0);
    if (pgid > 0) {
        (void)signal_send_group(pgid, SIGHUP, NULL);
        (void)signal_send_group(pgid, SIGCONT, NULL);
    }
}

const struct file_ops tty_file_ops = {
    .type = "tty",
    .read = tty_read,
    .write = tty_write,
    .poll = tty_poll,
    .ioctl = tty_ioctl,
};
