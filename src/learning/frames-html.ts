// The bytes of a packet before and after, field by field: what was rewritten is marked and named. Fields of both sides that belong
// together have one name in `data-f`, by which the page's script shows them.
import { type Pair, pairFields } from "./changes.ts";
import { dissect, type Field } from "./dissect.ts";
import { type Html, html } from "./html.ts";
import type { Leg } from "./story.ts";
import { fieldWords } from "./words.ts";

/** Bytes of a field that are shown. */
const MOST_BYTES = 64;

/** What NAT is about comes first; then what every router does. */
const FIRST = /address$|port$|^Identifier$/;
const LAST = /checksum$|MAC/;

/** A packet as it came in and as it left. */
export class BeforeAndAfter {
  readonly pairs: readonly Pair[];

  /** @param id begins the names of its fields: a number that is nobody else's on the page */
  constructor(
    private readonly id: number,
    private readonly came: Leg,
    private readonly left: Leg,
  ) {
    this.pairs = pairFields(came.bytes, left.bytes);
  }

  /** @param own the firewall's addresses outside */
  changesHtml(own: readonly string[]): Html {
    const changed = this.pairs.flatMap((pair, i) => (pair.isChanged ? [{ pair, i }] : []));
    const ranked = changed.sort((one, other) => rankOf(one.pair) - rankOf(other.pair));
    return html`<h3>Rewritten: ${changed.length} of ${this.pairs.length} fields</h3><ol class="changes">${ranked.map(
      ({ pair, i }) =>
        html`<li data-f="${this.id}-${i}"><button type="button" class="name" data-f="${this.id}-${i}">${nameOf(
          pair,
        )}</button><span class="values"><del>${textOf(pair.before)}</del> <span aria-label="becomes">→</span> <ins>${textOf(
          pair.after,
        )}</ins></span><span class="words">${fieldWords(pair, own)}</span></li>`,
    )}</ol>`;
  }

  beforeHtml(title: string): Html {
    return this.frame(
      title,
      this.came,
      this.pairs.map(({ before }) => before),
    );
  }

  afterHtml(title: string): Html {
    return this.frame(
      title,
      this.left,
      this.pairs.map(({ after }) => after),
    );
  }

  tableHtml(): Html {
    return html`<details class="all"><summary>All ${this.pairs.length} fields, before and after</summary><div class="scroll"><table><thead><tr><th scope="col">Layer</th><th scope="col">Field</th><th scope="col">Before</th><th scope="col">After</th></tr></thead><tbody>${this.pairs.map(
      (pair, i) =>
        html`<tr data-f="${this.id}-${i}"><td>${pair.layer}</td><th scope="row">${pair.name}</th><td>${cellText(
          pair.before,
        )}</td><td>${pair.isChanged ? html`<mark>${cellText(pair.after)}</mark>` : "the same"}</td></tr>`,
    )}</tbody></table></div></details>`;
  }

  private frame(title: string, leg: Leg, fields: readonly (Field | undefined)[]): Html {
    const parts = fields.flatMap((field, i) =>
      field === undefined ? [] : [{ field, id: `${this.id}-${i}`, isChanged: this.pairs[i].isChanged }],
    );
    return layersHtml(title, leg, parts);
  }
}

/** A frame by itself. */
export function frameHtml(title: string, leg: Leg): Html {
  return layersHtml(
    title,
    leg,
    dissect(leg.bytes).map((field) => ({ field, id: undefined, isChanged: false })),
  );
}

interface Part {
  readonly field: Field;
  readonly id: string | undefined;
  readonly isChanged: boolean;
}

function layersHtml(title: string, { bytes }: Leg, parts: readonly Part[]): Html {
  const inOrder = parts.toSorted((one, other) => one.field.at - other.field.at);
  const layers = Map.groupBy(inOrder, ({ field }) => field.layer);
  return html`<section class="frame"><h3>${title}</h3>${Array.from(
    layers,
    ([layer, members]) =>
      html`<div class="layer"><span class="layer-name">${layer}</span><span class="bytes">${members.map((part) =>
        bytesHtml(bytes, part),
      )}</span></div>`,
  )}</section>`;
}

function bytesHtml(bytes: Buffer, { field: { at, length, name, text }, id, isChanged }: Part): Html {
  const shown = Math.min(length, MOST_BYTES);
  const digits = bytes.toString("hex", at, at + shown).replace(/..(?=.)/g, "$& ");
  const more = length - shown;
  const title = text === "" ? name : `${name}: ${text}`;
  const content = html`${digits}${more > 0 && ` … ${more} more`}`;
  return html`<span class="f"${id !== undefined && html` data-f="${id}"`} title="${title}">${
    isChanged ? html`<mark>${content}</mark><span class="caption">${name}</span>` : content
  }</span> `;
}

function rankOf({ name, layer }: Pair): number {
  if (layer.startsWith("Quoted")) return 3;
  if (LAST.test(name)) return 2;
  return FIRST.test(name) ? 0 : 1;
}

function nameOf({ layer, name }: Pair): string {
  return layer.startsWith("Quoted") ? `${layer}: ${name}` : name;
}

function textOf(field: Field | undefined): string {
  if (field === undefined) return "nothing";
  return field.text === "" ? "other bytes" : field.text;
}

function cellText(field: Field | undefined): string {
  if (field === undefined) return "nothing";
  return field.text === "" ? `${field.length} bytes` : field.text;
}
