// The dashboard of docs/grafana.json, as a list of its queries.
import { readFileSync } from "node:fs";
import { join } from "node:path";

interface Panel {
  readonly title: string;
  readonly targets: readonly { readonly expr: string }[];
}

/** @returns every query, in PromQL, with Grafana's variables in it */
export function dashboardQueries(): string[] {
  const text = readFileSync(join(import.meta.dir, "../../docs/grafana.json"), "utf8");
  const { panels } = JSON.parse(text) as { readonly panels: readonly Panel[] };
  return panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));
}
