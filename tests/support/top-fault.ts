// `firebreak top` with a fault in it: something is thrown where nobody waits for it, once the terminal has been taken.
import { top } from "../../src/verbs/top.ts";

setTimeout(() => {
  throw new Error("a fault of the test's");
}, 1500);
process.exitCode = await top.run([]);
