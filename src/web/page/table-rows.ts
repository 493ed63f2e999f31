// The rows of a list's table: made anew only where they differ, each with what may stand below it.
import { button, type Child, make, setText } from "./dom.ts";

export interface Column<Row> {
  readonly title: string;
  /** By which the list can be ordered. */
  readonly order?: string;
  readonly isNumber?: boolean;
  /** Text of ours, or an element. */
  cell(row: Row): Child;
}

/** What rows are made of. */
export interface RowSpec<Row> {
  readonly columns: readonly Column<Row>[];
  /** What tells one row from all others. */
  key(row: Row): string;
  /** A button at the end of each row, and what it opens below. */
  readonly more?: { readonly title: string; readonly label: string; show(row: Row): Promise<readonly string[]> };
  /** What stands below a row all the time, if anything. */
  note?(row: Row): Child;
}

/** A row that is shown. */
interface Shown<Row> {
  row: Row;
  readonly line: HTMLTableRowElement;
  readonly below: HTMLTableRowElement;
  readonly cells: readonly HTMLElement[];
  isOpen: boolean;
}

export class TableRows<Row> {
  readonly body = make("tbody");
  private readonly shown = new Map<string, Shown<Row>>();

  constructor(private readonly spec: RowSpec<Row>) {}

  /** Rows that were there stay the same elements: what is selected, focused or open stays so. */
  draw(rows: readonly Row[]): void {
    const keys = new Map(rows.map((row) => [this.spec.key(row), row]));
    for (const [key, { line, below }] of this.shown) {
      if (keys.has(key)) continue;
      line.remove();
      below.remove();
      this.shown.delete(key);
    }
    let next = this.body.firstElementChild;
    for (const [key, row] of keys) {
      const shown = this.shown.get(key) ?? this.make(key, row);
      this.fill(shown, row);
      for (const part of [shown.line, shown.below]) {
        if (part === next) next = next.nextElementSibling;
        else this.body.insertBefore(part, next);
      }
    }
  }

  private fill(shown: Shown<Row>, row: Row): void {
    shown.row = row;
    for (const [i, column] of this.spec.columns.entries()) {
      const made = column.cell(row);
      const cell = shown.cells[i];
      if (made instanceof Node) {
        if (cell.childNodes.length !== 1 || !cell.firstChild?.isEqualNode(made)) cell.replaceChildren(made);
      } else setText(cell, made || "");
    }
    if (this.spec.note === undefined || shown.isOpen) return;
    const note = this.spec.note(row) || "";
    shown.below.hidden = note === "";
    shown.below.firstElementChild?.replaceChildren(typeof note === "string" ? make("p", {}, note) : note);
  }

  private make(key: string, row: Row): Shown<Row> {
    const { columns, more } = this.spec;
    const cells = columns.map(({ isNumber }) => make("td", isNumber ? { class: "count" } : {}));
    const width = String(columns.length + (more === undefined ? 0 : 1));
    const below = make("tr", { class: "below" }, make("td", { colspan: width }));
    below.hidden = true;
    const line = make("tr", {}, ...cells);
    const shown: Shown<Row> = { row, line, below, cells, isOpen: false };
    if (more !== undefined) {
      const opener = button(more.label, () => void this.open(shown, opener), { "aria-expanded": "false" });
      line.append(make("td", {}, opener));
    }
    this.shown.set(key, shown);
    return shown;
  }

  private async open(shown: Shown<Row>, opener: HTMLButtonElement): Promise<void> {
    shown.isOpen = !shown.isOpen;
    opener.setAttribute("aria-expanded", String(shown.isOpen));
    shown.below.hidden = !shown.isOpen;
    if (!shown.isOpen || this.spec.more === undefined) return;
    const cell = shown.below.firstElementChild;
    cell?.replaceChildren("…");
    let lines: readonly string[];
    try {
      lines = await this.spec.more.show(shown.row);
    } catch (error) {
      lines = [error instanceof Error ? error.message : String(error)];
    }
    cell?.replaceChildren(...lines.map((line) => make("p", { class: "why" }, line)));
  }
}
