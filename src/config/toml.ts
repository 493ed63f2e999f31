// A TOML document: its values, and the line in which each key, table and array element begins. toml-eslint-parser checks
// the document and keeps the position of everything in it; here its syntax tree becomes values.
import { type AST, ParseError, parseTOML } from "toml-eslint-parser";

export type TomlValue = string | bigint | number | boolean | TomlDate | TomlValue[] | TomlTable;

/** Has no prototype: a key may have any name. */
export interface TomlTable {
  [key: string]: TomlValue;
}

/** A key is a string, an array's element a number from 0. */
type Step = string | number;
export type Path = readonly Step[];

/** A table or an array, by its keys or elements. */
type Parts = Record<Step, TomlValue>;

/** A date, a time or both, as it is written. */
export class TomlDate {
  constructor(private readonly text: string) {}

  toString(): string {
    return this.text;
  }
}

/** Why a text is not accepted. */
export class TomlError extends Error {
  /** @param line and column, both from 1, of what is wrong */
  constructor(
    message: string,
    readonly line: number,
    readonly column: number,
  ) {
    super(message);
  }
}

/** @throws TomlError */
export function parseToml(text: string): TomlDocument {
  try {
    return new TomlDocument(parseTOML(text.replace(/^\ufeff/, "")));
  } catch (error) {
    if (error instanceof ParseError) throw new TomlError(error.message, error.lineNumber, error.column + 1);
    if (error instanceof RangeError) throw new TomlError("brackets are nested too deeply", 1, 1); // the stack's end
    throw error;
  }
}

export class TomlDocument {
  readonly values: TomlTable = emptyTable();
  /** Of each table and array: the line, from 1, of each key or element. */
  private readonly lines = new Map<Parts, Map<Step, number>>();

  constructor({ body: [document] }: AST.TOMLProgram) {
    for (const part of document.body) {
      if (part.type === "TOMLTable") this.section(part);
      else this.pair(this.values, part);
    }
  }

  /** @returns the line, from 1, of a path, or of the innermost part of it that is in the document */
  lineOf(path: Path): number {
    let line = 1;
    let parts: Parts | undefined = this.values;
    for (const step of path) {
      const known: number | undefined = parts && this.lines.get(parts)?.get(step);
      if (parts === undefined || known === undefined) break;
      line = known;
      parts = partsOf(parts[step]);
    }
    return line;
  }

  /** A header and what is below it. */
  private section({ kind, resolvedKey, body, loc }: AST.TOMLTable): void {
    let parts: Parts = this.values;
    for (const [i, step] of resolvedKey.entries()) {
      const isHeaded = kind === "standard" && i === resolvedKey.length - 1;
      this.note(parts, step, loc.start.line, isHeaded);
      parts = enter(parts, step, typeof resolvedKey[i + 1] === "number" ? [] : emptyTable());
    }
    for (const pair of body) this.pair(parts, pair);
  }

  private pair(table: Parts, { key: { keys }, value }: AST.TOMLKeyValue): void {
    let parts = table;
    for (const [i, key] of keys.entries()) {
      const name = key.type === "TOMLBare" ? key.name : key.value;
      this.note(parts, name, key.loc.start.line);
      if (i < keys.length - 1) parts = enter(parts, name, emptyTable());
      else parts[name] = this.value(value);
    }
  }

  private value(node: AST.TOMLContentNode): TomlValue {
    if (node.type === "TOMLValue") return scalar(node);
    if (node.type === "TOMLInlineTable") {
      const table = emptyTable();
      for (const pair of node.body) this.pair(table, pair);
      return table;
    }
    const array = node.elements.map((element) => this.value(element));
    for (const [i, { loc }] of node.elements.entries()) this.note(array as unknown as Parts, i, loc.start.line);
    return array;
  }

  /** What is named more than once begins where it is named first, but a table with a header there. */
  private note(parts: Parts, step: Step, line: number, isHeaded = false): void {
    const lines = this.lines.get(parts) ?? new Map<Step, number>();
    this.lines.set(parts, lines);
    if (isHeaded || !lines.has(step)) lines.set(step, line);
  }
}

export function isTable(value: TomlValue | undefined): value is TomlTable {
  return typeof value === "object" && Object.getPrototypeOf(value) === null;
}

function emptyTable(): TomlTable {
  return Object.create(null);
}

/** @returns the table or array there; an empty one, put there, where there is none yet */
function enter(parts: Parts, step: Step, empty: TomlTable | TomlValue[]): Parts {
  const known = partsOf(parts[step]);
  if (known !== undefined) return known;
  parts[step] = empty;
  return empty as Parts;
}

function partsOf(value: TomlValue | undefined): Parts | undefined {
  return Array.isArray(value) || isTable(value) ? (value as Parts) : undefined;
}

function scalar(node: AST.TOMLValue): TomlValue {
  switch (node.kind) {
    case "integer":
      return node.bigint;
    case "string":
    case "float":
    case "boolean":
      return node.value;
    default:
      return new TomlDate(node.datetime);
  }
}
