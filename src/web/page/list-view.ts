// A list as a table: filter, order, a page at a time, anew every few seconds unless it is held still. What the rows are, the lists say.
import type { Rows } from "../messages.ts";
import type { Wanted } from "./ask.ts";
import { button, type Child, make, setText } from "./dom.ts";
import { formatCount } from "./format.ts";

const ROWS = 50;

export interface Column<Row> {
  readonly title: string;
  /** By which the list can be ordered. */
  readonly order?: string;
  readonly isNumber?: boolean;
  /** Text of ours, or an element. */
  cell(row: Row): Child;
}

export interface ListSpec<Row> {
  /** For #id in the address. */
  readonly id: string;
  readonly title: string;
  /** What this is, for who sees it first; it may have numbers in it. */
  about(): string;
  /** What the filter takes, for people. */
  readonly filterHelp: string;
  readonly columns: readonly Column<Row>[];
  /** What is said where nothing is there. */
  readonly empty: string;
  /** What tells one row from all others. */
  key(row: Row): string;
  ask(wanted: Wanted): Promise<Rows<Row>>;
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

export class ListView<Row> {
  readonly panel = make("div", { role: "tabpanel", class: "panel" });
  private readonly filter = make("input", {
    type: "search",
    spellcheck: "false",
    autocomplete: "off",
    maxlength: "200",
  });
  private readonly body = make("tbody");
  private readonly about = make("p", { class: "soft" });
  private readonly says = make("p", { class: "says" });
  private readonly problem = make("p", { class: "problem", role: "alert" });
  private readonly place = make("input", { type: "number", min: "1", class: "page-number" });
  private readonly pages = make("span");
  private readonly holding: HTMLButtonElement;
  private readonly turners: readonly HTMLButtonElement[];
  private readonly heads = new Map<string, HTMLTableCellElement>();
  private readonly shown = new Map<string, Shown<Row>>();
  private sort = "";
  private page = 0;
  private total = 0;
  private isHeld = false;
  private asked = 0;
  private isAsking = false;

  /** @param changed when what is looked at has changed, for the address */
  constructor(
    readonly spec: ListSpec<Row>,
    private readonly changed: () => void,
  ) {
    this.holding = button("Hold still", () => this.hold(), { "aria-pressed": "false" });
    this.turners = [
      button("First", () => this.turn(0)),
      button("Previous", () => this.turn(this.page - 1)),
      button("Next", () => this.turn(this.page + 1)),
      button("Last", () => this.turn(this.lastPage)),
    ];
    this.build();
  }

  /** What is typed into the filter. */
  get words(): string {
    return this.filter.value.trim();
  }

  /** Looks at what somebody chose elsewhere. */
  choose(words: string): void {
    this.filter.value = words;
    this.page = 0;
  }

  focusFilter(): void {
    this.filter.focus();
    this.filter.select();
  }

  hold(): void {
    this.isHeld = !this.isHeld;
    this.holding.setAttribute("aria-pressed", String(this.isHeld));
    setText(this.holding, this.isHeld ? "Go on" : "Hold still");
    if (!this.isHeld) void this.refresh();
  }

  /** Time has passed. */
  tick(): void {
    if (!this.isHeld && !this.isAsking) void this.refresh();
  }

  async refresh(): Promise<void> {
    const mine = ++this.asked;
    this.isAsking = true;
    try {
      const found = await this.spec.ask({ match: this.words, sort: this.sort, offset: this.page * ROWS, limit: ROWS });
      if (mine !== this.asked) return; // something else was asked meanwhile
      if ("problem" in found) this.fail(found.problem);
      else this.take(found);
    } catch (error) {
      if (mine === this.asked) this.fail(error instanceof Error ? error.message : String(error));
    } finally {
      if (mine === this.asked) this.isAsking = false;
    }
  }

  private get lastPage(): number {
    return Math.max(0, Math.ceil(this.total / ROWS) - 1);
  }

  private take({ rows, total }: { readonly rows: readonly Row[]; readonly total: number }): void {
    this.total = total;
    if (rows.length === 0 && total > 0 && this.page > this.lastPage) {
      this.turn(this.lastPage);
      return;
    }
    setText(this.problem, "");
    setText(this.about, this.spec.about());
    this.draw(rows);
    const first = this.page * ROWS;
    const which =
      rows.length === 0 ? "" : `${formatCount(first + 1)}–${formatCount(first + rows.length)} of ${formatCount(total)}`;
    const none = this.words === "" ? this.spec.empty : "Nothing matches the filter.";
    setText(this.says, rows.length === 0 ? none : which);
    this.showPages();
  }

  private fail(problem: string): void {
    setText(this.problem, `✕ ${problem}`);
  }

  private turn(page: number): void {
    this.page = Math.max(0, Math.min(page, this.lastPage));
    this.showPages();
    void this.refresh();
  }

  private showPages(): void {
    const { page, lastPage } = this;
    setText(this.pages, `of ${formatCount(lastPage + 1)}`);
    this.place.max = String(lastPage + 1);
    if (document.activeElement !== this.place) this.place.value = String(page + 1);
    for (const [i, turner] of this.turners.entries()) turner.disabled = i < 2 ? page === 0 : page >= lastPage;
  }

  /** Rows that were there stay the same elements: what is selected, focused or open stays so. */
  private draw(rows: readonly Row[]): void {
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

  /** @param isNumber the largest are wanted first */
  private order(by: string, isNumber: boolean): void {
    const turns = isNumber ? [`-${by}`, by, ""] : [by, `-${by}`, ""];
    this.sort = turns[turns.indexOf(this.sort) + 1] ?? turns[0] ?? "";
    for (const [order, head] of this.heads) {
      const direction = this.sort === order ? "ascending" : this.sort === `-${order}` ? "descending" : "none";
      head.setAttribute("aria-sort", direction);
    }
    this.turn(0);
  }

  private build(): void {
    const { spec } = this;
    setText(this.about, spec.about());
    const help = make("small", { id: `${spec.id}-help` }, spec.filterHelp);
    this.filter.setAttribute("aria-describedby", help.id);
    let waiting: ReturnType<typeof setTimeout> | undefined;
    const search = () => {
      clearTimeout(waiting);
      this.page = 0;
      this.changed();
      void this.refresh();
    };
    this.filter.addEventListener("change", search);
    this.filter.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(search, 400);
    });
    this.place.setAttribute("aria-label", "Page");
    this.place.addEventListener("change", () => this.turn(Number(this.place.value) - 1));
    const heads = spec.columns.map(({ title, order, isNumber }) => {
      const head = make("th", { scope: "col", ...(isNumber && { class: "count" }) });
      if (order === undefined) head.append(title);
      else {
        head.append(button(title, () => this.order(order, isNumber === true), { class: "order" }));
        head.setAttribute("aria-sort", "none");
        this.heads.set(order, head);
      }
      return head;
    });
    if (spec.more !== undefined) heads.push(make("th", { scope: "col" }, spec.more.title));
    const table = make("table", { class: spec.id }, make("thead", {}, make("tr", {}, ...heads)), this.body);
    table.setAttribute("aria-label", spec.title);
    const [first, previous, next, last] = this.turners;
    this.panel.append(
      this.about,
      make("div", { class: "tools" }, make("label", {}, "Filter ", this.filter), this.holding, help),
      this.problem,
      make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": spec.title }, table),
      make(
        "div",
        { class: "pager" },
        this.says,
        make(
          "span",
          { class: "turn" },
          first,
          previous,
          make("label", {}, "Page ", this.place, " ", this.pages),
          next,
          last,
        ),
      ),
    );
  }
}
