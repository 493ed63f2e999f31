// How several clients share one line of bytes, the port of a virtual machine: frames, each with the number of its client. They are those
// of SLIP (RFC 1055), so that whoever begins to listen in the middle of one finds the next. The host's end says RESET when it begins, and
// hears nothing before the answer: what is on its way may be for one that was there before.

const END = 0xc0;
const ESCAPE = 0xdb;
const ESCAPED_END = 0xdc;
const ESCAPED_ESCAPE = 0xdd;

/** In place of a client's number: all clients are gone. The bytes are a token, and come back in the answer. */
export const RESET = 0;
/** Numbers of clients are below. */
export const MOST_CLIENTS = 32;

/** Bytes of one frame, before they are escaped: one for the client's number, and no more of what it says. */
export const MOST_FRAME = 32 * 1024;

/**
 * @param bytes of a client's stream, MOST_FRAME - 1 at most; none: it is gone. Each end says so once, and when both have, the number may
 *   be another client's
 */
export function encodeFrame(client: number, bytes: Uint8Array): Uint8Array {
  const frame = new Uint8Array(2 * (bytes.length + 1) + 2);
  let at = 0;
  const put = (byte: number) => {
    if (byte === END || byte === ESCAPE) {
      frame[at++] = ESCAPE;
      frame[at++] = byte === END ? ESCAPED_END : ESCAPED_ESCAPE;
    } else {
      frame[at++] = byte;
    }
  };
  frame[at++] = END;
  put(client);
  for (const byte of bytes) put(byte);
  frame[at++] = END;
  return frame.subarray(0, at);
}

/** @returns a stream's bytes as frames */
export function encodeFrames(client: number, bytes: Uint8Array): Uint8Array[] {
  const frames: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += MOST_FRAME - 1) {
    frames.push(encodeFrame(client, bytes.subarray(at, at + MOST_FRAME - 1)));
  }
  return frames;
}

/** Takes bytes as they come, and gives the frames. What is none is left out. */
export class FrameReader {
  private readonly frame = new Uint8Array(MOST_FRAME);
  private length = 0;
  private isEscaped = false;
  /** Until the next END: it is too long, or escapes what need not be. */
  private isBad = true;

  /** @param hear takes each frame; the bytes are its own */
  constructor(private readonly hear: (client: number, bytes: Uint8Array) => void) {}

  push(bytes: Uint8Array): void {
    for (const byte of bytes) this.take(byte);
  }

  private take(byte: number): void {
    if (byte === END) {
      const isFrame = !this.isBad && !this.isEscaped && this.length > 0 && this.frame[0] < MOST_CLIENTS;
      const [client, content] = [this.frame[0], this.frame.slice(1, this.length)];
      this.length = 0;
      this.isBad = false;
      this.isEscaped = false;
      if (isFrame) this.hear(client, content);
    } else if (this.isEscaped) {
      this.isEscaped = false;
      if (byte === ESCAPED_END) this.add(END);
      else if (byte === ESCAPED_ESCAPE) this.add(ESCAPE);
      else this.isBad = true;
    } else if (byte === ESCAPE) {
      this.isEscaped = true;
    } else {
      this.add(byte);
    }
  }

  private add(byte: number): void {
    if (this.length === MOST_FRAME) this.isBad = true;
    else this.frame[this.length++] = byte;
  }
}
