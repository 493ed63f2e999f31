// Who has an interface: two firewalls on one would each forward every packet. Whoever takes it binds a Unix socket to an
// abstract name made of the interface's number. Such names belong to a network namespace, as interfaces do, only one process
// can have one, and the kernel gives it back however the process ends.
import { readFileSync } from "node:fs";
import { EADDRINUSE, errno, libc, must, SystemError } from "../libc.ts";
import { abstractAddress, getOption, openUnixSocket, SO_PEERCRED, SOL_SOCKET } from "./socket.ts";

/** Another firewall has it. */
export class InterfaceTaken extends Error {}

/** Nobody is ever accepted: one who asks reads our process number from the connection, and goes. */
const BACKLOG = 16;

/**
 * @param index the kernel's number of the interface
 * @returns what lets go of it
 * @throws InterfaceTaken that names the process which has it
 */
export function holdInterface(name: string, index: number): () => void {
  const address = abstractAddress(`firebreak/interface/${index}`);
  const fd = openUnixSocket();
  if (libc.bind(fd, address, address.length) < 0) {
    const reason = errno();
    const holder = reason === EADDRINUSE ? describeHolder(address) : undefined;
    libc.close(fd);
    if (holder === undefined) throw new SystemError(`bind for ${name}`, reason);
    throw new InterfaceTaken(
      `${name}: ${holder} has this interface already (stop that one, or configure other interfaces)`,
    );
  }
  must(libc.listen(fd, BACKLOG), `listen for ${name}`);
  return () => libc.close(fd);
}

/** `another firewall, process 4711 (firebreak run …)` */
function describeHolder(address: Uint8Array): string {
  const fd = openUnixSocket();
  const credentials = new Uint32Array(3); // struct ucred (linux/socket.h): process, user, group
  if (libc.connect(fd, address, address.length) === 0) getOption(fd, SOL_SOCKET, SO_PEERCRED, credentials);
  libc.close(fd);
  const [pid] = credentials;
  if (pid === 0) return "another firewall, of which this process can't see more,"; // of another PID namespace
  return `another firewall, process ${pid} (${commandOf(pid)}),`;
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").join(" ").trim();
  } catch {
    return "which has ended since";
  }
}
