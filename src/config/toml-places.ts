// In which line of a TOML document each key, table and array element stands, which the parser doesn't tell. It reads
// documents that the parser has accepted, so it skips values instead of checking them.
import { parse } from "smol-toml";

/** A key is a string, an array's element a number from 0. */
export type Path = readonly (string | number)[];

export interface Place {
  /** From 1: where the key or element begins; for a table with a header, the header's line. */
  line: number;
  readonly children: Map<string | number, Place>;
}

/** @param text a valid TOML document; of any other, the result means nothing. */
export function tomlPlaces(text: string): Place {
  return new Scanner(text).document();
}

/** @returns the line of a path, or of the innermost part of it that is in the document. */
export function lineOf(root: Place, path: Path): number {
  let place = root;
  for (const step of path) {
    const next = place.children.get(step);
    if (next === undefined) break;
    place = next;
  }
  return place.line;
}

class Scanner {
  private at = 0;
  private line = 1;
  private counted = 0;

  constructor(private readonly text: string) {}

  document(): Place {
    const root: Place = { line: 1, children: new Map() };
    let table = root;
    if (this.text.startsWith("\ufeff")) this.at++;
    for (this.blank(); this.at < this.text.length; this.blank()) {
      if (this.next() === "[") table = this.header(root);
      else this.pair(table);
    }
    return root;
  }

  private header(root: Place): Place {
    const line = this.here();
    const isElement = this.text.startsWith("[[", this.at);
    this.at += isElement ? 2 : 1;
    let table = root;
    for (const key of this.key()) table = this.child(lastElement(table), key);
    this.at += isElement ? 2 : 1;
    if (isElement) return this.child(table, table.children.size);
    table.line = line;
    return table;
  }

  private pair(table: Place): void {
    let place = table;
    for (const key of this.key()) place = this.child(place, key);
    this.at++; // =
    this.value(place);
  }

  /** A key or a dotted key, up to the `=` or `]` behind it. */
  private key(): string[] {
    const parts: string[] = [];
    for (;;) {
      this.skip(" \t");
      const start = this.at;
      if (this.next() === '"' || this.next() === "'") {
        this.string();
        parts.push(String(parse(`key = ${this.text.slice(start, this.at)}`).key));
      } else {
        this.skipUntil(" \t.=]");
        parts.push(this.text.slice(start, this.at));
      }
      this.skip(" \t");
      if (this.next() !== ".") return parts;
      this.at++;
    }
  }

  private value(place: Place): void {
    this.skip(" \t");
    const first = this.next();
    if (first === "[") this.items("]", () => this.value(this.child(place, place.children.size)));
    else if (first === "{") this.items("}", () => this.pair(place));
    else if (first === '"' || first === "'") this.string();
    else this.skipUntil(",]}#\n");
  }

  /** What stands between brackets, separated by commas. */
  private items(end: string, item: () => void): void {
    this.at++;
    for (this.blank(); this.at < this.text.length && this.next() !== end; this.blank()) {
      item();
      this.blank();
      if (this.next() === ",") this.at++;
    }
    this.at++;
  }

  private string(): void {
    const quote = this.next();
    const isLong = this.text.startsWith(quote.repeat(3), this.at);
    const fence = isLong ? quote.repeat(3) : quote;
    this.at += fence.length;
    while (this.at < this.text.length && !this.text.startsWith(fence, this.at)) {
      this.at += quote === '"' && this.next() === "\\" ? 2 : 1;
    }
    this.at += fence.length;
    if (isLong) this.skip(quote); // a long string may end in quotes of its own, before the fence
  }

  /** White space, line ends and comments. */
  private blank(): void {
    for (this.skip(" \t\r\n"); this.next() === "#"; this.skip(" \t\r\n")) this.skipUntil("\n");
  }

  private next(): string {
    return this.text.charAt(this.at);
  }

  private skip(any: string): void {
    while (this.at < this.text.length && any.includes(this.next())) this.at++;
  }

  private skipUntil(any: string): void {
    while (this.at < this.text.length && !any.includes(this.next())) this.at++;
  }

  private child(parent: Place, step: string | number): Place {
    const known = parent.children.get(step);
    if (known !== undefined) return known;
    const place: Place = { line: this.here(), children: new Map() };
    parent.children.set(step, place);
    return place;
  }

  private here(): number {
    for (; this.counted < this.at; this.counted++) if (this.text[this.counted] === "\n") this.line++;
    return this.line;
  }
}

/** In a header, the name of an array of tables means its last element. */
function lastElement(place: Place): Place {
  return place.children.get(place.children.size - 1) ?? place;
}
