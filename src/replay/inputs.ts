// The captures that a replay reads, merged by time: each stands at its next frame.
import { stat } from "node:fs/promises";
import { plain, shellWord } from "../base/quote.ts";
import { reasonOf } from "../base/reason.ts";
import { CaptureError } from "../captures/error.ts";
import { linkTypeText } from "../captures/link-types.ts";
import { choiceText } from "../captures/pcapng.ts";
import { CaptureReader } from "../captures/reader.ts";
import { CaptureSource } from "../captures/source.ts";
import { FileError } from "./outputs.ts";

/** What stands behind an --in. */
export interface InputName {
  /** The interface's name in the configuration. */
  readonly iface: string;
  /** A file, or "-" for standard input. */
  readonly path: string;
  /** Number or name of the only interface of the file that is meant. */
  readonly chosen?: string;
}

/** @param text CAPTURE or CAPTURE:INTERFACE; a file that is called so comes first */
export async function splitPath(text: string): Promise<Pick<InputName, "path" | "chosen">> {
  const colon = text.lastIndexOf(":");
  const isFile = await stat(text).then(
    () => true,
    () => false,
  );
  if (colon < 1 || colon === text.length - 1 || isFile) return { path: text };
  return { path: text.slice(0, colon), chosen: text.slice(colon + 1) };
}

export class Input {
  /** Whether the reader has a frame in hand. */
  isThere = false;

  private constructor(
    readonly name: InputName,
    /** The interface's number in the settings. */
    readonly iface: number,
    readonly source: CaptureSource,
    readonly reader: CaptureReader,
  ) {}

  /** Opens a capture, and takes its first frame in hand. @throws FileError */
  static async open(name: InputName, iface: number): Promise<Input> {
    const source = await CaptureSource.open(name.path).catch((error: unknown) => fail(name, error));
    const input = new Input(name, iface, source, new CaptureReader(source, name.chosen));
    await input.next();
    return input;
  }

  /** Goes on to the next frame, when it takes waiting. */
  async next(): Promise<void> {
    this.isThere = await this.reader.more();
  }

  /** @returns why not all of it was read, or undefined */
  get failure(): string | undefined {
    const { error } = this.reader;
    if (error === undefined) return undefined;
    return `${plain(this.name.path)}: ${error instanceof CaptureError ? error.message : `can't be read: ${reasonOf(error)}`}`;
  }

  /** @returns what is odd about it, a sentence each */
  warnings(): string[] {
    const { unusable, oddities, interfaces } = this.reader;
    const { path, iface } = this.name;
    const warnings = [
      ...Array.from(unusable, ([type, count]) => `${frames(count)} of link type ${linkTypeText(type)} left out`),
      oddities.lengths > 0 && `${frames(oddities.lengths)} with more bytes than the record tells: taken as captured`,
      oddities.times > 0 && `${frames(oddities.times)} with a second or more behind the point: counted as seconds`,
      oddities.blocks > 0 && `lengths of blocks (${oddities.blocks}) that are no multiple of 4: rounded up`,
      this.reader.mixesInterfaces &&
        `frames of several interfaces, ${choiceText(interfaces)}, all taken as ${iface}'s (choose with ${this.choice()})`,
    ];
    return warnings.filter((warning) => typeof warning === "string").map((warning) => `${plain(path)}: ${warning}`);
  }

  /** How the first interface would be chosen, for people who paste that into a shell. */
  private choice(): string {
    const { path, iface } = this.name;
    const name = this.reader.interfaces[0]?.name;
    const first = name !== undefined && shellWord(name) === name ? name : "0";
    return `--in ${shellWord(`${iface}=${path}:${first}`) ?? `${iface}=FILE:${first}`}`;
  }
}

/** @returns the input with the earliest frame, of several the first; undefined when all have ended */
export function earliest(inputs: readonly Input[]): Input | undefined {
  let first: Input | undefined;
  for (const input of inputs) {
    if (input.isThere && (first === undefined || isBefore(input, first))) first = input;
  }
  return first;
}

function isBefore({ reader: { frame } }: Input, { reader: { frame: other } }: Input): boolean {
  if (frame.seconds !== other.seconds) return frame.seconds < other.seconds;
  return frame.nanoseconds < other.nanoseconds;
}

function frames(count: number): string {
  return `${count} ${count === 1 ? "frame" : "frames"}`;
}

function fail({ path }: InputName, error: unknown): never {
  throw new FileError(`${plain(path)}: can't be read: ${reasonOf(error)}`);
}
