// What became of frames that were not forwarded, as the dataplane's drop ring has it (tables/drop-records.ts), with the names of the
// settings that they were judged by: a record's numbers are those of its own settings, which may be in force no more.
import type { Clock } from "../../base/clock.ts";
import type { IpAddress } from "../../base/ip.ts";
import { printable } from "../../base/quote.ts";
import type { Config } from "../../config/config.ts";
import type { Settings } from "../../dataplane/settings.ts";
import { DROP, DROP_RECORDS, DROPS, DropCopy, dropClock, HAS } from "../../dataplane/tables/drop-records.ts";
import { nameOnFrame, VERDICT_NAMES, VERDICT_SLUGS } from "../../dataplane/verdict.ts";
import { ETHERTYPE } from "../../wire/ethernet.ts";
import { PROTOCOL } from "../../wire/ipv4.ts";
import { NEXT_HEADER } from "../../wire/ipv6.ts";
import { flagNames } from "../../wire/tcp.ts";
import { endText, type FlowEnd, packetEnds, ruleText } from "./flow-text.ts";

/** The keys are those of `firebreak drops --json`: docs/CONTROL.md has them. Of the last frame, but for `count` and `first`. */
export interface DropEntry {
  /** Its slug. */
  readonly verdict: string;
  readonly count: number;
  /** Unix time in seconds, of the first frame and of the last. */
  readonly first: number;
  readonly last: number;
  readonly interface: string;
  /** The client that sent it, or whose flow it is of. */
  readonly client?: string;
  readonly ethertype: number;
  /** Of IP: IANA's number, and its name where rules have one, else the number as text. */
  readonly protocol?: number;
  readonly proto?: string;
  /** Of IP and ARP, as far as the frame had them. */
  readonly source?: FlowEnd;
  readonly destination?: FlowEnd;
  /** Of TCP: SYN, ACK and so on. */
  readonly flags?: readonly string[];
  readonly icmptype?: number;
  readonly fragment?: true;
  /** Number of the rule that decided, 0 for the policy; and where a file has the rule. */
  readonly rule?: number;
  readonly place?: string;
}

/** A record, with what filters compare. */
export interface DropFacts {
  readonly entry: DropEntry;
  readonly verdict: number;
  /** Undefined where the frame had none. */
  readonly source: IpAddress | undefined;
  readonly destination: IpAddress | undefined;
  /** source << 16 | destination, or those of an ICMP query. */
  readonly ports: number | undefined;
}

/** What settings call what a record has numbers of. */
interface Names {
  readonly interface: string;
  readonly client: string | undefined;
  readonly place: string | undefined;
}

interface InForce {
  readonly config: Config;
  readonly settings: Settings;
  /** Which settings these are, as records count them. */
  readonly number: number;
}

const UNKNOWN: Names = { interface: "?", client: undefined, place: undefined };

export class DropBook {
  private readonly copy = new DropCopy();
  /** By record that is of older settings: which one it was, and its names. */
  private readonly older = new Map<
    number,
    { readonly serial: number; readonly number: number; readonly names: Names }
  >();
  private inForce: InForce;

  /** @param words the dataplane's records @param config, settings in force, and none before them */
  constructor(
    private readonly words: Int32Array,
    private readonly clock: Clock,
    config: Config,
    settings: Settings,
  ) {
    this.inForce = { config, settings, number: 0 };
  }

  /** Other settings have just been put in force. */
  follow(config: Config, settings: Settings): void {
    const { copy, words } = this;
    for (let record = 0; record < DROP_RECORDS; record++) {
      if (!copy.read(words, record) || copy.word(DROP.SETTINGS) !== this.inForce.number) continue;
      this.older.set(record, {
        serial: copy.word(DROP.SERIAL),
        number: this.inForce.number,
        names: namesIn(this.inForce, copy),
      });
    }
    this.inForce = { config, settings, number: Atomics.load(words, DROPS.SETTINGS) };
  }

  /** @returns those that match, the last seen first */
  list(match: (facts: DropFacts) => boolean = () => true): DropEntry[] {
    const { copy, words } = this;
    const found: DropEntry[] = [];
    const clock = { now: dropClock(words), unix: this.clock.unixTime() };
    for (let record = 0; record < DROP_RECORDS; record++) {
      if (!copy.read(words, record)) continue;
      const facts = factsOf(copy, this.namesOf(record), clock);
      if (match(facts)) found.push(facts.entry);
    }
    return found.sort((one, other) => other.last - one.last);
  }

  private namesOf(record: number): Names {
    const { copy } = this;
    if (copy.word(DROP.SETTINGS) === this.inForce.number) return namesIn(this.inForce, copy);
    const known = this.older.get(record);
    const isIt = known?.serial === copy.word(DROP.SERIAL) && known.number === copy.word(DROP.SETTINGS);
    return known !== undefined && isIt ? known.names : UNKNOWN;
  }
}

/** @returns whether a frame of this verdict was dropped: others wait, were answered, or told us something */
export function isDrop(verdict: number): boolean {
  return VERDICT_NAMES[verdict]?.startsWith("dropped: ") ?? false;
}

/** In ASCII: `12 refused by rules: tcp 10.137.0.10:40000 to 203.0.113.7:443 SYN on eth0, client work, rule 6, f.toml:14; last 3 s ago` */
export function dropLine(entry: DropEntry, now: number): string {
  const { count, last } = entry;
  return printable(`${count} ${verdictWords(entry)}: ${frameText(entry)}; last ${formatAge(now - last)} ago`);
}

/** The words of its slug, without "dropped:". One that is not known is another version's, and stands for itself. */
export function verdictWords({ verdict: slug, ethertype }: Pick<DropEntry, "verdict" | "ethertype">): string {
  const verdict = VERDICT_SLUGS.indexOf(slug);
  return verdict < 0 ? slug : nameOnFrame(VERDICT_NAMES[verdict], ethertype).replace(/^dropped: /, "");
}

/** Who sent what to whom, and which rule decided: with names as somebody chose them. */
export function frameText(entry: Omit<DropEntry, "count" | "first" | "last" | "verdict">): string {
  const { proto, source, destination, ethertype, flags, icmptype, fragment } = entry;
  const kind = proto ?? etherText(ethertype);
  const ends = source && destination ? ` ${endText(source)} to ${endText(destination)}` : "";
  const details = [
    ...(flags === undefined || flags.length === 0 ? [] : [flags.join(" ")]),
    ...(icmptype === undefined ? [] : [`type ${icmptype}`]),
    ...(fragment ? ["fragment"] : []),
  ];
  const by = [
    `on ${entry.interface}`,
    ...(entry.client === undefined ? [] : [`client ${entry.client}`]),
    ...(entry.rule === undefined ? [] : [ruleText(entry.rule)]),
    ...(entry.place === undefined ? [] : [entry.place]),
  ];
  return `${[kind + ends, ...details].join(" ")} ${by.join(", ")}`;
}

/** @param seconds which may be a little below 0, for clocks differ */
export function formatAge(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 120) return `${whole} s`;
  if (whole < 7200) return `${Math.round(whole / 60)} min`;
  return `${Math.round(whole / 3600)} h`;
}

function etherText(ethertype: number): string {
  if (ethertype === ETHERTYPE.ARP) return "arp";
  if (ethertype === ETHERTYPE.IPV6) return "ipv6";
  return ethertype === ETHERTYPE.IPV4 ? "ipv4" : `EtherType 0x${ethertype.toString(16).padStart(4, "0")}`;
}

function namesIn({ config, settings }: InForce, copy: DropCopy): Names {
  const client = copy.word(DROP.CLIENT);
  const rule = copy.word(DROP.RULE);
  return {
    interface: settings.interfaces[copy.word(DROP.WHERE) >>> 16]?.name ?? "?",
    client: settings.clients[client]?.name,
    place: rule > 0 ? config.rulePlaces?.[client]?.[rule - 1] : undefined,
  };
}

function factsOf(copy: DropCopy, names: Names, clock: { readonly now: number; readonly unix: number }): DropFacts {
  const what = copy.word(DROP.WHAT);
  const has = what >>> 24;
  const flags = (what >>> 16) & 0xff;
  const protocol = (what >>> 8) & 0xff;
  const rule = copy.word(DROP.RULE);
  const ethertype = copy.word(DROP.WHERE) & 0xffff;
  const isIp = (ethertype === ETHERTYPE.IPV4 && (has & HAS.ADDRESSES) !== 0) || copy.isIpv6;
  const isIcmp = protocol === (copy.isIpv6 ? NEXT_HEADER.ICMPV6 : PROTOCOL.ICMP);
  const hasFlags = (has & HAS.FLAGS) !== 0;
  const at = (field: number) => clock.unix - (clock.now - copy.time(field)) / 1000;
  const [source, destination] = [copy.address(DROP.SOURCE), copy.address(DROP.DESTINATION)];
  const ports = (has & HAS.PORTS) === 0 ? undefined : copy.word(DROP.PORTS);
  const ends = packetEnds(protocol, source, destination, ports);
  const entry: DropEntry = {
    verdict: VERDICT_SLUGS[what & 0xff],
    count: copy.word(DROP.COUNT) >>> 0,
    first: at(DROP.FIRST),
    last: at(DROP.LAST),
    interface: names.interface,
    ...(names.client !== undefined && { client: names.client }),
    ethertype,
    ...(isIp && { protocol, proto: ends.proto }),
    ...((has & HAS.ADDRESSES) !== 0 && { source: ends.source, destination: ends.destination }),
    ...(hasFlags && protocol === PROTOCOL.TCP && { flags: flagNames(flags) }),
    ...(hasFlags && isIcmp && { icmptype: flags }),
    ...((has & HAS.FRAGMENT) !== 0 && { fragment: true }),
    ...(rule >= 0 && { rule }),
    ...(names.place !== undefined && { place: names.place }),
  };
  const hasAddresses = (has & HAS.ADDRESSES) !== 0;
  return {
    entry,
    verdict: what & 0xff,
    source: hasAddresses ? source : undefined,
    destination: hasAddresses ? destination : undefined,
    ports,
  };
}
