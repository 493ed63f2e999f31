// network_namespaces(7): a network of one's own, with nothing in it but a loopback interface.
import { closeSync, existsSync, openSync } from "node:fs";
import { libc, must } from "../libc.ts";

const CLONE_NEWNET = 0x40000000; // linux/sched.h

/** Of the thread that asks. */
const OURS = "/proc/thread-self/ns/net";

/**
 * Does something in a new network namespace, which is gone afterwards: what it leaves open is still in there. In a kernel that
 * has no namespaces it is done where everything is.
 * @param use must not wait: all that this thread does meanwhile is done in there
 * @throws SystemError where this process may not have one
 */
export function inNewNetwork<T>(use: () => T): T {
  if (!existsSync(OURS)) return use();
  const ours = openSync(OURS, "r");
  try {
    must(libc.unshare(CLONE_NEWNET), "unshare CLONE_NEWNET");
    try {
      return use();
    } finally {
      must(libc.setns(ours, CLONE_NEWNET), "setns CLONE_NEWNET");
    }
  } finally {
    closeSync(ours);
  }
}
