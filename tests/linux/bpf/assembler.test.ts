// What the assembler writes is what others read in it: LLVM's disassembler, and the kernel, as bpftool(8) prints what was
// loaded. What has no encoding is an error, and never becomes another program.
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { Assembler, type Condition, type Operation, R0, R1, R2, R3, R10 } from "../../../src/linux/bpf/assembler.ts";
import { createMap, loadProgram, MAP_TYPE, PROGRAM_TYPE } from "../../../src/linux/bpf/bpf.ts";
import { libc } from "../../../src/linux/libc.ts";

function linesOf(command: readonly string[], input = ""): string[] {
  const { stdout, stderr, exitCode } = Bun.spawnSync([...command], { stdin: Buffer.from(input) });
  if (exitCode !== 0 || stderr.length > 0) throw new Error(`${command[0]}: ${stderr}`);
  return stdout
    .toString()
    .split("\n")
    .map((line) => line.trim().replaceAll("\t", " "));
}

/** @returns a program's instructions as LLVM reads them; w1 is the low half of r1 */
function disassembled(a: Assembler): string[] {
  const bytes = Array.from(a.assemble(), (byte) => `0x${byte.toString(16)}`).join(" ");
  const lines = linesOf(["llvm-mc", "--disassemble", "--triple=bpfel", "--mattr=+alu32"], bytes);
  return lines.filter((line) => line !== "" && line !== ".text");
}

/** @returns a program's instructions as the kernel has them once they are loaded */
function loaded(a: Assembler): string[] {
  const fd = loadProgram("test", PROGRAM_TYPE.SOCKET_FILTER, a.assemble());
  const [, id = ""] = /^prog_id:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8")) ?? [];
  const lines = linesOf(["bpftool", "prog", "dump", "xlated", "id", id]);
  libc.close(fd);
  return lines.filter((line) => line !== "").map((line) => line.replace(/^\d+: \(..\) /, ""));
}

const OPERATIONS: Record<Operation, string> = {
  add: "+=",
  sub: "-=",
  mul: "*=",
  or: "|=",
  and: "&=",
  shiftLeft: "<<=",
  shiftRight: ">>=",
  xor: "^=",
  move: "=",
};

test.each(Object.entries(OPERATIONS) as [Operation, string][])("%s, on 64 and on 32 bits", (operation, sign) => {
  const a = new Assembler().do(operation, R1, R2).do(operation, R3, 7).do32(operation, R2, R10).do32(operation, R1, 31);
  expect(disassembled(a)).toEqual([`r1 ${sign} r2`, `r3 ${sign} 7`, `w2 ${sign} w10`, `w1 ${sign} 31`]);
});

const CONDITIONS: Record<Exclude<Condition, "&">, string> = {
  "==": "==",
  "!=": "!=",
  ">": ">",
  ">=": ">=",
  "<": "<",
  "<=": "<=",
  "signed >": "s>",
  "signed >=": "s>=",
  "signed <": "s<",
  "signed <=": "s<=",
};

/** Four jumps, each over those that follow. */
function jumps(a: Assembler, condition: Condition): Assembler {
  a.jumpIf(R0, condition, R2, "end").jumpIf(R2, condition, 7, "end");
  return a.jumpIf32(R0, condition, R2, "end").jumpIf32(R2, condition, 7, "end").do("move", R0, 0).label("end").exit();
}

test.each(Object.entries(CONDITIONS) as [Condition, string][])(
  "jumps on %s, of 64 and of 32 bits",
  (condition, sign) => {
    expect(disassembled(jumps(new Assembler(), condition)).slice(0, 4)).toEqual([
      `if r0 ${sign} r2 goto +4`,
      `if r2 ${sign} 7 goto +3`,
      `if w0 ${sign} w2 goto +2`,
      `if w2 ${sign} 7 goto +1`,
    ]);
  },
);

test("jumps on bits in common, which LLVM 14 does not know, but the kernel", () => {
  const unknown = new Assembler().load(4, R0, R1, 0).load(4, R2, R1, 4); // of the struct __sk_buff
  expect(loaded(jumps(unknown, "&")).filter((line) => line.startsWith("if"))).toEqual([
    "if r0 & r2 goto pc+4",
    "if r2 & 0x7 goto pc+3",
    "if w0 & w2 goto pc+2",
    "if w2 & 0x7 goto pc+1",
  ]);
});

test("jumps without a condition, back too; calls, byte order and the end", () => {
  const a = new Assembler().label("back").swap(R1, 16).swap(R2, 32).jump("on").call(5).label("on");
  expect(disassembled(a.jumpIf(R0, "==", 1, "back").exit())).toEqual([
    "r1 = be16 r1",
    "r2 = be32 r2",
    "goto +1",
    "call 5",
    "if r0 == 1 goto -5",
    "exit",
  ]);
});

describe("memory", () => {
  test("is read and written in four sizes", () => {
    const a = new Assembler();
    for (const size of [1, 2, 4, 8] as const) a.load(size, R1, R10, -8).store(size, R1, 32767, R2);
    expect(disassembled(a.addInMemory(R1, 16, R2))).toEqual([
      "w1 = *(u8 *)(r10 - 8)",
      "*(u8 *)(r1 + 32767) = w2",
      "w1 = *(u16 *)(r10 - 8)",
      "*(u16 *)(r1 + 32767) = w2",
      "w1 = *(u32 *)(r10 - 8)",
      "*(u32 *)(r1 + 32767) = w2",
      "r1 = *(u64 *)(r10 - 8)",
      "*(u64 *)(r1 + 32767) = r2",
      "lock *(u64 *)(r1 + 16) += r2",
    ]);
  });

  test("takes constants, and maps have addresses", () => {
    const map = createMap("test", { type: MAP_TYPE.ARRAY, key: 4, value: 8192, entries: 1 });
    const a = new Assembler()
      .store(1, R10, -8, 3)
      .store(2, R10, -8, 300)
      .store(4, R10, -8, 70000)
      .store(8, R10, -8, -3);
    const lines = loaded(a.loadMap(R1, map).loadMapValue(R2, map, 4096).do("move", R0, 0).exit());
    libc.close(map);
    expect(lines.map((line) => line.replace(/id:\d+/, "id"))).toEqual([
      "*(u8 *)(r10 -8) = 3",
      "*(u16 *)(r10 -8) = 300",
      "*(u32 *)(r10 -8) = 70000",
      "*(u64 *)(r10 -8) = -3",
      "r1 = map[id]",
      "r2 = map[id][0]+4096",
      "r0 = 0",
      "exit",
    ]);
  });
});

describe("there is no program", () => {
  const far = (instructions: number) => {
    const a = new Assembler().jump("end");
    for (let i = 0; i < instructions; i++) a.exit();
    return a.label("end").exit();
  };

  test("with a label that is missing, there twice, or too far away", () => {
    expect(() => new Assembler().jump("nowhere").exit().assemble()).toThrow("label nowhere: there is none");
    expect(() => new Assembler().label("a").label("a")).toThrow("label a: there are two");
    expect(disassembled(far(32767))[0]).toBe("goto +32767");
    expect(() => far(32768).assemble()).toThrow("bpf: distance to label end 32768 is not from -32768 to 32767");
  });

  test("with a number that an instruction has no room for", () => {
    const wrong: readonly ((a: Assembler) => Assembler)[] = [
      (a) => a.load(4, R1, R10, 32768),
      (a) => a.store(4, R10, -32769, R1),
      (a) => a.do("move", R1, 2 ** 31), // would be -2 ** 31
      (a) => a.jumpIf(R1, "==", 2 ** 31, "end"),
      (a) => a.store(8, R10, -8, 2 ** 31),
      (a) => a.do32("move", R1, 2 ** 32),
      (a) => a.do32("move", R1, -(2 ** 31) - 1),
      (a) => a.do("move", R1, 0.5),
      (a) => a.do("move", R1, Number.NaN),
    ];
    for (const write of wrong) expect(() => write(new Assembler())).toThrow(RangeError);
    expect(disassembled(new Assembler().do32("move", R1, 0xffffffff).do("move", R1, -1))).toEqual([
      "w1 = -1",
      "r1 = -1",
    ]);
  });
});
