// The lists as tabs (WAI-ARIA's pattern): one is shown, arrows go to the next, and the address says which, with its filter.
import { button, byId } from "./dom.ts";
import type { ListView } from "./list-view.ts";

type AnyList = Pick<ListView<unknown>, "panel" | "choose" | "refresh" | "tick" | "focusFilter" | "hold" | "words"> & {
  readonly spec: { readonly id: string; readonly title: string };
};

export class Tabs {
  private readonly buttons: readonly HTMLButtonElement[];
  private chosen = 0;

  constructor(private readonly lists: readonly AnyList[]) {
    this.buttons = lists.map(({ spec, panel }, i) => {
      const tab = button(spec.title, () => this.show(i), {
        role: "tab",
        id: `tab-${spec.id}`,
        "aria-controls": `panel-${spec.id}`,
      });
      panel.id = `panel-${spec.id}`;
      panel.setAttribute("aria-labelledby", tab.id);
      return tab;
    });
    byId("tabs").append(...this.buttons);
    byId("panels").append(...lists.map(({ panel }) => panel));
    byId("tabs").addEventListener("keydown", (event) => this.move(event));
    window.addEventListener("hashchange", () => this.read());
    this.read();
  }

  get list(): AnyList {
    return this.lists[this.chosen];
  }

  /** @param words a filter, if another is meant than it has */
  show(number: number, words?: string): void {
    const list = this.lists[number];
    if (list === undefined) return;
    this.chosen = number;
    if (words !== undefined) list.choose(words);
    for (const [i, tab] of this.buttons.entries()) {
      const isChosen = i === number;
      tab.setAttribute("aria-selected", String(isChosen));
      tab.tabIndex = isChosen ? 0 : -1;
      this.lists[i].panel.hidden = !isChosen;
    }
    this.write();
    void list.refresh();
  }

  /** Leads to a list, and the keyboard with it. */
  goTo(id: string, words: string): void {
    const number = this.lists.findIndex(({ spec }) => spec.id === id);
    this.show(number, words);
    this.buttons[number]?.focus();
  }

  /** What is shown goes into the address, so that a page that is loaded again is where it was. */
  write(): void {
    const { spec, words } = this.list;
    const hash = `#${spec.id}${words === "" ? "" : `?${encodeURIComponent(words)}`}`;
    if (location.hash !== hash) history.replaceState(null, "", hash);
  }

  private read(): void {
    const [id = "", words = ""] = location.hash.slice(1).split("?");
    const number = Math.max(
      0,
      this.lists.findIndex(({ spec }) => spec.id === id),
    );
    this.show(number, decoded(words));
  }

  private move(event: KeyboardEvent): void {
    const last = this.lists.length - 1;
    const steps: Readonly<Record<string, number>> = {
      ArrowRight: this.chosen === last ? 0 : this.chosen + 1,
      ArrowLeft: this.chosen === 0 ? last : this.chosen - 1,
      Home: 0,
      End: last,
    };
    const to = steps[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.show(to);
    this.buttons[to].focus();
  }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return ""; // somebody has typed it
  }
}
