// Reading a TOML document strictly: each key is taken with what it must be, what nobody took is unknown, and every
// problem is kept with its line, so that a user sees all of them at once. What the keys mean is config.ts's business.
import { quote } from "../base/quote.ts";
import { isTable, type Path, parseToml, type TomlDocument, TomlError, type TomlTable, type TomlValue } from "./toml.ts";

export { isTable, type TomlTable, type TomlValue };

/** A value, or what is wrong with it: the end of a sentence that begins with the key and the value. */
export type Reading<T> = { readonly ok: true; readonly value: T } | Misread;

interface Misread {
  readonly ok: false;
  readonly problem: string;
  /** In place of the usual one, an example of the key. */
  readonly remedy?: string | undefined;
}

interface Problem {
  readonly line: number;
  readonly text: string;
}

/** A document's problems, each with its line. */
export class Report {
  private readonly problems: Problem[] = [];
  private readonly doubts: Problem[] = [];
  private document: TomlDocument | undefined;

  constructor(readonly file: string) {}

  /** @returns the document's top table, or undefined after reporting why it is no TOML. */
  parse(text: string): TomlTable | undefined {
    try {
      this.document = parseToml(text);
      return this.document.values;
    } catch (error) {
      if (!(error instanceof TomlError)) throw error;
      this.problems.push({
        line: error.line,
        text: `column ${error.column}: not TOML: ${error.message} (${remedyFor(error)})`,
      });
      return undefined;
    }
  }

  /** @param where the part of the configuration, as its user calls it: `client "work"` */
  add(path: Path, where: string, problem: string): void {
    this.problems.push({ line: this.line(path), text: `${where}: ${problem}` });
  }

  /** As `add`, of what is allowed but hardly meant. */
  warn(path: Path, where: string, problem: string): void {
    this.doubts.push({ line: this.line(path), text: `${where}: ${problem}` });
  }

  line(path: Path): number {
    return this.document?.lineOf(path) ?? 1;
  }

  /** @returns `file:line: where: what is wrong (how to write it)`, by line. */
  errors(): string[] {
    return this.format(this.problems, "");
  }

  /** @returns as `errors`, with the word "warning" before `where` */
  warnings(): string[] {
    return this.format(this.doubts, "warning: ");
  }

  private format(problems: readonly Problem[], kind: string): string[] {
    return problems
      .toSorted((one, other) => one.line - other.line)
      .map(({ line, text }) => `${this.file}:${line}: ${kind}${text}`);
  }
}

/** One table of the document, whose keys are read one by one. */
export class Table {
  private readonly known: string[] = [];

  constructor(
    readonly report: Report,
    readonly values: TomlTable,
    readonly path: Path,
    public where: string,
  ) {}

  has(key: string): boolean {
    return Object.hasOwn(this.values, key);
  }

  /**
   * @param read what the value must be
   * @param example how to write the value, in TOML
   * @returns the value, or undefined if it isn't there or, reported, wrong
   */
  optional<T>(key: string, read: (value: TomlValue) => Reading<T>, example: string): T | undefined {
    this.known.push(key);
    const value = this.values[key];
    if (value === undefined) return undefined;
    const reading = read(value);
    if (reading.ok) return reading.value;
    this.problem(key, sentence(key, value, reading, example));
    return undefined;
  }

  /** As `optional`, and its absence is reported. */
  required<T>(key: string, read: (value: TomlValue) => Reading<T>, example: string): T | undefined {
    if (!this.has(key)) this.problem(key, `${key} is missing (write ${key} = ${example})`);
    return this.optional(key, read, example);
  }

  /** @returns an array's elements; none if it isn't there or, reported, no array. */
  elements(key: string, example: string): TomlValue[] {
    return this.optional(key, readArray, example) ?? [];
  }

  /** @returns what could be read of an array's elements, each of which must be what `read` reads; `example` is an array. */
  each<T>(key: string, read: (value: TomlValue) => Reading<T>, example: string): T[] {
    return this.elements(key, example).flatMap((value, i) => {
      const reading = read(value);
      if (reading.ok) return [reading.value];
      this.problem([key, i], sentence(key, value, reading, example));
      return [];
    });
  }

  /** Reports a key or an array's element, or the table's beginning where the key is missing. */
  problem(at: string | Path, problem: string): void {
    this.report.add([...this.path, ...(typeof at === "string" ? [at] : at)], this.where, problem);
  }

  /** As `problem`, of what is allowed but hardly meant. */
  warning(at: string | Path, problem: string): void {
    this.report.warn([...this.path, ...(typeof at === "string" ? [at] : at)], this.where, problem);
  }

  /** Reports the keys that nobody has asked for. To be called last. */
  finish(): void {
    for (const key of Object.keys(this.values)) {
      if (!this.known.includes(key)) {
        this.problem(key, `unknown key ${quote(key)} (known: ${this.known.join(", ")})`);
      }
    }
  }
}

function sentence(key: string, value: TomlValue, { problem, remedy }: Misread, example: string): string {
  return `${key} ${show(value)} ${problem} (${remedy ?? `write ${key} = ${example}`})`;
}

function remedyFor({ message }: TomlError): string {
  if (message.includes("multiple times")) return "write it once; of sections, only [[client]] and [[forward]] repeat";
  return 'write key = "text", key = 5 or key = ["one", "another"], each in a line of its own';
}

export function good<T>(value: T): Reading<T> {
  return { ok: true, value };
}

export function bad(problem: string, remedy?: string): Misread {
  return { ok: false, problem, remedy };
}

/** @returns a value as an error shows it: short, and in one line. */
export function show(value: TomlValue): string {
  if (typeof value === "string") return quote(value);
  if (Array.isArray(value)) return "[…]";
  if (isTable(value)) return "{…}";
  return String(value);
}

function readArray(value: TomlValue): Reading<TomlValue[]> {
  return Array.isArray(value) ? good(value) : bad("is not an array");
}
