// Which frames of a capture the router itself sent: a capture holds both directions, and what a router sent must not come in
// again. Told by our MAC address; where no own_mac is configured, by who can have sent a packet from and to these addresses; and
// where these don't tell, by what the capture says of a frame's direction.
import { hostPrefix, type IpPrefix, isInside, sameIp } from "../base/ip.ts";
import { DIRECTION } from "../captures/frame.ts";
import type { ClientSettings, Settings } from "../dataplane/settings.ts";
import { ARP } from "../wire/arp.ts";
import { ETHERNET, ETHERTYPE, isGroupMac, macHead, macTail } from "../wire/ethernet.ts";
import { IPV4, maskOf } from "../wire/ipv4.ts";
import { IPV6 } from "../wire/ipv6.ts";

const CONTENT = ETHERNET.HEADER_LENGTH;

interface Side {
  readonly knowsMac: boolean;
  readonly macHead: number;
  readonly macTail: number;
  /** Our addresses there, as int32. */
  readonly own: readonly number[];
  /** The clients' networks there; none on the uplink. */
  readonly networks: readonly { readonly network: number; readonly mask: number }[];
  /** The same of IPv6. */
  readonly own6: readonly Uint8Array[];
  readonly networks6: readonly IpPrefix[];
}

export class OwnFrames {
  private readonly sides: readonly Side[];

  constructor({ interfaces, uplink, clients }: Settings) {
    this.sides = interfaces.map(({ mac, anyMac }, number) => {
      const view = new DataView(mac.buffer, mac.byteOffset, mac.byteLength);
      const here = clients.filter(({ iface }) => iface === number);
      return {
        knowsMac: !anyMac,
        macHead: macHead(view, 0),
        macTail: macTail(view, 0),
        own: [...(uplink.iface === number ? [uplink.address | 0] : []), ...here.map(({ gateway }) => gateway | 0)],
        networks: here.map(({ network, prefix }) => ({ network: network & maskOf(prefix), mask: maskOf(prefix) })),
        own6: [...(uplink.iface === number ? [uplink.ipv6] : []), ...here.map(ownOf)].flatMap(
          (six) => six?.address ?? [],
        ),
        networks6: here.flatMap(({ ipv6 }) => (ipv6 ? { address: ipv6.network, prefix: ipv6.prefix } : [])),
      };
    });
  }

  /**
   * @param hasMacs whether its MAC addresses come from the capture
   * @param direction what the capture says, a DIRECTION: of the end of the cable that it was made at, which may be the other one,
   * so it is asked last
   * @param length bytes of the frame that are there
   */
  has(iface: number, hasMacs: boolean, direction: number, view: DataView, at: number, length: number): boolean {
    if (length < CONTENT) return direction === DIRECTION.OUTBOUND;
    const side = this.sides[iface];
    if (side.knowsMac && hasMacs) {
      if (isMac(side, view, at + ETHERNET.SOURCE)) return true;
      const isToUs = isMac(side, view, at + ETHERNET.DESTINATION) || isGroupMac(view, at + ETHERNET.DESTINATION);
      return !isToUs && direction === DIRECTION.OUTBOUND;
    }
    return toldByAddresses(side, view, at, length) ?? direction === DIRECTION.OUTBOUND;
  }
}

function isMac(side: Side, view: DataView, at: number): boolean {
  return macHead(view, at) === side.macHead && macTail(view, at) === side.macTail;
}

/** @returns whether a frame is ours, or undefined where its addresses don't tell */
function toldByAddresses(side: Side, view: DataView, at: number, length: number): boolean | undefined {
  const type = view.getUint16(at + ETHERNET.TYPE);
  if (type === ETHERTYPE.ARP && length >= CONTENT + ARP.LENGTH) {
    return side.own.includes(view.getInt32(at + CONTENT + ARP.SENDER_IP));
  }
  if (type === ETHERTYPE.IPV6) return toldByAddresses6(side, view, at, length);
  if (type !== ETHERTYPE.IPV4 || length < CONTENT + IPV4.HEADER_LENGTH) return undefined;
  const source = view.getInt32(at + CONTENT + IPV4.SOURCE);
  const destination = view.getInt32(at + CONTENT + IPV4.DESTINATION);
  if (side.own.includes(source)) return true;
  if (isIn(side, source) || side.own.includes(destination)) return false;
  return isIn(side, destination) ? true : undefined;
}

function toldByAddresses6(side: Side, view: DataView, at: number, length: number): boolean | undefined {
  if (length < CONTENT + IPV6.HEADER_LENGTH) return undefined;
  const [source, destination] = [IPV6.SOURCE, IPV6.DESTINATION].map((field) => {
    return new Uint8Array(view.buffer, view.byteOffset + at + CONTENT + field, 16);
  });
  const isOwn = (address: Uint8Array) => side.own6.some((own) => sameIp(own, address));
  const isTheirs = (address: Uint8Array) => side.networks6.some((network) => isInside(hostPrefix(address), network));
  if (isOwn(source)) return true;
  if (isTheirs(source) || isOwn(destination)) return false;
  return isTheirs(destination) ? true : undefined;
}

function ownOf({ ipv6 }: ClientSettings): { readonly address: Uint8Array } | undefined {
  return ipv6 && { address: ipv6.gateway };
}

function isIn({ networks }: Side, address: number): boolean {
  for (const { network, mask } of networks) if ((address & mask) === network) return true;
  return false;
}
