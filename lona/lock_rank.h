/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The locks of the VM, in the order in which one thread may take them: ranks rise. Test builds
 * stop when they don't (lock_acquire()). None is held while bytecode or the collector runs, and
 * sending between running processes takes none.
 */
#pragma once

enum lock_rank {
    LOCK_UNRANKED,  /* not initialised: nobody takes it */
    LOCK_OUTSIDE,   /* a thread that is no worker acts as one: it copies, sends, starts processes */
    LOCK_TIMERS,    /* the hash of timers by ref, which grows */
    LOCK_REGISTRY,  /* names of processes; the table grows */
    LOCK_PROCESSES, /* free records; segments are made and given back */
    LOCK_REALM,     /* names, namespaces, code; only memory below it */
    LOCK_BOX,       /* the queue of one C mailbox */
    LOCK_MEMORY,    /* vm_alloc(): under any other */
};
