// Prometheus' text format, version 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats): families of samples as text. Label values
// are names that others chose: none can end a line, be taken for another, or reach a terminal as a command to it.

export const EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8";

export interface Sample {
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: number;
}

/** What is known under one name. */
export interface Family {
  readonly name: string;
  readonly type: "counter" | "gauge";
  /** One line for people. */
  readonly help: string;
  readonly samples: readonly Sample[];
}

/** All but letters, marks, digits, signs and spaces; and what escapes begin with, so that no two names look the same. */
const NOT_PLAIN = /[^\p{L}\p{M}\p{N}\p{P}\p{S} ]|\\/gu;

/** @param common labels of all samples @returns the text; a family without samples is left out */
export function formatExposition(families: readonly Family[], common: Readonly<Record<string, string>>): string {
  return families
    .filter(({ samples }) => samples.length > 0)
    .flatMap(({ name, type, help, samples }) => [
      `# HELP ${name} ${help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")}\n`,
      `# TYPE ${name} ${type}\n`,
      ...samples.map(({ labels, value }) => `${name}${labelText({ ...common, ...labels })} ${value}\n`),
    ])
    .join("");
}

/** @param labels whose names are ours */
function labelText(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeValue(legible(value))}"`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

/** In any script, but with \u202e for what nobody would see, and \\ for what looks like that. */
function legible(value: string): string {
  return value.replace(NOT_PLAIN, (found) =>
    found === "\\"
      ? "\\\\"
      : [...Array(found.length).keys()].map((i) => `\\u${found.charCodeAt(i).toString(16).padStart(4, "0")}`).join(""),
  );
}

/** What the format itself asks for. */
function escapeValue(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
