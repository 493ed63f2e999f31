// UDP (RFC 768): offsets from the header's first byte, and the check of its length.
import { FAULT } from "./fault.ts";

export const UDP = { SOURCE_PORT: 0, DESTINATION_PORT: 2, LENGTH: 4, CHECKSUM: 6, HEADER_LENGTH: 8 } as const;

/** @param length bytes of the IPv4 payload; a shorter UDP length leaves bytes that belong to nobody, and is let pass */
export function checkUdp(view: DataView, at: number, length: number): number {
  if (length < UDP.HEADER_LENGTH) return FAULT.UDP_TRUNCATED;
  const said = view.getUint16(at + UDP.LENGTH);
  return said < UDP.HEADER_LENGTH || said > length ? FAULT.UDP_LENGTH : FAULT.NONE;
}
