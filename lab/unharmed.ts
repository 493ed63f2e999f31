// By what a firewall is known to be unharmed, whatever was done to it: what it holds, and that it goes on forwarding.
import { readdirSync } from "node:fs";
import type { Namespace, Program } from "./namespaces.ts";

/** @returns bytes of memory that are a process's own */
export async function ownMemory(pid: number): Promise<number> {
  const text = await Bun.file(`/proc/${pid}/smaps_rollup`).text();
  return Number(/Anonymous:\s+(\d+) kB/.exec(text)?.[1]) * 1024;
}

/**
 * Bytes of memory that a firewall may have of its own some seconds after a storm of mad clients (channel-storm.ts): five seconds after
 * each of eight parts of 160 000 records it had 73 to 106 MB, and up to 230 MB before what it had left was collected.
 */
export const MOST_MEMORY = 160 << 20;

/** @returns how many files and sockets a process has open */
export function openDescriptors(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

/** What became of pings. */
export interface Pinged {
  readonly sent: number;
  /** Sequence numbers of the answers, from 1, as they came. */
  readonly answered: readonly number[];
}

/** @returns what is wrong with the answers, by sequence number, or undefined: the last ping may be on its way */
export function faultOf({ sent, answered }: Pinged): string | undefined {
  if (!(sent > 0)) return "no ping was sent";
  const times = new Map<number, number>();
  for (const sequence of answered) times.set(sequence, (times.get(sequence) ?? 0) + 1);
  const lost = Array.from({ length: sent - 1 }, (_, i) => i + 1).filter((sequence) => !times.has(sequence));
  const twice = [...times].filter(([, count]) => count > 1).map(([sequence]) => sequence);
  const late = answered.filter((sequence, i) => i > 0 && sequence < (answered[i - 1] ?? 0));
  const faults = Object.entries({ lost, "answered twice": twice, "answered after a later one": late });
  const told = faults.filter(([, all]) => all.length > 0).map(([fault, all]) => `${fault}: ${all.join(", ")}`);
  return told.length === 0 ? undefined : `of ${sent} pings ${told.join("; ")}`;
}

/** A ping that goes on until it is ended, 20 times a second. */
export class Pinging {
  private readonly program: Program;

  constructor(from: Namespace, to: string) {
    this.program = from.start(["ping", "-n", "-i", "0.05", to]);
  }

  async end(): Promise<Pinged> {
    this.program.signal("SIGINT");
    await this.program.end();
    const { text } = this.program;
    return {
      sent: Number(/(\d+) packets transmitted/.exec(text)?.[1]),
      answered: Array.from(text.matchAll(/icmp_seq=(\d+) ttl/g), ([, sequence]) => Number(sequence)),
    };
  }
}
