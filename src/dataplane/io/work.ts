// What the dataplane's thread does between two looks for frames, beside handling those: a little of what control asks, or else of
// what time and new settings bring.
import type { Router } from "../frame/router.ts";
import type { Commands } from "./commands.ts";

/** ms that frames may wait for it, but for the piece that is begun when they are over. */
const WORK = 0.2;

export function work(router: Router, commands: Commands): void {
  if (commands.isBusy) {
    commands.step();
    return;
  }
  for (const end = performance.now() + WORK; router.isBusy && performance.now() < end; ) router.step();
}
