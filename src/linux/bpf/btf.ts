// BTF, the kernel's description of its own types (linux/btf.h, Documentation/bpf/btf.rst): where in a structure a member is. Only
// as much of it is read as that takes; what does not fit together is an error, wherever it is come upon.

/** What the kernel says of itself, if it was built to (CONFIG_DEBUG_INFO_BTF). */
export const KERNEL_BTF = "/sys/kernel/btf/vmlinux";

export class BtfError extends Error {
  constructor(reason: string) {
    super(`BTF: ${reason}`);
    this.name = "BtfError";
  }
}

/** A member of a structure, both in bits. */
export interface Member {
  readonly offset: number;
  /** Of a bit field, a number, an enumeration or a pointer; 0: something else. */
  readonly size: number;
}

// struct btf_header: u16 magic, u8 version, u8 flags, u32 header length, then offsets, from its end, and lengths of both sections
const HEADER_LENGTH = 24;
const MAGIC = 0xeb9f;
const VERSION = 1;

// struct btf_type: u32 name, u32 info, u32 size or type; then what the kind has, `length` bytes for each of so many elements.
const TYPE_LENGTH = 12;
const MEMBER_LENGTH = 12; // struct btf_member: u32 name, u32 type, u32 offset
const KIND = {
  INT: 1,
  POINTER: 2,
  STRUCT: 4,
  UNION: 5,
  ENUM: 6,
  TYPEDEF: 8,
  VOLATILE: 9,
  CONST: 10,
  RESTRICT: 11,
  ENUM64: 19,
} as const;
/** By kind, of which 0 is none: bytes behind the type, whatever it is, and for each of its elements. */
const TAILS = Uint8Array.of(0, 4, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 4, 0, 0);
const EACH = Uint8Array.of(0, 0, 0, 0, 12, 12, 8, 0, 0, 0, 0, 0, 0, 8, 0, 12, 0, 0, 0, 12);

/** Structures within structures, types behind types, and members that are looked at for one: more than any kernel has. */
const DEEPEST = 32;
const MOST_MEMBERS = 10_000;
const POINTER_SIZE = 64;

export class Btf {
  private readonly view: DataView;
  /** Where the strings begin and end. */
  private readonly strings: number;
  private readonly stringsEnd: number;
  /** Where each type is. Number 0 is "void", which is nowhere. */
  private readonly types: Uint32Array;
  private readonly count: number;
  private looks = 0;

  /** @throws BtfError where these are not BTF of this machine's byte order */
  constructor(bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const { view } = this;
    if (bytes.length < HEADER_LENGTH) throw new BtfError(`${bytes.length} bytes are too few for a header`);
    const magic = view.getUint16(0, true);
    if (magic !== MAGIC) throw new BtfError(`begins with 0x${magic.toString(16)}, not 0x${MAGIC.toString(16)}`);
    if (view.getUint8(2) !== VERSION) throw new BtfError(`version ${view.getUint8(2)} is not known, ${VERSION} is`);
    const header = view.getUint32(4, true);
    if (header < HEADER_LENGTH) throw new BtfError(`a header of ${header} bytes is too short`);
    const [types, typesEnd] = this.section("types", header, 8);
    const [strings, stringsEnd] = this.section("strings", header, 16);
    this.strings = strings;
    this.stringsEnd = stringsEnd;
    if (strings === stringsEnd || view.getUint8(stringsEnd - 1) !== 0) throw new BtfError("the last string has no end");
    this.types = new Uint32Array(1 + Math.floor((typesEnd - types) / TYPE_LENGTH));
    this.count = this.findTypes(types, typesEnd);
  }

  /**
   * @param structure what `structure` returned
   * @param name of the member: its own, or one of a structure or union in it that has no name
   * @throws BtfError where there is no such member, or more than one
   */
  member(structure: number, name: string): Member {
    this.looks = 0;
    const found = this.search(structure, name, 0, 0);
    if (found === undefined) throw new BtfError(`type ${structure} has no member ${name}`);
    return found;
  }

  /** @returns the number of its type @throws BtfError where there is no such structure, or more than one */
  structure(name: string): number {
    const places = this.placesOf(name);
    let found = 0;
    for (let type = 1; type < this.count; type++) {
      if (!places.has(this.view.getUint32(this.types[type], true)) || this.kind(type) !== KIND.STRUCT) continue;
      if (found !== 0) throw new BtfError(`there are two structs ${name}, types ${found} and ${type}`);
      found = type;
    }
    if (found === 0) throw new BtfError(`there is no struct ${name}`);
    return found;
  }

  /** Where among the strings a name is: to compare so many with it one by one would take the longest. */
  private placesOf(name: string): ReadonlySet<number> {
    const { buffer, byteOffset } = this.view;
    const strings = Buffer.from(buffer, byteOffset + this.strings, this.stringsEnd - this.strings);
    const places = new Set<number>();
    for (let at = strings.indexOf(`${name}\0`); at >= 0; at = strings.indexOf(`${name}\0`, at + 1)) places.add(at);
    return places;
  }

  /** Looks through a structure's members. @param base bits before it @returns undefined where it is not among them */
  private search(type: number, name: string, base: number, depth: number): Member | undefined {
    if (depth > DEEPEST) throw new BtfError(`type ${type} is nested too deeply`);
    let found: Member | undefined;
    for (let i = 0; i < this.elements(type); i++) {
      if (++this.looks > MOST_MEMBERS) throw new BtfError(`type ${type} has too many members`);
      const [nameAt, memberType, place] = [0, 4, 8].map((at) => this.word(type, TYPE_LENGTH + i * MEMBER_LENGTH + at));
      const [offset, bits] = this.hasBitFields(type) ? [place & 0xffffff, place >>> 24] : [place, 0];
      if (offset + bits > this.word(type, 8) * 8) throw new BtfError(`member ${i} of type ${type} is outside of it`);
      const member = this.memberCalled(name, nameAt, memberType, base + offset, bits, depth);
      if (member === undefined) continue;
      if (found !== undefined) throw new BtfError(`type ${type} has two members ${name}`);
      found = member;
    }
    return found;
  }

  private memberCalled(
    name: string,
    nameAt: number,
    type: number,
    offset: number,
    bits: number,
    depth: number,
  ): Member | undefined {
    if (this.isCalled(nameAt, name)) return { offset, size: bits === 0 ? this.size(type) : bits };
    if (!this.isCalled(nameAt, "")) return undefined;
    const plain = this.unmodified(type);
    if (this.kind(plain) !== KIND.STRUCT && this.kind(plain) !== KIND.UNION) return undefined;
    return this.search(plain, name, offset, depth + 1);
  }

  /** @returns bits of a number, an enumeration or a pointer; else 0 */
  private size(type: number): number {
    const plain = this.unmodified(type);
    const kind = this.kind(plain);
    if (kind === KIND.POINTER) return POINTER_SIZE;
    return kind === KIND.INT || kind === KIND.ENUM || kind === KIND.ENUM64 ? this.word(plain, 8) * 8 : 0;
  }

  /** @returns the type that others are names or qualifications of; 0: void */
  private unmodified(type: number): number {
    let plain = type;
    for (let depth = 0; depth <= DEEPEST; depth++) {
      const kind = this.kind(plain);
      const isModified =
        kind === KIND.TYPEDEF || kind === KIND.CONST || kind === KIND.VOLATILE || kind === KIND.RESTRICT;
      if (!isModified) return plain;
      plain = this.word(plain, 8);
    }
    throw new BtfError(`type ${type} leads nowhere`);
  }

  /** @param at of its offset and length in the header @returns where it begins and ends */
  private section(what: string, header: number, at: number): [begin: number, end: number] {
    const begin = header + this.view.getUint32(at, true);
    const end = begin + this.view.getUint32(at + 4, true);
    if (end > this.view.byteLength) throw new BtfError(`its ${what} end at ${end} of ${this.view.byteLength} bytes`);
    return [begin, end];
  }

  /** Notes where each type is. @returns how many there are, "void" among them */
  private findTypes(begin: number, end: number): number {
    const { view, types } = this;
    let count = 1;
    for (let at = begin; at < end; count++) {
      if (at + TYPE_LENGTH > end) throw new BtfError(`type ${count} is cut short`);
      types[count] = at;
      const info = view.getUint32(at + 4, true);
      const kind = (info >>> 24) & 0x1f;
      if (kind === 0 || kind >= TAILS.length) throw new BtfError(`type ${count} is of kind ${kind}`);
      at += TYPE_LENGTH + TAILS[kind] + EACH[kind] * (info & 0xffff);
      if (at > end) throw new BtfError(`type ${count} is cut short`);
    }
    return count;
  }

  private kind(type: number): number {
    return type === 0 ? 0 : (this.word(type, 4) >>> 24) & 0x1f;
  }

  private elements(type: number): number {
    return this.word(type, 4) & 0xffff;
  }

  private hasBitFields(type: number): boolean {
    return this.word(type, 4) >>> 31 !== 0;
  }

  private word(type: number, at: number): number {
    const place = this.types[type];
    if (place === undefined || place === 0) throw new BtfError(`there is no type ${type}`);
    return this.view.getUint32(place + at, true);
  }

  private isCalled(nameAt: number, name: string): boolean {
    const at = this.strings + nameAt;
    if (at + name.length >= this.stringsEnd) return this.isNowhere(at);
    for (let i = 0; i < name.length; i++) if (this.view.getUint8(at + i) !== name.charCodeAt(i)) return false;
    return this.view.getUint8(at + name.length) === 0;
  }

  /** A name near the end of the strings is shorter than the one that it is compared with. */
  private isNowhere(at: number): false {
    if (at >= this.stringsEnd) throw new BtfError(`a name is at ${at - this.strings}, behind the strings`);
    return false;
  }
}
