// Blocks of a pcapng file (draft-ietf-opsawg-pcapng, section 3.1) onto a disk that may be full: what does not fit is cut off again, where a
// block ends, so that whoever reads the file finds nothing cut.
import { fstatSync, ftruncateSync, writeSync } from "node:fs";
import { reasonOf } from "../base/reason.ts";
import { BLOCK, BLOCK_OVERHEAD } from "./pcapng.ts";

/** Where a block has its length; in our files in little-endian. */
const TOTAL_LENGTH = 4;

/** Not all of it could be written; the blocks in front are there. */
export class NotWritten extends Error {
  /** @param length bytes of what was to be written that are in the file @param frames in these */
  constructor(
    message: string,
    readonly length: number,
    readonly frames: number,
  ) {
    super(message);
  }
}

/**
 * Writes at the end of a file.
 * @param bytes whole blocks
 * @param name how the error begins, which goes on with "can't be written" and the system's reason
 * @throws NotWritten
 */
export function appendBlocks(fd: number, bytes: Uint8Array, name: string): void {
  let written = 0;
  try {
    while (written < bytes.length) written += writeSync(fd, bytes, written);
  } catch (error) {
    const { length, frames } = wholeBlocks(bytes, written);
    cutOff(fd, written - length);
    throw new NotWritten(`${name} can't be written: ${reasonOf(error)}`, length, frames);
  }
}

/** @returns how long the blocks are that end within the first `end` bytes, and how many of them are frames */
function wholeBlocks(bytes: Uint8Array, end: number): { readonly length: number; readonly frames: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let [length, frames] = [0, 0];
  while (length + BLOCK_OVERHEAD <= end) {
    const next = length + view.getUint32(length + TOTAL_LENGTH, true);
    if (next > end || next < length + BLOCK_OVERHEAD) break;
    if (view.getUint32(length, true) === BLOCK.ENHANCED_PACKET) frames++;
    length = next;
  }
  return { length, frames };
}

/** @param excess bytes at the file's end */
function cutOff(fd: number, excess: number): void {
  if (excess === 0) return;
  try {
    ftruncateSync(fd, fstatSync(fd).size - excess);
  } catch {
    // It is no file that can be made shorter: what is written is written.
  }
}
