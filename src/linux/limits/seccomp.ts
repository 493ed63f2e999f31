// seccomp(2): from then on the kernel asks a filter about each system call of this process, of all of its threads.
import { withAddresses } from "../addresses.ts";
import { errno, SystemError, systemCall } from "../libc.ts";

const SYS_SECCOMP = 317; // asm/unistd_64.h

// linux/seccomp.h
const SECCOMP_SET_MODE_FILTER = 1;
const SECCOMP_FILTER_FLAG_TSYNC = 1;
/**
 * The kernel's defences of a process against itself, which slow all of it down, are for programs that run code of others: older
 * kernels take each that has a filter for one.
 */
const SECCOMP_FILTER_FLAG_SPEC_ALLOW = 4;

/** Kernels before Linux 4.17 do not know the second flag, those before 3.17 not the call. */
const FLAGS = [SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW, SECCOMP_FILTER_FLAG_TSYNC];
const NOT_THERE: readonly string[] = ["ENOSYS", "EINVAL"];

/**
 * Puts a filter in force. This thread must have no new privileges.
 * @param program as filterOf makes it
 * @returns whether the kernel has such filters
 * @throws SystemError where it has, and this one can't be put in force
 */
export function filterCalls(program: Uint8Array<ArrayBuffer>): boolean {
  for (const flags of FLAGS) {
    const result = setFilter(program, flags);
    if (result === 0) return true;
    if (result > 0) throw new Error(`seccomp: thread ${result} has another filter already`);
    const failure = new SystemError("seccomp", errno());
    if (!NOT_THERE.includes(failure.code)) throw failure;
  }
  return false;
}

/** @returns what the system call does: -1 when it fails */
function setFilter(program: Uint8Array<ArrayBuffer>, flags: number): number {
  return withAddresses((addressOf) => {
    const description = new DataView(new ArrayBuffer(16)); // struct sock_fprog: u16 instructions, their address
    description.setUint16(0, program.length / 8, true);
    description.setBigUint64(8, BigInt(addressOf(program)), true);
    return systemCall(SYS_SECCOMP, SECCOMP_SET_MODE_FILTER, flags, addressOf(description));
  });
}
