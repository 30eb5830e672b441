/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order of locks, outermost first (spec R-LOCK-3): a lock may be taken only while every lock
 * held has a smaller rank. Locks of one rank nest only where the line says how.
 */
#pragma once

enum lock_rank {
    RANK_NONE = 0,
    RANK_MOUNT,       /* mount table */
    RANK_RENAME,      /* one rename across directories at a time */
    RANK_PROCESS,     /* process tree: parents, children, groups, sessions */
    RANK_EXEC,        /* process->exec_mutex: exec against ptrace-like readers of the mm */
    RANK_FILE_POS,    /* file->pos_lock: read/write/lseek of one description */
    RANK_INODE_WRITE, /* inode->write_lock: held while a program's bytes are copied in */
    RANK_EPOLL,       /* epoll->mutex; nested epolls by depth */
    RANK_MM,          /* mm->mmap_lock */
    RANK_INODE,       /* inode->lock; parent before child, then by address */
    RANK_PIPE,        /* pipe->mutex and sockets' like; two of a pair by address */
    RANK_TTY,         /* tty line discipline */
    RANK_DENTRY,      /* dentry hash and names */
    RANK_MAPPING,     /* page cache of one inode */
    RANK_FILES,       /* files->lock: descriptor table */
    RANK_FUTEX,       /* futex hash buckets; two by address */
    RANK_PAGE_TABLE,  /* mm->page_table_lock */
    RANK_SIGNAL,      /* process->signal_lock: dispositions, pending, group state */
    RANK_PID,         /* the number space of pids and tids */
    RANK_FS_MISC,     /* leaf state of file systems (inode numbers, super blocks) */
    RANK_VSOCK,       /* vsock tables and sockets; taken in interrupts */
    RANK_DEVICE,      /* virtqueues, UART rings */
    RANK_WAIT,        /* wait_queue->lock */
    RANK_EPOLL_READY, /* epoll->ready_lock: taken from wake callbacks, under a wait queue's lock */
    RANK_WAIT_INNER,  /* wait queues that are woken from inside a wake callback (epoll's own) */
    RANK_MUTEX_INNER, /* the spinlocks inside mutexes and semaphores */
    RANK_TIMER,       /* per-CPU timer queues */
    RANK_RUN_QUEUE,   /* per-CPU run queues */
    RANK_VMALLOC,     /* kernel mappings */
    RANK_SLAB,        /* one slab cache */
    RANK_PAGE,        /* page allocator */
    RANK_LOG,         /* log ring */
    RANK_CONSOLE,     /* early console */
    RANK_MAX
};
