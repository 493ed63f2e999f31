// The form for a capture, as the last of the tabs: what is to be captured, and for how long. The browser downloads it.
import { LONGEST_CAPTURE, PATHS } from "../messages.ts";
import { askDrops } from "./ask.ts";
import { button, make, setText } from "./dom.ts";
import { formatSpan } from "./format.ts";

/** Seconds that can be chosen. */
const SPANS = [10, 30, 60, 300, LONGEST_CAPTURE];
/** Bytes of a frame that have all headers in them, and little of what is said; 0 for all. */
const SNAPS = [
  { snap: 128, label: "the first 128 bytes of each: headers, and little of what is said" },
  { snap: 0, label: "all of each: also what is said" },
];

export class CaptureForm {
  readonly spec = { id: "capture", title: "Capture" };
  readonly panel = make("div", { role: "tabpanel", class: "panel" });
  private readonly filter = make("input", {
    type: "search",
    spellcheck: "false",
    autocomplete: "off",
    maxlength: "200",
  });
  private readonly span = make("select", {}, ...SPANS.map((seconds) => option(String(seconds), formatSpan(seconds))));
  private readonly snap = make("select", {}, ...SNAPS.map(({ snap, label }) => option(String(snap), label)));
  private readonly says = make("p", { class: "says", role: "status" });
  private readonly problem = make("p", { class: "problem", role: "alert" });

  /** @param changed when the filter has changed, for the address */
  constructor(changed: () => void) {
    const help = make(
      "small",
      { id: "capture-help" },
      "Words of rules, verdict=refused, interface=eth0: client=work proto=tcp dstports=443",
    );
    this.filter.setAttribute("aria-describedby", help.id);
    this.filter.addEventListener("change", changed);
    this.filter.addEventListener("keydown", ({ key }) => {
      if (key === "Enter") void this.begin();
    });
    this.panel.append(
      make(
        "p",
        { class: "soft" },
        "Packets as they come and go, on both sides of the firewall, as a file for Wireshark: each with what became of it, and which rule decided. " +
          "Whoever gets the file sees what your machines send. While it goes on, what is captured takes the firewall more work.",
      ),
      make("div", { class: "tools" }, make("label", {}, "Filter ", this.filter), help),
      make(
        "div",
        { class: "tools" },
        make("label", {}, "For ", this.span),
        make("label", {}, "with ", this.snap),
        button("Capture and download", () => void this.begin()),
      ),
      this.problem,
      this.says,
    );
  }

  get words(): string {
    return this.filter.value.trim();
  }

  choose(words: string): void {
    this.filter.value = words;
  }

  focusFilter(): void {
    this.filter.focus();
    this.filter.select();
  }

  /** There is nothing to hold still, and nothing to look at again. */
  hold(): void {}
  tick(): void {}
  async refresh(): Promise<void> {}

  /** What is wrong with the filter is told here: a download could not. It takes the words that drops take. */
  private async begin(): Promise<void> {
    setText(this.says, "");
    try {
      const found = await askDrops(this.words);
      setText(this.problem, "problem" in found ? `✕ ${found.problem}` : "");
      if ("problem" in found) return;
    } catch (error) {
      setText(this.problem, `✕ ${error instanceof Error ? error.message : String(error)}`);
      return;
    }
    const query = new URLSearchParams({ match: this.words, seconds: this.span.value, snap: this.snap.value });
    const link = make("a", { href: `${PATHS.capture}?${query}`, download: "" });
    link.click();
    const span = formatSpan(Number(this.span.value));
    setText(
      this.says,
      `It goes on for ${span}, and your browser has it among its downloads. Cancel it there to end it before.`,
    );
  }
}

function option(value: string, label: string): HTMLOptionElement {
  return make("option", { value }, label);
}
