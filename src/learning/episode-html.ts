// One frame's part of the page: a line of three lanes, and behind it why, what was rewritten, and the bytes before and after.
import { formatIp } from "../base/ip.ts";
import { type FrameSummary, type IpSummary, isArp, summarise } from "../captures/summary.ts";
import type { Settings } from "../dataplane/settings.ts";
import { VERDICT, type Verdict } from "../dataplane/verdict.ts";
import { dissect, EXTENSION_LAYERS } from "./dissect.ts";
import { BeforeAndAfter, frameHtml } from "./frames-html.ts";
import { type Html, html } from "./html.ts";
import type { Episode, Leg } from "./story.ts";
import { tell } from "./telling.ts";
import { ARP_WORDS, EXTENSION_WORDS, linkWords, OWN_WORDS, verdictWords } from "./words.ts";

/** Fragments whose bytes are shown. */
const MOST_COPIES = 3;

const WAITING: readonly Verdict[] = [VERDICT.QUEUED, VERDICT.HELD, VERDICT.ANSWER_HELD];
const TAKEN: readonly Verdict[] = [VERDICT.ANSWERED, VERDICT.TAKEN, VERDICT.ARP_TAKEN, VERDICT.ND_TAKEN];

type Lane = "inside" | "outside";

/** What all episodes of a page share. */
export interface Scene {
  readonly settings: Settings;
  /** Seconds since the first frame. */
  moment(leg: Leg): string;
}

/** @param index its place on the page, from 1 */
export function episodeHtml(episode: Episode, index: number, scene: Scene): Html {
  const { came, sent, passedOver } = episode;
  const kind = kindOf(episode.code);
  const copies = sent.filter(({ isPacket }) => isPacket);
  const [left] = copies;
  const both = came !== undefined && left !== undefined ? new BeforeAndAfter(index, came, left) : undefined;
  const title = (what: string, leg: Leg) => `${what} (${placeOf(leg, scene)})`;
  return html`${passedOver > 0 && gapHtml(passedOver)}<li><details class="packet ${kind.name}" id="p${index}"><summary>${lineHtml(
    episode,
    index,
    scene,
  )}</summary><div class="more">${whyHtml(episode)}${both?.changesHtml(ownAddresses(scene))}<div class="frames">${
    both === undefined
      ? came && frameHtml(title("As it came in", came), came)
      : html`${came && both.beforeHtml(title("Before: as it came in", came))}${both.afterHtml(title("After: as it left", left))}`
  }${copies.slice(1, MOST_COPIES).map((leg, i) => frameHtml(title(`After: piece ${i + 2}`, leg), leg))}${
    copies.length > MOST_COPIES && html`<p>And more pieces.</p>`
  }${sent
    .filter(({ isPacket }) => !isPacket)
    .map((leg) =>
      frameHtml(title("The firewall's own frame", leg), leg),
    )}</div>${both?.tableHtml()}</div></details></li>`;
}

/** The firewall's addresses outside, of each family that it has. */
function ownAddresses({ settings: { uplink } }: Scene): string[] {
  return [uplink.address, ...(uplink.ipv6 ? [uplink.ipv6.address] : [])].map(formatIp);
}

export function gapHtml(frames: number): Html {
  return html`<li class="gap">${frames} more ${frames === 1 ? "frame" : "frames"} of these conversations, not shown</li>`;
}

interface Kind {
  readonly name: "passed" | "waits" | "taken" | "dropped" | "own";
  readonly sign: string;
}

function kindOf(code: Verdict | undefined): Kind {
  if (code === undefined) return { name: "own", sign: "•" };
  if (code === VERDICT.FORWARDED) return { name: "passed", sign: "✓" };
  if (WAITING.includes(code)) return { name: "waits", sign: "…" };
  return TAKEN.includes(code) ? { name: "taken", sign: "↩" } : { name: "dropped", sign: "✕" };
}

/** What came in and what was made of it in one row, if that left on the other side; each further frame in a row of its own. */
function lineHtml({ came, sent, code, verdict }: Episode, index: number, scene: Scene): Html {
  const left = sent.find(({ isPacket }) => isPacket);
  const across =
    came === undefined ? sent[0] : left !== undefined && laneOf(came, scene) !== laneOf(left, scene) ? left : undefined;
  const first = came ?? sent[0];
  const waited = across !== undefined && scene.moment(across) !== scene.moment(first);
  const further = sent.filter((leg) => leg !== across);
  return html`<span class="row">${came && html`${cardHtml(came, scene, left)}${arrowHtml(laneOf(came, scene), true)}`}<span class="verdict"><span class="when">${index} · ${scene.moment(
    first,
  )} s</span><strong><span class="sign" aria-hidden="true">${kindOf(code).sign}</span> ${code === undefined ? "the firewall itself" : verdict}</strong>${
    waited && html`<span class="when">sent on at ${scene.moment(across)} s</span>`
  }<span class="look" aria-hidden="true">look inside</span></span>${across && html`${arrowHtml(laneOf(across, scene), false)}${cardHtml(across, scene, came)}`}</span>${further.map(
    (leg) =>
      html`<span class="row further"><span class="verdict"><span class="when">${scene.moment(leg)} s</span>${
        leg.isPacket ? "sent on" : "the firewall itself"
      }</span>${arrowHtml(laneOf(leg, scene), false)}${cardHtml(leg, scene, leg.isPacket ? came : undefined)}</span>`,
  )}`;
}

function laneOf({ iface }: Leg, { settings }: Scene): Lane {
  return iface === settings.uplink.iface ? "outside" : "inside";
}

function placeOf(leg: Leg, scene: Scene): string {
  return `${laneOf(leg, scene)}, ${scene.settings.interfaces[leg.iface].name}`;
}

function arrowHtml(lane: Lane, isComing: boolean): Html {
  const isRight = (lane === "inside") === isComing;
  return html`<span class="arrow ${lane}" aria-hidden="true"><span class="wide">${isRight ? "→" : "←"}</span><span class="narrow">↓</span></span>`;
}

/** @param other the same packet on the other side: what differs is marked */
function cardHtml(leg: Leg, scene: Scene, other: Leg | undefined): Html {
  const data = dissect(leg.bytes).find(({ name }) => name === "Data")?.length ?? 0;
  const missing = leg.length - leg.bytes.length;
  const packet = ipOf(leg);
  const there = other && ipOf(other);
  return html`<span class="card ${laneOf(leg, scene)}"><span class="place">${placeOf(leg, scene)}</span><span class="what">${tell(
    summaryOf(leg),
    data + missing,
  )}</span>${
    packet !== undefined &&
    html`<span class="ends">${endHtml(packet.source, packet.sourcePort, there?.source, there?.sourcePort)} <span aria-label="to">→</span> ${endHtml(
      packet.destination,
      packet.destinationPort,
      there?.destination,
      there?.destinationPort,
    )}</span><span class="small">${packet.source.includes(":") ? "hop limit" : "TTL"} ${markIf(there !== undefined && there.ttl !== packet.ttl, String(packet.ttl))} · ${leg.length} bytes</span>`
  }</span>`;
}

function summaryOf({ bytes }: Leg): FrameSummary {
  return summarise(bytes, 0, bytes.length);
}

function ipOf(leg: Leg): IpSummary | undefined {
  const { packet } = summaryOf(leg);
  return packet === undefined || isArp(packet) ? undefined : packet;
}

function endHtml(address: string, port?: number, otherAddress?: string, otherPort?: number): Html {
  const isOther = otherAddress !== undefined && otherAddress !== address;
  const ending = port !== undefined && html`:${markIf(otherPort !== undefined && otherPort !== port, String(port))}`;
  const isBracketed = port !== undefined && address.includes(":");
  return html`<span class="end">${isBracketed && "["}${markIf(isOther, address)}${isBracketed && "]"}${ending}</span>`;
}

function markIf(isMarked: boolean, text: string): Html {
  return isMarked ? html`<mark>${text}</mark>` : html`${text}`;
}

function whyHtml({ code, verdict, reasons, number, came, sent }: Episode): Html {
  const { packet } = summaryOf(came ?? sent[0]);
  const words = packet && (isArp(packet) ? ARP_WORDS : linkWords(packet));
  const link = words !== undefined && html`<p class="why">${words}</p>`;
  const isExtended = came !== undefined && dissect(came.bytes).some(({ layer }) => EXTENSION_LAYERS.includes(layer));
  const extensions = isExtended && html`<p class="why">${EXTENSION_WORDS}</p>`;
  if (code === undefined) return html`<p class="why">${OWN_WORDS}</p>${link}`;
  return html`<p class="why"><strong>${verdict}</strong>: ${verdictWords(code)}</p>${link}${extensions}<p class="small">${
    reasons.length > 0 && `Decided by: ${reasons.join("; ")}. `
  }Frame ${number} of its capture.</p>`;
}
