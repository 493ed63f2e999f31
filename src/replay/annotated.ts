// The capture file with notes that a replay writes: what came in and what was sent, in one pcapng file with all interfaces, so that
// Wireshark shows both sides of the firewall and why.
import { DIRECTION } from "../captures/frame.ts";
import type { PcapngWriter } from "../captures/pcapng-writer.ts";
import { type ArpSummary, type FrameSummary, type IpSummary, isArp, summarise } from "../captures/summary.ts";
import { portText } from "../captures/summary-text.ts";
import { ownText, PASSED, verdictAction } from "../control/captures/packet-notes.ts";
import type { Settings } from "../dataplane/settings.ts";
import type { Passage, SentFrame, Witness } from "./passages.ts";

export class AnnotatedCapture implements Witness {
  constructor(
    private readonly writer: PcapngWriter,
    private readonly settings: Settings,
  ) {}

  passage(passage: Passage): void {
    const { iface, seconds, nanoseconds, bytes, original, verdict, reasons, packetId, code, sent } = passage;
    const before = summarise(bytes, 0, bytes.length);
    const packet = sent.find(({ isPacket }) => isPacket);
    const changes = packet === undefined ? [] : changesOf(before, summaryOf(packet));
    const told = [verdict, ...reasons];
    this.writer.add(iface, seconds, nanoseconds, bytes, 0, bytes.length, original, {
      direction: DIRECTION.INBOUND,
      comment: [...told, ...changes].join("; "),
      packetId,
      verdict: verdictAction(code),
    });
    for (const frame of sent) this.add(frame, passage, before);
  }

  later(sent: SentFrame, passage: Passage | undefined): void {
    this.add(sent, passage, passage && summarise(passage.bytes, 0, passage.bytes.length));
  }

  /** @param before what was received, whereof or because of which this is sent */
  private add(sent: SentFrame, passage: Passage | undefined, before: FrameSummary | undefined): void {
    const { iface, seconds, nanoseconds, bytes, length, isPacket } = sent;
    const direction = DIRECTION.OUTBOUND;
    const isOwn = passage === undefined || before === undefined || !isPacket;
    const comment = isOwn ? ownText(this.cause(passage)) : this.passedText(sent, passage, before);
    const note = isOwn ? { direction, comment } : { direction, comment, packetId: passage.packetId, verdict: PASSED };
    this.writer.add(iface, seconds, nanoseconds, bytes, 0, bytes.length, length, note);
  }

  private passedText(sent: SentFrame, passage: Passage, before: FrameSummary): string {
    return [`sent on, of ${this.cause(passage)}`, ...passage.reasons, ...changesOf(before, summaryOf(sent))].join("; ");
  }

  /** `eth0 #3 (dropped: refused by rules)` */
  private cause(passage: Passage | undefined): string {
    return passage === undefined
      ? ""
      : `${this.settings.interfaces[passage.iface].name} #${passage.number} (${passage.verdict})`;
  }
}

function summaryOf({ bytes }: SentFrame): FrameSummary {
  return summarise(bytes, 0, bytes.length);
}

/** @returns what the firewall has rewritten, but MAC addresses and checksums: `source 10.137.0.10:5000 -> 192.0.2.254:5000` */
function changesOf(before: FrameSummary, after: FrameSummary): string[] {
  const [one, other] = [ipOf(before.packet), ipOf(after.packet)];
  if (one === undefined || other === undefined) return [];
  const pairs: readonly (readonly [name: string, before: string, after: string])[] = [
    ["source", portText(one.source, one.sourcePort), portText(other.source, other.sourcePort)],
    ["destination", portText(one.destination, one.destinationPort), portText(other.destination, other.destinationPort)],
    ["ICMP identifier", String(one.icmp?.identifier), String(other.icmp?.identifier)],
    ["TTL", String(one.ttl), String(other.ttl)],
  ];
  return pairs.filter(([, was, is]) => was !== is).map(([name, was, is]) => `${name} ${was} -> ${is}`);
}

function ipOf(packet: ArpSummary | IpSummary | undefined): IpSummary | undefined {
  return packet === undefined || isArp(packet) ? undefined : packet;
}
