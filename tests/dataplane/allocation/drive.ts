// What the table of drives and the test that runs them agree on.

import { malformed, VERDICT, type Verdict } from "../../../src/dataplane/verdict.ts";
import { FAULT } from "../../../src/wire/fault.ts";

/**
 * Makes a router to which something can happen again and again.
 * @returns what makes it happen once more, and says what became of the frame; a frame that had to come first need not have the
 * verdict that is looked for
 */
export type Drive = () => () => Verdict;

/**
 * Verdicts on frames. KERNEL is none: that the kernel could not forward a frame, control reads from the kernel's memory. The others
 * are counted after the verdict, by the thread, when a frame was lost in transmission.
 */
export type Judged = Exclude<keyof typeof VERDICT, "KERNEL" | "EGRESS_FULL" | "EGRESS_REFUSED">;

export type Faulty = Exclude<keyof typeof FAULT, "NONE">;

export const verdictOf = (judged: Judged): Verdict => VERDICT[judged];
export const verdictOn = (fault: Faulty): Verdict => malformed(FAULT[fault]);
