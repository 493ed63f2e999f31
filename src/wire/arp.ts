// ARP for IPv4 over Ethernet (RFC 826): offsets from the first byte behind the Ethernet header, check, and writing.
import { ETHERTYPE, writeMac } from "./ethernet.ts";
import { FAULT, type Fault } from "./fault.ts";

export const ARP = {
  HARDWARE: 0,
  PROTOCOL: 2,
  HARDWARE_LENGTH: 4,
  PROTOCOL_LENGTH: 5,
  OPERATION: 6,
  SENDER_MAC: 8,
  SENDER_IP: 14,
  TARGET_MAC: 18,
  TARGET_IP: 24,
  LENGTH: 28,
} as const;

export const ARP_REQUEST = 1;
export const ARP_REPLY = 2;

const HARDWARE_ETHERNET = 1;

/** @param length bytes from `at` to the frame's end; more than 28 is padding */
export function checkArp(view: DataView, at: number, length: number): Fault {
  if (length < ARP.LENGTH) return FAULT.ARP_TRUNCATED;
  if (
    view.getUint16(at + ARP.HARDWARE) !== HARDWARE_ETHERNET ||
    view.getUint16(at + ARP.PROTOCOL) !== ETHERTYPE.IPV4 ||
    view.getUint8(at + ARP.HARDWARE_LENGTH) !== 6 ||
    view.getUint8(at + ARP.PROTOCOL_LENGTH) !== 4
  ) {
    return FAULT.ARP_FORMAT;
  }
  const operation = view.getUint16(at + ARP.OPERATION);
  return operation === ARP_REQUEST || operation === ARP_REPLY ? FAULT.NONE : FAULT.ARP_OPERATION;
}

/** Writes a whole ARP packet of 28 bytes. MAC addresses as `macHead` and `macTail`, addresses as int32 in host order. */
export function writeArp(
  view: DataView,
  at: number,
  operation: number,
  senderHead: number,
  senderTail: number,
  senderIp: number,
  targetHead: number,
  targetTail: number,
  targetIp: number,
): void {
  view.setUint16(at + ARP.HARDWARE, HARDWARE_ETHERNET);
  view.setUint16(at + ARP.PROTOCOL, ETHERTYPE.IPV4);
  view.setUint8(at + ARP.HARDWARE_LENGTH, 6);
  view.setUint8(at + ARP.PROTOCOL_LENGTH, 4);
  view.setUint16(at + ARP.OPERATION, operation);
  writeMac(view, at + ARP.SENDER_MAC, senderHead, senderTail);
  view.setInt32(at + ARP.SENDER_IP, senderIp);
  writeMac(view, at + ARP.TARGET_MAC, targetHead, targetTail);
  view.setInt32(at + ARP.TARGET_IP, targetIp);
}
