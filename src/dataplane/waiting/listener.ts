// Reports of the groups that we listen to, the solicited-node groups of our own addresses, to who forwards to groups (RFC 2710, RFC
// 3810): else a bridge that looks at reports keeps solicitations from us. On links of many hosts; between qubes nobody asks.
import { ETHERNET, ETHERTYPE } from "../../wire/ethernet.ts";
import { HAS_EXTENSION } from "../../wire/header-chain.ts";
import { IPV6, isUnspecified6 } from "../../wire/ipv6.ts";
import {
  ALL_MLD2_ROUTERS,
  CHANGE_TO_EXCLUDE,
  ListenerQuery,
  MODE_IS_EXCLUDE,
  writeReport1,
  writeReport2,
} from "../../wire/mld.ts";
import { groupMacHead, groupMacTail, isSolicitedGroup, solicitedWord } from "../../wire/ndp.ts";
import { type AddressBook, NO_NUMBER } from "../address-book.ts";
import { SHARE } from "../line-shares.ts";
import { beginFrame } from "../own-frames.ts";
import { MAX_INTERFACES, type Ring } from "../ring.ts";
import type { Topology } from "../topology.ts";
import { column, type Iface } from "../types.ts";
import { malformed, VERDICT, type Verdict } from "../verdict.ts";
import type { LinkMessage } from "./link-message.ts";
import type { NeighbourTable } from "./neighbours.ts";
import { isShared, type OwnAddresses } from "./own-addresses.ts";

const IP = ETHERNET.HEADER_LENGTH;

/** RFC 3810 section 9.1: what is new is reported so often, in case one gets lost. */
const ROBUSTNESS = 2;
/** Section 9.12: for so long after a querier of version 1 was heard its version is spoken, in ms. */
const OLDER_QUERIER_MS = 260_000;
/** Groups in one report. */
const AT_ONCE = 32;

export class Listener {
  /** By interface: how often our groups are to be reported as new; 1 where a querier waits; until when version 1 is spoken. */
  private readonly news = column<Iface>(new Uint8Array(MAX_INTERFACES));
  private readonly isAsked = column<Iface>(new Uint8Array(MAX_INTERFACES));
  private readonly oldUntil = column<Iface>(new Float64Array(MAX_INTERFACES));
  /** By interface: of each of our groups the address's last word. */
  private groups: Int32Array[] = [];
  private readonly query = new ListenerQuery();
  private now = 0;

  constructor(
    private readonly ring: Ring,
    private readonly neighbours: NeighbourTable,
    private readonly own: OwnAddresses,
    private readonly book: AddressBook,
  ) {}

  /** Handles a query. It is answered at the next tick: no querier waits for less than a second, and others on the link answer then too. */
  receive({ iface, ip, transport, length, chain }: LinkMessage): Verdict {
    const { query } = this;
    const { view } = this.ring;
    const hasOptions = (chain.has & HAS_EXTENSION.HOP_BY_HOP) !== 0;
    const fault = query.read(view, ip, transport, length, hasOptions);
    if (fault !== 0) return malformed(fault);
    if (!isShared(this.neighbours.topology, iface) || !this.isOurs(iface, query.group)) return VERDICT.ND_NOT_FOR_US;
    if (query.version === 1) this.oldUntil[iface] = this.now + OLDER_QUERIER_MS;
    this.isAsked[iface] = 1;
    return VERDICT.ND_TAKEN;
  }

  /** Whether a query is about all groups, or about one that we listen to. @param at offset of the group */
  private isOurs(iface: Iface, at: number): boolean {
    const { view } = this.ring;
    if (isUnspecified6(view, at)) return true;
    const words = this.groups[iface];
    if (words === undefined || !isSolicitedGroup(view, at)) return false;
    const word = view.getInt32(at + 12);
    for (let i = 0; i < words.length; i++) if (solicitedWord(words[i]) === word) return true;
    return false;
  }

  /** Has our groups on an interface be reported as new ones are. */
  reportAnew(iface: Iface): void {
    this.news[iface] = ROBUSTNESS;
  }

  /** Reports what is to be reported. To be called about once a second. @param now ms of the clock */
  tick(now: number): void {
    this.now = now;
    const { topology } = this.neighbours;
    for (let iface = 0 as Iface; iface < topology.settings.interfaces.length; iface++) {
      if (this.news[iface] === 0 && this.isAsked[iface] === 0) continue;
      const mode = this.news[iface] > 0 ? CHANGE_TO_EXCLUDE : MODE_IS_EXCLUDE;
      if (this.news[iface] > 0) this.news[iface]--;
      this.isAsked[iface] = 0;
      if (topology.isDown[iface] === 0) this.report(iface, mode);
    }
  }

  private report(iface: Iface, mode: number): void {
    const words = this.groups[iface] ?? [];
    if (this.now < this.oldUntil[iface]) {
      for (const word of words) this.send(iface, solicitedWord(word), (view, ip) => writeReport1(view, ip, word));
      return;
    }
    for (let i = 0; i < words.length; i += AT_ONCE) {
      const some = words.subarray(i, i + AT_ONCE);
      this.send(iface, ALL_MLD2_ROUTERS, (view, ip) => writeReport2(view, ip, mode, some));
    }
  }

  /** @param group the last word of the group that it goes to */
  private send(iface: Iface, group: number, write: (view: DataView, ip: number) => number): void {
    const { ring, own } = this;
    const { topology } = this.neighbours;
    const out = beginFrame(ring, topology, iface, groupMacHead(group), groupMacTail(group), ETHERTYPE.IPV6);
    // From the unspecified address as long as the link-local one may not be used (RFC 3590 section 4).
    const linkLocal = own.find(iface, own.linkLocal(iface));
    const mayUse = linkLocal !== undefined && !linkLocal.isTentative && !linkLocal.isDuplicate;
    this.book.write(ring.view, out + IP + IPV6.SOURCE, mayUse ? linkLocal.number : NO_NUMBER);
    const length = write(ring.view, out + IP);
    ring.share = SHARE.OURSELVES;
    ring.send(iface, out, IP + length);
  }

  /** Takes over other numbers of interfaces. @param renumber the new number of each old interface, or a negative one */
  follow(renumber: Int32Array): void {
    const { groups } = this;
    const [news, isAsked, oldUntil] = [this.news, this.isAsked, this.oldUntil].map((values) =>
      Array.from(values as ArrayLike<number>),
    );
    this.groups = [];
    for (let iface = 0 as Iface; iface < MAX_INTERFACES; iface++) {
      this.news[iface] = 0;
      this.isAsked[iface] = 0;
      this.oldUntil[iface] = 0;
    }
    for (const [old, number] of renumber.entries()) {
      if (number < 0) continue;
      const iface = number as Iface;
      this.groups[iface] = groups[old];
      this.news[iface] = news[old];
      this.isAsked[iface] = isAsked[old];
      this.oldUntil[iface] = oldUntil[old];
    }
  }

  /** Takes over which groups are ours, and has them reported where one is new, or the link is. @param isNew whether it is, by interface */
  followInterfaces(topology: Topology, isNew: (iface: Iface) => boolean): void {
    for (let iface = 0 as Iface; iface < topology.settings.interfaces.length; iface++) {
      const words = isShared(topology, iface) ? this.own.on(iface).map(({ number }) => this.book.word(number, 3)) : [];
      const before = this.groups[iface] ?? new Int32Array(0);
      const groups = new Map(words.map((word) => [solicitedWord(word), word]));
      this.groups[iface] = Int32Array.from(groups.values());
      const known = new Set(Array.from(before, solicitedWord));
      const hasNew = [...groups.keys()].some((group) => !known.has(group));
      if (hasNew || (isNew(iface) && groups.size > 0)) this.news[iface] = ROBUSTNESS;
    }
  }
}
