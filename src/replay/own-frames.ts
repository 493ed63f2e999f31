// Which frames of a capture the router itself sent: a capture holds both directions, and what a router sent must not come in
// again. Told by what the capture says of a frame's direction, else by our MAC address, else, where no own_mac is configured,
// by who can have sent a packet from and to these addresses.
import { DIRECTION } from "../captures/frame.ts";
import type { Settings } from "../dataplane/settings.ts";
import { ARP } from "../wire/arp.ts";
import { ETHERNET, ETHERTYPE, macHead, macTail } from "../wire/ethernet.ts";
import { IPV4, maskOf } from "../wire/ipv4.ts";

const CONTENT = ETHERNET.HEADER_LENGTH;

interface Side {
  readonly knowsMac: boolean;
  readonly macHead: number;
  readonly macTail: number;
  /** Our addresses there, as int32. */
  readonly own: readonly number[];
  /** The clients' networks there; none on the uplink. */
  readonly networks: readonly { readonly network: number; readonly mask: number }[];
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
      };
    });
  }

  /** @param direction what the capture says, a DIRECTION @param length bytes of the frame that are there */
  has(iface: number, direction: number, view: DataView, at: number, length: number): boolean {
    if (direction !== DIRECTION.UNKNOWN) return direction === DIRECTION.OUTBOUND;
    if (length < CONTENT) return false;
    const side = this.sides[iface];
    if (side.knowsMac) {
      const source = at + ETHERNET.SOURCE;
      return macHead(view, source) === side.macHead && macTail(view, source) === side.macTail;
    }
    const type = view.getUint16(at + ETHERNET.TYPE);
    if (type === ETHERTYPE.ARP && length >= CONTENT + ARP.LENGTH) {
      return side.own.includes(view.getInt32(at + CONTENT + ARP.SENDER_IP));
    }
    if (type !== ETHERTYPE.IPV4 || length < CONTENT + IPV4.HEADER_LENGTH) return false;
    const source = view.getInt32(at + CONTENT + IPV4.SOURCE);
    if (side.own.includes(source)) return true;
    return !isIn(side, source) && isIn(side, view.getInt32(at + CONTENT + IPV4.DESTINATION));
  }
}

function isIn({ networks }: Side, address: number): boolean {
  for (const { network, mask } of networks) if ((address & mask) === network) return true;
  return false;
}
