// The verbs of a person at a command line: those that ask a running firewall, and those that need none. The image has none of them: main.ts
// imports this file only where there is such a person.
import { attach } from "./attach.ts";
import { bugreport } from "./bugreport.ts";
import { capture } from "./capture.ts";
import { check } from "./check.ts";
import { configure } from "./configure.ts";
import { drops } from "./drops.ts";
import { explain } from "./explain.ts";
import { flows } from "./flows.ts";
import { log } from "./log.ts";
import { metrics } from "./metrics.ts";
import { replay } from "./replay.ts";
import { rules } from "./rules.ts";
import { status } from "./status.ts";
import { suggest } from "./suggest.ts";
import { top } from "./top.ts";
import { trace } from "./trace.ts";
import type { Verb } from "./verb.ts";
import { web } from "./web.ts";
import { why } from "./why.ts";

/** By name, in the order of the help. */
export const USER_VERBS: Readonly<Record<string, Verb>> = {
  ...{ status, flows, rules, drops, why, suggest, trace, log },
  ...{ top, web, metrics, capture, configure, bugreport, attach },
  ...{ check, explain, replay },
};
