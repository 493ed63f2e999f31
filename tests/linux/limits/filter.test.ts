// Filters of system calls: what they say of calls, told by a machine that runs them as the kernel does; and what the firewall's own lets
// through, call by call.
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { BPF_COMMAND } from "../../../src/linux/bpf/bpf.ts";
import { callFilter, callRules } from "../../../src/linux/limits/calls.ts";
import { AUDIT_ARCH_X86_64, type CallRules, filterOf } from "../../../src/linux/limits/filter.ts";
import { TRACED_CALLS } from "../../../src/linux/limits/traced-calls.ts";

const PID = 4711;
const I386 = 0x40000003; // AUDIT_ARCH_I386

/** Runs a program of the old BPF machine over struct seccomp_data. */
function verdict(
  program: Uint8Array,
  number: number,
  args: readonly number[] = [],
  architecture = AUDIT_ARCH_X86_64,
): string {
  const data = new DataView(new ArrayBuffer(64));
  data.setUint32(0, number, true);
  data.setUint32(4, architecture, true);
  for (const [i, arg] of args.entries()) data.setBigUint64(16 + 8 * i, BigInt.asUintN(64, BigInt(arg)), true);
  const code = new DataView(program.buffer);
  let value = 0;
  for (let at = 0; at < program.length; at += 8) {
    const constant = code.getUint32(at + 4, true);
    const jump = (holds: boolean) => {
      at += 8 * code.getUint8(at + (holds ? 2 : 3));
    };
    const opcode = code.getUint16(at, true);
    if (opcode === 0x20) value = data.getUint32(constant, true);
    else if (opcode === 0x54) value = (value & constant) >>> 0;
    else if (opcode === 0x15) jump(value === constant);
    else if (opcode === 0x25) jump(value > constant);
    else if (opcode === 0x35) jump(value >= constant);
    else if (opcode === 0x06) return NAMES.get(constant) ?? `0x${constant.toString(16)}`;
    else throw new Error(`instruction ${at / 8} is none: 0x${opcode.toString(16)}`);
  }
  throw new Error("the program has no end");
}

const NAMES = new Map([
  [0x80000000, "killed"],
  [0x7fff0000, "allowed"],
  [0x00050001, "EPERM"],
  [0x00050026, "ENOSYS"],
]);

/** Names of calls, by number. */
function callNames(): Map<number, string> {
  const header = readFileSync("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "utf8");
  const lines = header.matchAll(/^#define __NR_(\w+) (\d+)$/gm);
  return new Map(Array.from(lines, ([, name = "", number]) => [Number(number), name]));
}

test("a filter tells calls by number, by arguments, by machine", () => {
  const rules: CallRules = {
    allowed: [7, 3],
    conditional: new Map([
      [
        5,
        [
          { argument: 1, values: [10, 0xffffffff] },
          { argument: 2, mask: 0xf0, values: [0x30, 0] },
        ],
      ],
      [6, [{ argument: 0, values: [1] }]],
    ]),
    killed: [59],
    unknown: [435],
    newest: 450,
  };
  const program = filterOf(rules);
  const says = (number: number, ...args: number[]) => verdict(program, number, args);
  const numbers = [7, 3, 4, 59, 435, 450, 451].map((number) => says(number));
  expect(numbers).toEqual(["allowed", "allowed", "EPERM", "killed", "ENOSYS", "EPERM", "ENOSYS"]);
  expect([says(5, 0, 10, 0xff), says(5, 0, -1, 0xff), says(5, 10, 11, 0xff)]).toEqual(["allowed", "allowed", "EPERM"]);
  expect([says(5, 0, 0, 0x13f), says(5, 0, 0, 0x30f), says(5, 0, 0, 0x14f)]).toEqual(["allowed", "allowed", "EPERM"]);
  expect([says(6, 1), says(6, 2)]).toEqual(["allowed", "EPERM"]);
  expect(verdict(program, 7, [], I386)).toBe("killed");
  expect(says(0x40000007)).toBe("killed");
});

test("the firewall's filter lets these calls through, whatever their arguments, and asks of these others what they are", () => {
  const names = callNames();
  const program = callFilter(PID, "x64");
  if (program === undefined) throw new Error("there is none");
  const by = new Map<string, string[]>();
  for (const [number, name] of names) {
    const said = callRules(PID).conditional.has(number) ? "by arguments" : verdict(program, number, []);
    by.set(said, [...(by.get(said) ?? []), name]);
  }
  expect(by.get("by arguments")?.sort()).toEqual(["bpf", "clone", "ioctl", "prctl", "prlimit64", "socket", "tgkill"]);
  expect(by.get("ENOSYS")).toEqual(["clone3"]);
  expect(by.get("killed")).toEqual(
    expect.arrayContaining(["execve", "execveat", "fork", "vfork", "ptrace", "setuid", "mount"]),
  );
  expect(by.get("EPERM")).toEqual(
    expect.arrayContaining(["kill", "unshare", "setns", "seccomp", "unlinkat", "rename", "chmod", "mknod"]),
  );
  expect(by.get("allowed")?.length).toBeLessThan(110);
  expect(program.length / 8).toBeLessThan(450); // of 4096 that a filter may have
});

test("what was traced is let through, and bears the numbers that it has", () => {
  const names = callNames();
  const program = callFilter(PID, "x64") ?? new Uint8Array();
  const { conditional, unknown } = callRules(PID);
  for (const [name, number] of Object.entries(TRACED_CALLS)) {
    expect([number, names.get(number)]).toEqual([number, name]);
    if (!conditional.has(number) && !unknown.includes(number))
      expect([name, verdict(program, number)]).toEqual([name, "allowed"]);
  }
});

test("arguments: families of sockets, commands of bpf, threads alone, signals to itself", () => {
  const program = callFilter(PID, "x64") ?? new Uint8Array();
  const says = (number: number, ...args: number[]) => verdict(program, number, args);
  const [AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_VSOCK] = [1, 2, 10, 16, 17, 40];
  for (const family of [AF_UNIX, AF_INET, AF_NETLINK, AF_PACKET]) expect(says(41, family)).toBe("allowed");
  for (const family of [AF_INET6, AF_VSOCK]) expect(says(41, family)).toBe("EPERM");
  const commands = Array.from({ length: 40 }, (_, command) => command);
  expect(commands.filter((command) => says(321, command) === "allowed")).toEqual(Object.values(BPF_COMMAND));
  const [CLONE_THREAD, SIGCHLD] = [0x10000, 17];
  expect([says(56, CLONE_THREAD | 0xf00), says(56, SIGCHLD)]).toEqual(["allowed", "EPERM"]);
  expect([says(234, PID, PID, 10), says(234, PID + 1, PID, 10)]).toEqual(["allowed", "EPERM"]);
  const [SIOCGIFMTU, TIOCSTI, IOCTL_EVTCHN_NOTIFY] = [0x8921, 0x5412, 0x44504];
  expect([SIOCGIFMTU, TIOCSTI, IOCTL_EVTCHN_NOTIFY].map((request) => says(16, 3, request))).toEqual([
    "allowed",
    "EPERM",
    "allowed",
  ]);
});

test("there is none for another machine", () => {
  expect(callFilter(PID, "arm64")).toBeUndefined();
});
