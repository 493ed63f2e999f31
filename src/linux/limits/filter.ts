// Writes filters of system calls for seccomp(2): programs of the old BPF machine (linux/filter.h), which sees a call as struct
// seccomp_data (linux/seccomp.h): its number, the machine's architecture, its arguments. Calls that are let through whatever their
// arguments are stand first: of those the kernel remembers what the filter says.

/** What an argument of a call must be: one of these values, in the bits of a mask. Only its low 32 bits are looked at. */
export interface Condition {
  readonly argument: number;
  readonly mask?: number;
  readonly values: readonly number[];
}

export interface CallRules {
  /** Numbers of calls that are let through, those first that are made most. */
  readonly allowed: readonly number[];
  /** Calls that are let through if one of the conditions holds. */
  readonly conditional: ReadonlyMap<number, readonly Condition[]>;
  /** Calls that end the process. */
  readonly killed: readonly number[];
  /** Calls that are said not to exist, as on an older kernel; so are those with higher numbers than `newest`. */
  readonly unknown: readonly number[];
  readonly newest: number;
}

/** What a filter returns of a call (linux/seccomp.h); errors go into the low bits. */
export const VERDICT = { KILL_PROCESS: 0x80000000, ERRNO: 0x00050000, ALLOW: 0x7fff0000 } as const;

export const AUDIT_ARCH_X86_64 = 0xc000003e; // linux/audit.h
/** Set in the numbers of calls of another kind on the same machine: those of x32 (asm/unistd.h). */
const X32_CALL = 0x40000000;

const EPERM = 1;
const ENOSYS = 38;

const DATA = { NUMBER: 0, ARCHITECTURE: 4, ARGUMENTS: 16 } as const;

// linux/bpf_common.h
const LOAD = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP_EQUAL = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_GREATER = 0x25;
const JUMP_GREATER_EQUAL = 0x35;
const RETURN = 0x06; // BPF_RET | BPF_K

const INSTRUCTION_LENGTH = 8; // struct sock_filter: u16 code, u8 jump if so, u8 jump if not, u32 constant

/** @returns the program */
export function filterOf({ allowed, conditional, killed, unknown, newest }: CallRules): Uint8Array<ArrayBuffer> {
  const code: number[][] = [];
  const add = (opcode: number, constant: number, ifSo = 0, ifNot = 0) => code.push([opcode, ifSo, ifNot, constant]);
  /** Returns where the comparison holds. */
  const returnIf = (comparison: number, constant: number, verdict: number) => {
    add(comparison, constant, 0, 1);
    add(RETURN, verdict);
  };
  add(LOAD, DATA.ARCHITECTURE);
  add(JUMP_EQUAL, AUDIT_ARCH_X86_64, 1, 0);
  add(RETURN, VERDICT.KILL_PROCESS);
  add(LOAD, DATA.NUMBER);
  returnIf(JUMP_GREATER_EQUAL, X32_CALL, VERDICT.KILL_PROCESS);
  for (const number of allowed) returnIf(JUMP_EQUAL, number, VERDICT.ALLOW);
  for (const number of killed) returnIf(JUMP_EQUAL, number, VERDICT.KILL_PROCESS);
  for (const number of unknown) returnIf(JUMP_EQUAL, number, VERDICT.ERRNO | ENOSYS);
  for (const [number, conditions] of conditional) {
    const lengths = conditions.map(({ mask, values }) => (mask === undefined ? 1 : 2) + 2 * values.length);
    add(
      JUMP_EQUAL,
      number,
      0,
      lengths.reduce((sum, length) => sum + length, 1),
    );
    for (const { argument, mask, values } of conditions) {
      add(LOAD, DATA.ARGUMENTS + 8 * argument);
      if (mask !== undefined) add(AND, mask);
      for (const value of values) returnIf(JUMP_EQUAL, value, VERDICT.ALLOW);
    }
    add(RETURN, VERDICT.ERRNO | EPERM);
  }
  returnIf(JUMP_GREATER, newest, VERDICT.ERRNO | ENOSYS);
  add(RETURN, VERDICT.ERRNO | EPERM);
  return encode(code);
}

function encode(code: readonly (readonly number[])[]): Uint8Array<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(code.length * INSTRUCTION_LENGTH));
  for (const [i, [opcode, ifSo, ifNot, constant]] of code.entries()) {
    const at = i * INSTRUCTION_LENGTH;
    if (ifSo > 255 || ifNot > 255) throw new Error("a jump in a filter leads too far");
    view.setUint16(at, opcode, true);
    view.setUint8(at + 2, ifSo);
    view.setUint8(at + 3, ifNot);
    view.setUint32(at + 4, constant, true);
  }
  return new Uint8Array(view.buffer);
}
