// Our IPv6 addresses on each interface: those of the settings, and the link-local one that an interface makes of its MAC address. On a
// link of many hosts behind the uplink each is ours once nobody else has shown that he has it: Duplicate Address Detection (RFC 4862
// section 5.4), whose messages discovery.ts beside this file sends and hears.
import { ADDRESS6_LENGTH } from "../../wire/ipv6.ts";
import { writeLinkLocal } from "../../wire/ndp.ts";
import { type AddressBook, NO_NUMBER, type Number6 } from "../address-book.ts";
import type { Topology } from "../topology.ts";
import type { Client, Iface } from "../types.ts";
import { linkOf } from "./links.ts";

/** RFC 4862 section 5.1: DupAddrDetectTransmits; and ticks after the probe after which an address is ours: more than a second. */
const PROBES = 1;
const TICKS = 2;
/** RFC 4861 section 10 would have three; an address that is new somewhere is told as often as IPv4's. */
const ANNOUNCEMENTS = 2;

export interface OwnAddress {
  readonly number: Number6;
  readonly isLinkLocal: boolean;
  /** Nobody may use it yet, not even we (RFC 4862 section 2). */
  isTentative: boolean;
  /** Somebody else has it: we don't use it. */
  isDuplicate: boolean;
  /** How often it is to be probed for still; ticks to be waited for then; how often it is to be told. */
  probes: number;
  ticks: number;
  announcements: number;
}

export class OwnAddresses {
  /** By interface. */
  private lists: OwnAddress[][] = [];
  /** By interface: the link-local one, or NO_NUMBER where there is no IPv6. */
  private linkLocals: Number6[] = [];

  /** @param topology what is in force: until `followInterfaces`, all addresses are ours without more ado, as in a replay */
  constructor(
    private readonly book: AddressBook,
    topology: Topology,
  ) {
    for (let iface = 0 as Iface; iface < topology.settings.interfaces.length; iface++) {
      this.lists[iface] = this.listFor(topology, iface, [], false);
    }
  }

  /** @returns those on an interface */
  on(iface: Iface): readonly OwnAddress[] {
    return this.lists[iface] ?? [];
  }

  /** @returns the one with a number, as far as it is on that interface */
  find(iface: Iface, number: Number6): OwnAddress | undefined {
    const list = this.lists[iface];
    if (list === undefined || number === NO_NUMBER) return undefined;
    for (let i = 0; i < list.length; i++) if (list[i].number === number) return list[i];
    return undefined;
  }

  /** @returns the link-local one, or NO_NUMBER: also of an interface that is down */
  linkLocal(iface: Iface): Number6 {
    return this.linkLocals[iface] ?? NO_NUMBER;
  }

  /** Takes over other numbers of interfaces. @param renumber the new number of each old interface, or a negative one */
  follow(renumber: Int32Array): void {
    const { lists, linkLocals } = this;
    this.lists = [];
    this.linkLocals = [];
    for (const [old, list] of lists.entries()) {
      const iface = renumber[old] ?? -1;
      if (iface < 0) {
        for (const { number } of list) this.book.release(number);
        continue;
      }
      this.lists[iface] = list;
      this.linkLocals[iface] = linkLocals[old];
    }
  }

  /**
   * Takes over what our addresses are. Of those that were ours on the same link already all stays as it was; the others are probed for,
   * where that is done, and told.
   * @param before what was in force; nothing, when the program starts
   */
  followInterfaces(topology: Topology, before: Topology | undefined): void {
    const { lists } = this;
    this.lists = [];
    this.linkLocals = [];
    for (const [i, { isDown }] of topology.settings.interfaces.entries()) {
      const iface = i as Iface;
      const known = isDown || linkOf(topology, iface, before).before === undefined ? [] : (lists[iface] ?? []);
      this.lists[iface] = isDown ? [] : this.listFor(topology, iface, known, isShared(topology, iface));
    }
    for (const list of lists) for (const { number } of list ?? []) this.book.release(number);
  }

  /** @param isTold whether those that are not known are to be told, and on the uplink probed for */
  private listFor(topology: Topology, iface: Iface, known: readonly OwnAddress[], isTold: boolean): OwnAddress[] {
    if (topology.hasIpv6[iface] === 0) return [];
    const isProbed = isTold && iface === topology.uplink;
    const linkLocal = this.takeLinkLocal(topology, iface);
    this.linkLocals[iface] = linkLocal;
    const numbers = new Set([linkLocal, ...configuredOn(topology, iface)]);
    return Array.from(numbers, (number) => {
      if (number !== linkLocal) this.book.retain(number);
      return (
        known.find((own) => own.number === number) ?? {
          number,
          isLinkLocal: number === linkLocal,
          isTentative: isProbed,
          isDuplicate: false,
          probes: isProbed ? PROBES : 0,
          ticks: TICKS,
          announcements: isTold ? ANNOUNCEMENTS : 0,
        }
      );
    });
  }

  private takeLinkLocal(topology: Topology, iface: Iface): Number6 {
    const { mac } = topology.settings.interfaces[iface];
    const view = new DataView(new ArrayBuffer(ADDRESS6_LENGTH));
    writeLinkLocal(view, 0, new DataView(mac.buffer, mac.byteOffset, mac.byteLength), 0);
    return this.book.takeAt(view, 0);
  }
}

/**
 * Whether many hosts may be on an interface's link: not with a client that is one host, nor on the uplink of a qube, where there is the
 * netvm and nobody else. Only there our addresses are probed for, told, and reported to who forwards to groups: between qubes nobody
 * listens to that, and Qubes OS expects nothing but answers.
 */
export function isShared(topology: Topology, iface: Iface): boolean {
  if (topology.hasIpv6[iface] === 0) return false;
  const { uplink, clients } = topology.settings;
  if (iface === topology.uplink) return uplink.gatewayFallbackMac === undefined;
  // Frames come here: nothing is allocated.
  for (let i = 0; i < clients.length; i++) {
    const { iface: theirs, ipv6 } = clients[i];
    if (theirs === iface && ipv6 !== undefined && ipv6.prefix < 128) return true;
  }
  return false;
}

/** @returns our addresses of the settings on an interface */
function configuredOn({ uplink, ipv6, clientCount, clientInterface }: Topology, iface: Iface): Number6[] {
  const numbers = iface === uplink ? [ipv6.uplinkAddress] : [];
  for (let client = 0 as Client; client < clientCount; client++) {
    if (clientInterface[client] === iface) numbers.push(ipv6.gateways[client]);
  }
  return numbers.filter((number) => number !== NO_NUMBER);
}
