// What both ends of the vchan tests know: the ports, messages of a length and as many bytes, and how long one pauses.
import type { Random } from "../../../../lab/random.ts";

/** By who serves. */
export const ECHO_PORTS = { guest: 2001, dom0: 2002 } as const;

/** u32, little-endian: bytes of the body behind it. */
export const HEADER = 4;

export function bodyLengthOf(header: DataView): number {
  return header.getUint32(0, true);
}

export function frame(body: Uint8Array): Uint8Array {
  const message = new Uint8Array(HEADER + body.length);
  new DataView(message.buffer).setUint32(0, body.length, true);
  message.set(body, HEADER);
  return message;
}

/** @returns ms, mostly none: long enough for the other side to fall asleep, one time in ten */
export function pauseOf(random: Random): number {
  return random.chance(0.1) ? 1 + random.below(20) : 0;
}
