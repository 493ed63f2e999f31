// One replay from its first frame to its last: inputs merged by time, each frame to the router or counted as what the real
// router sent, what is sent to the outputs, words to whoever wants them. Memory does not grow with the captures.
import { LINK_ETHERNET, toEthernet } from "../captures/link-types.ts";
import { CaptureReader } from "../captures/reader.ts";
import { CaptureSource } from "../captures/source.ts";
import type { CaptureWriter } from "../captures/writer.ts";
import type { Settings } from "../dataplane/settings.ts";
import { nameOnFrame, VERDICT_NAMES, type Verdict } from "../dataplane/verdict.ts";
import { ETHERNET } from "../wire/ethernet.ts";
import type { Comparison } from "./comparison.ts";
import { earliest, type Input } from "./inputs.ts";
import { NextHops } from "./next-hops.ts";
import { OwnFrames } from "./own-frames.ts";
import type { Passages } from "./passages.ts";
import { type Egress, Player } from "./player.ts";
import { type Handled, SENT_BY_ROUTER, type Totals } from "./report.ts";

export interface Listener {
  /** Of a frame, when it has been handled; left out where nobody wants to know. */
  readonly handled?: ((frame: Handled, player: Player) => void) | undefined;
  /** Before more of a file is read, which may take waiting. @returns whether to go on */
  readonly breathe: () => Promise<boolean>;
}

export class Session {
  private readonly own: OwnFrames;

  constructor(
    private readonly settings: Settings,
    private readonly inputs: readonly Input[],
    /** What is sent, by interface; none where nobody wants it so. */
    private readonly writers: readonly CaptureWriter[],
    /** Who wants to know what was sent because of what. */
    private readonly passages: Passages | undefined,
    private readonly totals: Totals,
    private readonly comparison: Comparison | undefined,
    private readonly listener: Listener,
  ) {
    this.own = new OwnFrames(settings);
  }

  /** Replays all captures to their ends. @param seed as Player has it @returns whether it got there: the listener may not want to go on */
  async run(seed: number): Promise<boolean> {
    const first = earliest(this.inputs);
    if (first === undefined) return true;
    const { seconds, nanoseconds } = first.reader.frame;
    const nextHops = await this.studied();
    const player = new Player(this.settings, seed, nextHops, this.egress(), seconds, nanoseconds);
    for (;;) {
      const input = earliest(this.inputs);
      if (input === undefined) return true;
      this.handle(input, player);
      if (input.reader.next()) continue;
      if (!(await this.listener.breathe())) return false;
      await input.next();
    }
  }

  /** @returns who answers ARP, after a look at what the captures show of that; those that can be read only once show nothing */
  private async studied(): Promise<NextHops> {
    const nextHops = new NextHops(this.settings.interfaces.length, this.own);
    for (const { name, iface, source } of this.inputs) {
      if (source.size === undefined || name.path === "-") continue;
      const again = await CaptureSource.open(name.path);
      await nextHops.study(iface, new CaptureReader(again, name.chosen));
      again.close();
    }
    return nextHops;
  }

  private egress(): Egress {
    const { writers, passages, totals, comparison } = this;
    return {
      sent(iface, seconds, nanoseconds, bytes, at, captured, length, origin) {
        totals.sent[iface]++;
        if (writers.length > 0) writers[iface].add(seconds, nanoseconds, bytes, at, captured, length);
        passages?.sent(iface, seconds, nanoseconds, bytes, at, captured, length, origin);
        comparison?.ours(iface, seconds, nanoseconds, bytes, at, captured);
      },
    };
  }

  private handle({ reader, iface }: Input, player: Player): void {
    const { frame, window } = reader;
    const ours = this.settings.interfaces[iface].mac;
    const hasMacs =
      frame.linkType === LINK_ETHERNET ||
      toEthernet(window, frame, { ours, peer: (address) => player.peer(iface, address) });
    const { at, captured, original } = frame;
    const { bytes } = window;
    player.advance(frame.seconds, frame.nanoseconds);
    const received = !this.own.has(iface, hasMacs, frame.direction, window.view, at, captured);
    let verdict = SENT_BY_ROUTER;
    let code: Verdict | undefined;
    if (received) {
      this.passages?.begin();
      code = player.receive(iface, bytes, at, captured, original);
      this.totals.verdicts[code]++;
      verdict = nameOnFrame(
        VERDICT_NAMES[code],
        captured < ETHERNET.HEADER_LENGTH ? 0 : bytes.readUInt16BE(at + ETHERNET.TYPE),
      );
    } else {
      this.totals.byRouter++;
      const same = this.comparison?.theirs(iface, frame.seconds, frame.nanoseconds, bytes, at, captured, reader.number);
      if (same) verdict = `${SENT_BY_ROUTER}; we sent the same`;
    }
    if (this.listener.handled === undefined && this.passages === undefined) return;
    const handled = { iface, number: reader.number, bytes, at, captured, original, verdict, code, received };
    this.listener.handled?.(handled, player);
    this.passages?.handled(handled, player);
  }
}
