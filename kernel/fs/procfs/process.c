/* SPDX-License-Identifier: Apache-2.0 */
/* What /proc/<pid> and /proc/<pid>/task/<tid> hold. */
#include <base/fmt.h>
#include <core/string.h>
#include <fs/dentry.h>
#include <fs/fcntl.h>
#include <fs/file.h>
#include <fs/files.h>
#include <fs/procfs/procfs.h>
#include <mm/mm.h>
#include <mm/page.h>
#include <proc/cred.h>
#include <proc/process.h>
#include <proc/signal_queue.h>
#include <sched/task.h>
#include <syscall/syscall.h>

#define TICK_NS (NSEC_PER_SEC / 100)

/* Numbers of a process gathered under its locks. */
struct facts {
    char state;
    pid_t pid, ppid, pgid, sid, tpgid;
    uint32_t threads;
    uint64_t pending, shared_pending, blocked, ignored, caught;
    uint64_t user_ns, system_ns, child_user_ns, child_system_ns;
    uint64_t min_faults, maj_faults, switches_voluntary, switches_forced;
    int8_t nice;
    int exit_signal;
    bool is_group; /* sums over all threads */
};

static char state_of(const struct task *t)
{
    switch (atomic_load_explicit(&t->sched.state, memory_order_relaxed)) {
    case TASK_RUNNING:
        return 'R';
    case TASK_SLEEPING:
        return 'S';
    case TASK_STOPPED:
        return 'T';
    case TASK_DEAD:
        return 'Z';
    default:
        return 'D';
    }
}

static void add_task(struct facts *f, const struct task *t)
{
    uint64_t run = sched_run_ns(t);

    f->user_ns += min_of(t->sched.user_ns, run);
    f->system_ns += run - min_of(t->sched.user_ns, run);
    f->min_faults += t->min_faults;
    f->maj_faults += t->maj_faults;
    f->switches_voluntary += t->sched.switches_voluntary;
    f->switches_forced += t->sched.switches_forced;
}

static void gather(struct task *t, bool is_group, struct facts *f)
{
    struct process *p = t->process;
    const struct task *one;
    uint64_t flags;

    memset(f, 0, sizeof(*f));
    f->is_group = is_group;
    f->state = state_of(t);
    f->nice = t->sched.nice;
    f->tpgid = -1;
    flags = spin_lock_irqsave(&process_tree_lock);
    f->pid = p->pid;
    f->ppid = p->parent ? p->parent->pid : 0;
    f->pgid = p->pgid;
    f->sid = p->sid;
    f->exit_signal = p->exit_signal;
    f->child_user_ns = p->children_usage.user_ns;
    f->child_system_ns = p->children_usage.system_ns;
    if (p->is_zombie) {
        f->state = 'Z';
    }
    spin_unlock_irqrestore(&process_tree_lock, flags);

    flags = spin_lock_irqsave(&p->signal_lock);
    f->threads = p->thread_count;
    f->blocked = t->signal_mask;
    f->pending = t->pending.set;
    f->shared_pending = p->pending.set;
    if (p->actions) {
        f->ignored = p->actions->ignored;
        f->caught = p->actions->caught;
    }
    if (is_group) {
        f->user_ns = p->dead_threads.user_ns;
        f->system_ns = p->dead_threads.system_ns;
        f->min_faults = p->dead_threads.min_faults;
        f->maj_faults = p->dead_threads.maj_faults;
        list_for_each_entry(one, &p->threads, thread_link) {
            add_task(f, one);
        }
    } else {
        add_task(f, t);
    }
    spin_unlock_irqrestore(&p->signal_lock, flags);
}

static const char *name_of(const struct task *t, char buf[TASK_NAME_MAX])
{
    memcpy(buf, t->name, TASK_NAME_MAX);
    buf[TASK_NAME_MAX - 1] = '\0';
    return buf;
}

static int show_stat_of(struct proc_text *t, struct task *task, bool is_group)
{
    char name[TASK_NAME_MAX];
    struct mm *mm = proc_mm(task);
    struct mm none = { 0 };
    const struct mm *m = mm ? mm : &none;
    struct facts f;

    gather(task, is_group, &f);
    proc_print(t, "%d (%s) %c %d %d %d 0 %d 0 %lu 0 %lu 0 %lu %lu %ld %ld %d %d %u 0 %lu ",
               task->tid, name_of(task, name), f.state, f.ppid, f.pgid, f.sid, f.tpgid,
               (unsigned long)f.min_faults, (unsigned long)f.maj_faults,
               (unsigned long)(f.user_ns / TICK_NS), (unsigned long)(f.system_ns / TICK_NS),
               (long)(f.child_user_ns / TICK_NS), (long)(f.child_system_ns / TICK_NS), 20 + f.nice,
               f.nice, f.threads, (unsigned long)(task->start_ns / TICK_NS));
    proc_print(t, "%lu %lu %lu %lu %lu %lu 0 0 %lu %lu %lu %lu 0 0 0 %d %u %u %u 0 0 0 ",
               (unsigned long)(m->total_pages << PAGE_SHIFT),
               (unsigned long)atomic_load_explicit(&m->rss_pages, memory_order_relaxed),
               (unsigned long)limit_of(RLIMIT_RSS), (unsigned long)m->start_code,
               (unsigned long)m->end_code, (unsigned long)m->start_stack,
               (unsigned long)(f.pending & 0x7fffffff), (unsigned long)(f.blocked & 0x7fffffff),
               (unsigned long)(f.ignored & 0x7fffffff), (unsigned long)(f.caught & 0x7fffffff),
               f.exit_signal, task->sched.cpu, task->sched.rt_priority, task->sched.policy);
    proc_print(t, "%lu %lu %lu %lu %lu %lu %lu %d\n", (unsigned long)m->start_data,
               (unsigned long)m->end_data, (unsigned long)m->start_brk, (unsigned long)m->arg_start,
               (unsigned long)m->arg_end, (unsigned long)m->env_start, (unsigned long)m->env_end,
               f.state == 'Z' ? task->exit_code : 0);
    if (mm) {
        mm_put(mm);
    }
    return 0;
}

static int show_stat(struct proc_text *t, const struct proc_subject *s)
{
    return show_stat_of(t, s->task, true);
}

static int show_thread_stat(struct proc_text *t, const struct proc_subject *s)
{
    return show_stat_of(t, s->task, false);
}

static void print_memory(struct proc_text *t, const struct mm *m)
{
    unsigned long total = (unsigned long)m->total_pages * 4;
    unsigned long rss =
        (unsigned long)atomic_load_explicit(&m->rss_pages, memory_order_relaxed) * 4;
    unsigned long peak = max_of((unsigned long)m->hwm_pages * 4, rss);

    proc_print(t, "VmPeak:\t%8lu kB\nVmSize:\t%8lu kB\nVmLck:\t%8lu kB\nVmPin:\t       0 kB\n",
               total, total, (unsigned long)m->locked_pages * 4);
    proc_print(t, "VmHWM:\t%8lu kB\nVmRSS:\t%8lu kB\n", peak, rss);
    proc_print(t, "RssAnon:\t%8lu kB\nRssFile:\t       0 kB\nRssShmem:\t       0 kB\n", rss);
    proc_print(t, "VmData:\t%8lu kB\nVmStk:\t%8lu kB\nVmExe:\t%8lu kB\nVmLib:\t       0 kB\n",
               (unsigned long)(m->brk - m->start_brk) / 1024, 132ul,
               (unsigned long)(m->end_code - m->start_code) / 1024);
    proc_print(t, "VmPTE:\t       0 kB\nVmSwap:\t       0 kB\n");
}

static int show_status(struct proc_text *t, const struct proc_subject *s)
{
    static const char *const states[] = { "R (running)", "S (sleeping)", "D (disk sleep)",
                                          "T (stopped)", "Z (zombie)" };
    static const char letters[] = "RSDTZ";
    struct task *task = s->task;
    const struct cred *c = cred_get(task->cred);
    struct mm *mm = proc_mm(task);
    struct files *files = proc_files(task);
    char name[TASK_NAME_MAX];
    struct facts f;

    gather(task, true, &f);
    proc_print(t, "Name:\t%s\nUmask:\t%04o\nState:\t%s\n", name_of(task, name), 022u,
               states[strchr(letters, f.state) ? strchr(letters, f.state) - letters : 2]);
    proc_print(t, "Tgid:\t%d\nNgid:\t0\nPid:\t%d\nPPid:\t%d\nTracerPid:\t0\n", f.pid, task->tid,
               f.ppid);
    proc_print(t, "Uid:\t%u\t%u\t%u\t%u\nGid:\t%u\t%u\t%u\t%u\n", c->uid, c->euid, c->suid,
               c->fsuid, c->gid, c->egid, c->sgid, c->fsgid);
    proc_print(t, "FDSize:\t%u\nGroups:\t", files ? files->capacity : 0);
    for (uint32_t i = 0; i < c->group_count; i++) {
        proc_print(t, "%u ", c->groups[i]);
    }
    proc_print(t, "\nNStgid:\t%d\nNSpid:\t%d\nNSpgid:\t%d\nNSsid:\t%d\n", f.pid, task->tid, f.pgid,
               f.sid);
    if (mm) {
        print_memory(t, mm);
    }
    proc_print(t, "Threads:\t%u\nSigQ:\t0/%lu\n", f.threads,
               (unsigned long)task->process->limits[RLIMIT_SIGPENDING].soft);
    proc_print(t, "SigPnd:\t%016lx\nShdPnd:\t%016lx\nSigBlk:\t%016lx\nSigIgn:\t%016lx\n",
               (unsigned long)f.pending, (unsigned long)f.shared_pending, (unsigned long)f.blocked,
               (unsigned long)f.ignored);
    proc_print(t, "SigCgt:\t%016lx\nCapInh:\t%016lx\nCapPrm:\t%016lx\nCapEff:\t%016lx\n",
               (unsigned long)f.caught, (unsigned long)c->cap_inheritable,
               (unsigned long)c->cap_permitted, (unsigned long)c->cap_effective);
    proc_print(t, "CapBnd:\t%016lx\nCapAmb:\t%016lx\nNoNewPrivs:\t%d\nSeccomp:\t0\n",
               (unsigned long)c->cap_bounding, (unsigned long)c->cap_ambient,
               task->process->no_new_privs);
    proc_print(t, "Cpus_allowed:\t%lx\nMems_allowed:\t1\n", (unsigned long)task->sched.affinity);
    proc_print(t, "voluntary_ctxt_switches:\t%lu\nnonvoluntary_ctxt_switches:\t%lu\n",
               (unsigned long)f.switches_voluntary, (unsigned long)f.switches_forced);
    if (files) {
        files_put(files);
    }
    if (mm) {
        mm_put(mm);
    }
    cred_put(c);
    return 0;
}

static int show_statm(struct proc_text *t, const struct proc_subject *s)
{
    struct mm *mm = proc_mm(s->task);

    if (!mm) {
        proc_print(t, "0 0 0 0 0 0 0\n");
        return 0;
    }
    proc_print(t, "%lu %lu 0 %lu 0 %lu 0\n", (unsigned long)mm->total_pages,
               (unsigned long)atomic_load_explicit(&mm->rss_pages, memory_order_relaxed),
               (unsigned long)((mm->end_code - mm->start_code) >> PAGE_SHIFT),
               (unsigned long)((mm->brk - mm->start_brk) >> PAGE_SHIFT));
    mm_put(mm);
    return 0;
}

/* [start, end) of another program's memory, as far as it can be read. */
static int show_memory(struct proc_text *t, struct mm *mm, uint64_t start, uint64_t end)
{
    struct page *page = page_alloc(0, GFP_KERNEL);

    if (!page) {
        return -ENOMEM;
    }
    while (start < end) {
        size_t want = (size_t)min_of(end - start, PAGE_SIZE);
        size_t n = mm_access(mm, start, page_address(page), want, false);

        proc_append(t, page_address(page), n);
        start += n;
        if (n < want || t->is_out_of_memory) {
            break;
        }
    }
    page_put(page);
    return 0;
}

static int show_cmdline(struct proc_text *t, const struct proc_subject *s)
{
    struct mm *mm = proc_mm(s->task);
    int err = 0;

    if (mm) {
        err = show_memory(t, mm, mm->arg_start, mm->arg_end);
        mm_put(mm);
    }
    return err;
}

static int show_environ(struct proc_text *t, const struct proc_subject *s)
{
    struct mm *mm = proc_mm(s->task);
    int err = 0;

    if (mm) {
        err = show_memory(t, mm, mm->env_start, mm->env_end);
        mm_put(mm);
    }
    return err;
}

static int show_auxv(struct proc_text *t, const struct proc_subject *s)
{
    struct mm *mm = proc_mm(s->task);

    if (mm) {
        size_t n = 0;

        while (n + 2 < array_size(mm->auxv) && mm->auxv[n] != 0) {
            n += 2;
        }
        proc_append(t, mm->auxv, (n + 2) * sizeof(mm->auxv[0]));
        mm_put(mm);
    }
    return 0;
}

static int show_comm(struct proc_text *t, const struct proc_subject *s)
{
    char name[TASK_NAME_MAX];

    proc_print(t, "%s\n", name_of(s->task, name));
    return 0;
}

static int store_comm(const char *text, size_t size, const struct proc_subject *s)
{
    if (s->task->process != current->process) {
        return -EINVAL;
    }
    if (size > 0 && text[size - 1] == '\n') {
        size--;
    }
    size = min_of(size, (size_t)TASK_NAME_MAX - 1);
    memset(s->task->name, 0, TASK_NAME_MAX);
    memcpy(s->task->name, text, size);
    return 0;
}

static int show_limits(struct proc_text *t, const struct proc_subject *s)
{
    static const struct {
        const char *name;
        const char *unit;
    } rows[RLIMIT_COUNT] = {
        { "Max cpu time", "seconds" },     { "Max file size", "bytes" },
        { "Max data size", "bytes" },      { "Max stack size", "bytes" },
        { "Max core file size", "bytes" }, { "Max resident set", "bytes" },
        { "Max processes", "processes" },  { "Max open files", "files" },
        { "Max locked memory", "bytes" },  { "Max address space", "bytes" },
        { "Max file locks", "locks" },     { "Max pending signals", "signals" },
        { "Max msgqueue size", "bytes" },  { "Max nice priority", "" },
        { "Max realtime priority", "" },   { "Max realtime timeout", "us" },
    };

    proc_print(t, "%-25s %-20s %-20s %-10s\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    for (unsigned i = 0; i < RLIMIT_COUNT; i++) {
        const struct rlimit *l = &s->task->process->limits[i];
        uint64_t values[2] = { l->soft, l->hard };

        proc_print(t, "%-25s ", rows[i].name);
        for (int v = 0; v < 2; v++) {
            if (values[v] == RLIM_INFINITY) {
                proc_print(t, "%-20s ", "unlimited");
            } else {
                proc_print(t, "%-20lu ", (unsigned long)values[v]);
            }
        }
        proc_print(t, "%-10s\n", rows[i].unit);
    }
    return 0;
}

/* --- oom -------------------------------------------------------------------------------------- */

static int show_oom_score(struct proc_text *t, const struct proc_subject *s)
{
    struct mm *mm = proc_mm(s->task);
    struct page_stats memory;
    int64_t score = 0;

    if (mm) {
        page_stats(&memory);
        score = (int64_t)(atomic_load_explicit(&mm->rss_pages, memory_order_relaxed) * 1000 /
                          max_of(memory.total, UINT64_C(1))) +
                s->task->process->oom_score_adj;
        mm_put(mm);
    }
    proc_print(t, "%ld\n", (long)max_of(score, (int64_t)0));
    return 0;
}

static int show_oom_adj(struct proc_text *t, const struct proc_subject *s)
{
    proc_print(t, "%d\n", s->task->process->oom_score_adj);
    return 0;
}

static int store_oom_adj(const char *text, size_t size, const struct proc_subject *s)
{
    bool is_negative = size > 0 && text[0] == '-';
    int value = 0;
    size_t i = is_negative ? 1 : 0;

    for (; i < size && text[i] >= '0' && text[i] <= '9' && value <= 1000; i++) {
        value = value * 10 + (text[i] - '0');
    }
    if (value > 1000 || i == (is_negative ? 1u : 0u) || (i < size && text[i] != '\n')) {
        return -EINVAL;
    }
    value = is_negative ? -value : value;
    if (value < s->task->process->oom_score_adj && !cred_is_capable(current->cred, 24)) {
        return -EACCES;
    }
    s->task->process->oom_score_adj = value;
    return 0;
}

/* --- odds and ends ---------------------------------------------------------------------------- */

static int show_wchan(struct proc_text *t, const struct proc_subject *s)
{
    const char *reason = s->task->wait_reason;

    proc_print(t, "%s", reason && state_of(s->task) != 'R' ? reason : "0");
    return 0;
}

static int show_syscall(struct proc_text *t, const struct proc_subject *s)
{
    if (state_of(s->task) == 'R') {
        proc_print(t, "running\n");
    } else {
        proc_print(t, "%d\n", s->task->last_syscall);
    }
    return 0;
}

static int show_schedstat(struct proc_text *t, const struct proc_subject *s)
{
    proc_print(t, "%lu 0 %lu\n", (unsigned long)sched_run_ns(s->task),
               (unsigned long)(s->task->sched.switches_voluntary + s->task->sched.switches_forced));
    return 0;
}

static int show_cgroup(struct proc_text *t, const struct proc_subject *s)
{
    (void)s;
    proc_print(t, "0::/\n");
    return 0;
}

static int show_personality(struct proc_text *t, const struct proc_subject *s)
{
    proc_print(t, "%08x\n", s->task->personality);
    return 0;
}

static int show_id_map(struct proc_text *t, const struct proc_subject *s)
{
    (void)s;
    proc_print(t, "         0          0 4294967295\n");
    return 0;
}

static int show_loginuid(struct proc_text *t, const struct proc_subject *s)
{
    (void)s;
    proc_print(t, "4294967295");
    return 0;
}

/* --- links ------------------------------------------------------------------------------------ */

ssize_t proc_path_text(const struct path *p, char *buf, size_t size)
{
    char *text = path_text(p, buf, size);
    size_t n;

    if (!text) {
        return -ENAMETOOLONG;
    }
    n = strlen(text);
    memmove(buf, text, n + 1);
    return (ssize_t)n;
}

static int follow_exe(struct path *out, const struct proc_subject *s)
{
    struct mm *mm = proc_mm(s->task);
    int err = -ENOENT;

    if (!mm) {
        return -ENOENT;
    }
    if (mm->exe && mm->exe->path.dentry) {
        *out = mm->exe->path;
        path_get(out);
        err = 0;
    }
    mm_put(mm);
    return err;
}

static int follow_cwd(struct path *out, const struct proc_subject *s)
{
    struct path root;

    if (!proc_fs_paths(s->task, &root, out)) {
        return -ENOENT;
    }
    path_put(&root);
    return 0;
}

static int follow_root(struct path *out, const struct proc_subject *s)
{
    struct path cwd;

    if (!proc_fs_paths(s->task, out, &cwd)) {
        return -ENOENT;
    }
    path_put(&cwd);
    return 0;
}

static ssize_t link_by(int (*follow)(struct path *out, const struct proc_subject *s), char *buf,
                       size_t size, const struct proc_subject *s)
{
    struct path p;
    ssize_t n = follow(&p, s);

    if (n == 0) {
        n = proc_path_text(&p, buf, size);
        path_put(&p);
    }
    return n;
}

static ssize_t link_exe(char *buf, size_t size, const struct proc_subject *s)
{
    return link_by(follow_exe, buf, size, s);
}

static ssize_t link_cwd(char *buf, size_t size, const struct proc_subject *s)
{
    return link_by(follow_cwd, buf, size, s);
}

static ssize_t link_root(char *buf, size_t size, const struct proc_subject *s)
{
    return link_by(follow_root, buf, size, s);
}

/* --- the tables ------------------------------------------------------------------------------- */

#define FILE_RO(n, f)                                                                              \
    {                                                                                              \
        .name = (n), .mode = S_IFREG | 0444, .show = (f)                                           \
    }
#define FILE_OWN(n, f)                                                                             \
    {                                                                                              \
        .name = (n), .mode = S_IFREG | 0400, .show = (f), .is_owned = true                         \
    }

#define COMMON_NODES                                                                               \
    FILE_RO("status", show_status), FILE_RO("statm", show_statm),                                  \
        FILE_RO("cmdline", show_cmdline), FILE_OWN("environ", show_environ),                       \
        FILE_OWN("auxv", show_auxv), FILE_RO("maps", proc_show_maps),                              \
        FILE_RO("smaps", proc_show_smaps), FILE_RO("smaps_rollup", proc_show_smaps_rollup),        \
        FILE_RO("mounts", proc_show_mounts), FILE_RO("mountinfo", proc_show_mountinfo),            \
        FILE_RO("limits", show_limits), FILE_RO("oom_score", show_oom_score),                      \
        FILE_RO("wchan", show_wchan), FILE_RO("syscall", show_syscall),                            \
        FILE_RO("schedstat", show_schedstat), FILE_RO("cgroup", show_cgroup),                      \
        FILE_RO("personality", show_personality), FILE_RO("uid_map", show_id_map),                 \
        FILE_RO("gid_map", show_id_map), FILE_RO("loginuid", show_loginuid),                       \
        { .name = "comm", .mode = S_IFREG | 0644, .show = show_comm, .store = store_comm },        \
        { .name = "oom_score_adj",                                                                 \
          .mode = S_IFREG | 0644,                                                                  \
          .show = show_oom_adj,                                                                    \
          .store = store_oom_adj },                                                                \
        { .name = "exe", .mode = S_IFLNK | 0777, .link = link_exe, .follow = follow_exe },         \
        { .name = "cwd", .mode = S_IFLNK | 0777, .link = link_cwd, .follow = follow_cwd },         \
        { .name = "root", .mode = S_IFLNK | 0777, .link = link_root, .follow = follow_root },      \
        { .name = "fd", .mode = S_IFDIR | 0500, .dynamic = PROC_FDS, .is_owned = true },           \
    {                                                                                              \
        .name = "fdinfo", .mode = S_IFDIR | 0555, .dynamic = PROC_FDINFO, .is_owned = true         \
    }

static const struct proc_node thread_children[] = { FILE_RO("stat", show_thread_stat),
                                                    COMMON_NODES,
                                                    { .name = NULL } };

static const struct proc_node process_children[] = {
    FILE_RO("stat", show_stat),
    COMMON_NODES,
    { .name = "task", .mode = S_IFDIR | 0555, .dynamic = PROC_TASKS },
    { .name = NULL }
};

const struct proc_node proc_process_node = { .mode = S_IFDIR | 0555, .children = process_children };
const struct proc_node proc_thread_node = { .mode = S_IFDIR | 0555, .children = thread_children };
