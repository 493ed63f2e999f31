// A list as a table: filter, order, a page at a time, anew every few seconds unless it is held still. What the rows are, the lists say.
import type { Rows } from "../messages.ts";
import type { Wanted } from "./ask.ts";
import { button, make, setText } from "./dom.ts";
import { formatCount } from "./format.ts";
import { type RowSpec, TableRows } from "./table-rows.ts";

/** Rows of a page. */
const ROWS = 50;

export interface ListSpec<Row> extends RowSpec<Row> {
  /** For #id in the address. */
  readonly id: string;
  readonly title: string;
  /** What this is, for who sees it first; it may have numbers in it. */
  about(): string;
  /** What the filter takes, for people. */
  readonly filterHelp: string;
  /** What is said where nothing is there. */
  readonly empty: string;
  ask(wanted: Wanted): Promise<Rows<Row>>;
}

export class ListView<Row> {
  readonly panel = make("div", { role: "tabpanel", class: "panel" });
  private readonly filter = make("input", {
    type: "search",
    spellcheck: "false",
    autocomplete: "off",
    maxlength: "200",
  });
  private readonly about = make("p", { class: "soft" });
  private readonly says = make("p", { class: "says" });
  private readonly problem = make("p", { class: "problem", role: "alert" });
  private readonly place = make("input", { type: "number", min: "1", class: "page-number" });
  private readonly pages = make("span");
  private readonly holding: HTMLButtonElement;
  private readonly turners: readonly HTMLButtonElement[];
  private readonly rows: TableRows<Row>;
  private readonly heads = new Map<string, HTMLTableCellElement>();
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
    this.rows = new TableRows(spec);
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
    this.rows.draw(rows);
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
    this.place.addEventListener("change", () => this.turn((Number(this.place.value) || 1) - 1));
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
    const table = make("table", { class: spec.id }, make("thead", {}, make("tr", {}, ...heads)), this.rows.body);
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
