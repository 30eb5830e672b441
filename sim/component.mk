# SPDX-License-Identifier: Apache-2.0
# sim: libdrupe in a simulated world (docs/simulation.md). The library's objects are those of the
# variant "sim": the host's flags without the wrappers of _FORTIFY_SOURCE, whose names the linker
# would not know.

# What the library calls and the world answers. A call that is missing here would reach the host.
sim_wraps := malloc calloc realloc reallocarray free strdup strndup posix_memalign aligned_alloc mmap munmap \
    read write pread pwrite readv writev preadv pwritev close dup fcntl ioctl fstat poll ppoll \
    eventfd pipe pipe2 \
    open openat memfd_create fsync fdatasync syncfs lseek ftruncate fallocate posix_fallocate flock \
    unlink rmdir unlinkat mkdir mkdirat rename renameat renameat2 linkat stat lstat fstatat access \
    faccessat fchmod chmod opendir fdopendir readdir dirfd closedir \
    socket socketpair bind listen connect accept accept4 shutdown send recv sendmsg recvmsg \
    setsockopt getsockopt epoll_create1 epoll_ctl epoll_wait signalfd timerfd_create timerfd_settime \
    drupe_vm_create drupe_vm_destroy \
    pthread_mutex_init pthread_mutex_destroy pthread_mutex_lock pthread_mutex_trylock \
    pthread_mutex_unlock pthread_cond_init pthread_cond_destroy pthread_cond_wait \
    pthread_cond_timedwait pthread_cond_signal pthread_cond_broadcast pthread_create pthread_join \
    pthread_detach pthread_self pthread_setname_np pthread_kill pthread_sigmask \
    clock_gettime clock_nanosleep nanosleep usleep time getrandom getpid \
    host_pick_backend
comma := ,
sim_ldflags := $(patsubst %,-Wl$(comma)--wrap=%,$(sim_wraps))

sim.srcs := $(wildcard sim/*.c sim/scenarios/*.c)
sim.sees := sim vmm vmm/api vmm/arch/$(ARCH) base/include include
# --start-group holds archives only: objects of the simulator first, then the library.
$(call program,sim,sim,$(sim.srcs),vmm_api vmm base base_hosted,$(sim_ldflags) -l:libmd.a $$(vmm_api.libs) $$(vmm.libs),$(sim.sees),)
programs += $(BUILD)/sim

# SEEDS random seeds besides the fixed ones; DST_SEED=n runs that one alone.
SEEDS ?= 200
.PHONY: sim
sim: $(BUILD)/sim
	@$(BUILD)/sim --seeds $(SEEDS)

checks += tests/sim/short.sh
check_needs += $(BUILD)/sim
