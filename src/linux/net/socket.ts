// socket(2): families, types and options that the program uses, each once (linux/socket.h, linux/netlink.h, linux/if_packet.h,
// asm-generic/socket.h), and how a socket is opened and asked.
import { EAGAIN, errno, libc, must } from "../libc.ts";

const AF_UNIX = 1;
const AF_INET = 2;
const AF_NETLINK = 16;
const AF_PACKET = 17;

const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_RAW = 3;
const SOCK_NONBLOCK = 0x800;
const SOCK_CLOEXEC = 0x80000;

/** Families of netlink sockets. */
export const NETLINK_ROUTE = 0;
export const NETLINK_NETFILTER = 12;

/** Levels of options. */
export const SOL_SOCKET = 1;
export const SOL_PACKET = 263;
const SOL_NETLINK = 270;

export const SO_ERROR = 4;
export const SO_PEERCRED = 17;
export const SO_DETACH_BPF = 27;
export const SO_MARK = 36;
export const SO_SNDBUFFORCE = 32;
export const SO_RCVBUFFORCE = 33;
export const SO_ATTACH_BPF = 50;

/** recv(2), sendmmsg(2): with MSG_TRUNC the result is a frame's whole length. */
export const MSG_TRUNC = 0x20;
export const MSG_DONTWAIT = 0x40;
/** send(2): one to a peer that is gone is an error, and no signal. */
const MSG_NOSIGNAL = 0x4000;

const NETLINK_NO_ENOBUFS = 5; // linux/netlink.h
const SOCKADDR_NL_LENGTH = 12;

const ETH_P_ALL = 0x0003; // linux/if_ether.h
const SOCKADDR_LL_LENGTH = 20;
const NO_INTERFACE = -1;

/** Offsets in struct sockaddr of what follows the family: of IPv4 (sockaddr_in) and of Ethernet as ioctl(2) gives it. */
export const SOCKADDR = { IPV4: 4, MAC: 2 } as const;

/** Sockets, one of each kind, by descriptor. A socket is for good in the network namespace that it was opened in. */
export interface SocketSet {
  readonly ioctl: number;
  /** Of NETLINK_ROUTE. */
  readonly route: number;
  readonly packet: number;
}

let given: SocketSet | undefined;

/** While `use` runs, who opens a socket of one of these kinds gets this one: another descriptor of it. */
export function withSockets<T>(sockets: SocketSet, use: () => T): T {
  given = sockets;
  try {
    return use();
  } finally {
    given = undefined;
  }
}

/** @returns another descriptor, which execve(2) leaves open @throws SystemError */
export function duplicate(fd: number): number {
  return must(libc.dup(fd), "dup");
}

/** @returns a descriptor @throws SystemError */
export function openIoctlSocket(): number {
  if (given !== undefined) return duplicate(given.ioctl);
  return must(libc.socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket AF_INET");
}

/** Stream; its calls don't wait. @returns a descriptor @throws SystemError */
export function openUnixSocket(): number {
  return must(libc.socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket AF_UNIX");
}

/** Bytes of a path that struct sockaddr_un has room for, and the NUL behind it. */
const LONGEST_PATH = 107;

/** @returns struct sockaddr_un of a file. @throws Error where the path is too long */
export function fileAddress(path: string): Uint8Array {
  const text = new TextEncoder().encode(path);
  if (text.length > LONGEST_PATH) throw new Error(`${path}: a socket's path has ${LONGEST_PATH} bytes at the most`);
  const address = new Uint8Array(3 + text.length); // the family, and the NUL at the end
  new DataView(address.buffer).setUint16(0, AF_UNIX, true);
  address.set(text, 2);
  return address;
}

/** @returns struct sockaddr_un of an abstract name: one without a file, that belongs to a network namespace (unix(7)) */
export function abstractAddress(name: string): Uint8Array {
  const text = new TextEncoder().encode(name);
  const address = new Uint8Array(3 + text.length); // the family, and a NUL that says "abstract"
  new DataView(address.buffer).setUint16(0, AF_UNIX, true);
  address.set(text, 3);
  return address;
}

/** @param family NETLINK_… @returns a descriptor @throws SystemError */
export function openNetlinkSocket(family: number): number {
  if (given !== undefined && family === NETLINK_ROUTE) return duplicate(given.route);
  return must(libc.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, family), "socket AF_NETLINK");
}

/**
 * Hears of what changes; its calls don't wait. When more has changed than there is room for, the rest is left out, and what
 * there is room for still says that something has.
 * @param groups of that family, a bit each @returns a descriptor @throws SystemError
 */
export function openNetlinkListener(family: number, groups: number): number {
  const fd = must(libc.socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, family), "socket AF_NETLINK");
  try {
    setOption(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, Uint32Array.of(1), "NETLINK_NO_ENOBUFS");
    const address = new DataView(new ArrayBuffer(SOCKADDR_NL_LENGTH)); // struct sockaddr_nl
    address.setUint16(0, AF_NETLINK, true);
    address.setUint32(8, groups, true);
    must(libc.bind(fd, address, address.byteLength), "bind AF_NETLINK");
    return fd;
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

/** No frame comes to it before it is bound. @returns a descriptor @throws SystemError */
export function openRawPacketSocket(): number {
  if (given !== undefined) return duplicate(given.packet);
  return must(libc.socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), "socket AF_PACKET");
}

/** From then on it gets all frames of one interface. @throws SystemError */
export function bindToInterface(fd: number, ifindex: number): void {
  const address = new DataView(new ArrayBuffer(SOCKADDR_LL_LENGTH)); // struct sockaddr_ll
  address.setUint16(0, AF_PACKET, true);
  address.setUint16(2, ETH_P_ALL); // network order
  address.setInt32(4, ifindex, true);
  must(libc.bind(fd, address, address.byteLength), `bind to interface ${ifindex}`);
}

/**
 * @param fd of a packet socket that is bound
 * @returns whether its interface has gone: the kernel takes it off, for good, also when one with the same number comes (packet_notifier
 * in net/packet/af_packet.c)
 * @throws SystemError
 */
export function hasLostInterface(fd: number): boolean {
  const address = new DataView(new ArrayBuffer(SOCKADDR_LL_LENGTH));
  length[0] = address.byteLength;
  must(libc.getsockname(fd, address, length), "getsockname");
  return address.getInt32(4, true) === NO_INTERFACE;
}

/**
 * Sends what the peer takes now, and does not wait, though for others who have the socket too it may.
 * @returns how many bytes that was; undefined when it takes none now
 * @throws SystemError
 */
export function sendNow(fd: number, bytes: Uint8Array): number | undefined {
  const sent = libc.send(fd, bytes, bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL);
  return sent < 0 && errno() === EAGAIN ? undefined : must(sent, "send");
}

/** @param what names the option in the error @throws SystemError */
export function setOption(fd: number, level: number, name: number, value: Uint32Array, what: string): void {
  must(libc.setsockopt(fd, level, name, value, value.byteLength), what);
}

const length = new Uint32Array(1);

/** @param result what the option is written to; left alone when the kernel says nothing */
export function getOption(fd: number, level: number, name: number, result: Uint32Array): void {
  length[0] = result.byteLength;
  libc.getsockopt(fd, level, name, result, length);
}
