// Capture files that are in memory as a whole: what tests, which are small, read and write.
import type { FrameInHand, Resolution } from "../src/captures/frame.ts";
import { CaptureReader } from "../src/captures/reader.ts";
import type { ByteSource } from "../src/captures/window.ts";
import { CaptureWriter } from "../src/captures/writer.ts";

export interface CapturedFrame extends Pick<FrameInHand, "seconds" | "nanoseconds"> {
  readonly bytes: Uint8Array;
  /** Bytes of the frame on the wire; more than `bytes` holds where a snapshot length cut it. */
  readonly originalLength: number;
}

export interface Capture {
  readonly frames: readonly CapturedFrame[];
  readonly resolution: Resolution;
}

/** Hands out a file in memory, at most `atOnce` bytes at a time. */
export function memorySource(file: Uint8Array, atOnce = 1 << 20): ByteSource {
  let given = 0;
  return {
    async read(into, at) {
      const part = file.subarray(given, given + Math.min(atOnce, into.length - at));
      into.set(part, at);
      given += part.length;
      return part.length;
    },
  };
}

/** Reads all frames as they stand in the file. @throws CaptureError */
export async function readCapture(file: Uint8Array, atOnce?: number): Promise<Capture> {
  const reader = new CaptureReader(memorySource(file, atOnce));
  const frames: CapturedFrame[] = [];
  const { frame, window } = reader;
  while (reader.next() || (await reader.more())) {
    const { seconds, nanoseconds, at, captured, original } = frame;
    const bytes = Uint8Array.from(window.bytes.subarray(at, at + captured));
    frames.push({ seconds, nanoseconds, bytes, originalLength: original });
  }
  if (reader.error !== undefined) throw reader.error;
  return { frames, resolution: reader.resolution };
}

export function writeCapture(frames: readonly CapturedFrame[], resolution: Resolution): Uint8Array {
  const parts: Buffer[] = [];
  const writer = new CaptureWriter(resolution, (bytes) => parts.push(Buffer.from(bytes)));
  for (const { seconds, nanoseconds, bytes, originalLength } of frames) {
    writer.add(seconds, nanoseconds, Buffer.from(bytes), 0, bytes.length, originalLength);
  }
  writer.flush();
  return new Uint8Array(Buffer.concat(parts));
}
