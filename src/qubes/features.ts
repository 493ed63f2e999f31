// Settings that a person changes in dom0 by `qvm-features NAME vm-config.firebreak-…`, which qubesd writes below /vm-config/ in QubesDB:
// what a configuration file says elsewhere by log, refuse, reach, [[forward]] and rate. Each is read whole or not at all: of a value with a
// mistake nothing is in force, and dom0's user is told.
import { parseAddress } from "../base/address.ts";
import type { IpPrefix } from "../base/ip.ts";
import { quote } from "../base/quote.ts";
import type { ClientConfig } from "../config/clients.ts";
import type { ForwardConfig } from "../config/forwards.ts";
import { bad, good, type Reading } from "../config/toml-table.ts";
import {
  type Refusal,
  readHost,
  readPorts,
  readRate,
  readRefusal,
  readSource,
  readTransport,
  type Transport,
} from "../config/values.ts";
import { formatPorts, type PortRange } from "../rules/parse.ts";
import type { Database } from "./client-rules.ts";

/** Clients are meant by their addresses, as unsigned 32-bit numbers in host order; they need not be there. */
export interface Features {
  /** Whose refused packets are printed: of all, or of these. */
  readonly log: "all" | readonly number[];
  readonly refuse: Refusal;
  readonly reach: readonly Reach[];
  readonly forwards: readonly Forward[];
  /** Of the line behind the netvm, in bits a second. */
  readonly rate: number | undefined;
}

/** A client that may open flows to another. */
interface Reach {
  readonly from: number;
  readonly to: number;
}

interface Forward {
  readonly proto: Transport;
  readonly ports: PortRange;
  readonly to: number;
  readonly toPorts: PortRange;
  readonly from: readonly IpPrefix[];
}

const ROOT = "/vm-config/firebreak-";
/** As `qvm-features` writes what is on. */
const ON = "1";
/** `tcp:8443>10.137.0.9:443@203.0.113.0/24,198.51.100.7`: all behind the address may be left out. */
const FORWARD = /^([^:>@]*):([^:>@]*)>([^:>@]*)(?::([^:>@]*))?(?:@([^>@]*))?$/;
const REACH = /^([^>]*)>([^>]*)$/;

/** @param problems gets a line for each value that is no good */
export function readFeatures(database: Pick<Database, "get">, problems: string[]): Features {
  const read = <T>(name: string, usual: T, parse: (text: string) => Reading<T>, write: string): T => {
    const text = database.get(ROOT + name) ?? "";
    const reading = text === "" ? good(usual) : parse(text);
    if (reading.ok) return reading.value;
    problems.push(`${ROOT}${name}: ${reading.problem}, so none of it is in force (write ${write})`);
    return usual;
  };
  return {
    log: read("log", [], readLog, `${ON} for all clients, or addresses with spaces between`),
    refuse: read("refuse", "icmp", (text) => named(text, readRefusal(text)), "icmp, reset or drop"),
    reach: read("reach", [], (text) => readWords(text, readReach), "10.137.0.9>10.137.0.10, with spaces between"),
    forwards: read("forwards", [], readForwards, "tcp:8443>10.137.0.9:443, with spaces between"),
    rate: read<number | undefined>("rate", undefined, (text) => named(text, readRate(text)), "100 Mbit"),
  };
}

/** @returns the clients, whose names are the addresses that dom0 gave them, with what features say of them */
export function withFeatures(clients: readonly ClientConfig[], { log, refuse, reach }: Features): ClientConfig[] {
  const own = ownAddresses(clients);
  return clients.map((client, i) => ({
    ...client,
    refuse,
    log: log === "all" || log.includes(own[i]),
    reach: [
      ...new Set(
        reach.filter(({ from }) => from === own[i]).flatMap(({ to }) => (own.includes(to) ? own.indexOf(to) : [])),
      ),
    ],
  }));
}

/** @param clients likewise @returns the forwards to those of them that are there */
export function forwardsTo(clients: readonly ClientConfig[], { forwards }: Features): ForwardConfig[] {
  const own = ownAddresses(clients);
  return forwards.flatMap(({ to, ...forward }) => {
    const client = own.indexOf(to);
    if (client < 0) return [];
    const { network: address, ipv6 } = clients[client];
    return { ...forward, to: { client, address, address6: ipv6?.network } };
  });
}

function readLog(text: string): Reading<"all" | readonly number[]> {
  return text === ON ? good("all") : readWords(text, readClient);
}

function readForwards(text: string): Reading<readonly Forward[]> {
  const forwards = readWords(text, readForward);
  if (!forwards.ok) return forwards;
  for (const [i, { proto, ports }] of forwards.value.entries()) {
    const other = forwards.value
      .slice(0, i)
      .find((one) => one.proto === proto && one.ports.low <= ports.high && ports.low <= one.ports.high);
    if (other !== undefined) {
      return bad(`${proto} port ${formatPorts(ports)} overlaps ${proto} port ${formatPorts(other.ports)} before it`);
    }
  }
  return forwards;
}

/** Of words with one space between. */
function readWords<T>(text: string, parse: (word: string) => Reading<T>): Reading<readonly T[]> {
  const values: T[] = [];
  for (const word of text.split(" ")) {
    const reading = word === "" ? bad("has a space too many") : parse(word);
    if (!reading.ok) return reading;
    values.push(reading.value);
  }
  return good(values);
}

function readClient(word: string): Reading<number> {
  return named(word, readHost(word));
}

function readReach(word: string): Reading<Reach> {
  const [, one, other] = REACH.exec(word) ?? [];
  if (one === undefined || other === undefined)
    return bad(`${quote(word)} is not one client's address, ">" and another's`);
  const [from, to] = [readClient(one), readClient(other)];
  if (!from.ok) return from;
  if (!to.ok) return to;
  return from.value === to.value ? bad(`${quote(word)} is one client twice`) : good({ from: from.value, to: to.value });
}

function readForward(word: string): Reading<Forward> {
  const [, protoText, portsText, toText, toPortText, fromText] = FORWARD.exec(word) ?? [];
  if (protoText === undefined) return bad(`${quote(word)} is not PROTO:PORTS>ADDRESS, and behind it :PORT and @FROM`);
  const proto = named(protoText, readTransport(protoText));
  const ports = named(portsText, readPorts(portsText));
  const to = readClient(toText);
  const from = fromText === undefined ? good([]) : readSources(fromText);
  if (!proto.ok) return proto;
  if (!ports.ok) return ports;
  if (!to.ok) return to;
  if (!from.ok) return from;
  const toPort = toPortText === undefined ? good(ports.value) : named(toPortText, readPorts(toPortText));
  if (!toPort.ok) return toPort;
  const { low, high } = ports.value;
  const toPorts = { low: toPort.value.low, high: toPort.value.low + high - low };
  const isOne = toPort.value.low === toPort.value.high || toPortText === undefined;
  if (!isOne || toPorts.high > 65535) {
    return bad(`${quote(word)}: ${quote(toPortText ?? "")} is not the first of ${high - low + 1} ports`);
  }
  return good({ proto: proto.value, ports: ports.value, to: to.value, toPorts, from: from.value });
}

function readSources(text: string): Reading<IpPrefix[]> {
  const sources: IpPrefix[] = [];
  for (const word of text.split(",")) {
    const source = named(word, readSource(word));
    if (!source.ok) return source;
    sources.push(source.value);
  }
  return good(sources);
}

/** @returns a reading whose problem says of what */
function named<T>(text: string, reading: Reading<T>): Reading<T> {
  return reading.ok ? reading : bad(`${quote(text)} ${reading.problem}`);
}

function ownAddresses(clients: readonly ClientConfig[]): number[] {
  return clients.map(({ name }) => parseAddress(name) ?? -1);
}
