// The drop ring as tests look at it: its records, the oldest first, with addresses as text.
import { formatAddress } from "../../src/base/address.ts";
import { DROP, DROP_RECORDS, DropCopy, HAS } from "../../src/dataplane/tables/drop-records.ts";
import { VERDICT_NAMES } from "../../src/dataplane/verdict.ts";

export interface Noted {
  readonly verdict: string;
  readonly count: number;
  readonly logged: number;
  readonly iface: number;
  readonly etherType: number;
  readonly client: number;
  readonly rule: number;
  readonly protocol: number;
  /** `source to destination`, or "" where there are none; ports and flags likewise undefined. */
  readonly addresses: string;
  readonly ports: readonly [number, number] | undefined;
  readonly flags: number | undefined;
  readonly isFragment: boolean;
  readonly settings: number;
  readonly first: number;
  readonly last: number;
}

/** @param words of Drops */
export function noted(words: Int32Array): Noted[] {
  const copy = new DropCopy();
  const all: (Noted & { readonly serial: number })[] = [];
  for (let record = 0; record < DROP_RECORDS; record++) {
    if (!copy.read(words, record)) continue;
    const what = copy.word(DROP.WHAT);
    const has = what >>> 24;
    const ports = copy.word(DROP.PORTS);
    const hasAddresses = (has & HAS.ADDRESSES) !== 0;
    all.push({
      serial: copy.word(DROP.SERIAL),
      verdict: VERDICT_NAMES[what & 0xff],
      count: copy.word(DROP.COUNT),
      logged: copy.word(DROP.LOGGED),
      iface: copy.word(DROP.WHERE) >>> 16,
      etherType: copy.word(DROP.WHERE) & 0xffff,
      client: copy.word(DROP.CLIENT),
      rule: copy.word(DROP.RULE),
      protocol: (what >>> 8) & 0xff,
      addresses: hasAddresses
        ? `${formatAddress(copy.word(DROP.SOURCE))} to ${formatAddress(copy.word(DROP.DESTINATION))}`
        : "",
      ports: (has & HAS.PORTS) === 0 ? undefined : [ports >>> 16, ports & 0xffff],
      flags: (has & HAS.FLAGS) === 0 ? undefined : (what >>> 16) & 0xff,
      isFragment: (has & HAS.FRAGMENT) !== 0,
      settings: copy.word(DROP.SETTINGS),
      first: copy.time(DROP.FIRST),
      last: copy.time(DROP.LAST),
    });
  }
  return all.sort((one, other) => one.serial - other.serial).map(({ serial: _, ...rest }) => rest);
}
