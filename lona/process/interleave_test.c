/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random conversations of processes on several workers, all simulated on one thread: the seed
 * decides what the processes do and who runs when (platform/sim). The processes tell a boss what
 * happens to them; when all is over the log is checked here, without a look into the VM:
 *
 *   messages and pings from one process to another arrive in order, each once, and all of them;
 *   nothing from a process arrives after its DOWN or EXIT;
 *   DOWN comes once for each monitor, not after demonitor, and never fails to come;
 *   EXIT by a link comes once, not after unlink, never fails to come, and kills who doesn't trap
 * it; nobody sleeps for ever (the simulation notices).
 *
 * Each run is a child process, so a crash is a failed run as well. A failed run is shrunk: steps of
 * the processes are taken away, then changes of turn, as long as it still fails.
 *
 *     interleave_test [SEED [COUNT]]    or LONA_SEED, LONA_RUNS
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define raise signal_raise /* the VM's headers have another one */
#include <sys/wait.h>
#undef raise

#include <test.h>

#include "compiler/compiler.h"
#include "data/data.h"
#include "native.h"
#include "platform/sim/sim.h"
#include "vm.h"
#include "vm_state.h"

enum {
    ACTORS_MAX = 5,
    STEPS_MAX = 10,
    EVENTS_MAX = 4096,
    RUNS = 300,
    SHRINKS_MAX = 200,
    REPORT_MAX = 4096,
};

#define TIME_MAX_NS UINT64_C(4000000000)

/* ---- what the processes do ---- */

enum step_kind {
    STEP_NONE,
    STEP_SEND,
    STEP_PING,
    STEP_PICK,
    STEP_TAKE,
    STEP_WAIT,
    STEP_LINK,
    STEP_UNLINK,
    STEP_MONITOR,
    STEP_DEMONITOR,
    STEP_EXIT,
    STEP_KILL,
    STEP_DIE,
    STEP_CHILD,
    STEP_KINDS,
};

static const char *const step_names[] = { "none", "send", "ping",   "pick",    "take",
                                          "wait", "link", "unlink", "monitor", "demonitor",
                                          "exit", "kill", "die",    "child" };

struct step {
    enum step_kind kind;
    unsigned peer;
    unsigned number; /* of the message: counts up for each pair */
};

struct scenario {
    uint64_t seed; /* of the turns */
    unsigned workers, slice, switch_one_in;
    uint64_t switches_max;
    unsigned lose_wake_one_in;
    unsigned actors;
    bool traps[ACTORS_MAX];
    struct step steps[ACTORS_MAX][STEPS_MAX];
};

static uint64_t next(uint64_t *random)
{
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return *random >> 11;
}

static struct scenario make_scenario(uint64_t seed)
{
    static const enum step_kind often[] = { STEP_SEND, STEP_SEND, STEP_PING,    STEP_TAKE,
                                            STEP_LINK, STEP_LINK, STEP_MONITOR, STEP_MONITOR };
    struct scenario s = { .seed = seed };
    uint64_t r = (seed + 7) * 0x9E3779B97F4A7C15u | 1;
    unsigned number = 0;

    (void)next(&r);
    s.workers = 1 + (unsigned)(next(&r) % 4);
    s.slice = 2 + (unsigned)(next(&r) % 60);
    s.switch_one_in = 1 + (unsigned)(next(&r) % 6);
    s.actors = 2 + (unsigned)(next(&r) % (ACTORS_MAX - 1));
    for (unsigned a = 0; a < s.actors; a++) {
        s.traps[a] = next(&r) % 2 == 0;
        for (unsigned i = 0; i < STEPS_MAX; i++) {
            enum step_kind kind =
                next(&r) % 3 != 0 ? often[next(&r) % 8] : (enum step_kind)(next(&r) % STEP_KINDS);

            if (kind == STEP_DIE && i < STEPS_MAX / 2) {
                kind = STEP_WAIT;
            }
            s.steps[a][i] =
                (struct step){ kind, (a + 1 + (unsigned)(next(&r) % (s.actors - 1))) % s.actors,
                               number++ };
        }
    }
    return s;
}

/* ---- the program ---- */

enum event_kind {
    EVENT_MESSAGE = 1, /* from, number */
    EVENT_SENT,        /* to, number */
    EVENT_DOWN,        /* number of the monitor, whom */
    EVENT_EXIT,        /* from, 1 for :noproc */
    EVENT_DEMONITOR,   /* number of the monitor, whom */
    EVENT_UNLINK,      /* whom, 0 */
    EVENT_LINK,        /* whom, 0 */
    EVENT_SIGNAL,      /* from, number */
    EVENT_MONITOR,     /* number of the monitor, whom */
    EVENT_PING,        /* from, number */
    EVENT_PINGED,      /* to, number */
    EVENT_SIGNALLED,   /* to, number */
};

/* The bare language, without macros: this VM has no library. */
static const char program[] =
    "(def say (fn* [s kind a b] (send (nth s 1) [:log (nth s 0) kind a b])))"
    "(def look (fn* look [refs ref] (match refs"
    "  ([r n j] & more) (match (= r ref) true [n j] _ (look more ref)) () [0 0])))"
    "(def index (fn* index [peers pid i] (match (= i (count peers)) true -1"
    "  _ (match (= (nth peers i) pid) true i _ (index peers pid (+ i 1))))))"
    /* s: [id boss peers refs] */
    "(def got (fn* [s m] (match m"
    "  [:m from k] (say s 1 from k)"
    "  [:p from k] (say s 10 from k)"
    "  [:DOWN ref pid why] (match (look (nth s 3) ref) [n j] (say s 3 n j))"
    "  [:EXIT pid [:sig from to k]] when (= to (nth s 0)) (say s 8 from k)"
    "  [:EXIT pid why] (say s 4 (index (nth s 2) pid 0) (match why :noproc 1 _ 0)))))"
    "(def serve (fn* serve [s] (receive :flush (do (send (nth s 1) [:flushed (nth s 0)]) (serve s))"
    "  m (do (got s m) (serve s)))))"
    "(def peer (fn* [s j] (nth (nth s 2) j)))"
    /* unlink leaves an EXIT where it is queued already */
    "(def forget (fn* forget [s p] (receive [:EXIT q why] when (match (= p q) true"
    "   (match why [:sig _ to _] (not (= to (nth s 0))) _ true) _ false) (forget s p)"
    "   :after 0 nil)))"
    "(def run (fn* run [s n steps] (match steps"
    "  () (do (send (nth s 1) [:done (nth s 0)]) (serve s))"
    "  ([kind j k] & more) (match kind"
    "    :send (do (send (peer s j) [:m (nth s 0) k]) (say s 2 j k) (run s n more))"
    "    :ping (do (send (peer s j) [:p (nth s 0) k]) (say s 11 j k) (run s n more))"
    "    :pick (do (receive [:p from b] (say s 10 from b) :after 0 nil) (run s n more))"
    "    :take (do (receive m (got s m) :after 0 nil) (run s n more))"
    "    :wait (do (receive m (got s m) :after 3 nil) (run s n more))"
    "    :link (do (link (peer s j)) (say s 7 j 0) (run s n more))"
    "    :unlink (do (unlink (peer s j)) (forget s (peer s j)) (say s 6 j 0) (run s n more))"
    "    :monitor (match (monitor (peer s j)) ref"
    "       (match [(nth s 0) (nth s 1) (nth s 2) (prepend (nth s 3) [ref n j])] s2"
    "         (do (say s2 9 n j) (run s2 (+ n 1) more))))"
    "    :demonitor (do (match (nth s 3) ([ref m j2] & _) (do (demonitor ref) (say s 5 m j2)) _ "
    "nil)"
    "       (run s n more))"
    "    :exit (do (exit (peer s j) [:sig (nth s 0) j k]) (say s 12 j k) (run s n more))"
    "    :kill (do (exit (peer s j) :kill) (run s n more))"
    "    :die (exit [:died (nth s 0)])"
    "    :child (match (spawn-monitor (fn* [] 1)) [p r] (do (receive [:DOWN r2 _ _] when (= r r2) "
    "1)"
    "       (run s n more)))"
    "    _ (run s n more)))))"
    "(def actor (fn* [id boss trap steps] (do (trap-exit trap)"
    "  (receive [:peers peers] (run [id boss peers ()] 1 steps)))))"
    /* the boss; st: id -> :run, :done, :flushed, :dead */
    "(def note (fn* [pids st m] (match m"
    "  [:done id] (match (get st id) :run (put st id :done) _ st)"
    "  [:flushed id] (match (get st id) :done (put st id :flushed) _ st)"
    "  [:DOWN _ pid _] (put st (index pids pid 0) :dead))))"
    "(def any? (fn* any? [st i what] (match (get st i) nil false x (match (= x what) true true"
    "   _ (any? st (+ i 1) what)))))"
    "(def alive (fn* alive [st i n] (match (get st i) nil n :dead (alive st (+ i 1) n)"
    "   _ (alive st (+ i 1) (+ n 1)))))"
    "(def gather (fn* gather [pids st log while] (match (any? st 0 while) false [st log]"
    "  _ (receive [:log id k a b] (gather pids st (prepend log [id k a b]) while)"
    "     m (gather pids (note pids st m) log while)))))"
    /* until the dead are quite dead: then all that they tell has been sent. Who isn't counted any
       more has told the boss, so the count comes before the look into the mailbox. */
    "(def drain (fn* drain [pids st log]"
    "  (receive [:log id k a b] (drain pids st (prepend log [id k a b]))"
    "     m (drain pids (note pids st m) log) :after 0 [st log])))"
    "(def settle (fn* settle [pids st log] (match (process-count) c (match (drain pids st log)"
    "  [st2 log2] (match (> c (+ 1 (alive st2 0 0))) false [st2 log2]"
    "     _ (do (sleep 1) (settle pids st2 log2)))))))"
    "(def flush (fn* flush [pids st i] (match (get st i) nil nil"
    "  :done (do (send (nth pids i) :flush) (flush pids st (+ i 1))) _ (flush pids st (+ i 1)))))"
    "(def tell (fn* tell [pids i m] (match (= i (count pids)) true nil"
    "  _ (do (send (nth pids i) m) (tell pids (+ i 1) m)))))"
    "(def start (fn* start [me actors id pids st] (match actors"
    "  () (do (tell pids 0 [:peers pids]) (match (gather pids st () :run)"
    "    [st2 log] (match (settle pids st2 log)"
    "    [st3 log2] (do (flush pids st3 0) (match (gather pids st3 log2 :done)"
    "    [st4 log3] [st3 st4 log3])))))"
    "  ([trap steps] & more) (match (spawn-monitor (fn* [] (actor id me trap steps)))"
    "    [pid _] (start me more (+ id 1) (append pids pid) (put st id :run))))))";

/* ---- running it ---- */

struct event {
    unsigned who;
    enum event_kind kind;
    int64_t a, b;
};

struct outcome {
    const struct scenario *s;
    char text[32768];
    size_t size, offset;
    struct event events[EVENTS_MAX];
    unsigned count;
    bool dead[ACTORS_MAX];    /* before the flush */
    bool flushed[ACTORS_MAX]; /* lived to the end and has seen all its messages */
    bool is_complete;
};

static void write_text(struct outcome *o)
{
    size_t n = (size_t)snprintf(o->text, sizeof(o->text), "%s (start (self) '(", program);

    for (unsigned a = 0; a < o->s->actors; a++) {
        n += (size_t)snprintf(o->text + n, sizeof(o->text) - n, "[%s (",
                              o->s->traps[a] ? "true" : "false");
        for (unsigned i = 0; i < STEPS_MAX; i++) {
            const struct step *t = &o->s->steps[a][i];

            if (t->kind != STEP_NONE) {
                n += (size_t)snprintf(o->text + n, sizeof(o->text) - n, "[:%s %u %u]",
                                      step_names[t->kind], t->peer, t->number);
            }
        }
        n += (size_t)snprintf(o->text + n, sizeof(o->text) - n, ")]");
    }
    n += (size_t)snprintf(o->text + n, sizeof(o->text) - n, ") 0 [] %%{})");
    o->size = n;
}

/* One form a round. */
static term_t body(void *arg, struct process *p, term_t last, bool *again)
{
    struct outcome *o = arg;
    struct code_unit u;
    term_t form;
    term_t fun = last;

    heap_inhibit_gc(p);
    struct reader *r = reader_create(p, o->text, o->size, "t");

    if (r == NULL) {
        abort();
    }
    reader_start_at(r, o->offset, (struct place){ 1, 1 });
    if (reader_next(r, &form) == READ_FORM) {
        const struct compile_source source = { .reader = r, .file = "t", .place = { 1, 1 } };

        o->offset = reader_offset(r);
        code_unit_init(&u, process_vm(p));
        fun = compile_form(p, &source, form, &u) ? code_link(p, &u) : TERM_ERROR;
        code_unit_deinit(&u);
        *again = true;
    }
    reader_destroy(r);
    heap_permit_gc(p);
    return !*again || fun == TERM_ERROR ? fun : native_apply(p, fun, TERM_EMPTY);
}

static void take_states(bool *out, const struct scenario *s, term_t map, const char *state,
                        struct process *p)
{
    term_t wanted = realm_keyword(process_vm(p), state, strlen(state));

    for (unsigned a = 0; a < s->actors; a++) {
        out[a] = map_get(p, map, term_small(a)) == wanted;
    }
}

/* The value is [states-before-flush states-after log], the log newest first. */
static void take_value(void *arg, struct process *p, term_t value, bool is_error)
{
    struct outcome *o = arg;

    if (is_error || !term_is_tuple(value) || tuple_count(value) != 3) {
        return;
    }
    take_states(o->dead, o->s, tuple_get(value, 0), "dead", p);
    take_states(o->flushed, o->s, tuple_get(value, 1), "flushed", p);
    int64_t length = list_length(tuple_get(value, 2));

    if (length < 0 || length > EVENTS_MAX) {
        return;
    }
    o->count = (unsigned)length;
    for (term_t l = tuple_get(value, 2); term_is_list(l); l = pair_rest(l)) {
        term_t e = pair_head(l);

        o->events[--length] =
            (struct event){ (unsigned)small_value(tuple_get(e, 0)),
                            (enum event_kind)small_value(tuple_get(e, 1)),
                            small_value(tuple_get(e, 2)), small_value(tuple_get(e, 3)) };
    }
    o->is_complete = true;
}

_Noreturn static void fail_run(const char *what, unsigned who, int64_t other)
{
    (void)printf("%s (process %u, %lld)\n", what, who, (long long)other);
    (void)fflush(stdout);
    _exit(1);
}

static void stuck(void)
{
    fail_run("everyone sleeps for ever", 0, 0);
}

/* ---- the checks ---- */

#define ALWAYS(condition, what, who, other)                                                        \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fail_run(what, who, other);                                                            \
        }                                                                                          \
    } while (0)

static unsigned count_events(const struct outcome *o, unsigned who, enum event_kind kind, int64_t a,
                             int64_t b)
{
    unsigned n = 0;

    for (unsigned i = 0; i < o->count; i++) {
        const struct event *e = &o->events[i];

        n += e->who == who && e->kind == kind && (a < 0 || e->a == a) && (b < 0 || e->b == b);
    }
    return n;
}

/* May have been done without being told. */
static bool has_step(const struct scenario *s, unsigned who, enum step_kind kind, unsigned peer)
{
    for (unsigned i = 0; i < STEPS_MAX; i++) {
        if (s->steps[who][i].kind == kind && s->steps[who][i].peer == peer) {
            return true;
        }
    }
    return false;
}

/* What this event forbids later in the log of the same process. */
static void check_later(const struct outcome *o, unsigned at)
{
    const struct event *e = &o->events[at];
    bool linked_again = false;

    for (unsigned i = at + 1; i < o->count; i++) {
        const struct event *l = &o->events[i];

        if (l->who != e->who) {
            continue;
        }
        linked_again |= l->kind == EVENT_LINK && e->kind == EVENT_UNLINK && l->a == e->a;
        if (l->kind == e->kind && (l->kind == EVENT_MESSAGE || l->kind == EVENT_PING)) {
            ALWAYS(l->a != e->a || l->b > e->b, "messages out of order or doubled", e->who, l->b);
        }
        if (e->kind == EVENT_DOWN) {
            ALWAYS(l->kind != EVENT_DOWN || l->a != e->a, "a second DOWN", e->who, e->a);
            ALWAYS(l->kind != EVENT_MESSAGE || l->a != e->b, "a message after DOWN", e->who, l->b);
        }
        if (e->kind == EVENT_EXIT && e->b == 0) {
            ALWAYS(l->kind != EVENT_EXIT || l->a != e->a || l->b != 0, "a second EXIT", e->who,
                   e->a);
            ALWAYS(l->kind != EVENT_MESSAGE || l->a != e->a, "a message after EXIT", e->who, l->b);
        }
        if (e->kind == EVENT_DEMONITOR) {
            ALWAYS(l->kind != EVENT_DOWN || l->a != e->a, "DOWN after demonitor", e->who, e->a);
        }
        if (e->kind == EVENT_UNLINK && !linked_again &&
            !has_step(o->s, (unsigned)e->a, STEP_LINK, e->who)) {
            ALWAYS(l->kind != EVENT_EXIT || l->a != e->a, "EXIT after unlink", e->who, e->a);
        }
        if (e->kind == EVENT_SIGNAL) {
            ALWAYS(l->kind != EVENT_SIGNAL || l->b != e->b, "a signal doubled", e->who, e->b);
        }
    }
}

/* What must have come to those who lived to the end. */
static void check_arrived(const struct outcome *o, const struct event *e)
{
    static const struct {
        enum event_kind sent, arrived;
    } pairs[] = { { EVENT_SENT, EVENT_MESSAGE },
                  { EVENT_PINGED, EVENT_PING },
                  { EVENT_SIGNALLED, EVENT_SIGNAL } };

    for (unsigned i = 0; i < 3; i++) {
        if (e->kind == pairs[i].sent && o->flushed[e->a]) {
            ALWAYS(count_events(o, (unsigned)e->a, pairs[i].arrived, e->who, e->b) == 1,
                   "something sent did not arrive", (unsigned)e->a, e->b);
        }
    }
    if (e->kind == EVENT_MONITOR && o->flushed[e->who] && o->dead[e->b] &&
        count_events(o, e->who, EVENT_DEMONITOR, e->a, -1) == 0) {
        ALWAYS(count_events(o, e->who, EVENT_DOWN, e->a, -1) == 1, "no DOWN", e->who, e->a);
    }
}

/* Linked by either side, never unlinked, and `dead` has died: what has become of `who`? */
static void check_link(const struct outcome *o, unsigned who, unsigned dead)
{
    unsigned links =
        count_events(o, who, EVENT_LINK, dead, -1) + count_events(o, dead, EVENT_LINK, who, -1);

    if (has_step(o->s, who, STEP_UNLINK, dead) || has_step(o->s, dead, STEP_UNLINK, who)) {
        return;
    }
    if (who == dead || links == 0 || !o->dead[dead] || !o->flushed[who]) {
        return;
    }
    ALWAYS(o->s->traps[who], "someone survived a link", who, dead);
    ALWAYS(count_events(o, who, EVENT_EXIT, dead, -1) >= 1, "no EXIT", who, dead);
}

static void check(const struct outcome *o)
{
    ALWAYS(o->is_complete, "no result", 0, 0);
    for (unsigned i = 0; i < o->count; i++) {
        check_later(o, i);
        check_arrived(o, &o->events[i]);
    }
    for (unsigned a = 0; a < o->s->actors; a++) {
        for (unsigned b = 0; b < o->s->actors; b++) {
            check_link(o, a, b);
        }
    }
}

/* ---- one run, in a child ---- */

static void run_scenario(const struct scenario *s)
{
    static struct outcome o;
    const struct sim_options so = { .seed = s->seed,
                                    .switch_one_in = s->switch_one_in,
                                    .switches_max = s->switches_max,
                                    .lose_wake_one_in = s->lose_wake_one_in,
                                    .time_max_ns = TIME_MAX_NS,
                                    .stuck = stuck };
    struct sim *sim = sim_create(&so);
    const char *error;

    if (sim == NULL) {
        fail_run("no memory", 0, 0);
    }
    const struct vm_options vo = { .platform = sim_platform(sim),
                                   .workers = s->workers,
                                   .seed = 7,
                                   .slice = s->slice,
                                   .without_library = true };
    struct vm *vm = vm_create(&vo, &error);

    if (vm == NULL) {
        fail_run("no VM", 0, 0);
    }
    o.s = s;
    write_text(&o);
    if (vm_call_body(vm, body, &o, take_value, &o) != 0) {
        fail_run("the program failed", 0, 0);
    }
    check(&o);
    vm_destroy(vm);
    sim_destroy(sim);
}

/* True when it went well; else what was wrong stands in `report`. */
static bool try_scenario(const struct scenario *s, char *report)
{
    int out[2];
    size_t n = 0;
    int status = 0;

    assert_int_equal(pipe(out), 0);
    (void)fflush(stdout);
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        (void)dup2(out[1], STDOUT_FILENO);
        (void)dup2(out[1], STDERR_FILENO);
        (void)alarm(20);
        run_scenario(s);
        exit(0);
    }
    (void)close(out[1]);
    for (ssize_t k; n < REPORT_MAX - 1 && (k = read(out[0], report + n, REPORT_MAX - 1 - n)) > 0;) {
        n += (size_t)k;
    }
    (void)close(out[0]);
    report[n] = '\0';
    assert_int_equal(waitpid(child, &status, 0), child);
    return status == 0;
}

/* ---- shrinking ---- */

static void shrink(struct scenario *s, char *report)
{
    unsigned tries = 0;
    char other[REPORT_MAX];

    for (bool again = true; again && tries < SHRINKS_MAX;) {
        again = false;
        for (unsigned i = 0; i < s->actors * STEPS_MAX && tries < SHRINKS_MAX; i++) {
            struct step *t = &s->steps[i / STEPS_MAX][i % STEPS_MAX];
            struct scenario less = *s;

            if (t->kind == STEP_NONE) {
                continue;
            }
            less.steps[i / STEPS_MAX][i % STEPS_MAX].kind = STEP_NONE;
            tries++;
            if (!try_scenario(&less, other)) {
                *s = less;
                memcpy(report, other, REPORT_MAX);
                again = true;
            }
        }
    }
    for (uint64_t max = UINT64_C(1) << 20; max > 1 && tries < SHRINKS_MAX + 30; max /= 2, tries++) {
        struct scenario less = *s;

        less.switches_max = max;
        if (try_scenario(&less, other)) {
            break;
        }
        *s = less;
        memcpy(report, other, REPORT_MAX);
    }
}

static void show(const struct scenario *s, const char *report)
{
    print_message("seed %llu: %u workers, slices of %u, turns change at one point in %u, at most "
                  "%llu times\n",
                  (unsigned long long)s->seed, s->workers, s->slice, s->switch_one_in,
                  (unsigned long long)s->switches_max);
    for (unsigned a = 0; a < s->actors; a++) {
        print_message("  process %u%s:", a, s->traps[a] ? " (traps)" : "");
        for (unsigned i = 0; i < STEPS_MAX; i++) {
            const struct step *t = &s->steps[a][i];

            if (t->kind != STEP_NONE) {
                print_message(" %s %u #%u", step_names[t->kind], t->peer, t->number);
            }
        }
        print_message("\n");
    }
    print_message("%s", report);
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

static void interleavings_keep_the_promises(void **state)
{
    uint64_t first = from_environment("LONA_SEED", 1);
    uint64_t count = from_environment("LONA_RUNS", getenv("LONA_SEED") != NULL ? 1 : RUNS);
    static char report[REPORT_MAX];

    (void)state;
    for (uint64_t seed = first; seed < first + count; seed++) {
        struct scenario s = make_scenario(seed);

        if (!try_scenario(&s, report)) {
            show(&s, report);
            print_message("shrinking\n");
            shrink(&s, report);
            show(&s, report);
            fail_msg("repeat with LONA_SEED=%llu", (unsigned long long)seed);
        }
    }
}

/* The test of the test: a platform that forgets wake-ups is found out, and by few steps. */
static void a_lost_wake_up_is_found(void **state)
{
    static char report[REPORT_MAX];
    bool found = false;

    (void)state;
    for (uint64_t seed = 1; seed < 30 && !found; seed++) {
        struct scenario s = make_scenario(seed);

        s.lose_wake_one_in = 1;
        s.workers = 2;
        found = !try_scenario(&s, report);
        if (found) {
            unsigned steps = 0;

            shrink(&s, report);
            assert_non_null(strstr(report, "sleeps for ever"));
            for (unsigned i = 0; i < s.actors * STEPS_MAX; i++) {
                steps += s.steps[i / STEPS_MAX][i % STEPS_MAX].kind != STEP_NONE;
            }
            assert_in_range(steps, 0, 3);
        }
    }
    assert_true(found);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interleavings_keep_the_promises),
        cmocka_unit_test(a_lost_wake_up_is_found),
    };

    if (argc > 1) {
        (void)setenv("LONA_SEED", argv[1], 1);
    }
    if (argc > 2) {
        (void)setenv("LONA_RUNS", argv[2], 1);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
