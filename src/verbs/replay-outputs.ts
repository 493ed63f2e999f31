// What `firebreak replay` writes beside its lines: a capture for each interface, or one with both sides and notes, and a page.
import { join } from "node:path";
import { plain } from "../base/quote.ts";
import type { Resolution } from "../captures/frame.ts";
import { PcapngWriter } from "../captures/pcapng-writer.ts";
import { CaptureWriter } from "../captures/writer.ts";
import type { Settings } from "../dataplane/settings.ts";
import { pageHtml } from "../learning/page.ts";
import { Story } from "../learning/story.ts";
import { AnnotatedCapture } from "../replay/annotated.ts";
import { makeDirectory, type OutputName, Outputs } from "../replay/outputs.ts";
import { Passages, type Witness } from "../replay/passages.ts";
import type { Totals } from "../replay/report.ts";

/** What the command line asks for: at least one of the two. */
export interface Wanted {
  /** A directory, or a file with both sides and notes. */
  readonly out: string | undefined;
  /** A page. */
  readonly html: string | undefined;
}

export class Recording {
  /** What is sent, by interface, where it goes to a directory. */
  writers: readonly CaptureWriter[] = [];
  /** Who wants to know what was sent because of what. */
  passages: Passages | undefined;
  private readonly outputs: Outputs;
  private story: Story | undefined;
  private annotated: PcapngWriter | undefined;
  private writePage: ((bytes: Buffer) => void) | undefined;

  /** @param interfaces names @param inputs paths that are read @throws OverwriteError, FileError */
  constructor(
    private readonly wanted: Wanted,
    interfaces: readonly string[],
    private readonly inputs: readonly string[],
    config: string,
  ) {
    this.outputs = new Outputs(outputNames(wanted, interfaces), [config, ...inputs]);
  }

  /** Begins all files. @throws FileError */
  open(settings: Settings, resolution: Resolution): void {
    const { out, html } = this.wanted;
    if (out !== undefined && !isCaptureFile(out)) makeDirectory(out);
    const writes = this.outputs.open();
    if (html !== undefined) this.writePage = writes.pop();
    const witnesses: Witness[] = [];
    if (out !== undefined && isCaptureFile(out)) {
      const names = settings.interfaces.map(({ name }) => name);
      this.annotated = new PcapngWriter(names, resolution, writes[0]);
      witnesses.push(new AnnotatedCapture(this.annotated, settings));
    } else {
      this.writers = writes.map((write) => new CaptureWriter(resolution, write));
    }
    if (html !== undefined) {
      this.story = new Story();
      witnesses.push(this.story);
    }
    if (witnesses.length > 0) this.passages = new Passages(witnesses);
  }

  /** Removes what is not whole. */
  discard(): void {
    this.outputs.discard();
  }

  /** Writes the rest, and puts all files in their places. @throws FileError */
  finish(settings: Settings, totals: Totals): void {
    for (const writer of this.writers) writer.flush();
    this.annotated?.flush();
    if (this.story !== undefined) this.writePage?.(Buffer.from(pageHtml(this.story, settings, totals, this.inputs)));
    this.outputs.finish();
  }
}

function outputNames({ out, html }: Wanted, interfaces: readonly string[]): OutputName[] {
  const page: OutputName[] = html === undefined ? [] : [{ path: html, asked: `--html ${plain(html)}`, kind: "file" }];
  if (out === undefined) return page;
  const asked = `--out ${plain(out)}`;
  if (isCaptureFile(out)) return [{ path: out, asked, kind: "file" }, ...page];
  return [
    ...interfaces.map((name): OutputName => ({ path: join(out, `${name}.pcap`), asked, kind: "directory" })),
    ...page,
  ];
}

/** Whether --out names one file with both sides and notes, and not a directory. */
function isCaptureFile(out: string): boolean {
  return out.endsWith(".pcapng");
}
