// The extension headers of an IPv6 packet (RFC 8200 section 4): a bounded walk over them to what the packet carries.
import { FAULT, type Fault } from "./fault.ts";
import { PARAMETER_PROBLEM6_CODE } from "./icmpv6.ts";
import { PROTOCOL } from "./ipv4.ts";
import { FRAGMENT6, FRAGMENT6_MORE, FRAGMENT6_OFFSET, IPV6, NEXT_HEADER } from "./ipv6.ts";

/** At most so many extension headers, and bytes of them all: what is longer is refused, for each costs every frame time. */
export const MAX_EXTENSIONS = 8;
export const MAX_EXTENSION_BYTES = 512;
/** RFC 8504 section 5.3 lets a node take no more hop-by-hop options than 8, nor more padding in a row than aligns one; so does Linux. */
const MAX_OPTIONS = 8;
const MAX_PADDING = 7;

const OPTION_PAD1 = 0;
const OPTION_PADN = 1;
const OPTION_ROUTER_ALERT = 5;
const OPTION_JUMBO = 0xc2;

/** Offset in a routing header. */
const ROUTING_TYPE = 2;
const SEGMENTS_LEFT = 3;

/** Which extension headers a packet has: bits of HeaderChain.has. */
export const HAS_EXTENSION = { HOP_BY_HOP: 1, DESTINATION: 2, ROUTING: 4, FRAGMENT: 8, AH: 16, OTHER: 32 } as const;

/** In place of a code: the sender is told nothing. */
export const NO_PROBLEM = -1;
const { FIELD, NEXT_HEADER: HEADER, OPTION, CHAIN } = PARAMETER_PROBLEM6_CODE;

/** Least bytes of an upper layer's header that rules and flows need. */
const TCP_LENGTH = 20;
const UDP_LENGTH = 8;

/**
 * A packet's IPv6 header chain (RFC 7112): what its extension headers lead to. One object serves all packets, so that none is
 * allocated. The order of headers is not enforced (RFC 8200 section 4.1), but that hop-by-hop options come first.
 */
export class HeaderChain {
  /** Which extension headers there are, as HAS_EXTENSION has them: 0 for a plain packet. */
  has = 0;
  /** What the packet carries, the first next-header value that is no extension header; of a later fragment, what its header names. */
  protocol = 0;
  /** Offset of its first byte, or of a later fragment's data. */
  transport = 0;
  /** Bytes from there to the packet's end. */
  length = 0;
  /** Offset of the fragment header; 0 without one. With `fragment` 0 it is atomic (RFC 6946): the packet is whole. */
  fragmentAt = 0;
  /** Offset of the byte that says that the fragment header follows. */
  linkAt = 0;
  /** FRAGMENT6_OFFSET and FRAGMENT6_MORE. */
  fragment = 0;
  /** int32 */
  identification = 0;
  /**
   * After a fault: the code of the parameter problem that its sender is to be told (RFC 4443 section 3.4), or NO_PROBLEM, and the
   * offset it points to. With `evenGroups` also where the packet went to a multicast address.
   */
  problem: number = NO_PROBLEM;
  problemAt = 0;
  evenGroups = false;

  /**
   * Walks over a packet whose header is sound.
   * @param length bytes from the header to the packet's end: `totalLength6`, or less of a packet that is quoted
   */
  walk(view: DataView, at: number, length: number): Fault {
    const end = at + length;
    const first = at + IPV6.HEADER_LENGTH;
    this.has = 0;
    this.fragmentAt = 0;
    this.linkAt = 0;
    this.fragment = 0;
    this.identification = 0;
    this.problem = NO_PROBLEM;
    let link = at + IPV6.NEXT_HEADER;
    let next = view.getUint8(link);
    let here = first;
    for (let count = 0; this.goesOn(view, next, here, end); count++) {
      if (count === MAX_EXTENSIONS) return FAULT.IPV6_EXTENSIONS;
      if (here + 8 > end) return this.cut(at);
      const bytes = extensionLength(view, next, here);
      if (here + bytes > end) return this.cut(at);
      if (here + bytes - first > MAX_EXTENSION_BYTES) return FAULT.IPV6_EXTENSIONS;
      const fault = this.take(view, next, here, here + bytes, first, link);
      if (fault !== 0) return fault;
      link = here;
      next = view.getUint8(here);
      here += bytes;
      if ((this.fragment & FRAGMENT6_OFFSET) !== 0) break;
    }
    this.protocol = next;
    this.transport = here;
    this.length = end - here;
    if (this.fragmentAt === 0) return FAULT.NONE;
    return this.checkFragment(view, at, length);
  }

  /** Whether an extension header stands at `here`. Those that mostly are alone have another behind them only where they say so. */
  private goesOn(view: DataView, next: number, here: number, end: number): boolean {
    switch (next) {
      case NEXT_HEADER.HOP_BY_HOP:
      case NEXT_HEADER.DESTINATION:
      case NEXT_HEADER.ROUTING:
      case NEXT_HEADER.FRAGMENT:
      case NEXT_HEADER.AH:
        return true;
      case NEXT_HEADER.MOBILITY:
      case NEXT_HEADER.HIP:
      case NEXT_HEADER.SHIM6:
        return here < end && view.getUint8(here) !== NEXT_HEADER.NONE;
      default:
        return false;
    }
  }

  /** Takes one extension header, whole. */
  private take(view: DataView, kind: number, here: number, behind: number, first: number, link: number): Fault {
    switch (kind) {
      case NEXT_HEADER.HOP_BY_HOP:
        this.has |= HAS_EXTENSION.HOP_BY_HOP;
        return here === first
          ? this.checkOptions(view, here, behind)
          : this.refuse(FAULT.IPV6_HOP_BY_HOP, HEADER, link);
      case NEXT_HEADER.DESTINATION:
        this.has |= HAS_EXTENSION.DESTINATION; // the destination's alone
        return FAULT.NONE;
      case NEXT_HEADER.ROUTING:
        this.has |= HAS_EXTENSION.ROUTING;
        // With segments left the packet is on its way to somebody else than rules can know. Type 0 is refused in any case (RFC 5095).
        if (view.getUint8(here + ROUTING_TYPE) === 0)
          return this.refuse(FAULT.IPV6_SOURCE_ROUTE, FIELD, here + ROUTING_TYPE);
        return view.getUint8(here + SEGMENTS_LEFT) === 0 ? FAULT.NONE : FAULT.IPV6_SOURCE_ROUTE;
      case NEXT_HEADER.FRAGMENT:
        if (this.fragmentAt !== 0) return FAULT.IPV6_FRAGMENT;
        this.has |= HAS_EXTENSION.FRAGMENT;
        this.fragmentAt = here;
        this.linkAt = link;
        this.fragment = view.getUint16(here + FRAGMENT6.OFFSET) & (FRAGMENT6_OFFSET | FRAGMENT6_MORE);
        this.identification = view.getInt32(here + FRAGMENT6.IDENTIFICATION);
        return FAULT.NONE;
      case NEXT_HEADER.AH:
        this.has |= HAS_EXTENSION.AH;
        return behind - here < 12 ? FAULT.IPV6_EXTENSION_LENGTH : FAULT.NONE; // RFC 4302 section 2
      default:
        this.has |= HAS_EXTENSION.OTHER;
        return FAULT.NONE;
    }
  }

  /** Hop-by-hop options (RFC 8200 section 4.2, 4.3): those that must be known, by their two high bits, and are not, end the packet. */
  private checkOptions(view: DataView, at: number, end: number): Fault {
    let padding = 0;
    let options = 0;
    for (let i = at + 2; i < end; ) {
      const kind = view.getUint8(i);
      if (kind === OPTION_PAD1) {
        if (++padding > MAX_PADDING) return FAULT.IPV6_HOP_BY_HOP;
        i++;
        continue;
      }
      if (i + 1 >= end) return FAULT.IPV6_HOP_BY_HOP;
      const length = 2 + view.getUint8(i + 1);
      if (i + length > end) return FAULT.IPV6_HOP_BY_HOP;
      if (kind === OPTION_PADN) {
        padding += length;
        if (padding > MAX_PADDING) return FAULT.IPV6_HOP_BY_HOP;
        for (let k = i + 2; k < i + length; k++) if (view.getUint8(k) !== 0) return FAULT.IPV6_HOP_BY_HOP;
      } else {
        padding = 0;
        if (++options > MAX_OPTIONS) return FAULT.IPV6_HOP_BY_HOP;
        if (kind === OPTION_ROUTER_ALERT && length !== 4) return this.refuse(FAULT.IPV6_HOP_BY_HOP, FIELD, i + 1); // RFC 2711
        if (kind >>> 6 !== 0) return this.refuseOption(kind, i);
      }
      i += length;
    }
    return FAULT.NONE;
  }

  /** A jumbogram's length (RFC 2675) is such an option for us. */
  private refuseOption(kind: number, at: number): Fault {
    const fault = kind === OPTION_JUMBO ? FAULT.IPV6_JUMBOGRAM : FAULT.IPV6_OPTION;
    const action = kind >>> 6;
    if (action === 1) return fault;
    this.refuse(fault, OPTION, at);
    this.evenGroups = action === 2;
    return fault;
  }

  /** A first fragment holds all headers (RFC 7112 section 5); fragments but the last end on a boundary of 8, and none reaches too far. */
  private checkFragment(view: DataView, at: number, length: number): Fault {
    if (this.fragment === 0) return FAULT.NONE;
    const offset = this.fragment & FRAGMENT6_OFFSET;
    const isLast = (this.fragment & FRAGMENT6_MORE) === 0;
    const payload = view.getUint16(at + IPV6.PAYLOAD_LENGTH);
    const before = this.fragmentAt - at - IPV6.HEADER_LENGTH;
    const bytes = payload - before - FRAGMENT6.LENGTH;
    if (bytes <= 0) return FAULT.IPV6_FRAGMENT;
    if (!isLast && (bytes & 7) !== 0) return this.refuse(FAULT.IPV6_FRAGMENT, FIELD, at + IPV6.PAYLOAD_LENGTH);
    if (before + offset + bytes > 0xffff)
      return this.refuse(FAULT.IPV6_FRAGMENT, FIELD, this.fragmentAt + FRAGMENT6.OFFSET);
    if (offset !== 0 || length < payload + IPV6.HEADER_LENGTH) return FAULT.NONE;
    return this.length < leastHeader(this.protocol) ? this.refuse(FAULT.IPV6_CHAIN, CHAIN, at) : FAULT.NONE;
  }

  /** The packet ends before its headers do. @param at offset of its first byte */
  private cut(at: number): Fault {
    if ((this.fragment & FRAGMENT6_MORE) !== 0) return this.refuse(FAULT.IPV6_CHAIN, CHAIN, at);
    return FAULT.IPV6_EXTENSION_LENGTH;
  }

  private refuse(fault: Fault, code: number, at: number): Fault {
    this.problem = code;
    this.problemAt = at;
    this.evenGroups = false;
    return fault;
  }
}

/** @returns bytes of the extension header of a kind: of eight or more there are */
function extensionLength(view: DataView, kind: number, at: number): number {
  if (kind === NEXT_HEADER.FRAGMENT) return FRAGMENT6.LENGTH;
  const length = view.getUint8(at + 1);
  return kind === NEXT_HEADER.AH ? (length + 2) << 2 : (length + 1) << 3; // RFC 4302 section 2.2; RFC 6564 section 4
}

/** @returns bytes that a first fragment must have of an upper layer's header */
function leastHeader(protocol: number): number {
  if (protocol === PROTOCOL.TCP) return TCP_LENGTH;
  return protocol === PROTOCOL.UDP || protocol === NEXT_HEADER.ICMPV6 ? UDP_LENGTH : 0;
}
