// How a network interface becomes ours: up, with the kernel's own IP stack kept silent on it. By ioctl(2) and /proc, which
// follow the network namespace that the program runs in; /sys need not. Which interfaces there are: links.ts.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { withAddresses } from "../addresses.ts";
import { ENODEV, errno, libc, must, SystemError } from "../libc.ts";
import { holdInterface } from "./hold.ts";
import { dropIngress } from "./nftables.ts";
import { openIoctlSocket, SOCKADDR } from "./socket.ts";

// linux/sockios.h
const SIOCGIFCONF = 0x8912;
const SIOCGIFFLAGS = 0x8913;
const SIOCSIFFLAGS = 0x8914;
const SIOCGIFINDEX = 0x8933;

const IFF_UP = 1; // linux/if.h

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
function kernelAddresses(name: string): string[] {
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

const SYSCTL = "/proc/sys/net";

/** Of rp_filter (Documentation/networking/ip-sysctl.rst); the larger of an interface's and all's is in force. */
const LOOSE = "2";

/**
 * What keeps the kernel from sending anything of its own on an interface, and from taking what comes in there as its own or
 * forwarding it past us: no IPv6; no IPv4 packet has a source that strict reverse path filtering accepts, because
 * no route leads out there.
 */
const SILENT: readonly (readonly [file: string, value: string])[] = [
  ["ipv6/conf/NAME/disable_ipv6", "1"],
  ["ipv4/conf/NAME/forwarding", "0"],
  ["ipv4/conf/NAME/rp_filter", "1"],
  ["ipv4/conf/NAME/arp_ignore", "8"],
];

/** Another interface may have the same name by now. */
function isThere(name: string, index: number): boolean {
  try {
    return interfaceIndex(name) === index;
  } catch (error) {
    if (error instanceof MissingInterface) return false;
    throw error;
  }
}

/** Keeps frames from the kernel's own IP stack, where the kernel has nftables; otherwise what SILENT does has to be enough. */
function keepFromKernel(name: string): () => void {
  try {
    return dropIngress(name);
  } catch (error) {
    if (error instanceof SystemError) return () => {};
    throw error;
  }
}

/** Brings an interface up. @returns what leaves it as it was */
export function bringUp(name: string): () => void {
  const flags = raise(name);
  return () => {
    if (flags !== undefined) request(SIOCSIFFLAGS, "SIOCSIFFLAGS", name, flags);
  };
}

/** Brings an interface up. @returns the flags that it had, undefined where it was up */
function raise(name: string): number | undefined {
  const flags = request(SIOCGIFFLAGS, "SIOCGIFFLAGS", name).getUint16(VALUE, true);
  if ((flags & IFF_UP) !== 0) return undefined;
  request(SIOCSIFFLAGS, "SIOCSIFFLAGS", name, flags | IFF_UP);
  return flags;
}

/** What an interface was before it was ours. */
export interface InterfaceBefore {
  readonly name: string;
  readonly index: number;
  /** Undefined where it was up. */
  readonly flags: number | undefined;
  /** Files of /proc/sys, and what was in them. */
  readonly files: readonly (readonly [file: string, value: string])[];
}

export interface TakenInterface {
  readonly before: InterfaceBefore;
  /** Leaves it as it was. */
  release(): void;
  /** Lets go of it and leaves it as it is: for one that went, and took its state with it. */
  forget(): void;
}

/** Leaves an interface as it was: all of it that does not end with the process; in whichever thread. */
export function restoreInterface({ name, index, flags, files }: InterfaceBefore): void {
  if (!isThere(name, index)) return; // it took its state with it
  if (flags !== undefined) request(SIOCSIFFLAGS, "SIOCSIFFLAGS", name, flags);
  for (const [file, value] of files) writeFileSync(file, value);
}

/**
 * Makes an interface ours: up, the kernel's own IP stack silent on it.
 * @throws Error with the remedy, when another firewall has it, or when the kernel would answer beside us there: it has an IPv4
 * address, or can't be silenced
 */
export function takeInterface(name: string): TakenInterface {
  const addresses = kernelAddresses(name);
  if (addresses.length > 0) {
    throw new Error(
      `${name}: the kernel has the address ${addresses.join(", ")} there and would answer beside the firewall ` +
        "(configure interfaces that this machine itself does not use, or run it in a network namespace: docs/NAMESPACE.md)",
    );
  }
  if (readFileSync(`${SYSCTL}/ipv4/conf/all/rp_filter`, "utf8").trim() === LOOSE) {
    throw new Error(
      `${name}: net.ipv4.conf.all.rp_filter is ${LOOSE}, so the kernel would take packets from there for itself ` +
        "(make it strict: sysctl net.ipv4.conf.all.rp_filter=1)",
    );
  }
  const index = interfaceIndex(name);
  const letGo = holdInterface(name, index);
  try {
    const { before, release, forget } = silence(name, index);
    return {
      before,
      release() {
        release();
        letGo();
      },
      forget() {
        forget();
        letGo();
      },
    };
  } catch (error) {
    letGo();
    throw error;
  }
}

function silence(name: string, index: number): TakenInterface {
  const found: [file: string, value: string][] = [];
  for (const [pattern, value] of SILENT) {
    const file = `${SYSCTL}/${pattern.replace("NAME", name)}`;
    if (!existsSync(file)) continue; // a kernel without IPv6
    found.push([file, readFileSync(file, "utf8").trim()]);
    writeFileSync(file, value);
  }
  const passToKernel = keepFromKernel(name);
  const before = { name, index, flags: raise(name), files: found };
  return {
    before,
    release() {
      passToKernel();
      restoreInterface(before);
    },
    forget: passToKernel,
  };
}
