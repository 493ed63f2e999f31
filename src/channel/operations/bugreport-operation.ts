// The operation `bugreport`: what somebody else needs to find a fault, in pieces of text.
import { keptLog } from "../../base/log.ts";
import { bugReport, type Diagnosis } from "../../control/bug-report.ts";
import { flagOf, requireKnown } from "../arguments.ts";
import type { Operation, Part } from "../session.ts";

/** What is asked of the firewall (control/firewall.ts). */
export interface DiagnosisAnswering {
  readonly diagnosis: Diagnosis;
}

/** Characters of a record's text, but for its last line. */
const PIECE = 16_384;

export function bugreportOperation(firewall: DiagnosisAnswering, name: string, version: string): Operation {
  return async function* (args): AsyncGenerator<Part> {
    requireKnown(args, ["mask"]);
    const isMasked = flagOf(args, "mask");
    for (const { section, lines } of bugReport(firewall.diagnosis, { name, version, log: keptLog }, isMasked)) {
      let text = "";
      for (const line of lines) {
        text += `${line}\n`;
        if (text.length < PIECE) continue;
        yield { data: { section, text } };
        text = "";
      }
      if (text !== "") yield { data: { section, text } };
    }
  };
}
