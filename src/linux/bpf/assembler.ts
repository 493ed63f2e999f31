// Writes programs for the kernel's BPF machine (Documentation/bpf/standardization/instruction-set.rst, linux/bpf.h):
// eleven 64-bit registers, a stack of 512 bytes below R10, calls of the kernel's helpers with arguments in R1 to R5, which
// do not survive them, and a result in R0.

/** One of the registers R0 to R10. */
export interface Register {
  readonly number: number;
}

const register = (number: number): Register => ({ number });
export const R0 = register(0);
export const R1 = register(1);
export const R2 = register(2);
export const R3 = register(3);
export const R4 = register(4);
export const R5 = register(5);
export const R6 = register(6);
export const R7 = register(7);
export const R8 = register(8);
export const R9 = register(9);
export const R10 = register(10);

/** A register's value, or a constant of 32 bits, sign-extended. */
export type Operand = Register | number;

/** Bytes of a memory access. */
export type Size = 1 | 2 | 4 | 8;

const CLASS = { LD: 0, LDX: 1, ST: 2, STX: 3, ALU: 4, JMP: 5, JMP32: 6, ALU64: 7 } as const;
const CLASS_BITS = 0x07;
/** Where constants become numbers of 64 bits. */
const SIGN_EXTENDING: readonly number[] = [CLASS.ALU64, CLASS.JMP, CLASS.ST];
const SIZES = { 1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18 } as const;
const MODE_MEM = 0x60;
const MODE_IMM = 0x00;
const MODE_ATOMIC = 0xc0;
const FETCH = 0x01;
const COMPARE_EXCHANGE = 0xf0;
const SOURCE_REGISTER = 0x08;

const OPERATIONS = {
  add: 0x00,
  sub: 0x10,
  mul: 0x20,
  or: 0x40,
  and: 0x50,
  shiftLeft: 0x60,
  shiftRight: 0x70,
  xor: 0xa0,
  move: 0xb0,
} as const;
/** What an instruction does to its first register. */
export type Operation = keyof typeof OPERATIONS;

const CONDITIONS = {
  "==": 0x10,
  ">": 0x20,
  ">=": 0x30,
  "&": 0x40,
  "!=": 0x50,
  "signed >": 0x60,
  "signed >=": 0x70,
  "<": 0xa0,
  "<=": 0xb0,
  "signed <": 0xc0,
  "signed <=": 0xd0,
} as const;
/** How a jump compares: unsigned where it does not say otherwise; "&": whether they have a bit in common. */
export type Condition = keyof typeof CONDITIONS;

const JUMP_ALWAYS = 0x00;
const CALL = 0x80;
const EXIT = 0x90;
const BYTE_SWAP = 0xd8; // BPF_END to big-endian

/** Of a 64-bit constant: what it stands for (BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE). */
const MAP_ADDRESS = 1;
const MAP_VALUE = 2;

const INSTRUCTION_LENGTH = 8;

export class Assembler {
  private readonly instructions: { code: number; to: number; from: number; offset: number; constant: number }[] = [];
  private readonly labels = new Map<string, number>();
  private readonly jumps: { at: number; label: string }[] = [];

  /** On 64 bits. */
  do(operation: Operation, to: Register, operand: Operand): this {
    return this.operand(CLASS.ALU64 | OPERATIONS[operation], to, operand);
  }

  /** On the low 32 bits; the high ones are 0 afterwards. */
  do32(operation: Operation, to: Register, operand: Operand): this {
    return this.operand(CLASS.ALU | OPERATIONS[operation], to, operand);
  }

  /** Turns a number of so many bits from or to network order; the bits above are 0 afterwards. */
  swap(to: Register, bits: 16 | 32): this {
    return this.add(CLASS.ALU | BYTE_SWAP | 0, to.number, 0, 0, bits);
  }

  load(size: Size, to: Register, from: Register, offset: number): this {
    return this.add(CLASS.LDX | SIZES[size] | MODE_MEM, to.number, from.number, offset, 0);
  }

  store(size: Size, to: Register, offset: number, value: Operand): this {
    const access = SIZES[size] | MODE_MEM;
    return typeof value === "number"
      ? this.add(CLASS.ST | access, to.number, 0, offset, value)
      : this.add(CLASS.STX | access, to.number, value.number, offset, 0);
  }

  /** Adds a register's 64 bits to those in memory, whoever else does so at the same time. */
  addInMemory(to: Register, offset: number, from: Register): this {
    return this.add(CLASS.STX | SIZES[8] | MODE_ATOMIC, to.number, from.number, offset, OPERATIONS.add);
  }

  /** Adds a register's low 32 bits to those in memory, likewise; the register gets what was there before. */
  fetchAdd32(to: Register, offset: number, from: Register): this {
    return this.add(CLASS.STX | SIZES[4] | MODE_ATOMIC, to.number, from.number, offset, OPERATIONS.add | FETCH);
  }

  /** Writes a register's low 32 bits to memory if there is what R0 has, as one step; R0 gets what was there before. */
  compareExchange32(to: Register, offset: number, from: Register): this {
    return this.add(CLASS.STX | SIZES[4] | MODE_ATOMIC, to.number, from.number, offset, COMPARE_EXCHANGE | FETCH);
  }

  /** The map with this descriptor, for helpers. */
  loadMap(to: Register, fd: number): this {
    return this.wide(to, MAP_ADDRESS, fd, 0);
  }

  /** The address of a byte in the one element of an array map. */
  loadMapValue(to: Register, fd: number, offset: number): this {
    return this.wide(to, MAP_VALUE, fd, offset);
  }

  /** Jumps where the comparison holds of 64 bits. */
  jumpIf(register: Register, condition: Condition, operand: Operand, label: string): this {
    this.jumpTo(label);
    return this.operand(CLASS.JMP | CONDITIONS[condition], register, operand);
  }

  /** Jumps where the comparison holds of the low 32 bits. */
  jumpIf32(register: Register, condition: Condition, operand: Operand, label: string): this {
    this.jumpTo(label);
    return this.operand(CLASS.JMP32 | CONDITIONS[condition], register, operand);
  }

  jump(label: string): this {
    this.jumpTo(label);
    return this.add(CLASS.JMP | JUMP_ALWAYS, 0, 0, 0, 0);
  }

  /** @param helper its number in linux/bpf.h */
  call(helper: number): this {
    return this.add(CLASS.JMP | CALL, 0, 0, 0, helper);
  }

  exit(): this {
    return this.add(CLASS.JMP | EXIT, 0, 0, 0, 0);
  }

  /** Names the next instruction. Jumps lead forward and back. */
  label(name: string): this {
    if (this.labels.has(name)) throw new Error(`label ${name}: there are two`);
    this.labels.set(name, this.instructions.length);
    return this;
  }

  /** @returns the program's instructions, as the kernel takes them */
  assemble(): Uint8Array<ArrayBuffer> {
    for (const { at, label } of this.jumps) {
      const target = this.labels.get(label);
      if (target === undefined) throw new Error(`label ${label}: there is none`);
      this.instructions[at].offset = inRange(target - at - 1, -0x8000, 0x7fff, `distance to label ${label}`);
    }
    const view = new DataView(new ArrayBuffer(this.instructions.length * INSTRUCTION_LENGTH));
    for (const [i, { code, to, from, offset, constant }] of this.instructions.entries()) {
      const at = i * INSTRUCTION_LENGTH;
      view.setUint8(at, code);
      view.setUint8(at + 1, (from << 4) | to);
      view.setInt16(at + 2, offset, true);
      view.setInt32(at + 4, constant, true);
    }
    return new Uint8Array(view.buffer);
  }

  private jumpTo(label: string): void {
    this.jumps.push({ at: this.instructions.length, label });
  }

  private operand(code: number, to: Register, operand: Operand): this {
    return typeof operand === "number"
      ? this.add(code, to.number, 0, 0, operand)
      : this.add(code | SOURCE_REGISTER, to.number, operand.number, 0, 0);
  }

  /** A constant of 64 bits takes two instructions. */
  private wide(to: Register, kind: number, low: number, high: number): this {
    this.add(CLASS.LD | MODE_IMM | SIZES[8], to.number, kind, 0, low);
    return this.add(0, 0, 0, 0, high);
  }

  private add(code: number, to: number, from: number, offset: number, constant: number): this {
    inRange(offset, -0x8000, 0x7fff, "offset");
    // On 64 bits a constant is sign-extended: one with the highest bit set would become another number.
    inRange(constant, -0x80000000, SIGN_EXTENDING.includes(code & CLASS_BITS) ? 0x7fffffff : 0xffffffff, "constant");
    this.instructions.push({ code, to, from, offset, constant });
    return this;
  }
}

/** @throws RangeError for a number that an instruction has no room for */
function inRange(value: number, least: number, most: number, what: string): number {
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new RangeError(`bpf: ${what} ${value} is not from ${least} to ${most}`);
}
