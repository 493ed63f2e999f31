// One capture of the running firewall: takes frames out of its ring, and makes of them pieces of a pcapng file with notes, as those that
// replay writes.
import { DIRECTION } from "../../captures/frame.ts";
import { LONGEST_COMMENT, type PacketNote, PcapngWriter } from "../../captures/pcapng-writer.ts";
import { type CaptureConsumer, type CaptureFacts, WHAT } from "../../dataplane/io/capture-ring.ts";
import type { Settings } from "../../dataplane/settings.ts";
import { FLOW, type FlowRecords } from "../../dataplane/tables/flow-records.ts";
import type { Flow } from "../../dataplane/types.ts";
import { VERDICT, type Verdict } from "../../dataplane/verdict.ts";
import { monotonicTime } from "../../linux/clock.ts";
import { flowText } from "../views/flow-text.ts";
import { flowWords, ownText, PASSED, ruleOfText, verdictAction, verdictText } from "./packet-notes.ts";

/** Bytes of a piece, but for its last frame and that one's comment: it must fit an item of the channel. */
const PIECE = 160 * 1024;
/** Comments that are kept: those of frames that are alike are the same. */
const COMMENTS_KEPT = 4096;

/** A comment, and whose it is. */
interface Comment {
  readonly facts: CaptureFacts;
  readonly flowRecord: Int32Array;
  readonly text: Uint8Array;
}

/** Whole blocks of a pcapng file. */
export interface CapturePiece {
  readonly bytes: Uint8Array;
  /** Frames in it; and how many before or among them were lost. */
  readonly frames: number;
  readonly lost: number;
  /** Section and all interfaces, where a piece has more of these than any before: what another file has to begin with. */
  readonly head?: Uint8Array;
}

export class LiveCapture {
  private names: readonly string[];
  private readonly writer: PcapngWriter;
  private readonly comments = new Map<number, Comment>();
  private isFirst = true;
  private unsaid = 0;
  /** ms of Unix time at zero of the frames' clock: as it is now, for the clock may be set. */
  private epoch = 0;

  /**
   * @param flow the record that the consumer has read last
   * @param settings in force
   * @param settingsOf a number that records have; those that were in force before any others have none
   * @param client whose frames are meant, if it is one's: numbers of clients may have changed since
   * @param end ends it
   */
  constructor(
    private readonly consumer: CaptureConsumer,
    private readonly flow: FlowRecords,
    private readonly settings: Settings,
    private readonly settingsOf: (number: number) => Settings | undefined,
    private readonly client: string | undefined,
    private readonly end: () => Promise<void>,
  ) {
    this.names = settings.interfaces.map(({ name }) => name);
    this.writer = new PcapngWriter(this.names, "ns", undefined, PIECE);
  }

  /** @param most frames @returns what has come since; undefined if that is nothing. The first piece is the file's head */
  take(most = Number.POSITIVE_INFINITY): CapturePiece | undefined {
    const { consumer, writer } = this;
    const before = this.names.length;
    let frames = 0;
    this.epoch = Date.now() - monotonicTime() / 1e6;
    let lost = consumer.lost();
    this.unsaid += lost;
    while (frames < most && writer.waiting < PIECE && consumer.next()) if (this.add()) frames++;
    const later = consumer.lost();
    lost += later;
    this.unsaid += later;
    if (frames === 0 && lost === 0 && !this.isFirst) return undefined;
    const hasHead = this.isFirst || this.names.length > before;
    this.isFirst = false;
    const head = hasHead ? { head: headOf(this.names) } : undefined;
    return { ...head, frames, lost, bytes: writer.take() };
  }

  /** Ends it: nothing is taken any more. */
  async close(): Promise<void> {
    await this.end();
  }

  /** Writes the frame in hand. @returns false where it is not meant */
  private add(): boolean {
    const { consumer } = this;
    const { facts, bytes, at, captured, original } = consumer;
    const settings = this.settingsOf(facts.settings) ?? this.settings;
    if (this.client !== undefined && settings.clients[facts.client]?.name !== this.client) return false;
    const time = this.epoch + facts.time;
    const seconds = Math.floor(time / 1000);
    const nanoseconds = Math.floor((time - seconds * 1000) * 1e6);
    this.writer.add(
      this.placeOf(facts, settings),
      seconds,
      nanoseconds,
      bytes,
      at,
      captured,
      original,
      this.note(settings),
    );
    return true;
  }

  private placeOf({ iface }: CaptureFacts, settings: Settings): number {
    const name = settings.interfaces[iface]?.name ?? "?";
    const place = this.names.indexOf(name);
    if (place >= 0) return place;
    this.writer.describeInterface(name);
    this.names = [...this.names, name];
    return this.names.length - 1;
  }

  private note(settings: Settings): PacketNote {
    const { facts } = this.consumer;
    const isSent = (facts.what & WHAT.SENT) !== 0;
    const isPacket = (facts.what & WHAT.PACKET) !== 0;
    const dropCount = this.unsaid > 0 ? this.unsaid : undefined;
    this.unsaid = 0;
    return {
      direction: isSent ? DIRECTION.OUTBOUND : DIRECTION.INBOUND,
      comment: this.comment(settings),
      packetId: facts.packet === 0 ? undefined : facts.packet,
      verdict:
        isSent && !isPacket
          ? undefined
          : isSent && !isLost(facts.verdict)
            ? PASSED
            : verdictAction(facts.verdict as Verdict),
      dropCount,
    };
  }

  private comment(settings: Settings): Uint8Array {
    const { facts, flowRecord } = this.consumer;
    const key = ((facts.flow + 1) * WHATS + facts.what) * VERDICTS + facts.verdict;
    const known = this.comments.get(key);
    if (known !== undefined && isSame(known.facts, facts) && hasSameEnds(known.flowRecord, flowRecord))
      return known.text;
    if (this.comments.size >= COMMENTS_KEPT) this.comments.clear();
    const text = Buffer.from(this.commentText(settings)).subarray(0, LONGEST_COMMENT);
    this.comments.set(key, { facts: { ...facts }, flowRecord: flowRecord.slice(), text });
    return text;
  }

  private commentText({ clients, uplink }: Settings): string {
    const { facts } = this.consumer;
    const client = clients[facts.client]?.name;
    const parts = [whatText(facts)];
    if (facts.rule >= 0 && client !== undefined) parts.push(ruleOfText(facts.rule, client));
    else if (client !== undefined) parts.push(`client ${client}`);
    if (facts.flow >= 0) {
      this.flow.setExternal(uplink);
      parts.push(flowWords(flowText(this.flow, 0 as Flow)));
    }
    if ((facts.what & WHAT.UNCUT) !== 0) parts.push("to be cut into segments by the interface");
    else if ((facts.what & WHAT.UNSUMMED) !== 0) parts.push("its checksum is left to the interface");
    return parts.join("; ");
  }
}

const VERDICTS = 256;
const WHATS = 256;

/** Whether what a comment is made of is the same, beside the flow's ends. */
function isSame(one: CaptureFacts, other: CaptureFacts): boolean {
  return one.rule === other.rule && one.client === other.client && one.settings === other.settings;
}

/** Words of a flow's record that say who it is between. */
const ENDS = [FLOW.SOURCE, FLOW.DESTINATION, FLOW.PORTS, FLOW.BACK_SOURCE, FLOW.BACK_PORTS];

function hasSameEnds(one: Int32Array, other: Int32Array): boolean {
  for (let i = 0; i < ENDS.length; i++) if (one[ENDS[i]] !== other[ENDS[i]]) return false;
  return true;
}

function headOf(names: readonly string[]): Uint8Array {
  return new PcapngWriter(names, "ns", undefined, 0).take();
}

/** @returns what became of it, as replay's captures have it */
function whatText({ what, verdict }: CaptureFacts): string {
  if ((what & WHAT.SENT) === 0) return verdictText(verdict);
  if ((what & WHAT.PACKET) === 0)
    return ownText(verdict === VERDICT.FORWARDED ? "" : `one that was ${verdictText(verdict)}`);
  if (isLost(verdict)) return verdictText(verdict);
  return (what & WHAT.WAITED) === 0 ? "sent on" : "sent on, after it has waited";
}

/** Whether it was lost when it was to be sent. */
function isLost(verdict: number): boolean {
  return verdict === VERDICT.EGRESS_FULL || verdict === VERDICT.EGRESS_DOWN || verdict === VERDICT.EGRESS_REFUSED;
}
