// Who is where: the settings' interfaces, clients and our own addresses, laid out for look-ups without allocation.
// Its clients' rules may change; anything else that is new makes a new one.

import { ETHERNET, macHead, macTail } from "../wire/ethernet.ts";
import { type Address, maskOf, toAddress } from "../wire/ipv4.ts";
import type { Port } from "../wire/ports.ts";
import { Parties } from "./parties.ts";
import type { Ruleset } from "./rules/ruleset.ts";
import type { ClientSettings, Settings } from "./settings.ts";
import { type Client, type Column, column, type Iface, NOBODY } from "./types.ts";

export class Topology {
  /** Our MAC addresses, the clients' pinned ones, and the gateway's, in the two parts that frames are compared by. */
  readonly macHead: Column<Iface>;
  readonly macTail: Column<Iface>;
  readonly pinned: readonly (PinnedMac | undefined)[];
  readonly gatewayMac: PinnedMac | undefined;
  readonly gatewayFallbackMac: PinnedMac | undefined;
  readonly mtu: Column<Iface>;
  readonly parties: Parties;
  /** 1: no frame gets out there. */
  readonly isDown: Column<Iface>;
  /** 1: IPv6 is configured there: the uplink's, and of a client that can be reached by it. */
  readonly hasIpv6: Column<Iface>;

  readonly uplink: Iface;
  readonly uplinkAddress: Address;
  readonly gateway: Address;
  private readonly uplinkNetwork: number;
  private readonly uplinkMask: number;
  private readonly inside: ReadonlySet<Address>;

  /** By client number. */
  readonly clientInterface: Column<Client, Iface>;
  readonly clientMask: Column<Client>;
  readonly clientGateway: Column<Client, Address>;
  private readonly clientNetwork: Int32Array;
  private readonly masks: Int32Array;
  private readonly gateways: Int32Array;

  settings: Settings;
  /** Those of `settings`. */
  private clients: ClientSettings[];

  /** @param before what was in force until now */
  constructor(settings: Settings, before?: Topology) {
    const { interfaces, uplink, clients } = settings;
    this.clients = [...clients];
    this.settings = { ...settings, clients: this.clients };
    const macs = interfaces.map((iface) => pinnedMac(iface.mac));
    this.macHead = column(Int32Array.from(macs, (mac) => mac.head));
    this.macTail = column(Int32Array.from(macs, (mac) => mac.tail));
    this.mtu = column(Int32Array.from(interfaces, (iface) => iface.mtu));
    this.parties = new Parties(settings, before?.parties);
    this.isDown = column(Uint8Array.from(interfaces, (iface) => (iface.isDown ? 1 : 0)));
    this.hasIpv6 = column(ipv6Interfaces(settings));
    this.pinned = clients.map((client) => client.mac && pinnedMac(client.mac));
    this.gatewayMac = uplink.gatewayMac && pinnedMac(uplink.gatewayMac);
    this.gatewayFallbackMac = uplink.gatewayFallbackMac && pinnedMac(uplink.gatewayFallbackMac);
    this.uplink = uplink.iface as Iface;
    this.uplinkAddress = toAddress(uplink.address);
    this.gateway = toAddress(uplink.gateway);
    this.uplinkMask = maskOf(uplink.prefix);
    this.uplinkNetwork = uplink.address & this.uplinkMask;
    this.inside = new Set(uplink.inside?.map(toAddress));
    this.clientInterface = column(Int32Array.from(clients, (client) => client.iface));
    this.masks = Int32Array.from(clients, (client) => maskOf(client.prefix));
    this.clientMask = column(this.masks);
    this.clientNetwork = Int32Array.from(clients, (client) => client.network & maskOf(client.prefix));
    this.gateways = Int32Array.from(clients, (client) => client.gateway);
    this.clientGateway = column(this.gateways);
  }

  /** Takes settings that differ from these in nothing that was laid out here: `hasSameLayout` says so. */
  replaceRules(settings: Settings): void {
    this.clients = [...settings.clients];
    this.settings = { ...settings, clients: this.clients };
  }

  /** Gives one client other rules. It happens often, so that little is made for it that somebody would have to collect. */
  setRules(client: Client, ruleset: Ruleset): void {
    this.clients[client] = { ...this.clients[client], ruleset };
  }

  get clientCount(): number {
    return this.clientNetwork.length;
  }

  client(client: Client): ClientSettings {
    return this.clients[client];
  }

  /** @returns the client that has this address, on whichever interface, or NOBODY */
  clientOf(address: Address): Client {
    for (let client = 0; client < this.clientNetwork.length; client++) {
      if ((address & this.masks[client]) === this.clientNetwork[client]) return client as Client;
    }
    return NOBODY;
  }

  /** @returns the client that may use this source address on this interface, or NOBODY; never for an address of ours */
  clientOn(iface: Iface, address: Address): Client {
    const client = this.clientOf(address);
    if (client === NOBODY || this.clientInterface[client] !== iface) return NOBODY;
    const mask = this.clientMask[client];
    if (mask === -1) return client;
    // Of a network, neither our own address nor the network's first and last (RFC 922 section 7) are a host; the two of a
    // /31 both are (RFC 3021).
    const isEdge = mask !== -2 && ((address & ~mask) === 0 || (address | mask) === -1);
    if (address === this.clientGateway[client] || isEdge) return NOBODY;
    return client;
  }

  /** @returns the client that tells what kind of hosts are on an interface: a network if there is one, or NOBODY */
  firstOn(iface: Iface): Client {
    let first = NOBODY;
    for (let client = 0 as Client; client < this.clientCount; client++) {
      if (this.clientInterface[client] !== iface) continue;
      if (this.clientMask[client] !== -1) return client;
      if (first === NOBODY) first = client;
    }
    return first;
  }

  /** @returns whether the address is the firewall's own: the uplink's, or a gateway as some client sees it */
  isOwn(address: Address): boolean {
    if (address === this.uplinkAddress) return true;
    // Each new flow comes here: a plain loop, since a typed array's `includes` is a call out of compiled code.
    for (let client = 0; client < this.gateways.length; client++) if (this.gateways[client] === address) return true;
    return false;
  }

  /** @returns whether a host with this address can be behind the uplink: it is neither a client's nor ours, nor impossible */
  isUplinkHost(address: Address): boolean {
    return this.mayBeOutside(address) && !this.isOwn(address) && !isMartian(address);
  }

  /** @returns whether an address is not a client's, nor that of one that may come */
  mayBeOutside(address: Address): boolean {
    return this.clientOf(address) === NOBODY && !this.inside.has(address);
  }

  /** @returns whether a frame's source MAC address is the client's, if only one is accepted from it */
  hasPinnedMac(view: DataView, client: Client, at: number): boolean {
    const pin = this.pinned[client];
    if (pin === undefined) return true;
    return macHead(view, at + ETHERNET.SOURCE) === pin.head && macTail(view, at + ETHERNET.SOURCE) === pin.tail;
  }

  /** @returns whether hosts of this address are reached on the uplink without the gateway */
  isOnUplinkLink(address: Address): boolean {
    return (address & this.uplinkMask) === this.uplinkNetwork;
  }

  /** @returns the address that a frame to `destination` out of the uplink is handed to */
  uplinkNextHop(destination: Address): Address {
    return this.isOnUplinkLink(destination) ? destination : this.gateway;
  }

  /** @returns our address as hosts on that interface see it, who have (or ask from) the address `peer` */
  ownAddressFor(iface: Iface, peer: Address): Address {
    if (iface === this.uplink) return this.uplinkAddress;
    const client = this.clientOf(peer);
    return client === NOBODY ? this.uplinkAddress : this.clientGateway[client];
  }

  /** @returns the addresses that are ours on an interface, each once */
  ownAddressesOn(iface: Iface): Address[] {
    const ours = new Set<Address>(iface === this.uplink ? [this.uplinkAddress] : []);
    for (let client = 0 as Client; client < this.clientCount; client++) {
      if (this.clientInterface[client] === iface) ours.add(this.clientGateway[client]);
    }
    return [...ours];
  }

  /** @returns where DNS to this address goes: there, or where it is redirected to */
  redirected(address: Address): Address {
    for (const { from, to } of this.settings.redirects) if (toAddress(from) === address) return toAddress(to);
    return address;
  }

  /**
   * @param protocol, address, port an endpoint of a client's
   * @returns the external port that is forwarded to it, the first if there are several, or -1: the endpoint's mapping, whoever it
   * talks to (RFC 4787 REQ-1)
   */
  forwardedPort(protocol: number, address: Address, port: Port): number {
    const { forwards } = this.settings;
    // Each new flow comes here: a plain loop, for most have no forwards at all.
    for (let i = 0; i < forwards.length; i++) {
      const { protocol: theirs, portLow, portHigh, to, toPort } = forwards[i];
      const external = portLow + port - toPort;
      if (
        theirs === protocol &&
        to !== undefined &&
        toAddress(to) === address &&
        external >= portLow &&
        external <= portHigh
      ) {
        return external;
      }
    }
    return -1;
  }

  /** @returns whether an address is one of the configured name servers */
  isNameServer(address: Address): boolean {
    return this.settings.uplink.dns.includes(address >>> 0);
  }

  /** @returns whether packets to this destination can be routed to the uplink at all: unicast, and not to be kept local */
  isRoutable(destination: Address): boolean {
    if (isMartian(destination)) return false;
    if (destination >>> 16 === 0xa9fe) return false; // link-local: RFC 3927 section 2.7
    if (this.inside.has(destination)) return false; // the uplink is not told what was meant for a client
    return !this.isUplinkBroadcast(destination);
  }

  /** The uplink network's first and last address; a /31 or /32 has none (RFC 3021). */
  private isUplinkBroadcast(address: Address): boolean {
    if (!this.isOnUplinkLink(address) || this.settings.uplink.prefix >= 31) return false;
    const host = address & ~this.uplinkMask;
    return host === 0 || host === ~this.uplinkMask;
  }
}

/** @returns whether no host can send from this address: loopback, multicast, reserved, "this network" (RFC 6890) */
export function isMartian(address: Address): boolean {
  const top = address >>> 24;
  return top === 0 || top === 127 || top >= 224;
}

function ipv6Interfaces({ interfaces, uplink, clients }: Settings): Uint8Array {
  const has = new Uint8Array(interfaces.length);
  const users = uplink.ipv6 ? [uplink, ...clients.filter(({ ipv6 }) => ipv6 !== undefined)] : [];
  for (const { iface } of users) if (iface < has.length) has[iface] = 1;
  return has;
}

export interface PinnedMac {
  readonly head: number;
  readonly tail: number;
}

function pinnedMac(mac: Uint8Array): PinnedMac {
  const view = new DataView(mac.buffer, mac.byteOffset, mac.byteLength);
  return { head: macHead(view, 0), tail: macTail(view, 0) };
}

/**
 * @returns whether settings differ only in what no flow depends on: rules, limits, timeouts, how to refuse, the uplink's rate, and
 * the state of interfaces
 */
export function hasSameLayout(a: Settings, b: Settings): boolean {
  return layoutOf(a) === layoutOf(b);
}

/** @returns whether interfaces are in the same state */
export function hasSameInterfaces(a: Settings, b: Settings): boolean {
  return interfacesOf(a) === interfacesOf(b);
}

function interfacesOf({ interfaces }: Settings): string {
  return JSON.stringify(interfaces.map((iface) => ({ ...iface, mac: iface.mac.join(":") })));
}

function layoutOf({ interfaces, uplink, clients, forwards, redirects }: Settings): string {
  const sites = clients.map(({ name, iface, network, prefix, gateway, mac, reach, openFilter, ipv6 }) => {
    return [name, iface, network, prefix, gateway, mac?.join(":"), reach, openFilter, ipv6];
  });
  const devices = interfaces.map(({ name, anyMac, clampMss }) => [name, anyMac, clampMss]);
  const line = { ...uplink, rate: undefined, gatewayMac: uplink.gatewayMac?.join(":") };
  return JSON.stringify([devices, line, sites, forwards, redirects]);
}
