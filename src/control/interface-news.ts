// What has changed about the interfaces, in words for the log: each change once, when it is taken over.
import { formatMac } from "../base/address.ts";
import type { InterfaceSettings } from "../dataplane/settings.ts";
import { interfaceState, interfaceText } from "./views/status.ts";

/**
 * @param before what was in force; an interface that was not in it is news only if it is not there
 * @param after what is in force now
 * @returns lines
 */
export function interfaceNews(before: readonly InterfaceSettings[], after: readonly InterfaceSettings[]): string[] {
  return after.flatMap((now) => {
    const old = before.find(({ name }) => name === now.name);
    if (old === undefined) return now.index === 0 ? [`${now.name} is not there: waiting for it`] : [];
    return changes(old, now).map((change) => `${now.name} ${change}`);
  });
}

function changes(old: InterfaceSettings, now: InterfaceSettings): string[] {
  if (now.index === 0) return old.index === 0 ? [] : ["has gone: waiting for it"];
  if (old.index === 0) return [`is there: ${interfaceText(interfaceState(now))}`];
  if (old.index !== now.index) return [`was made anew: ${interfaceText(interfaceState(now))}`];
  const lines: string[] = [];
  if (formatMac(old.mac) !== formatMac(now.mac)) lines.push(`has the MAC address ${formatMac(now.mac)} now`);
  if (old.mtu !== now.mtu) lines.push(`has the mtu ${now.mtu} now`);
  if (old.isDown !== now.isDown) lines.push(now.isDown ? "has no link: nothing gets out there" : "has its link again");
  return lines;
}
