// Elements and their text, made here and nowhere else: text can't become HTML, and what can't be seen in it is written out.
import { visible } from "../../base/quote.ts";

export type Child = Node | string | undefined | false;

/** @param attributes never `style`, which the page's policy forbids */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Readonly<Record<string, string>> = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  for (const child of children) {
    if (child !== undefined && child !== false) element.append(typeof child === "string" ? visible(child) : child);
  }
  return element;
}

/** What somebody else has called a thing: its letters turn nothing round that stands beside them. */
export function named(text: string): HTMLElement {
  return make("bdi", {}, text);
}

/** @throws Error where page.html has none of it */
export function byId(id: string): HTMLElement {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`the page has no #${id}`);
  return element;
}

/** Writes only what differs, so that what is selected or read out stays. */
export function setText(element: Element, text: string): void {
  const shown = visible(text);
  if (element.textContent !== shown) element.textContent = shown;
}

export function button(
  label: string,
  press: () => void,
  attributes: Readonly<Record<string, string>> = {},
): HTMLButtonElement {
  const made = make("button", { type: "button", ...attributes }, label);
  made.addEventListener("click", press);
  return made;
}

/** @returns a value of the style, such as a colour */
export function styleValue(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
