// How somebody else's text is shown: in errors, on terminals, in JSON. It can neither end a line nor colour, move or turn round what
// stands beside it.

/** Longest piece shown, in UTF-16 units. */
const SHOWN = 40;

/** @returns the text in quotes, short, with everything escaped that could end a line or colour a terminal. */
export function quote(text: string): string {
  const quoted = JSON.stringify(text.slice(0, SHOWN)).replace(/[^ -~]/g, escapeUnit);
  return text.length > SHOWN ? `${quoted.slice(0, -1)}…"` : quoted;
}

/** @returns the text, with everything escaped that is not printable ASCII: a name of somebody else's, in a line of ours */
export function printable(text: string): string {
  return text.replace(/[^ -~]/g, escapeUnit);
}

/** @returns JSON of printable ASCII alone */
export function formatJson(value: unknown): string {
  return JSON.stringify(value).replace(/[^ -~]/g, escapeUnit);
}

function escapeUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
