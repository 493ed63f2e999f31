// SYNs of side 0 that were let through into a connection that is known already: perhaps its ends have lost it, and one begins
// anew from the same ports. Such a SYN changes nothing before it is answered: the SYN-ACK that acknowledges it opens the connection
// anew, by what is kept of it here. So nobody who has not seen the SYN can. One for each flow, the last. They stand beside the flows'
// records, for few flows ever have one, and no packet but of a handshake looks here.
import type { Flow } from "../types.ts";
import type { FlowTable } from "./flows.ts";

const WORDS = 4;
/** Which life of the flow's number it belongs to. */
const BIRTH = 0;
const SEQUENCE = 1;
/** bytes of payload << 16 | window */
const LENGTH_WINDOW = 2;
/** scale + FIRST_SCALE; 0: there is none */
const SCALE = 3;
const FIRST_SCALE = 2;

export class PendingSyns {
  private readonly words: Int32Array;

  constructor(private readonly flows: FlowTable) {
    this.words = new Int32Array(flows.capacity * WORDS);
  }

  /**
   * Keeps a SYN in place of the one before. The data of one that is sent again without may have arrived (RFC 7413 section 4.1.3).
   * @param length bytes of its payload
   * @param window as it stands in the header
   * @param scale what it offers to shift windows by, or -1
   */
  note(flow: Flow, sequence: number, length: number, window: number, scale: number): void {
    const at = flow * WORDS;
    const isAgain = this.has(flow) && this.sequence(flow) === sequence;
    const most = isAgain ? Math.max(length, this.length(flow)) : length;
    this.words[at + BIRTH] = this.flows.birth(flow);
    this.words[at + SEQUENCE] = sequence;
    this.words[at + LENGTH_WINDOW] = (most << 16) | window;
    this.words[at + SCALE] = scale + FIRST_SCALE;
  }

  has(flow: Flow): boolean {
    const at = flow * WORDS;
    return this.words[at + SCALE] !== 0 && this.flows.isAlive(flow, this.words[at + BIRTH]);
  }

  /** @returns whether such a number acknowledges the flow's SYN, with all, some or nothing of its payload */
  isAcknowledged(flow: Flow, acknowledgment: number): boolean {
    if (!this.has(flow)) return false;
    const beyond = (acknowledgment - this.sequence(flow)) | 0;
    return beyond > 0 && beyond <= 1 + this.length(flow);
  }

  clear(flow: Flow): void {
    const at = flow * WORDS + SCALE;
    if (this.words[at] !== 0) this.words[at] = 0; // what was never written to takes no memory
  }

  // Of the flow's SYN, which it `has`, as `note` got them.

  sequence(flow: Flow): number {
    return this.words[flow * WORDS + SEQUENCE];
  }

  length(flow: Flow): number {
    return this.words[flow * WORDS + LENGTH_WINDOW] >>> 16;
  }

  window(flow: Flow): number {
    return this.words[flow * WORDS + LENGTH_WINDOW] & 0xffff;
  }

  scale(flow: Flow): number {
    return this.words[flow * WORDS + SCALE] - FIRST_SCALE;
  }
}
