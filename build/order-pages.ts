// Puts those pages of an executable together that the firewall uses (rootfs/hot-pages, found by build/profile-pages.ts), so
// that what is compressed in blocks is unpacked, and held in memory, without the much larger rest that lies between. In memory
// all stays where it was: the executable has more segments, each with a place in the file of its own. A page that the
// list lacks is slower to reach, and that is all.
// Usage: bun build/order-pages.ts EXECUTABLE HOT_PAGES, which changes the executable in place.
import { readFileSync, writeFileSync } from "node:fs";
import {
  ELF_HEADER_LENGTH,
  PAGE,
  PF,
  PROGRAM_HEADER_LENGTH,
  PT,
  readBuildId,
  readSegments,
  type Segment,
  writeHeaders,
} from "./elf.ts";

/** Linux takes no more bytes of program headers (binfmt_elf.c, load_elf_phdrs); before 6.8, without our patch, only 4096. */
const MOST_HEADERS = 65536;

export interface HotPages {
  /** Of the executable that they were found in. */
  readonly buildId: string;
  /** By address / 4096. */
  readonly pages: ReadonlySet<number>;
}

/** Pages that lie together, in memory and in the file. */
interface Run {
  readonly flags: number;
  readonly isHot: boolean;
  readonly address: number;
  /** In the old file. */
  readonly offset: number;
  readonly length: number;
}

/** @param text `build-id HEX`, then lines of a first page and a count, in hexadecimal; # begins a comment */
function parseHotPages(text: string): HotPages {
  const pages = new Set<number>();
  let buildId = "";
  for (const line of text.split("\n")) {
    const [first = "", second = ""] = line.replace(/#.*/, "").trim().split(" ");
    if (first === "build-id") buildId = second;
    else for (let i = 0; i < Number.parseInt(second, 16); i++) pages.add(Number.parseInt(first, 16) + i);
  }
  return { buildId, pages };
}

/** @returns the executable anew. @throws Error when there are too many runs of pages, or it is none that this was made for */
function orderPages(bytes: Buffer, hot: ReadonlySet<number>): Buffer {
  const segments = readSegments(bytes);
  const runs = segments.filter(isLoaded).flatMap((segment) => splitIntoRuns(segment, hot));
  const count = segments.filter((segment) => !isLoaded(segment)).length + runs.length + 1;
  if (ELF_HEADER_LENGTH + count * PROGRAM_HEADER_LENGTH > MOST_HEADERS) throw new Error(`${runs.length} runs of pages`);

  let end = MOST_HEADERS;
  const places = new Map<Run, number>();
  for (const run of [...runs.filter(({ isHot }) => isHot), ...runs.filter(({ isHot }) => !isHot)]) {
    places.set(run, end);
    end += Math.ceil(run.length / PAGE) * PAGE;
  }
  const placeOf = (address: number) => {
    for (const [run, place] of places) {
      if (address >= run.address && address < run.address + run.length) return place + address - run.address;
    }
    return undefined;
  };

  // The kernel wants segments in the order of their addresses, and the program headers in the first of them.
  const lowest = Math.min(...runs.map(({ address }) => address));
  const headers = { flags: PF.READ, offset: 0, address: lowest - MOST_HEADERS, alignment: PAGE };
  const all: Segment[] = [
    ...segments
      .filter((segment) => !isLoaded(segment))
      .map((segment) => moved(segment, headers.address, count, placeOf)),
    { type: PT.LOAD, ...headers, fileLength: MOST_HEADERS, length: MOST_HEADERS },
    ...runs.map((run) => loaded(run, places.get(run) ?? 0)).sort((one, other) => one.address - other.address),
  ];

  const ordered = Buffer.alloc(end);
  writeHeaders(bytes, all).copy(ordered);
  for (const [{ offset, length }, place] of places) bytes.copy(ordered, place, offset, offset + length);
  return ordered;
}

function isLoaded({ type }: Segment): boolean {
  return type === PT.LOAD;
}

/** What is written to stays in one piece, and counts as hot. Of all else whole pages, as the kernel maps them. */
function splitIntoRuns(segment: Segment, hot: ReadonlySet<number>): Run[] {
  const { flags, offset, address, fileLength, length } = segment;
  const before = address % PAGE;
  if (offset % PAGE !== before) throw new Error("a segment is not where its pages are");
  const start = { flags, address: address - before, offset: offset - before };
  if ((flags & PF.WRITE) !== 0) {
    if (fileLength !== length) throw new Error("a segment goes on behind its end in the file");
    return [{ ...start, isHot: true, length: before + fileLength }];
  }
  const runs: Run[] = [];
  const pages = Math.ceil((before + fileLength) / PAGE);
  for (let from = 0, page = 1; page <= pages; page++) {
    const isHot = hot.has(start.address / PAGE + from);
    if (page < pages && hot.has(start.address / PAGE + page) === isHot) continue;
    const [skipped, runLength] = [from * PAGE, (page - from) * PAGE];
    runs.push({ flags, isHot, address: start.address + skipped, offset: start.offset + skipped, length: runLength });
    from = page;
  }
  return runs;
}

function loaded({ flags, address, length }: Run, place: number): Segment {
  return { type: PT.LOAD, flags, offset: place, address, fileLength: length, length, alignment: PAGE };
}

/** A segment that only names a part of others, where that part is now. */
function moved(
  segment: Segment,
  headers: number,
  count: number,
  placeOf: (address: number) => number | undefined,
): Segment {
  if (segment.type === PT.PHDR) {
    const length = count * PROGRAM_HEADER_LENGTH;
    const address = headers + ELF_HEADER_LENGTH;
    return { ...segment, offset: ELF_HEADER_LENGTH, address, fileLength: length, length };
  }
  if (segment.length === 0) return segment;
  const offset = placeOf(segment.address);
  if (offset === undefined) throw new Error(`nothing is loaded at ${segment.address.toString(16)}`);
  return { ...segment, offset };
}

if (import.meta.main) {
  const [executable, list] = process.argv.slice(2);
  if (executable === undefined || list === undefined) throw new Error("usage: order-pages.ts EXECUTABLE HOT_PAGES");
  const bytes = readFileSync(executable);
  const { buildId, pages } = parseHotPages(readFileSync(list, "utf8"));
  if (buildId === readBuildId(bytes)) writeFileSync(executable, orderPages(bytes, pages));
  else {
    console.error(
      `${list} was made for another version of Bun: the image will need more memory and boot more slowly\n` +
        "  make it anew: bun build/profile-pages.ts",
    );
  }
}
