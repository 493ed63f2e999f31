// What Qubes OS's own daemons in dom0 and a domain of ours said to each other, byte for byte, as tests/qubes/transcripts has
// it (its README says how it was recorded).
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fromHex } from "../../lab/frames.ts";

const FOLDER = join(import.meta.dir, "../qubes/transcripts");

/** Who spoke, or what became of a channel in dom0. */
export type Happening =
  | "dom0"
  | "domain"
  | "dom0 serves"
  | "dom0 waits to connect"
  | "dom0 connected"
  | "dom0 closed"
  | "the domain is gone";

export interface TranscriptEvent {
  /** Since the transcript's first event. */
  readonly ms: number;
  /** Of the vchan. */
  readonly port: number;
  readonly what: Happening;
  readonly bytes: Uint8Array;
}

/** As JSON has it: bytes under the name of who sent them. */
interface Line {
  readonly ms: number;
  readonly port: number;
  readonly dom0?: string;
  readonly domain?: string;
  readonly event?: Happening;
}

/** @param name the file's, without its extension */
export function readTranscript(name: string): TranscriptEvent[] {
  const { events } = JSON.parse(readFileSync(join(FOLDER, `${name}.json`), "utf8")) as { events: Line[] };
  return events.map(({ ms, port, dom0, domain, event }) => {
    if (event !== undefined) return { ms, port, what: event, bytes: new Uint8Array(0) };
    return { ms, port, what: dom0 === undefined ? "domain" : "dom0", bytes: unpack(dom0 ?? domain ?? "") };
  });
}

/** @returns all that one side has sent, on whatever channel or on one */
export function said(who: "dom0" | "domain", events: readonly TranscriptEvent[], port?: number): Uint8Array {
  const parts = events.filter((event) => event.what === who && (port === undefined || event.port === port));
  return Buffer.concat(parts.map(({ bytes }) => bytes));
}

/** Hex, in which `00*62` is a byte 62 times. */
function unpack(text: string): Uint8Array {
  return Buffer.concat(
    text.split(" ").map((part) => {
      const [digits = "", times = "1"] = part.split("*");
      const bytes = fromHex(digits);
      return times === "1" ? bytes : new Uint8Array(Number(times)).fill(bytes[0] ?? 0);
    }),
  );
}
