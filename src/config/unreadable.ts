// What to do about a configuration that the kernel lets nobody of ours read. Root is no exception: the running firewall has given up the
// right to read what is not its own, and all folders but those of its file (control/restrictions.ts).
import { type Stats, statSync } from "node:fs";
import { isAbsolute } from "node:path";
import { plain } from "../base/quote.ts";

const READ = { OWNER: 0o400, GROUP: 0o040, OTHERS: 0o004 } as const;

/** @param what the kernel says: "EACCES: permission denied" @returns the remedy, in brackets behind a space; "" where that says all */
export function remedyFor(file: string, what: string): string {
  if (what.startsWith("EACCES")) return ` ${remedyForClosed(file)}`;
  const isGone = what.startsWith("ENOENT") && !isAbsolute(file) && statOf(".")?.nlink === 0;
  return isGone ? " (the folder that it was started in is gone)" : "";
}

function remedyForClosed(file: string): string {
  const stat = statOf(file);
  if (stat === undefined) return "(one of the folders that it is in is closed to the firewall: chmod a+x)";
  if (isOpen(stat)) {
    return "(the firewall reads in the folder alone that it was started with: that has been made anew since, or the file is a link out of it; restart it)";
  }
  const whose = `it is user ${stat.uid}'s, the firewall user ${process.geteuid?.() ?? "?"}'s, and not all may read it`;
  return `(${whose}: chmod a+r ${plain(file)}, or chown)`;
}

function statOf(file: string): Stats | undefined {
  try {
    return statSync(file);
  } catch {
    return undefined;
  }
}

/** Whether its mode lets this process read it, which has no more rights than others. */
function isOpen({ mode, uid, gid }: Stats): boolean {
  if (uid === process.geteuid?.()) return (mode & READ.OWNER) !== 0;
  return (mode & (gid === process.getegid?.() ? READ.GROUP : READ.OTHERS)) !== 0;
}
