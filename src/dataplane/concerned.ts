// Whom new settings are about: whose open flows may have to be treated otherwise than by those before. All others' go on as they do,
// on the kernel path too.
import { isSameRuleset } from "./rules/ruleset.ts";
import type { Settings } from "./settings.ts";
import { hasSameInterfaces, hasSameLayout } from "./topology.ts";
import type { Client } from "./types.ts";

export const EVERYBODY = "everybody";

/** Numbers of clients, in both settings. */
export type Concerned = readonly Client[] | typeof EVERYBODY;

export function concernedBy(before: Settings, after: Settings): Concerned {
  if (!hasSameLayout(before, after) || !hasSameInterfaces(before, after)) return EVERYBODY;
  return concernedByRules(before, after);
}

/** As `concernedBy`, where layout and interfaces are the same. */
export function concernedByRules(before: Settings, after: Settings): Concerned {
  if (commonOf(before) !== commonOf(after)) return EVERYBODY;
  return after.clients.flatMap(({ ruleset }, client) =>
    isSameRuleset(ruleset, before.clients[client].ruleset) ? [] : [client as Client],
  );
}

/** What is not one client's: how long flows live; and what is changed in a client's packets, which others' flows may lead to. */
function commonOf({ nat, clients }: Settings): string {
  return JSON.stringify([nat, clients.map(({ scrub }) => scrub)]);
}
