// The kernel path on trial, before it is used: what this kernel makes of the programs is not for us to know, so frames of every
// kind go through them, and what comes out is held against what the router makes of the same frames, byte for byte. It is
// done on the loopback interface of a network of its own: there a frame that is sent comes in again, with its offload header.

import type { SkbLayout } from "../../../linux/bpf/skb-layout.ts";
import { libc, must } from "../../../linux/libc.ts";
import { bringUp, interfaceIndex } from "../../../linux/net/interfaces.ts";
import { inNewNetwork } from "../../../linux/net/network-namespace.ts";
import { openPacketSocket } from "../../../linux/net/packet-socket.ts";
import { MSG_DONTWAIT } from "../../../linux/net/socket.ts";
import { attachAtIngress, detachFromIngress } from "../../../linux/net/tc.ts";
import { PollSet } from "../../../linux/poll.ts";
import { ETHERNET } from "../../../wire/ethernet.ts";
import { PROTOCOL } from "../../../wire/ipv4.ts";
import { ACK, SYN } from "../../../wire/tcp.ts";
import { Router } from "../../frame/router.ts";
import type { RuleChanges } from "../../frame/rule-changes.ts";
import type { State } from "../../frame/state.ts";
import { readOffload } from "../../frame/vnet.ts";
import { MemoryRing, type SentFrame } from "../../memory-ring.ts";
import { VNET_LENGTH } from "../../ring.ts";
import { addAddressMap } from "../addresses6.ts";
import type { Gate } from "../gates.ts";
import {
  addressesOf,
  controlOf,
  entryCount,
  flowRecordsAt,
  gateOf,
  type KernelPrograms,
  loadKernelPrograms,
  mapFlows,
  unloadKernelPrograms,
} from "../loader.ts";
import { KernelPath } from "../path.ts";
import type { KernelKeys } from "../programs/layout.ts";
import { Pulse } from "../pulse.ts";
import {
  type End,
  KINDS,
  KINDS6,
  type Kind,
  type Segment,
  type TrialFrame,
  transportAt,
  trialFrame,
} from "./frames.ts";
import {
  CLIENT,
  CLIENT_END,
  FLOWS,
  OUR_MACS,
  OUTSIDE,
  OUTSIDE6,
  SERVER_END,
  trialSettings,
  UPLINK,
  withIpv6,
} from "./settings.ts";

const LOOPBACK = "lo";

/** ms that a frame may take to come back: on a busy machine the kernel may put it off. */
const PATIENCE = 2000;

const START = 1000;
const SEQUENCE = 1000;
const ACKNOWLEDGMENT = 70_000;
const SYN_FRAME: Kind = { what: "", protocol: PROTOCOL.TCP, payload: 0, checksum: "whole", isTaken: false };

/**
 * Loads programs as they will be used, but for the size of their maps, and tries them.
 * @param keys, layout as loadKernelPrograms takes them
 * @param isIpv6Used whether IPv6 is to be tried too: that takes 2 MB more, of code that has run by then
 * @returns what the kernel does wrong with IPv6 alone, or why that can't be found out
 * @throws Error that says the same of all
 */
export function tryKernelPath(keys: KernelKeys, layout: SkbLayout, isIpv6Used: boolean): Error | undefined {
  let fault6: Error | undefined;
  const programs = loadKernelPrograms(FLOWS, keys, layout);
  try {
    inNewNetwork(() =>
      onLoopback(programs, (socket, index) => {
        const trial = new Trial(socket, index, programs, isIpv6Used);
        trial.run(false);
        if (!isIpv6Used) return;
        try {
          trial.run(true);
        } catch (error) {
          fault6 = error instanceof Error ? error : new Error(String(error));
        }
      }),
    );
  } finally {
    unloadKernelPrograms(programs);
  }
  Bun.gc(true); // some megabytes, which a small machine needs for what comes next
  return fault6;
}

/** @param use gets a socket that has the filter, and the interface's number, while the forwarder is there */
function onLoopback(programs: KernelPrograms, use: (socket: number, index: number) => void): void {
  const putDown = bringUp(LOOPBACK);
  try {
    const index = interfaceIndex(LOOPBACK);
    const ingress = attachAtIngress(index, programs.forwarder);
    try {
      const socket = openPacketSocket(index, undefined, programs.filter);
      try {
        use(socket, index);
      } finally {
        libc.close(socket);
      }
    } finally {
      detachFromIngress(ingress);
    }
  } finally {
    putDown();
  }
}

class Trial {
  private readonly ring = new MemoryRing();
  private readonly router: Router;
  private readonly gate: Gate;
  private readonly pulse: Pulse;
  private readonly poll: PollSet;
  private readonly received = new Uint8Array(VNET_LENGTH + 8192);
  /** The family in hand. */
  private isIpv6 = false;
  /** By protocol: our end outside, as the server sees the client. */
  private readonly outside = new Map<number, End>();

  constructor(
    private readonly socket: number,
    index: number,
    programs: KernelPrograms,
    isIpv6Used: boolean,
  ) {
    this.poll = new PollSet([socket]);
    this.gate = gateOf(programs, 0);
    this.pulse = new Pulse(controlOf(programs));
    const flowRecords = flowRecordsAt(mapFlows(FLOWS, programs), FLOWS);
    const fillRandom = (words: Uint32Array) => words.fill(0x5eed);
    const makePath = (state: State, changes: RuleChanges) => {
      const path: KernelPath = new KernelPath(state, changes, programs, () => this.gate, {
        addresses: () => path.takeAddresses(makeAddresses(programs)),
      });
      return path;
    };
    const kernel = { makePath, flowRecords };
    const settings = trialSettings([LOOPBACK, LOOPBACK], index);
    const ours = isIpv6Used ? withIpv6(settings) : settings;
    this.router = new Router(this.ring, ours, fillRandom, undefined, kernel, false);
    this.router.advance(START);
  }

  /** Tries one family. @throws Error where a frame does not fare as it should */
  run(isIpv6: boolean): void {
    this.isIpv6 = isIpv6;
    for (const protocol of [PROTOCOL.UDP, PROTOCOL.TCP]) this.open(protocol);
    for (const kind of this.isIpv6 ? KINDS6 : KINDS) this.try(kind);
  }

  /** Opens the flow of a protocol, as its ends would, and has it take the kernel path. */
  private open(protocol: number): void {
    const kind = { ...SYN_FRAME, protocol };
    const [{ bytes }] = this.route(CLIENT, this.there(kind, { sequence: SEQUENCE, acknowledgment: 0, flags: SYN }));
    const port = new DataView(bytes.buffer).getUint16(transportAt(this.isIpv6));
    this.outside.set(protocol, { mac: OUR_MACS[UPLINK], address: OUTSIDE, address6: OUTSIDE6, port });
    const answer = { sequence: ACKNOWLEDGMENT, acknowledgment: SEQUENCE + 1, flags: SYN | ACK };
    this.route(UPLINK, this.back(kind, answer));
    this.route(CLIENT, this.there(kind));
    this.router.enterKernelPath(this.router.lastFlow);
  }

  /** @throws Error where a frame of that kind, either way, does not fare as it should */
  private try(kind: Kind): void {
    this.tryFrame(kind, CLIENT, this.there(kind));
    this.tryFrame(kind, UPLINK, this.back(kind));
  }

  private there(kind: Kind, segment: Segment = NEXT): TrialFrame {
    return trialFrame(kind, CLIENT_END, { ...SERVER_END, mac: OUR_MACS[CLIENT] }, segment, this.isIpv6);
  }

  private back(kind: Kind, segment: Segment = NEXT_BACK): TrialFrame {
    const outside = this.outside.get(kind.protocol);
    if (outside === undefined) throw new Error("the router does not forward");
    return trialFrame(kind, SERVER_END, outside, segment, this.isIpv6);
  }

  private tryFrame({ what, isTaken }: Kind, iface: number, frame: TrialFrame): void {
    const whose = `${what}${this.isIpv6 ? " over IPv6" : ""}, from the ${iface === CLIENT ? "client" : "uplink"}`;
    this.pulse.beat();
    this.send(whose, frame);
    const got = this.receive();
    if (got === undefined) throw new Error(`${whose}: the kernel lost the frame`);
    const [should = frame] = isTaken ? this.route(iface, frame) : [];
    if (isSame(got, should)) return;
    if (isTaken && isSame(got, frame)) throw new Error(`${whose}: the frame did not take it`);
    throw new Error(`${whose}: the kernel made something else of the frame`);
  }

  /** Has the router forward a frame on the slow path. @returns what it sent */
  private route(iface: number, { bytes, vnet }: TrialFrame): SentFrame[] {
    this.router.receiveSlowly(iface, this.ring.put(bytes, vnet), bytes.length);
    const sent = this.ring.takeSent();
    if (sent.length === 0) throw new Error("the router does not forward");
    return sent;
  }

  private send(whose: string, { bytes, vnet }: TrialFrame): void {
    const message = new Uint8Array(VNET_LENGTH + bytes.length);
    message.set(vnet);
    message.set(bytes, VNET_LENGTH);
    must(libc.write(this.socket, message, message.length), `${whose}: write`);
  }

  /** @returns the next frame of ours that comes to the socket; undefined when there is none for long */
  private receive(): TrialFrame | undefined {
    const { received } = this;
    const deadline = performance.now() + PATIENCE;
    for (let left = PATIENCE; left > 0; left = deadline - performance.now()) {
      if (this.poll.wait(Math.ceil(left)) === 0) continue;
      const length = libc.recv(this.socket, received, received.length, MSG_DONTWAIT);
      const frame = { vnet: received.slice(0, VNET_LENGTH), bytes: received.slice(VNET_LENGTH, length) };
      this.gate.settle(this.gate.passed);
      if (length > VNET_LENGTH && isOurs(frame)) return frame;
    }
    return undefined;
  }
}

/** Has the programs know memory for addresses of IPv6. @returns it */
function makeAddresses(programs: KernelPrograms): Int32Array {
  const map = addAddressMap(programs.maps.addresses, entryCount(programs));
  try {
    return addressesOf(programs, map);
  } finally {
    libc.close(map); // both have it now
  }
}

const NEXT: Segment = { sequence: SEQUENCE + 1, acknowledgment: ACKNOWLEDGMENT + 1, flags: ACK };
const NEXT_BACK: Segment = { sequence: ACKNOWLEDGMENT + 1, acknowledgment: SEQUENCE + 1, flags: ACK };

/** Where there are no network namespaces, others may be using the interface. */
function isOurs({ bytes }: TrialFrame): boolean {
  return [CLIENT_END, SERVER_END].some(({ mac }) =>
    [ETHERNET.DESTINATION, ETHERNET.SOURCE].some((at) => Bun.deepEquals(bytes.slice(at, at + mac.length), mac)),
  );
}

function isSame(one: TrialFrame, other: TrialFrame): boolean {
  const [oneOffload, otherOffload] = [one, other].map(({ vnet }) => readOffload(new DataView(vnet.buffer)));
  return Bun.deepEquals(one.bytes, other.bytes) && Bun.deepEquals(oneOffload, otherOffload);
}
