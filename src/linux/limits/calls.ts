// Which system calls the firewall may make once it runs, by their numbers on x86-64 (asm/unistd_64.h). Most of them are those that
// it was seen to make (traced-calls.ts); the others stand here, each for a reason. All others fail with EPERM, or end the process.
import { type CallRules, type Condition, filterOf } from "./filter.ts";
import { TRACED_CALLS } from "./traced-calls.ts";

type Numbers = Readonly<Record<string, number>>;

/** Made for each batch of frames. */
const FREQUENT: Numbers = { poll: 7, sendmmsg: 307, recvfrom: 45, read: 0, write: 1, futex: 202, getsockopt: 55 };

/** What the C library or the engine does in place of a traced call in other versions, on other machines, and in the end. */
const INSTEAD: Numbers = {
  // Where the clock can't be read without a call: under some hypervisors, emulated.
  ...{ clock_gettime: 228, clock_getres: 229, gettimeofday: 96, time: 201, getcpu: 309 },
  // After a signal.
  ...{ rt_sigreturn: 15, restart_syscall: 219, rt_sigtimedwait: 128, rt_sigsuspend: 130, rt_sigpending: 127 },
  ...{ exit: 60, exit_group: 231 },
  // Older and newer forms.
  ...{ open: 2, stat: 4, fstat: 5, lstat: 6, newfstatat: 262, statx: 332, access: 21, faccessat: 269, faccessat2: 439 },
  ...{ readlink: 89, readlinkat: 267, getdents64: 217, lseek: 8, pread64: 17, preadv: 295, preadv2: 327 },
  ...{ readv: 19, writev: 20, pwrite64: 18, pwritev: 296, pwritev2: 328, close_range: 436 },
  ...{ epoll_wait: 232, epoll_pwait: 281, epoll_pwait2: 441, ppoll: 271, select: 23, pselect6: 270 },
  ...{ nanosleep: 35, clock_nanosleep: 230, sched_yield: 24, futex_waitv: 449 },
  ...{ sendto: 44, recvmsg: 47, sendmsg: 46, dup: 32, dup3: 292, pipe2: 293 },
  // Where output is a file or a terminal.
  ...{ fcntl: 72, getcwd: 79 },
  // Of memory, and of a new thread's life.
  ...{ brk: 12, mremap: 25, madvise: 28, membarrier: 324, set_robust_list: 273, rseq: 334 },
  ...{ sched_getaffinity: 204, sched_getparam: 143, sched_getscheduler: 145, getpriority: 140, sigaltstack: 131 },
  ...{ sysinfo: 99, getrusage: 98, getrlimit: 97, uname: 63, getpid: 39, getppid: 110, gettid: 186 },
  ...{ getuid: 102, geteuid: 107, getgid: 104, getegid: 108, getrandom: 318 },
  // Of a qube alone: dom0 sets its clock. Without CAP_SYS_TIME, which nobody else keeps, it does nothing.
  clock_settime: 227,
};

const CLONE_THREAD = 0x10000; // linux/sched.h

// asm-generic/ioctls.h: how a terminal is set, as older and newer C libraries ask, and how wide it is; that a descriptor does not
// wait, that execve(2) closes it, how much there is to read
const TERMINAL = [0x5401, 0x802c542a, 0x5402, 0x5403, 0x5404, 0x5413, 0x5421, 0x5451, 0x541b];
// linux/sockios.h: the list of addresses, an interface's flags, MTU, MAC address, number; to set its flags
const INTERFACES = [0x8912, 0x8913, 0x8914, 0x8921, 0x8927, 0x8933];
/** Xen's devices have ioctls without a direction: event channels (E) and grants (G). */
const OF_XEN = { mask: 0xc000ff00, values: ["E", "G"].map((type) => type.charCodeAt(0) << 8) };

/** AF_UNIX, AF_INET (for ioctl), AF_NETLINK, AF_PACKET. */
const FAMILIES = [1, 2, 16, 17];
/** BPF_MAP_CREATE, BPF_MAP_UPDATE_ELEM, BPF_MAP_DELETE_ELEM (when flows are counted no more), BPF_PROG_LOAD. */
const BPF_COMMANDS = [0, 2, 3, 5];
/** PR_SET_NAME, PR_GET_NAME, PR_SET_VMA; PR_SET_NO_NEW_PRIVS, which changes nothing any more. */
const PRCTL_OPTIONS = [15, 16, 0x53564d41, 38];

/** @param pid of this process: signals, and limits, are its own */
function conditionsFor(pid: number): ReadonlyMap<number, readonly Condition[]> {
  return new Map<number, readonly Condition[]>([
    [41 /* socket */, [{ argument: 0, values: FAMILIES }]],
    [
      16 /* ioctl */,
      [
        { argument: 1, values: [...TERMINAL, ...INTERFACES] },
        { argument: 1, ...OF_XEN },
      ],
    ],
    [321 /* bpf */, [{ argument: 0, values: BPF_COMMANDS }]],
    [157 /* prctl */, [{ argument: 0, values: PRCTL_OPTIONS }]],
    [56 /* clone */, [{ argument: 0, mask: CLONE_THREAD, values: [CLONE_THREAD] }]],
    [234 /* tgkill */, [{ argument: 0, values: [pid] }]],
    [302 /* prlimit64 */, [{ argument: 0, values: [0, pid] }]],
  ]);
}

/** No fault of ours leads to them, but somebody else's code would. */
const KILLED: Numbers = {
  // Other programs and processes.
  ...{ execve: 59, execveat: 322, fork: 57, vfork: 58, ptrace: 101, process_vm_readv: 310, process_vm_writev: 311 },
  pidfd_getfd: 438,
  // Code in the kernel, and its other ways in.
  ...{ init_module: 175, finit_module: 313, delete_module: 176, kexec_load: 246, kexec_file_load: 320 },
  ...{ io_uring_setup: 425, userfaultfd: 323, perf_event_open: 298, iopl: 172, ioperm: 173 },
  ...{ add_key: 248, request_key: 249, keyctl: 250 },
  // Other files than there are.
  ...{ mount: 165, umount2: 166, pivot_root: 155, chroot: 161, open_by_handle_at: 304, swapon: 167, swapoff: 168 },
  reboot: 169,
  // Another user, other capabilities.
  ...{ setuid: 105, setgid: 106, setreuid: 113, setregid: 114, setgroups: 116, setresuid: 117, setresgid: 119 },
  capset: 126,
};

/** The C library then makes threads by clone, whose arguments a filter can see. */
const UNKNOWN: Numbers = { clone3: 435 };

/** set_mempolicy_home_node, of Linux 5.17: the C library tries newer ones, and goes on where they are not there. */
const NEWEST = 450;

/** @returns the filter for a process of the firewall; undefined on another machine than it is for */
export function callFilter(pid: number, architecture = process.arch): Uint8Array<ArrayBuffer> | undefined {
  return architecture === "x64" ? filterOf(callRules(pid)) : undefined;
}

/** @param pid of the process */
export function callRules(pid: number): CallRules {
  const conditional = conditionsFor(pid);
  const unknown = Object.values(UNKNOWN);
  const allowed = new Set([FREQUENT, TRACED_CALLS, INSTEAD].flatMap((numbers) => Object.values(numbers)));
  for (const number of [...conditional.keys(), ...unknown]) allowed.delete(number);
  return { allowed: [...allowed], conditional, killed: Object.values(KILLED), unknown, newest: NEWEST };
}
