// One packet tried out: the first of a flow that a client, or somebody outside, would open goes through a dataplane of its own,
// over plain memory, so that what is said of it is what the appliance does.

import { type Family, familyOf, type IpAddress } from "../base/ip.ts";
import { flowText } from "../control/views/flow-text.ts";
import { Router } from "../dataplane/frame/router.ts";
import { MemoryRing, type SentFrame } from "../dataplane/memory-ring.ts";
import type { Client6Settings, ClientSettings, Settings } from "../dataplane/settings.ts";
import { VERDICT } from "../dataplane/verdict.ts";
import type { Asked } from "../rules/mismatch.ts";
import { maskOf } from "../wire/ipv4.ts";
import { answerOf, ends6, frameOf, isOfFlow, isTo, neighbourReply } from "./trial-frames.ts";

/** Whose packet it is: a client's, by its number, or that of a host behind the uplink. */
export type Sender = { readonly client: number } | { readonly address: IpAddress; readonly port: number };

export interface Outcome {
  /** A verdict code. */
  readonly verdict: number;
  /** The rule that decided it, 0 for the policy; -1 when none was asked. */
  readonly rule: number;
  /** What the sender gets for an answer. */
  readonly answer: string | undefined;
  /** The name of the interface that the packet leaves on, if it does. */
  readonly egress: string | undefined;
  /** What its receiver sees as its source. */
  readonly mapped: string | undefined;
  /** Where the packet is sent on to, if that is not its destination. */
  readonly reached: string | undefined;
}

/** What a client without IPv6 sends from: nobody's either (RFC 3849). */
const SOME_ADDRESS6 = Uint8Array.of(0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);
export const SOME_PORT = 49152;
const START_MS = 1000;
/** Flows of the trial's table: a small one. */
const CAPACITY = 1024;

/** @param asked the packet */
export function tryPacket(settings: Settings, sender: Sender, asked: Asked): Outcome {
  const ring = new MemoryRing();
  const small = { ...settings, nat: { ...settings.nat, maxFlows: CAPACITY } };
  const router = new Router(ring, small, (words) => words.fill(0x5eed));
  router.advance(START_MS);
  const mac = othersMac(settings);
  packetsSent(router, ring, mac); // the gateway is asked for at the start
  const { iface, ...origin } = originOf(settings, sender, familyOf(asked.destination), mac);
  const frame = frameOf(settings.interfaces[iface].mac, origin, asked);
  const verdict = router.receive(iface, ring.put(frame), frame.length);
  const { lastFlow, lastRule, flows } = router;
  const isOpen = lastFlow >= 0 && flows.isUsed(lastFlow);
  const packets = packetsSent(router, ring, mac);
  const answer = packets.find(({ bytes }) => isTo(bytes, origin.address));
  const onward = packets.find(({ bytes }) => !isTo(bytes, origin.address));
  // A flow's record has no addresses of IPv6 in it: the packet has.
  const isIpv4 = typeof asked.destination === "number";
  const flow = isOpen ? (isIpv4 ? flowText(flows, lastFlow) : onward && ends6(onward.bytes, asked)) : undefined;
  return {
    verdict: flow && onward ? VERDICT.FORWARDED : verdict, // all who are asked for have answered
    rule: lastRule,
    answer: answer && answerOf(answer.bytes),
    egress: flow && onward && settings.interfaces[onward.iface].name,
    mapped: flow?.mapped,
    reached: flow?.reached,
  };
}

/** @returns a MAC address that is none of ours, for all hosts around: what seems to come from us, nobody believes */
function othersMac({ interfaces }: Settings): Uint8Array {
  const mac = Uint8Array.of(2, 0, 0, 0, 0, 1);
  while (interfaces.some((iface) => iface.mac.every((byte, i) => byte === mac[i]))) mac[5]++;
  return mac;
}

/** Plays the hosts around: each says its MAC address to who asks for it. @returns the packets that were sent, at once or then */
function packetsSent(router: Router, ring: MemoryRing, mac: Uint8Array): SentFrame[] {
  return ring.takeSent().flatMap((sent) => {
    if (isOfFlow(sent.bytes)) return [sent];
    const reply = neighbourReply(sent.bytes, mac);
    if (reply === undefined) return [];
    router.receive(sent.iface, ring.put(reply), reply.length);
    return packetsSent(router, ring, mac);
  });
}

/** @param mac of hosts that the configuration does not pin to one. Nobody looks at whose a frame from the uplink is */
function originOf({ clients, uplink }: Settings, sender: Sender, family: Family, mac: Uint8Array) {
  if ("address" in sender) return { ...sender, iface: uplink.iface, mac };
  const client = clients[sender.client];
  const address = family === 4 ? hostOf(client) : hostOf6(client.ipv6);
  return { iface: client.iface, mac: client.mac ?? mac, address, port: SOME_PORT };
}

/** @returns the client's address, or the first one of its network that a host can have */
function hostOf({ network, prefix, gateway }: ClientSettings): number {
  const first = (network & maskOf(prefix)) + (prefix >= 31 ? 0 : 1);
  return (prefix < 32 && first >>> 0 === gateway ? first + 1 : first) >>> 0;
}

/** As `hostOf`; a network's first address is its routers' (RFC 4291 section 2.6.1). */
function hostOf6(client: Client6Settings | undefined): Uint8Array {
  if (client === undefined) return SOME_ADDRESS6;
  const { network, prefix, gateway } = client;
  if (prefix === 128) return network;
  const last = (byte: number) => Uint8Array.from([...network.subarray(0, 15), network[15] + byte]);
  const isGateway = gateway[15] === network[15] + 1 && gateway.subarray(0, 15).every((byte, i) => byte === network[i]);
  return last(isGateway ? 2 : 1);
}
