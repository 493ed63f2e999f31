// What tests of NAT need beside the lab: its configuration as the TOML that a user would write, with the usual values of
// whatever that doesn't say; and packets whose ends are text: "10.137.0.10:5000 > 198.51.100.7:53".

import { type IcmpFields, type Ipv4Fields, icmp, mac, payload, type TcpFields, tcp, udp } from "../../lab/frames.ts";
import { GATEWAY, LAN_GATEWAY, Lab, OUR_MAC, OUTSIDE, WORK_GATEWAY, WORK_HOST } from "../../lab/router-lab.ts";
import { type Config, parseConfig } from "../../src/config/config.ts";
import { configuredDevices, makeSettings } from "../../src/control/settings.ts";
import type { Settings } from "../../src/dataplane/settings.ts";
import { sound } from "./sound.ts";

/** What a test adds to the lab's configuration: lines of TOML in these tables, and sections behind them. */
export interface NatOptions {
  readonly work?: string;
  readonly lan?: string;
  readonly sections?: string;
  /** Largest IPv4 packets towards the uplink and towards "lan", in bytes; 1500 where nothing is said, 9000 for "work". */
  readonly mtu?: { readonly uplink?: number; readonly lan?: number };
}

function tomlOf({ work = "", lan = "", sections = "" }: NatOptions): string {
  return `
[uplink]
interface = "uplink"
address = "${OUTSIDE}/24"
gateway = "${GATEWAY}"

[[client]]
name = "work"
interface = "work"
address = "${WORK_HOST}"
gateway = "${WORK_GATEWAY}"
policy = "accept"
${work}

[[client]]
name = "lan"
interface = "lan"
network = "192.168.1.0/24"
gateway = "${LAN_GATEWAY}"
policy = "accept"
${lan}

${sections}`;
}

/** @returns the settings that the firewall makes of the configuration */
export function natSettings(options: NatOptions): Settings {
  const result = sound(parseConfig(tomlOf(options), "lab.toml"));
  return sound(makeSettings(result.config, devicesOf(result.config, options))).settings;
}

function devicesOf(config: Config, { mtu = {} }: NatOptions) {
  const known = [
    { mac: mac(OUR_MAC[0]), mtu: mtu.uplink ?? 1500 },
    { mac: mac(OUR_MAC[1]), mtu: 9000 },
    { mac: mac(OUR_MAC[2]), mtu: mtu.lan ?? 1500 },
  ];
  return configuredDevices(config).map((device, i) => ({ ...device, ...known[i] }));
}

/** @returns the errors of the lab's configuration with more in it, without their lines */
export function configErrors(options: NatOptions): readonly string[] {
  const result = parseConfig(tomlOf(options), "lab.toml");
  return "errors" in result ? result.errors.map((error) => error.replace(/^lab.toml:\d+: /, "")) : [];
}

/** @returns a lab whose clock stands near the end of a second, so that what counts in seconds shows what it does then */
export function natLab(options: NatOptions = {}): Lab {
  return new Lab({ settings: natSettings(options), now: 1_000_900 });
}

/** @returns the source port (or the identifier of an ICMP query) of the packet that the lab saw last */
export function sentPort(lab: Lab): number {
  const frame = lab.last.at(-1);
  if (frame === undefined) throw new Error("nothing was sent");
  const isIcmp = frame.bytes[23] === 1;
  return new DataView(frame.bytes.buffer).getUint16(isIcmp ? 38 : 34);
}

/** Fields of a packet that has passed one router, and of one that has passed two: a hairpin. */
export const HOP = { ttl: 63 };
export const TWO_HOPS = { ttl: 62 };

/** @param ends "address:port > address:port" */
export function datagram(
  ends: string,
  fields: Partial<Ipv4Fields> = {},
  content: Uint8Array = payload(12),
): Uint8Array {
  return udp({ ...endpoints(ends), ...fields }, content);
}

/** @param ends "address:port > address:port" @param flags tcpdump's letters, as in frames.ts */
export function segment(
  ends: string,
  flags: string,
  fields: Partial<TcpFields> = {},
  content: Uint8Array = new Uint8Array(0),
): Uint8Array {
  return tcp({ ...endpoints(ends), flags, ...fields }, content);
}

const ECHO = 8;

/** An echo request, or another query or reply. @param ends "address > address" */
export function query(ends: string, identifier: number, fields: Partial<IcmpFields> = {}): Uint8Array {
  return icmp({ type: ECHO, rest: identifier * 0x10000 + 1, ...addresses(ends), ...fields }, payload(16));
}

/**
 * An ICMP error.
 * @param ends "address > address"
 * @param quoted the packet that it is about, or as much of it as is quoted
 */
export function icmpError(
  ends: string,
  type: number,
  code: number,
  quoted: Uint8Array,
  fields: Partial<IcmpFields> = {},
): Uint8Array {
  return icmp({ type, code, ...addresses(ends), ...fields }, quoted);
}

/**
 * Cuts a packet with a 20-byte header into fragments.
 * @param size bytes of payload in each but the last, a multiple of 8
 * @param wrap builds the IPv4 packet of each, from its fragment word and its payload
 */
export function cut(
  packet: Uint8Array,
  size: number,
  wrap: (fragment: number, content: Uint8Array) => Uint8Array,
): Uint8Array[] {
  const content = packet.subarray(20);
  const fragments: Uint8Array[] = [];
  for (let at = 0; at < content.length; at += size) {
    const more = at + size < content.length ? 0x2000 : 0;
    fragments.push(wrap(more | (at / 8), content.subarray(at, at + size)));
  }
  return fragments;
}

function endpoints(ends: string) {
  const [source, destination] = ends.split(" > ").map((end) => end.split(":"));
  return {
    source: source[0],
    sourcePort: Number(source[1]),
    destination: destination[0],
    destinationPort: Number(destination[1]),
  };
}

function addresses(ends: string) {
  const [source, destination] = ends.split(" > ");
  return { source, destination };
}
