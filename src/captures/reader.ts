// Reads the frames of a capture one after the other: `next` takes the next one in hand where the window holds it, and
// `more` goes on reading where it doesn't, so that only blocks of the file are waited for. Frames of other interfaces and
// link types than asked for are counted and passed over.
import { quote } from "../base/quote.ts";
import { CaptureError, CUT_SHORT } from "./error.ts";
import { type CaptureFormat, Oddities } from "./format.ts";
import { FrameInHand, type Resolution } from "./frame.ts";
import { isUsable, LINK_ETHERNET, linkTypeText } from "./link-types.ts";
import { FILE_HEADER_LENGTH, PcapFormat } from "./pcap.ts";
import { type CaptureInterface, choiceText, PcapngFormat } from "./pcapng.ts";
import { type ByteSource, Window } from "./window.ts";

const ANOTHER = "capture on one Ethernet interface, by its name";

export class CaptureReader {
  readonly frame = new FrameInHand();
  readonly window: Window;
  /** The frame's place in its file, from 1, as Wireshark numbers it: others count too. */
  number = 0;
  /** Frames that were in hand. */
  used = 0;
  /** Frames of other link types, by type, and how many of other interfaces. */
  readonly unusable = new Map<number, number>();
  otherInterfaces = 0;
  readonly oddities = new Oddities();
  /** Whether frames of more than one of the file's interfaces were in hand. */
  mixesInterfaces = false;
  /** Why reading ended before the file did; frames before that were whole. */
  error: unknown;
  /** Why the window could not be filled. */
  private fault: unknown;
  private format: CaptureFormat | undefined;
  private pcapng: PcapngFormat | undefined;
  private firstInterface = -1;

  /** @param chosen number or name of the only interface of a pcapng file whose frames are wanted; default: all */
  constructor(
    source: ByteSource,
    private readonly chosen?: string,
  ) {
    this.window = new Window(source);
  }

  /** Of what has been read so far. */
  get resolution(): Resolution {
    return this.format?.resolution ?? "us";
  }

  /** Those that the section in hand describes; none in a classic file. */
  get interfaces(): readonly CaptureInterface[] {
    return this.pcapng?.interfaces ?? [];
  }

  /**
   * Takes the next frame in hand, if the window holds it; the one before it is gone.
   * @returns whether it did; if not, `more` is to be called
   */
  next(): boolean {
    const { format, frame, window } = this;
    if (format === undefined || this.error !== undefined) return false;
    try {
      while (format.next(window, frame)) {
        this.number++;
        if (this.isWanted()) {
          this.used++;
          return true;
        }
      }
    } catch (error) {
      this.error = error;
    }
    return false;
  }

  /** Reads on. @returns whether there is a frame in hand; else the file has ended, or `error` says why not */
  async more(): Promise<boolean> {
    try {
      if (this.format === undefined) await this.begin();
    } catch (error) {
      this.error = error;
      return false;
    }
    while (!this.next()) {
      if (this.window.ended || this.error !== undefined) return this.end();
      await this.fill();
    }
    return true;
  }

  /** What has been read before a fault may still hold frames that are whole: they come first. */
  private async fill(): Promise<void> {
    try {
      await this.window.fill();
    } catch (error) {
      this.fault = error;
    }
  }

  private end(): boolean {
    this.error = this.fault ?? this.error;
    if (this.error === undefined && this.used === 0) this.error = this.uselessness();
    return false;
  }

  private async begin(): Promise<void> {
    const { window } = this;
    window.want(FILE_HEADER_LENGTH);
    await window.fill();
    if (window.left < 4) throw new CaptureError(0, `the file has ${window.left} bytes`, CUT_SHORT);
    if (PcapngFormat.recognises(window)) this.format = this.pcapng = new PcapngFormat(this.oddities);
    else this.format = PcapFormat.begin(window, this.oddities);
    if (this.format === undefined) {
      const magic = window.view.getUint32(window.start).toString(16).padStart(8, "0");
      const remedy = "decompress it, or save it as pcap or pcapng";
      throw new CaptureError(0, `neither pcap nor pcapng begins with ${magic}`, remedy);
    }
  }

  private isWanted(): boolean {
    const { frame, chosen, unusable } = this;
    if (chosen !== undefined && !this.isChosen(chosen)) {
      this.otherInterfaces++;
      return false;
    }
    if (this.isOfUse(frame.linkType)) {
      if (this.firstInterface === -1) this.firstInterface = frame.iface;
      if (this.firstInterface !== frame.iface) this.mixesInterfaces = true;
      return true;
    }
    unusable.set(frame.linkType, (unusable.get(frame.linkType) ?? 0) + 1);
    return false;
  }

  /** Where there are Ethernet frames, others are taken only of an interface that was asked for. */
  private isOfUse(linkType: number): boolean {
    if (linkType === LINK_ETHERNET) return true;
    return isUsable(linkType) && (this.chosen !== undefined || this.pcapng?.hasEthernet !== true);
  }

  private isChosen(chosen: string): boolean {
    const { iface } = this.frame;
    return chosen === String(iface) || chosen === this.pcapng?.interfaces[iface]?.name;
  }

  /** @returns what is wrong with a file that has frames, and none that can be used */
  private uselessness(): CaptureError | undefined {
    const [type] = this.unusable.keys();
    if (type !== undefined) {
      const offset = this.pcapng === undefined ? 20 : 0;
      return new CaptureError(offset, `link type ${linkTypeText(type)} is not Ethernet (1)`, ANOTHER);
    }
    if (this.chosen === undefined || this.otherInterfaces === 0) return undefined;
    const remedy =
      this.pcapng === undefined
        ? "a classic file has only interface 0"
        : `write one of these: ${choiceText(this.pcapng.interfaces)}`;
    return new CaptureError(0, `no frame is of interface ${quote(this.chosen)}`, remedy);
  }
}
