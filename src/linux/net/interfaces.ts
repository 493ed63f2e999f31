// Network interfaces by their names: number, addresses, up and down. By ioctl(2), which follows the network namespace that the program
// runs in; /sys need not. Which interfaces there are: links.ts. How one becomes ours: take.ts.
import { existsSync, readFileSync } from "node:fs";
import { withAddresses } from "../addresses.ts";
import { ENODEV, errno, libc, must, SystemError } from "../libc.ts";
import { openIoctlSocket, SOCKADDR } from "./socket.ts";

// linux/sockios.h
const SIOCGIFCONF = 0x8912;
const SIOCGIFFLAGS = 0x8913;
const SIOCSIFFLAGS = 0x8914;
const SIOCGIFINDEX = 0x8933;

export const IFF_UP = 1; // linux/if.h

// struct ifreq (linux/if.h): the name, then what is asked for.
const NAME_LENGTH = 16;
const VALUE = NAME_LENGTH;
const REQUEST_LENGTH = 40;

class MissingInterface extends Error {}

function withSocket<T>(use: (fd: number) => T): T {
  const fd = openIoctlSocket();
  try {
    return use(fd);
  } finally {
    libc.close(fd);
  }
}

/** One ioctl about one interface. @returns the struct ifreq as the kernel left it. */
function request(code: number, call: string, name: string, flags = 0): DataView<ArrayBuffer> {
  const bytes = new Uint8Array(REQUEST_LENGTH);
  const encoded = new TextEncoder().encode(name);
  if (encoded.length >= NAME_LENGTH) throw new Error(`${name}: no interface has so long a name`);
  bytes.set(encoded);
  const view = new DataView(bytes.buffer);
  view.setUint16(VALUE, flags, true);
  withSocket((fd) => {
    if (libc.ioctl(fd, code, bytes) >= 0) return;
    if (errno() === ENODEV) throw new MissingInterface(`${name}: there is no such interface`);
    throw new SystemError(`${call} ${name}`, errno());
  });
  return view;
}

/** @returns the kernel's number of the interface; another one when it went away and came again. */
export function interfaceIndex(name: string): number {
  return request(SIOCGIFINDEX, "SIOCGIFINDEX", name).getInt32(VALUE, true);
}

/** @returns the IPv4 addresses that the kernel itself has on an interface, as text. */
export function kernelAddresses(name: string): string[] {
  const capacity = 256 * REQUEST_LENGTH;
  const requests = new Uint8Array(capacity);
  const conf = new DataView(new ArrayBuffer(16)); // struct ifconf: i32 length, then the address of the requests
  conf.setInt32(0, capacity, true);
  withAddresses((addressOf) => {
    conf.setBigUint64(8, BigInt(addressOf(requests)), true);
    withSocket((fd) => must(libc.ioctl(fd, SIOCGIFCONF, conf), "SIOCGIFCONF"));
  });
  const addresses: string[] = [];
  for (let at = 0; at < conf.getInt32(0, true); at += REQUEST_LENGTH) {
    const label = new TextDecoder().decode(requests.subarray(at, at + NAME_LENGTH)).replace(/\0.*/s, "");
    if (label.split(":")[0] !== name) continue; // an address may be labelled "eth0:1"
    const address = at + VALUE + SOCKADDR.IPV4;
    addresses.push(requests.subarray(address, address + 4).join("."));
  }
  return addresses;
}

export interface KernelAddress6 {
  /** In RFC 5952's form. */
  readonly ip: string;
  /** The kernel makes itself one of these on each interface that is up. */
  readonly isLinkLocal: boolean;
}

/** Every IPv6 address of the namespace in a line: address, and in hex the interface's number, prefix, scope, flags; then the name. */
const ADDRESSES6 = "/proc/net/if_inet6";
const SCOPE_LINK = "20"; // net/ipv6.h: IPV6_ADDR_LINKLOCAL

/** @returns the IPv6 addresses that the kernel itself has on an interface, tentative ones too; none where it has no IPv6 */
export function kernelAddresses6(name: string): KernelAddress6[] {
  if (!existsSync(ADDRESSES6)) return [];
  const lines = readFileSync(ADDRESSES6, "utf8").trim().split("\n");
  return lines
    .map((line) => line.trim().split(/ +/))
    .filter((fields) => fields[5] === name)
    .map(([hex = "", , , scope]) => {
      const { hostname } = new URL(`http://[${(hex.match(/..../g) ?? []).join(":")}]`); // WHATWG's form of it is RFC 5952's
      return { ip: hostname.slice(1, -1), isLinkLocal: scope === SCOPE_LINK };
    });
}

/** Whether the interface of that number has that name: another may have it by now. */
export function isThere(name: string, index: number): boolean {
  try {
    return interfaceIndex(name) === index;
  } catch (error) {
    if (error instanceof MissingInterface) return false;
    throw error;
  }
}

/** Brings an interface up. @returns what leaves it as it was */
export function bringUp(name: string): () => void {
  const flags = raise(name);
  return () => {
    if (flags !== undefined) setFlags(name, flags);
  };
}

/** @returns an interface's flags: IFF_UP and others */
export function flagsOf(name: string): number {
  return request(SIOCGIFFLAGS, "SIOCGIFFLAGS", name).getUint16(VALUE, true);
}

export function setFlags(name: string, flags: number): void {
  request(SIOCSIFFLAGS, "SIOCSIFFLAGS", name, flags);
}

/** Brings an interface up. @returns the flags that it had, undefined where it was up */
export function raise(name: string): number | undefined {
  const flags = flagsOf(name);
  if ((flags & IFF_UP) !== 0) return undefined;
  setFlags(name, flags | IFF_UP);
  return flags;
}
