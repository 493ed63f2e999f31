// How an error shows a piece of somebody else's text.

/** Longest piece shown, in UTF-16 units. */
const SHOWN = 40;

/** @returns the text in quotes, short, with everything escaped that could end a line or colour a terminal. */
export function quote(text: string): string {
  const quoted = JSON.stringify(text.slice(0, SHOWN)).replace(/[^ -~]/g, escapeUnit);
  return text.length > SHOWN ? `${quoted.slice(0, -1)}…"` : quoted;
}

function escapeUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
