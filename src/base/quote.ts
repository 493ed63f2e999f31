// How somebody else's text is shown: in errors, on terminals, in JSON, in lines that are pasted into a shell. It can neither end a line
// nor colour, move or turn round what stands beside it.

/** Longest piece shown, in UTF-16 units. */
const SHOWN = 40;

/** Letters, marks, digits, signs and spaces: no control characters, none that are invisible or turn the direction of writing. */
const PLAIN = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]+$/u;
/** What nobody sees, or what moves what stands beside it: controls but for line ends and tabs, marks of direction, halves of characters. */
const INVISIBLE = /(?![\n\t])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
/** What a shell takes as it is, and no option. */
const SHELL_WORD = /^[\w@%+:,./][\w@%+=:,./-]*$/;

/** @returns the text in quotes, short, with everything escaped that could end a line or colour a terminal. */
export function quote(text: string): string {
  const quoted = formatJson(text.slice(0, SHOWN));
  return text.length > SHOWN ? `${quoted.slice(0, -1)}…"` : quoted;
}

/**
 * @returns the text, with everything escaped that is not printable ASCII, or the "…" that we write ourselves: a name of somebody else's, in
 *   a line of ours
 */
export function printable(text: string): string {
  return text.replace(/[^ -~…]/g, escapeUnit);
}

/** @returns the text as it is, in any script, where a terminal shows just that; else all of it in quotes, escaped. For paths. */
export function plain(text: string): string {
  return PLAIN.test(text) ? text : formatJson(text);
}

/** @returns the same, but short. For names. */
export function plainName(text: string): string {
  return text.length <= SHOWN && PLAIN.test(text) ? text : quote(text);
}

/** @returns the text, with what can't be seen written out: \u{202e}. For pages, where each piece of text has an element of its own. */
export function visible(text: string): string {
  return text.replace(INVISIBLE, (unit) => `\\u{${(unit.codePointAt(0) ?? 0).toString(16)}}`);
}

/** @returns one word for a shell that means the text; undefined where it can't be shown as it is */
export function shellWord(text: string): string | undefined {
  if (SHELL_WORD.test(text)) return text;
  return PLAIN.test(text) ? `'${text.replaceAll("'", "'\\''")}'` : undefined;
}

/** @returns JSON of printable ASCII alone */
export function formatJson(value: unknown): string {
  return JSON.stringify(value).replace(/[^ -~]/g, escapeUnit);
}

function escapeUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
