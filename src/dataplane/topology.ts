// Who is where: the settings' interfaces, clients and our own addresses, laid out for look-ups without allocation.
// Its clients' rules may change; anything else that is new makes a new one. Whoever asks about an address need not know which family it is
// of; what only IPv6 has is in topology6.ts.

import { ETHERNET, macHead, macTail } from "../wire/ethernet.ts";
import { type Address, maskOf, toAddress } from "../wire/ipv4.ts";
import type { Port } from "../wire/ports.ts";
import { AddressBook, isIpv6, NO_NUMBER, type Number6 } from "./address-book.ts";
import { Parties } from "./parties.ts";
import { OwnRuleset } from "./rules/packed.ts";
import type { Ruleset } from "./rules/ruleset.ts";
import type { ClientSettings, ForwardSettings, Settings } from "./settings.ts";
import { Topology6 } from "./topology6.ts";
import { type Client, type Column, column, type Iface, NOBODY, type Party } from "./types.ts";

export class Topology {
  /** Our MAC addresses, the clients' pinned ones, and the gateway's, in the two parts that frames are compared by. */
  readonly macHead: Column<Iface>;
  readonly macTail: Column<Iface>;
  readonly pinned: readonly (PinnedMac | undefined)[];
  readonly gatewayMac: PinnedMac | undefined;
  readonly gatewayFallbackMac: PinnedMac | undefined;
  readonly gateway6Mac: PinnedMac | undefined;
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

  readonly ipv6: Topology6;

  settings: Settings;
  /** Those of `settings`. */
  private clients: ClientSettings[];

  /**
   * @param before what was in force until now
   * @param book where the numbers of IPv6 addresses are from: those of the settings are held until `release`
   */
  constructor(settings: Settings, before?: Topology, book = before?.ipv6.book ?? AddressBook.empty()) {
    const { interfaces, uplink, clients } = settings;
    this.ipv6 = new Topology6(settings, book);
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
    this.gateway6Mac = uplink.ipv6?.gatewayMac && pinnedMac(uplink.ipv6.gatewayMac);
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

  /** Lets go of the addresses of settings that are not in force any more. */
  release(): void {
    this.ipv6.release();
  }

  /** Takes settings that differ from these in nothing that was laid out here: `hasSameLayout` says so. */
  replaceRules(settings: Settings): void {
    this.clients = [...settings.clients];
    this.settings = { ...settings, clients: this.clients };
  }

  /** Gives one client other rules. */
  setRules(client: Client, ruleset: Ruleset): void {
    this.clients[client] = { ...this.clients[client], ruleset };
  }

  /** The same, of rules that rules/packed.ts has written: into memory that the client's rules have here, once they came so. */
  takeRules(client: Client, packed: Int32Array<ArrayBufferLike>, at: number): void {
    const { ruleset } = this.clients[client];
    const own = ruleset instanceof OwnRuleset ? ruleset : new OwnRuleset();
    own.readRuleset(packed, at);
    if (own !== ruleset) this.setRules(client, own);
  }

  get clientCount(): number {
    return this.clientNetwork.length;
  }

  client(client: Client): ClientSettings {
    return this.clients[client];
  }

  /** @returns the client that has this address, on whichever interface, or NOBODY */
  clientOf(address: Address): Client {
    if (isIpv6(address)) return this.ipv6.clientOf(address);
    for (let client = 0; client < this.clientNetwork.length; client++) {
      if ((address & this.masks[client]) === this.clientNetwork[client]) return client as Client;
    }
    return NOBODY;
  }

  /** @returns the client that may use this source address on this interface, or NOBODY; never for an address of ours */
  clientOn(iface: Iface, address: Address): Client {
    const client = this.clientOf(address);
    if (client === NOBODY || this.clientInterface[client] !== iface) return NOBODY;
    if (isIpv6(address)) return this.ipv6.isHostOf(client, address) ? client : NOBODY;
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

  /** @returns the client that has this address; of an address of IPv6 that nobody has, the network on that interface, or NOBODY */
  clientFor(iface: Iface, address: Address): Client {
    const client = this.clientOf(address);
    return client === NOBODY && isIpv6(address) ? this.firstOn(iface) : client;
  }

  /**
   * @returns whether an address of IPv6, from which no host on this interface may send, can have been one's that is there: there is a
   * network, and it is nobody else's address. Networks change their prefixes.
   */
  mayHaveBeenOn(iface: Iface, address: Number6): boolean {
    if (iface === this.uplink) return false;
    const network = this.firstOn(iface);
    if (network === NOBODY || !this.ipv6.hasNetwork(network)) return false;
    return this.isUplinkHost(address) && !this.isOnUplinkLink(address);
  }

  /** @returns whether the address is the firewall's own: the uplink's, or a gateway as some client sees it */
  isOwn(address: Address): boolean {
    if (isIpv6(address)) return this.ipv6.isOwn(address);
    if (address === this.uplinkAddress) return true;
    // Each new flow comes here: a plain loop, since a typed array's `includes` is a call out of compiled code.
    for (let client = 0; client < this.gateways.length; client++) if (this.gateways[client] === address) return true;
    return false;
  }

  /** @returns whether a host with this address can be behind the uplink: it is neither a client's nor ours, nor impossible */
  isUplinkHost(address: Address): boolean {
    return this.mayBeOutside(address) && !this.isOwn(address) && !this.isMartian(address);
  }

  /** @returns the MAC address that a neighbour on the uplink is pinned to: a gateway's, where the settings say it */
  gatewayPin(address: Address): PinnedMac | undefined {
    if (address === this.gateway) return this.gatewayMac;
    return address === this.ipv6.gateway && address !== NO_NUMBER ? this.gateway6Mac : undefined;
  }

  /** @returns our address on the uplink, of the family that an address is of; NO_NUMBER where we have none */
  uplinkAddressLike(address: Address): Address {
    return isIpv6(address) ? this.ipv6.uplinkAddress : this.uplinkAddress;
  }

  /** @returns who shares tables with others: a client's host */
  host(client: Client, address: Address): Party {
    return this.parties.host(client, isIpv6(address) ? this.ipv6.hostBits(address) : address);
  }

  /** @returns whether a client's packets leave by the uplink with their own source address: its network is routed to us */
  isRouted(client: Client, address: Address): boolean {
    return isIpv6(address) && this.ipv6.isRouted(client);
  }

  /** @returns whether an address is not a client's, nor that of one that may come */
  mayBeOutside(address: Address): boolean {
    return this.clientOf(address) === NOBODY && !this.inside.has(address) && !this.ipv6.inside.has(address);
  }

  /** @returns whether a frame's source MAC address is the client's, if only one is accepted from it */
  hasPinnedMac(view: DataView, client: Client, at: number): boolean {
    const pin = this.pinned[client];
    if (pin === undefined) return true;
    return macHead(view, at + ETHERNET.SOURCE) === pin.head && macTail(view, at + ETHERNET.SOURCE) === pin.tail;
  }

  /** @returns whether hosts of this address are reached on the uplink without the gateway */
  isOnUplinkLink(address: Address): boolean {
    if (isIpv6(address)) return this.ipv6.isOnUplinkLink(address);
    return (address & this.uplinkMask) === this.uplinkNetwork;
  }

  /** @returns the address that a frame to `destination` out of the uplink is handed to */
  uplinkNextHop(destination: Address): Address {
    if (this.isOnUplinkLink(destination)) return destination;
    return isIpv6(destination) ? this.ipv6.gateway : this.gateway;
  }

  /** @returns our address as hosts on that interface see it, who have (or ask from) the address `peer` */
  ownAddressFor(iface: Iface, peer: Address): Address {
    if (iface === this.uplink) return this.uplinkAddressLike(peer);
    const client = this.clientFor(iface, peer);
    if (isIpv6(peer)) return client === NOBODY ? this.ipv6.uplinkAddress : this.ipv6.gateways[client];
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
    const { ipv6 } = this;
    const is6 = isIpv6(address);
    // Each new flow comes here: a plain loop, for most have no forwards at all.
    for (let i = 0; i < forwards.length; i++) {
      const { protocol: theirs, portLow, portHigh, to, toPort } = forwards[i];
      const external = portLow + port - toPort;
      if (
        theirs === protocol &&
        (is6 ? ipv6.forwardTo[i] === address : to !== undefined && toAddress(to) === address) &&
        external >= portLow &&
        external <= portHigh
      ) {
        return external;
      }
    }
    return -1;
  }

  /**
   * @param destination, port what a packet from the uplink names: our address, or of a client whose network is routed to us its own
   * @param source where it comes from
   * @returns which forward it falls under: its position, or -1
   */
  forwardFor(protocol: number, destination: Address, port: Port, source: Address): number {
    const { forwards } = this.settings;
    for (let i = 0; i < forwards.length; i++) {
      const forward = forwards[i];
      if (isIpv6(destination) && isIpv6(source)) {
        if (forward.protocol === protocol && this.matchesForward6(i, destination, port, source)) return i;
      } else if (destination === this.uplinkAddress && matchesForward(forward, protocol, port, source)) {
        return i;
      }
    }
    return -1;
  }

  private matchesForward6(i: number, destination: Number6, port: Port, source: Number6): boolean {
    const { portLow, portHigh, toPort, client } = this.settings.forwards[i];
    const to = this.ipv6.forwardTo[i];
    if (to === NO_NUMBER || !this.ipv6.isForwardedFrom(i, source)) return false;
    if (this.ipv6.isRouted(client as Client)) {
      return destination === to && port >= toPort && port <= toPort + portHigh - portLow;
    }
    return destination === this.ipv6.uplinkAddress && port >= portLow && port <= portHigh;
  }

  /** @returns the host that a forward leads to, for packets to an address of ours or of that host itself */
  forwardedTo(forward: number, destination: Address): Address {
    if (isIpv6(destination)) return this.ipv6.forwardTo[forward];
    return toAddress(this.settings.forwards[forward].to ?? 0);
  }

  /** @returns that host's port for a packet to a port that falls under the forward */
  forwardedToPort(forward: number, destination: Address, port: Port): Port {
    const { portLow, toPort, client } = this.settings.forwards[forward];
    const isSame = isIpv6(destination) && this.ipv6.isRouted(client as Client);
    return (isSame ? port : toPort + port - portLow) as Port;
  }

  /** @returns whether an address is one of the configured name servers */
  isNameServer(address: Address): boolean {
    if (isIpv6(address)) return this.ipv6.dns.has(address);
    return this.settings.uplink.dns.includes(address >>> 0);
  }

  /** @returns whether packets to this destination can be routed to the uplink at all: unicast, and not to be kept local */
  isRoutable(destination: Address): boolean {
    if (isIpv6(destination)) return this.ipv6.isRoutable(destination);
    if (isMartian(destination)) return false;
    if (destination >>> 16 === 0xa9fe) return false; // link-local: RFC 3927 section 2.7
    if (this.inside.has(destination)) return false; // the uplink is not told what was meant for a client
    return !this.isUplinkBroadcast(destination);
  }

  /** @returns whether no host can send from this address */
  isMartian(address: Address): boolean {
    return isIpv6(address) ? this.ipv6.isMartian(address) : isMartian(address);
  }

  /** The uplink network's first and last address; a /31 or /32 has none (RFC 3021). */
  private isUplinkBroadcast(address: Address): boolean {
    if (!this.isOnUplinkLink(address) || this.settings.uplink.prefix >= 31) return false;
    const host = address & ~this.uplinkMask;
    return host === 0 || host === ~this.uplinkMask;
  }
}

/** @returns whether no host can send from this IPv4 address: loopback, multicast, reserved, "this network" (RFC 6890) */
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

/** @param port the destination port of an IPv4 packet to our uplink address @param source where it comes from */
export function matchesForward(forward: ForwardSettings, protocol: number, port: Port, source: Address): boolean {
  if (forward.to === undefined) return false;
  if (forward.protocol !== protocol || port < forward.portLow || port > forward.portHigh) return false;
  if (forward.from.length === 0) return true;
  for (const { address, prefix } of forward.from) if (((source ^ address) & maskOf(prefix)) === 0) return true;
  return false;
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
