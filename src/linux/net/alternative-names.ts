// Alternative names of a network interface (ip-link(8), "property"; Linux 5.5): the kernel keeps them with the interface, whoever gave
// them, and forgets them with it. Messages and numbers are those of linux/rtnetlink.h and linux/if_link.h, in the machine's order.
import { cString, libc } from "../libc.ts";
import {
  attribute,
  attributeList,
  list,
  message,
  NLA_F_NESTED,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  request,
} from "./netlink.ts";
import { NETLINK_ROUTE, openNetlinkSocket } from "./socket.ts";

const RTM_GETLINK = 18;
const RTM_NEWLINKPROP = 108;
const RTM_DELLINKPROP = 109;
const IFLA_PROP_LIST = 52;
const IFLA_ALT_IFNAME = 53;

/** struct ifinfomsg (linux/rtnetlink.h): the interface's number stands at 4. */
const HEADER_LENGTH = 16;
const INDEX = 4;

/** @param index the kernel's number of the interface @returns none where the kernel has no such names @throws SystemError */
export function alternativeNames(index: number): string[] {
  const names: string[] = [];
  withSocket((fd) =>
    list(fd, "list of interfaces", message(RTM_GETLINK, NLM_F_DUMP, header(0)), (view, at, end) => {
      if (view.getInt32(at + INDEX, true) === index) names.push(...namesIn(view, at + HEADER_LENGTH, end));
    }),
  );
  return names;
}

function namesIn(view: DataView, at: number, end: number): string[] {
  return attributeList(view, at, end)
    .filter(([type]) => type === IFLA_PROP_LIST)
    .flatMap(([, { byteOffset, byteLength }]) => attributeList(view, byteOffset, byteOffset + byteLength))
    .filter(([type]) => type === IFLA_ALT_IFNAME)
    .map(([, text]) => new TextDecoder().decode(text).replace(/\0.*/s, ""));
}

/** @param name at most 127 bytes, of no other interface's @throws SystemError; before Linux 5.5 always */
export function addAlternativeName(index: number, name: string): void {
  change(RTM_NEWLINKPROP, NLM_F_CREATE | NLM_F_EXCL, index, name);
}

/** @throws SystemError */
export function removeAlternativeName(index: number, name: string): void {
  change(RTM_DELLINKPROP, 0, index, name);
}

function change(type: number, flags: number, index: number, name: string): void {
  const names = attribute(IFLA_PROP_LIST | NLA_F_NESTED, attribute(IFLA_ALT_IFNAME, cString(name)));
  withSocket((fd) => request(fd, `alternative name ${name}`, message(type, NLM_F_ACK | flags, header(index), names)));
}

function header(index: number): Uint8Array {
  const bytes = new Uint8Array(HEADER_LENGTH);
  new DataView(bytes.buffer).setInt32(INDEX, index, true);
  return bytes;
}

/** By a socket of its own: that is for good in the network namespace that it was opened in. */
function withSocket(use: (fd: number) => void): void {
  const fd = openNetlinkSocket(NETLINK_ROUTE);
  try {
    use(fd);
  } finally {
    libc.close(fd);
  }
}
