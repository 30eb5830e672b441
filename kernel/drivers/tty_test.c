/* SPDX-License-Identifier: Apache-2.0 */
/* The line discipline, byte by byte: what a program reads and what the terminal shows for what is
 * typed. */

#include <test.h>

#include <string.h>

#include <host/host.h>

#include <drivers/tty.h>
#include <drivers/tty_flags.h>
#include <ipc/poll.h>
#include <proc/process.h>
#include <sched/task.h>

/* --- what the discipline asks of the kernel, recorded
 * --------------------------------------------- */

struct spinlock process_tree_lock;
struct list process_list = LIST_INIT(process_list);

static int last_signal;
static pid_t last_group;

int signal_send_group(pid_t pgid, int signo, const struct siginfo *info)
{
    (void)info;
    last_group = pgid;
    last_signal = signo;
    return 0;
}

bool file_is_nonblock(const struct file *f)
{
    return f->flags != 0;
}

/* --- a terminal whose screen is a buffer
 * ------------------------------------------------------------ */

static char screen[1024];
static size_t screen_size;

static int screen_write(struct tty *t, const uint8_t *bytes, size_t size, bool atomic, size_t *done)
{
    (void)t;
    (void)atomic;
    assert_true(screen_size + size < sizeof(screen));
    memcpy(screen + screen_size, bytes, size);
    screen_size += size;
    screen[screen_size] = '\0';
    *done = size;
    return 0;
}

static uint32_t screen_poll(struct tty *t, struct file *f, struct poll_table *pt)
{
    (void)t;
    (void)f;
    (void)pt;
    return POLLOUT;
}

static const struct tty_driver driver = { .write = screen_write, .poll_out = screen_poll };
static struct tty tty;
static struct file file;

static void reset(void)
{
    host_machine_create(UINT64_C(4) << 20, true);
    tty_init(&tty, "test", &driver, NULL);
    tty.pgid = 7;
    file = (struct file){ .ops = &tty_file_ops, .private = &tty, .flags = 1 };
    screen_size = 0;
    screen[0] = '\0';
    last_signal = 0;
}

static void type(const char *text)
{
    tty_input(&tty, (const uint8_t *)text, strlen(text));
}

/* One read of at most `size`; the result terminated in a static buffer; "EAGAIN" if it would block.
 */
static const char *read_some(size_t size)
{
    static char buf[TTY_INPUT_MAX + 1];
    struct uio u;
    ssize_t n;

    uio_init_kernel(&u, buf, size);
    n = tty_file_ops.read(&file, &u, NULL);
    if (n == -EAGAIN) {
        return "EAGAIN";
    }
    assert_true(n >= 0);
    buf[n] = '\0';
    return buf;
}

static void lines_and_editing(void **state)
{
    static const struct {
        const char *typed;
        const char *first;  /* first read */
        const char *second; /* second read */
        const char *shown;
    } cases[] = {
        { "abc", "EAGAIN", "EAGAIN", "abc" },
        { "abc\r", "abc\n", "EAGAIN", "abc\r\n" },
        { "one\ntwo\n", "one\n", "two\n", "one\r\ntwo\r\n" },
        { "ab\177c\n", "ac\n", "EAGAIN", "ab\b \bc\r\n" },
        { "\177x\n", "x\n", "EAGAIN", "x\r\n" },
        { "a\xc3\xa9\177b\n", "ab\n", "EAGAIN", "a\xc3\xa9\b \bb\r\n" },
        { "foo bar\027x\n", "foo x\n", "EAGAIN", "foo bar\b \b\b \b\b \bx\r\n" },
        { "gone\025k\n", "k\n", "EAGAIN", "gone\b \b\b \b\b \b\b \bk\r\n" },
        { "part\004", "part", "EAGAIN", "part" },
        { "\004", "", "EAGAIN", "" },
        { "x\n\004", "x\n", "", "x\r\n" },
        { "\026\003\n", "\003\n", "EAGAIN", "^C\r\n" },
        { "a\001\177b\n", "ab\n", "EAGAIN", "a^A\b \b\b \bb\r\n" },
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        reset();
        type(cases[i].typed);
        assert_string_equal(read_some(100), cases[i].first);
        assert_string_equal(read_some(100), cases[i].second);
        assert_string_equal(screen, cases[i].shown);
    }
}

static void long_lines_are_read_in_parts(void **state)
{
    (void)state;
    reset();
    type("abcdef\nx\n");
    assert_string_equal(read_some(4), "abcd");
    assert_string_equal(read_some(4), "ef\n");
    assert_string_equal(read_some(4), "x\n");
}

static void a_full_buffer_can_still_end_its_line(void **state)
{
    (void)state;
    reset();
    tty.termios.lflag &= ~ECHO;
    for (unsigned i = 0; i < TTY_INPUT_MAX + 50; i++) {
        type("x");
    }
    type("\n");
    assert_int_equal(strlen(read_some(TTY_INPUT_MAX)), TTY_INPUT_MAX);
    assert_string_equal(read_some(10), "EAGAIN");
}

static void signals(void **state)
{
    static const struct {
        char key;
        int signo;
    } cases[] = { { 3, SIGINT }, { 28, SIGQUIT }, { 26, SIGTSTP } };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        char typed[] = { 'a', cases[i].key, '\0' };

        reset();
        type(typed);
        assert_int_equal(last_signal, cases[i].signo);
        assert_int_equal(last_group, 7);
        type("b\n");
        assert_string_equal(read_some(10), "b\n"); /* what came before was flushed */
    }
    reset();
    tty.termios.lflag &= ~ISIG;
    type("\003\n");
    assert_int_equal(last_signal, 0);
}

static void raw_mode(void **state)
{
    (void)state;
    reset();
    tty.termios.lflag &= ~(ICANON | ECHO | ISIG | IEXTEN);
    tty.termios.iflag = 0;
    tty.termios.cc[VMIN] = 3;
    type("ab");
    assert_string_equal(read_some(10), "EAGAIN");
    type("\r\004");
    assert_string_equal(read_some(10), "ab\r\004");
    assert_string_equal(screen, "");
}

static void output_processing(void **state)
{
    char text[] = "a\tb\n";
    struct uio u;

    (void)state;
    reset();
    tty.termios.oflag |= XTABS;
    uio_init_kernel(&u, text, 4);
    assert_int_equal(tty_file_ops.write(&file, &u, NULL), 4);
    assert_string_equal(screen, "a       b\r\n");
}

static void window_change_signals_once(void **state)
{
    (void)state;
    reset();
    tty_set_window(&tty, 24, 80);
    assert_int_equal(last_signal, SIGWINCH);
    last_signal = 0;
    tty_set_window(&tty, 24, 80);
    assert_int_equal(last_signal, 0);
}

static void poll_tells_what_read_would(void **state)
{
    (void)state;
    reset();
    type("a");
    assert_int_equal(tty_file_ops.poll(&file, NULL) & POLLIN, 0);
    type("\n");
    assert_int_equal(tty_file_ops.poll(&file, NULL) & POLLIN, POLLIN);
    tty_hang_up(&tty);
    assert_int_equal(tty_file_ops.poll(&file, NULL) & POLLHUP, POLLHUP);
    assert_int_equal(last_signal, SIGCONT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_and_editing),
        cmocka_unit_test(long_lines_are_read_in_parts),
        cmocka_unit_test(a_full_buffer_can_still_end_its_line),
        cmocka_unit_test(signals),
        cmocka_unit_test(raw_mode),
        cmocka_unit_test(output_processing),
        cmocka_unit_test(window_change_signals_once),
        cmocka_unit_test(poll_tells_what_read_would),
    };

    return cmocka_run_group_tests_name("kernel/tty", tests, NULL, NULL);
}
