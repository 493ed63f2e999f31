// A router among many: three clients of one host each, a network, a forward to the first client's port. The clients' and the
// gateway's MAC addresses are pinned, so that ARP says nothing but of other hosts on the uplink.

import { ARP_TYPE, arp, ethernet, IPV4_TYPE, ip, ipv4, mac, payload, udp } from "../../lab/frames.ts";
import { UDP } from "../../lab/protocols.ts";
import {
  GATEWAY,
  HOST_MAC,
  INTERFACES,
  LAN,
  LAN_SETTINGS,
  Lab,
  type LabOptions,
  OUR_MAC,
  OUTSIDE,
  SETTINGS,
  UPLINK,
  UPLINK_SETTINGS,
  WORK,
  WORK_SETTINGS,
} from "../../lab/router-lab.ts";
import type { ClientLimits, Settings } from "../../src/dataplane/settings.ts";
import { datagram, segment } from "./nat.ts";

/** Hosts of the clients, and of the network. */
export const ALICE = "10.137.0.11";
export const BOB = "10.137.0.12";
export const CAROL = "10.137.0.13";
export const DAVE = "192.168.1.30";
export const ERIN = "192.168.1.31";
export const SERVER = "198.51.100.7";

/** The uplink's port that leads to ALICE's port 80, and who may be there. */
export const FORWARDED = 8080;

/** Who shares the tables: four clients, the uplink, the firewall itself. */
export const CLIENTS = 4;
export const GROUPS = CLIENTS + 2;

const CLIENT_MAC = "02:00:00:00:01:11";

export interface CrowdOptions extends LabOptions {
  readonly maxFlows?: number;
  readonly limits?: Partial<ClientLimits>;
  readonly change?: (settings: Settings) => Settings;
}

function crowdSettings({ maxFlows = 1024, limits = {}, change = (same) => same }: CrowdOptions): Settings {
  const own = { ...WORK_SETTINGS.limits, ...limits };
  const clients = [ALICE, BOB, CAROL].map((host) => ({
    ...WORK_SETTINGS,
    name: host,
    network: ip(host),
    mac: mac(CLIENT_MAC),
    limits: own,
    watchNames: true,
  }));
  const forward = {
    protocol: 6,
    portLow: FORWARDED,
    portHigh: FORWARDED,
    client: 0,
    to: ip(ALICE),
    toPort: 80,
    from: [],
  };
  return change({
    ...SETTINGS,
    interfaces: INTERFACES,
    uplink: { ...UPLINK_SETTINGS, gatewayMac: mac(HOST_MAC[GATEWAY]) },
    clients: [...clients, { ...LAN_SETTINGS, mac: mac(CLIENT_MAC), limits: own }],
    forwards: [forward],
    nat: { ...SETTINGS.nat, maxFlows },
  });
}

const isInside = (host: string) => host.startsWith("10.") || host.startsWith("192.168.");

export class Crowd {
  readonly lab: Lab;
  private settings: Settings;
  /** Numbers of the name servers' answers that control was shown. */
  readonly shown: number[] = [];

  constructor(options: CrowdOptions = {}) {
    const control = { answered: () => {}, passing: (id: number) => void this.shown.push(id) };
    this.settings = crowdSettings(options);
    this.lab = new Lab({ control, ...options, settings: this.settings, answering: [] });
    this.lab.verifiesChecksums = false; // of datagrams of which there is only a part
  }

  /** What became of the last packet that came from a client's host. */
  verdict = "";

  /** A packet comes from a client's host. @returns the verdict */
  from(host: string, packet: Uint8Array): string {
    const iface = host.startsWith("192.168.1.") ? LAN : WORK;
    this.verdict = this.lab.receive(iface, ethernet(CLIENT_MAC, OUR_MAC[iface], IPV4_TYPE, packet)).verdict;
    return this.verdict;
  }

  /** A packet comes from the uplink, by the gateway. @returns the verdict */
  back(packet: Uint8Array): string {
    return this.lab.receive(UPLINK, ethernet(HOST_MAC[GATEWAY], OUR_MAC[UPLINK], IPV4_TYPE, packet)).verdict;
  }

  /** Puts other settings in force. */
  apply(change: (settings: Settings) => Settings): void {
    this.settings = change(this.settings);
    this.lab.apply(this.settings);
  }

  /** Control lets go of an answer. @returns frames that were sent */
  release(id: number): number {
    return this.lab.command((router) => router.releaseAnswer(id)).length;
  }

  /** The port that the last packet was sent from. */
  private get port(): number {
    const frame = this.lab.last.at(-1);
    return frame === undefined ? 0 : new DataView(frame.bytes.buffer).getUint16(34);
  }

  /** A SYN of a client's. @returns the verdict */
  syn(host: string, port: number, server = SERVER): string {
    return this.from(host, segment(`${host}:${port} > ${server}:443`, "S", { sequence: 100 }));
  }

  /** A client connects: SYN, SYN-ACK, ACK. @returns whether the connection is open */
  connect(host: string, port: number, server = SERVER): boolean {
    if (this.syn(host, port, server) !== "forwarded") return false;
    const answer = `${server}:443 > ${OUTSIDE}:${this.port}`;
    if (this.back(segment(answer, "S.", { sequence: 500, acknowledgment: 101 })) !== "forwarded") return false;
    return this.speak(host, port, server);
  }

  /** A client says something in its connection. @returns whether it was let through */
  speak(host: string, port: number, server = SERVER): boolean {
    const fields = { sequence: 101, acknowledgment: 501 };
    return this.from(host, segment(`${host}:${port} > ${server}:443`, ".", fields)) === "forwarded";
  }

  /** A client asks by UDP, from a port. @returns the verdict */
  ask(host: string, port: number, server = SERVER, to = 9): string {
    return this.from(host, datagram(`${host}:${port} > ${server}:${to}`));
  }

  /** The answer to the last question that was forwarded. @returns the verdict */
  answer(server = SERVER, from = 9): string {
    return this.back(datagram(`${server}:${from} > ${OUTSIDE}:${this.port}`));
  }

  /** A fragment of a datagram of a client's host, or of somebody's on the internet to us: the first of two, or the second. */
  fragment(host: string, identification: number, which: "first" | "second"): string {
    const destination = isInside(host) ? SERVER : OUTSIDE;
    const whole = { source: host, destination, identification, sourcePort: 4000, destinationPort: 9 };
    const content = udp(whole, payload(1000)).subarray(20);
    const packet =
      which === "first"
        ? ipv4({ source: host, destination, identification, fragment: 0x2000 }, UDP, content.subarray(0, 504))
        : ipv4({ source: host, destination, identification, fragment: 63 }, UDP, content.subarray(504));
    return isInside(host) ? this.from(host, packet) : this.back(packet);
  }

  /** A host on the uplink answers ARP. @returns frames that are sent to it then */
  arrives(host: string): number {
    const senderMac = "02:00:00:00:09:09";
    const fields = { senderMac, senderIp: host, targetMac: OUR_MAC[UPLINK], targetIp: OUTSIDE };
    const reply = arp({ operation: "reply", ...fields });
    return this.lab.receive(UPLINK, ethernet(senderMac, OUR_MAC[UPLINK], ARP_TYPE, reply)).sent.length;
  }

  /** Somebody's SYN to the forwarded port. @returns the verdict */
  knock(peer: string, port: number, forwarded = FORWARDED): string {
    return this.back(segment(`${peer}:${port} > ${OUTSIDE}:${forwarded}`, "S", { sequence: 100 }));
  }

  /** The forwarded port's server answers somebody, who acknowledges. @returns whether the connection is open */
  welcome(peer: string, port: number, from = 80, forwarded = FORWARDED): boolean {
    const answer = segment(`${ALICE}:${from} > ${peer}:${port}`, "S.", { sequence: 500, acknowledgment: 101 });
    return this.from(ALICE, answer) === "forwarded" && this.speakIn(peer, port, forwarded);
  }

  /** Somebody says something in the connection to the forwarded port. @returns whether it was let through */
  speakIn(peer: string, port: number, forwarded = FORWARDED): boolean {
    const fields = { sequence: 101, acknowledgment: 501 };
    return this.back(segment(`${peer}:${port} > ${OUTSIDE}:${forwarded}`, ".", fields)) === "forwarded";
  }
}
