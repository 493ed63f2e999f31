// A set of ports that any member can be drawn from by its rank, in bounded time at any fill: a bit for each port, and how many there are
// in each block of 512. Of the blocks and of their order nobody else knows. Ports that are closed may be members, but are not counted and
// not drawn.

/** Ports that may replace one another: low ones or others (RFC 4787 REQ-3a), of one parity (REQ-4). */
export type Kin = 0 | 1 | 2 | 3;
const HIGH = 2;
const KINS: readonly Kin[] = [0, 1, 2, 3];

const FIRST_HIGH_PORT = 1024;

export const kinOf = (port: number): Kin => ((port & 1) | (port < FIRST_HIGH_PORT ? 0 : HIGH)) as Kin;
/** @returns the same range of ports, of the other parity */
export const otherParity = (kin: Kin): Kin => (kin ^ 1) as Kin;
/** @returns the same parity, from 1024 on */
export const highOf = (kin: Kin): Kin => (kin | HIGH) as Kin;

// Even ports come first, then odd ones: so the low ports of a parity are a block, and the others of that parity those behind it.
const ODD = 1 << 15;
const placeOf = (port: number): number => ((port & 1) * ODD) | (port >>> 1);
const portAt = (place: number): number => ((place & (ODD - 1)) << 1) | (place >>> 15);
const BLOCK_SHIFT = 9;
const BLOCKS = 1 << (16 - BLOCK_SHIFT);
const BLOCKS_OF_PARITY = BLOCKS / 2;
const BLOCK_WORDS = 1 << (BLOCK_SHIFT - 5);
const firstBlock = (kin: Kin): number => (kin & 1) * BLOCKS_OF_PARITY + ((kin & HIGH) === 0 ? 0 : 1);

/** Words of a bit for each port: as `closed` is. */
export const PORT_WORDS = 65536 / 32;

/** Sets the bits of ports in such words, both ends included: of each parity they stand together. */
export function markPorts(words: Int32Array, low: number, high: number): void {
  for (let first = low; first <= Math.min(low + 1, high); first++) {
    const end = placeOf(first) + ((high - first) >> 1) + 1;
    for (let place = placeOf(first); place < end; place = (place | 31) + 1) {
      words[place >>> 5] |= (-1 << (place & 31)) & (-1 >>> Math.max(0, (place | 31) + 1 - end));
    }
  }
}

export class PortSet {
  private readonly members = new Int32Array(PORT_WORDS);
  /** Members that are not closed: by block, and by kin. */
  private readonly blocks = new Int32Array(BLOCKS);
  private readonly counts = new Int32Array(KINS.length);
  /** Of all kins. */
  size = 0;

  /**
   * @param closed by `markPorts`: ports that are neither counted nor drawn. When it has changed, `recount`
   * @param isFull whether all ports are members at first
   */
  constructor(
    private readonly closed: Int32Array,
    isFull: boolean,
  ) {
    if (isFull) this.members.fill(-1);
    this.recount();
  }

  /** @returns whether the port is a member, and not closed */
  has(port: number): boolean {
    const place = placeOf(port);
    return (((this.members[place >>> 5] & ~this.closed[place >>> 5]) >>> (place & 31)) & 1) === 1;
  }

  /** @param port no member */
  add(port: number): void {
    this.flip(port, 1);
  }

  /** @param port a member */
  remove(port: number): void {
    this.flip(port, -1);
  }

  /** @returns how many members there are of a kin */
  count(kin: Kin): number {
    return this.counts[kin];
  }

  /** @param rank 0 to count(kin) - 1 @returns the member that so many others of its kin come before */
  draw(kin: Kin, rank: number): number {
    let left = rank;
    let block = firstBlock(kin);
    for (; left >= this.blocks[block]; block++) left -= this.blocks[block];
    for (let at = block * BLOCK_WORDS; ; at++) {
      let word = this.members[at] & ~this.closed[at];
      const count = bitCount(word);
      if (left >= count) {
        left -= count;
        continue;
      }
      for (; left > 0; left--) word &= word - 1;
      return portAt((at << 5) | (31 - Math.clz32(word & -word)));
    }
  }

  recount(): void {
    this.blocks.fill(0);
    this.counts.fill(0);
    for (let at = 0; at < PORT_WORDS; at++) {
      this.blocks[Math.floor(at / BLOCK_WORDS)] += bitCount(this.members[at] & ~this.closed[at]);
    }
    this.size = 0;
    for (let block = 0; block < BLOCKS; block++) {
      this.counts[kinOf(portAt(block << BLOCK_SHIFT))] += this.blocks[block];
      this.size += this.blocks[block];
    }
  }

  private flip(port: number, by: number): void {
    const place = placeOf(port);
    const bit = 1 << (place & 31);
    this.members[place >>> 5] ^= bit;
    if ((this.closed[place >>> 5] & bit) !== 0) return;
    this.blocks[place >>> BLOCK_SHIFT] += by;
    this.counts[kinOf(port)] += by;
    this.size += by;
  }
}

function bitCount(word: number): number {
  const pairs = word - ((word >>> 1) & 0x55555555);
  const fours = (pairs & 0x33333333) + ((pairs >>> 2) & 0x33333333);
  return Math.imul((fours + (fours >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
