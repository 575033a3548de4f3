// An allow list: what is not in it fails with EPERM. The names are those of the Moby project's
// default profile, kept as one string to be read by people. Conditional rows need a capability or
// an argument:
//
//   personality  only the values that change nothing dangerous
//   socket       every family but AF_VSOCK, which reaches the hypervisor
//   clone        without namespaces, unless CAP_SYS_ADMIN; clone3 answers ENOSYS so that libc falls
//                back to clone, whose flags a filter can see
#include "runtime/oci_seccomp.h"
#include <errno.h>
#include <sys/socket.h>

static const char allowed[] =
    "accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown "
    "chown32 "
    "clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 "
    "clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup "
    "dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 "
    "epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat "
    "faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 "
    "fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr "
    "fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex "
    "futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat get_robust_list "
    "get_thread_area getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid "
    "getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid "
    "getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid "
    "getsockname getsockopt gettid gettimeofday getuid getuid32 getxattr inotify_add_watch "
    "inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents "
    "io_pgetevents_time64 io_setup io_submit ioctl ioprio_get ioprio_set ipc kill "
    "landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr "
    "link linkat listen listxattr llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 "
    "madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod "
    "mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open "
    "mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap "
    "mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep "
    "newfstatat _newselect open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 "
    "pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 "
    "prlimit64 process_mrelease process_vm_readv process_vm_writev pselect6 pselect6_time64 ptrace "
    "pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg "
    "recvmmsg_time64 recvmsg remap_file_pages removexattr rename renameat renameat2 "
    "restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo "
    "rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo "
    "sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam "
    "sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity "
    "sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget "
    "semop semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto "
    "set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 "
    "setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 "
    "setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt "
    "setuid setuid32 setxattr shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 "
    "sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statx symlink "
    "symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete "
    "timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create "
    "timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate "
    "truncate64 ugetrlimit umask uname unlink unlinkat utime utimensat utimensat_time64 utimes "
    "vfork vmsplice wait4 waitid waitpid write writev"
#if defined(__x86_64__)
    " arch_prctl modify_ldt"
#elif defined(__aarch64__) || defined(__arm__)
    " arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls"
#endif
    ;

static const struct conditional {
    const char *capability, *names;
} conditional[] = {
    {"DAC_READ_SEARCH", "open_by_handle_at"},
    {"SYS_ADMIN",
     "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount "
     "mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd "
     "setdomainname sethostname setns syslog umount umount2 unshare"},
    {"SYS_BOOT", "reboot"},
    {"SYS_CHROOT", "chroot"},
    {"SYS_MODULE", "delete_module init_module finit_module"},
    {"SYS_PACCT", "acct"},
    {"SYS_PTRACE", "kcmp pidfd_getfd process_madvise"},
    {"SYS_RAWIO", "iopl ioperm"},
    {"SYS_TIME", "settimeofday stime clock_settime clock_settime64"},
    {"SYS_TTY_CONFIG", "vhangup"},
    {"SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"},
    {"SYSLOG", "syslog"},
    {"BPF", "bpf"},
    {"PERFMON", "perf_event_open"},
};

// CLONE_NEW* without the time namespace, as the profile has it.
#define CLONE_NAMESPACES 2114060288u

static void rule(struct buf *b, const char *names, const char *arguments)
{
    struct str rest = str_of(names);
    if (b->p[b->n - 1] == '}')
        buf_char(b, ',');
    buf_puts(b, "{\"names\":[");
    for (bool first = true; rest.p; first = false) {
        struct str name = str_cut(&rest, ' ');
        buf_printf(b, "%s\"%.*s\"", first ? "" : ",", STR_ARG(name));
    }
    buf_printf(b, "],\"action\":\"SCMP_ACT_ALLOW\"%s%s}", arguments ? ",\"args\":" : "",
               arguments ? arguments : "");
}

static bool has(const struct str *capabilities, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (str_eqc(capabilities[i], name))
            return true;
    return false;
}

void oci_seccomp_write(struct buf *b, const struct str *capabilities, size_t n)
{
    static const unsigned personalities[] = {0x0, 0x8, 0x20000, 0x20008, 0xffffffff};
    char arguments[160];

    buf_printf(b, "{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":%d,\"architectures\":",
               EPERM);
#if defined(__x86_64__)
    buf_puts(b, "[\"SCMP_ARCH_X86_64\",\"SCMP_ARCH_X86\",\"SCMP_ARCH_X32\"]");
#elif defined(__aarch64__)
    buf_puts(b, "[\"SCMP_ARCH_AARCH64\",\"SCMP_ARCH_ARM\"]");
#else
    buf_puts(b, "[]");
#endif
    buf_puts(b, ",\"syscalls\":[");
    rule(b, allowed, NULL);
    for (size_t i = 0; i < sizeof personalities / sizeof *personalities; i++) {
        snprintf(arguments, sizeof arguments, "[{\"index\":0,\"value\":%u,\"op\":\"SCMP_CMP_EQ\"}]",
                 personalities[i]);
        rule(b, "personality", arguments);
    }
    snprintf(arguments, sizeof arguments, "[{\"index\":0,\"value\":%d,\"op\":\"SCMP_CMP_NE\"}]",
             AF_VSOCK);
    rule(b, "socket", arguments);
    for (size_t i = 0; i < sizeof conditional / sizeof *conditional; i++)
        if (has(capabilities, n, conditional[i].capability))
            rule(b, conditional[i].names, NULL);
    if (!has(capabilities, n, "SYS_ADMIN")) {
        snprintf(arguments, sizeof arguments,
                 "[{\"index\":0,\"value\":%u,\"valueTwo\":0,\"op\":\"SCMP_CMP_MASKED_EQ\"}]",
                 CLONE_NAMESPACES);
        rule(b, "clone", arguments);
        buf_printf(b, ",{\"names\":[\"clone3\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":%d}",
                   ENOSYS);
    }
    buf_puts(b, "]}");
}
