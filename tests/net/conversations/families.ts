// The families that conversations are held by, by name.
import type { Family } from "./family.ts";
import { IPV4 } from "./ipv4.ts";
import { IPV6 } from "./ipv6.ts";

export const FAMILIES = { ipv4: IPV4, ipv6: IPV6 } as const satisfies Record<string, Family>;
export type FamilyName = keyof typeof FAMILIES;
