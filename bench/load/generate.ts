// Small packets at a known rate, and how many of them arrive. The generator is generator.c: trafgen sends each packet with a
// call of its own once it is given a rate. On a machine of two cores what the generator takes is taken from what is measured,
// so it has to be cheap (one system call for 32 packets), and exact.
import { join } from "node:path";
import type { Namespace } from "../../lab/namespaces.ts";
import { IPV4 } from "../subjects/families.ts";
import { BENCH_FOLDER, FIRST_HOP, type Subject } from "../subjects/subjects.ts";
import { busyBeside, type Reading, readCpus } from "./cpu.ts";

/** UDP ports that the generator sends to, from discard on: one for each 20 000 flows. */
const PORTS = "9-19";
/** The CPU that the generator has. */
const GENERATOR_CPU = 0;
/** Time for what has been sent to arrive, in ms. */
const SETTLE = 30;

export interface Sent {
  /** Packets that the generator sent, and those that arrived. */
  readonly sent: number;
  readonly arrived: number;
  readonly seconds: number;
  /** Seconds of CPU time that all this took, but for the generator's waiting. */
  readonly cost: number;
  /** CPU time of the whole machine by kind. */
  readonly before: Reading;
  readonly after: Reading;
}

interface GeneratorReport {
  readonly sent: number;
  readonly seconds: number;
  /** Of the seconds, those inside of system calls. */
  readonly sending: number;
}

/** Has the kernel drop the generator's packets where they come in, so that receiving them costs next to nothing. */
export async function discard(namespace: Namespace, name: string): Promise<void> {
  const rules = `table netdev discard {
  chain in { type filter hook ingress device ${name} priority 0; policy accept; udp dport ${PORTS} drop; }
}`;
  await namespace.run(["nft", rules]);
}

/** Whose addresses packets have: both of one family. */
export interface Ends {
  readonly client: string;
  readonly server: string;
}

/**
 * Sends through a subject.
 * @param rate packets a second; 0: as many as go
 * @param ends the client's address and the server's
 * @param sink where they should arrive: its eth0
 */
export async function send(
  subject: Subject,
  flows: number,
  rate: number,
  ms: number,
  ends: Ends = IPV4,
  sink: Namespace = subject.internet,
): Promise<Sent> {
  const alreadyThere = await received(sink);
  const before = readCpus();
  const output = await subject.client.run(generator(flows, rate, ms, ends));
  const after = readCpus();
  const { sent, seconds, sending }: GeneratorReport = JSON.parse(output);
  await Bun.sleep(SETTLE);
  const arrived = (await received(sink)) - alreadyThere;
  return { sent, arrived, seconds, cost: sending + busyBeside(GENERATOR_CPU, before, after), before, after };
}

/**
 * The generator's command line.
 * @param ends the client's address and the server's
 * @param firstHop MAC address to send to
 */
export function generator(
  flows: number,
  rate: number,
  ms: number,
  { client, server }: Ends = IPV4,
  firstHop: string = FIRST_HOP,
): string[] {
  return ["taskset", "--cpu-list", String(GENERATOR_CPU), ...command(flows, rate, ms, { client, server }, firstHop)];
}

/**
 * The command line of one that sends beside what is measured: on any CPU, which it leaves to others until it is to send.
 * @param length bytes of a frame
 */
export function generatorBeside(flows: number, rate: number, ms: number, ends: Ends, length = 60): string[] {
  return [...command(flows, rate, ms, ends, FIRST_HOP), "sleeping", String(length)];
}

function command(flows: number, rate: number, ms: number, { client, server }: Ends, firstHop: string): string[] {
  const program = [join(BENCH_FOLDER, "generator"), "eth0", firstHop];
  return [...program, client, server, String(flows), String(rate), String(ms)];
}

/** @returns packets that came in on a namespace's eth0 since it is there */
export async function received(namespace: Namespace): Promise<number> {
  return Number(await namespace.run(["cat", "/sys/class/net/eth0/statistics/rx_packets"]));
}
