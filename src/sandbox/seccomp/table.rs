//! Which system calls are what: lists, by theme. Calls that their arguments decide are in the parent.

use libc::*;

/// Calls that x86-64 alone still has; newer architectures began with their successors.
#[cfg(target_arch = "x86_64")]
macro_rules! with_x86_calls {
    ($($common:expr),* ; $($x86:expr),* $(,)?) => { &[$($common,)* $($x86),*] };
}
#[cfg(not(target_arch = "x86_64"))]
macro_rules! with_x86_calls {
    ($($common:expr),* ; $($x86:ident),* $(,)?) => { &[$($common),*] };
}

/// What ordinary programs use: package managers, compilers, interpreters, servers.
#[rustfmt::skip]
pub(super) const ALLOWED: &[c_long] = with_x86_calls![
    // Files by descriptor.
    SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_pread64, SYS_pwrite64, SYS_preadv, SYS_pwritev, SYS_preadv2,
    SYS_pwritev2, SYS_close, SYS_close_range, SYS_lseek, SYS_fcntl, SYS_dup, SYS_dup3, SYS_flock, SYS_fsync,
    SYS_fdatasync, SYS_sync, SYS_syncfs, SYS_fallocate, SYS_ftruncate, SYS_truncate, SYS_fadvise64, SYS_readahead,
    SYS_copy_file_range, SYS_sendfile, SYS_splice, SYS_tee, SYS_vmsplice, SYS_memfd_create, SYS_pipe2, SYS_fstat,
    SYS_statfs, SYS_fstatfs,
    // Files by name.
    SYS_openat, SYS_openat2, SYS_newfstatat, SYS_statx, SYS_faccessat, SYS_faccessat2, SYS_readlinkat, SYS_mkdirat,
    SYS_unlinkat, SYS_renameat2, SYS_linkat, SYS_symlinkat, SYS_fchmod, SYS_fchmodat, SYS_fchown, SYS_fchownat,
    SYS_utimensat, SYS_getdents64, SYS_getcwd, SYS_chdir, SYS_fchdir, SYS_chroot, SYS_umask, SYS_name_to_handle_at,
    // Extended attributes.
    SYS_getxattr, SYS_lgetxattr, SYS_fgetxattr, SYS_setxattr, SYS_lsetxattr, SYS_fsetxattr, SYS_listxattr,
    SYS_llistxattr, SYS_flistxattr, SYS_removexattr, SYS_lremovexattr, SYS_fremovexattr,
    // Waiting for descriptors.
    SYS_ppoll, SYS_pselect6, SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_eventfd2,
    SYS_signalfd4, SYS_timerfd_create, SYS_timerfd_gettime, SYS_timerfd_settime, SYS_inotify_init1,
    SYS_inotify_add_watch, SYS_inotify_rm_watch, SYS_fanotify_mark, SYS_io_setup, SYS_io_destroy, SYS_io_submit,
    SYS_io_cancel, SYS_io_getevents,
    // Memory.
    SYS_brk, SYS_mmap, SYS_munmap, SYS_mremap, SYS_mprotect, SYS_madvise, SYS_mincore, SYS_msync, SYS_mlock,
    SYS_mlock2, SYS_mlockall, SYS_munlock, SYS_munlockall, SYS_remap_file_pages, SYS_membarrier, SYS_pkey_alloc,
    SYS_pkey_free, SYS_pkey_mprotect, SYS_mseal,
    // Processes and threads.
    SYS_execve, SYS_execveat, SYS_exit, SYS_exit_group, SYS_wait4, SYS_waitid, SYS_set_tid_address, SYS_gettid,
    SYS_getpid, SYS_getppid, SYS_getpgid, SYS_setpgid, SYS_getsid, SYS_setsid, SYS_futex, SYS_futex_waitv,
    SYS_set_robust_list, SYS_get_robust_list, SYS_rseq, SYS_prctl, SYS_ptrace, SYS_process_vm_readv,
    SYS_process_vm_writev, SYS_process_mrelease, SYS_pidfd_open, SYS_pidfd_send_signal, SYS_restart_syscall,
    SYS_getcpu, SYS_seccomp, SYS_landlock_create_ruleset, SYS_landlock_add_rule, SYS_landlock_restrict_self,
    // Scheduling and limits.
    SYS_sched_yield, SYS_sched_getaffinity, SYS_sched_setaffinity, SYS_sched_getattr, SYS_sched_setattr,
    SYS_sched_getparam, SYS_sched_setparam, SYS_sched_getscheduler, SYS_sched_setscheduler,
    SYS_sched_get_priority_max, SYS_sched_get_priority_min, SYS_sched_rr_get_interval, SYS_getpriority,
    SYS_setpriority, SYS_ioprio_get, SYS_ioprio_set, SYS_prlimit64, SYS_getrusage,
    // Identity.
    SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_getresuid, SYS_getresgid, SYS_getgroups, SYS_setuid,
    SYS_setgid, SYS_setreuid, SYS_setregid, SYS_setresuid, SYS_setresgid, SYS_setfsuid, SYS_setfsgid, SYS_setgroups,
    SYS_capget, SYS_capset,
    // Signals.
    SYS_kill, SYS_tkill, SYS_tgkill, SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigpending, SYS_rt_sigqueueinfo,
    SYS_rt_tgsigqueueinfo, SYS_rt_sigreturn, SYS_rt_sigsuspend, SYS_rt_sigtimedwait, SYS_sigaltstack,
    // Time.
    SYS_clock_gettime, SYS_clock_getres, SYS_clock_nanosleep, SYS_clock_adjtime, SYS_adjtimex, SYS_gettimeofday,
    SYS_nanosleep, SYS_times, SYS_getitimer, SYS_setitimer, SYS_timer_create, SYS_timer_delete,
    SYS_timer_getoverrun, SYS_timer_gettime, SYS_timer_settime,
    // Between processes.
    SYS_shmget, SYS_shmat, SYS_shmctl, SYS_shmdt, SYS_semget, SYS_semop, SYS_semctl, SYS_semtimedop, SYS_msgget,
    SYS_msgsnd, SYS_msgrcv, SYS_msgctl, SYS_mq_open, SYS_mq_unlink, SYS_mq_timedsend, SYS_mq_timedreceive,
    SYS_mq_notify, SYS_mq_getsetattr,
    // Sockets; which families, the arguments of socket(2) decide.
    SYS_socketpair, SYS_bind, SYS_listen, SYS_accept, SYS_accept4, SYS_connect, SYS_shutdown, SYS_getsockname,
    SYS_getpeername, SYS_getsockopt, SYS_setsockopt, SYS_sendto, SYS_sendmsg, SYS_sendmmsg, SYS_recvfrom,
    SYS_recvmsg, SYS_recvmmsg,
    // The system.
    SYS_uname, SYS_sysinfo, SYS_getrandom,
    // Newer than the C library's headers; from 424 on numbers are the same on every architecture: 
    // cachestat, fchmodat2, map_shadow_stack, futex_wake, futex_wait, futex_requeue, statmount, listmount,
    // setxattrat, getxattrat, listxattrat, removexattrat.
    451, 452, 453, 454, 455, 456, 457, 458, 463, 464, 465, 466
    ;
    SYS_open, SYS_creat, SYS_stat, SYS_lstat, SYS_access, SYS_readlink, SYS_mkdir, SYS_rmdir, SYS_unlink,
    SYS_rename, SYS_renameat, SYS_link, SYS_symlink, SYS_chmod, SYS_chown, SYS_lchown, SYS_utime, SYS_utimes,
    SYS_futimesat, SYS_getdents, SYS_pipe, SYS_dup2, SYS_poll, SYS_select, SYS_epoll_create, SYS_epoll_wait,
    SYS_epoll_ctl_old, SYS_epoll_wait_old, SYS_eventfd, SYS_signalfd, SYS_inotify_init, SYS_sync_file_range,
    SYS_fork, SYS_vfork, SYS_pause, SYS_alarm, SYS_time, SYS_getpgrp, SYS_getrlimit, SYS_setrlimit,
    SYS_get_thread_area, SYS_set_thread_area, SYS_arch_prctl, SYS_modify_ldt,
];

/// What needs a privilege that a step has not, or reaches past the namespaces: refused as for want of privilege.
#[rustfmt::skip]
pub(super) const SHUT: &[c_long] = with_x86_calls![
    // Mounts and namespaces.
    SYS_mount, SYS_umount2, SYS_pivot_root, SYS_setns, SYS_fsopen, SYS_fsconfig, SYS_fsmount, SYS_fspick,
    SYS_open_tree, SYS_move_mount, SYS_mount_setattr,
    // The machine's state.
    SYS_swapon, SYS_swapoff, SYS_quotactl, SYS_quotactl_fd, SYS_acct, SYS_reboot, SYS_syslog, SYS_sethostname,
    SYS_setdomainname, SYS_settimeofday, SYS_clock_settime, SYS_vhangup, SYS_nfsservctl,
    // Kernel code and what looks into the kernel.
    SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_kexec_load, SYS_bpf, SYS_perf_event_open,
    SYS_userfaultfd, SYS_fanotify_init, SYS_lookup_dcookie,
    // Keyrings, which namespaces do not part.
    SYS_keyctl, SYS_add_key, SYS_request_key,
    // A second way to make system calls, past this filter.
    SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register,
    // Other processes' descriptors and memory; files past their paths.
    SYS_open_by_handle_at, SYS_kcmp, SYS_pidfd_getfd, SYS_process_madvise, SYS_memfd_secret,
    // Placement of memory on nodes.
    SYS_mbind, SYS_move_pages, SYS_migrate_pages, SYS_get_mempolicy, SYS_set_mempolicy, SYS_set_mempolicy_home_node,
    // lsm_get_self_attr, lsm_set_self_attr, lsm_list_modules, open_tree_attr.
    459, 460, 461, 467
    ;
    SYS_iopl, SYS_ioperm, SYS_uselib, SYS_ustat, SYS_sysfs, SYS__sysctl, SYS_kexec_file_load,
];
