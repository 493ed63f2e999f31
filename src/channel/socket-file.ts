// The file of the Unix socket that a running firewall is asked by: /run/firebreak/NAME.sock, for root alone. The socket is opened by the
// process that has not given up anything yet, and taken along over execve(2), like those of a network of one's own: the process that
// forwards may make no sockets there, and delete nothing outside that folder.
import { closeSync, lstatSync, mkdirSync, openSync, unlinkSync } from "node:fs";
import { basename, dirname, extname, join } from "node:path";
import { quote } from "../base/quote.ts";
import { EAGAIN, ECONNREFUSED, ENOENT, errno, libc, must } from "../linux/libc.ts";
import { duplicate, fileAddress, openUnixSocket } from "../linux/net/socket.ts";

const FOLDER = "/run/firebreak";
const ENDING = ".sock";
/** Environment variable: the descriptor of the socket, and after a colon its path; empty where there is none. */
const TAKEN_ALONG = "FIREBREAK_SOCKET";

/** A name is part of a path, and of lines in terminals. */
const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/;

const BACKLOG = 64;
const LOCK_EXCLUSIVE = 2; // LOCK_EX of sys/file.h
const OTHERS_WRITE = 0o022;
const NOT_OTHERS = 0o177;

/** A socket that listens. */
export interface OpenSocket {
  readonly fd: number;
  readonly path: string;
}

/** There is a firewall of that name. */
export class NameTaken extends Error {}

/** Where sockets are: systemd says so to a unit with RuntimeDirectory= (systemd.exec(5)), and has made the folder. */
export function socketFolder(): string {
  return process.env.RUNTIME_DIRECTORY?.split(":")[0] || FOLDER;
}

export function socketPath(name: string, folder = socketFolder()): string {
  return join(folder, `${name}${ENDING}`);
}

/** @returns the name of the firewall whose socket this file is; undefined where it is none */
export function nameOfSocket(file: string): string | undefined {
  return file.endsWith(ENDING) ? basename(file, ENDING) : undefined;
}

export function isName(text: string): boolean {
  return NAME.test(text);
}

/** @param given what --name says, if it is there */
export function firewallName(given: string | undefined, configFile: string): string {
  return given ?? basename(configFile, extname(configFile));
}

/**
 * Opens the socket, with a descriptor that execve(2) leaves open.
 * @throws NameTaken where another program listens there; Error where it can't be had
 */
export function openSocketFile(name: string): OpenSocket {
  if (!isName(name)) {
    throw new Error(`${quote(name)} can't be the name of a socket (give one with --name: letters, digits, _ . -)`);
  }
  const path = socketPath(name);
  const folder = openFolder(dirname(path));
  try {
    must(libc.flock(folder, LOCK_EXCLUSIVE), `flock ${dirname(path)}`); // two that start at once: one after the other
    removeStale(path, name);
    const fd = openUnixSocket();
    try {
      bindPrivately(fd, path);
      return { fd: duplicate(fd), path };
    } finally {
      libc.close(fd);
    }
  } finally {
    closeSync(folder);
  }
}

/** @returns what is to be added to the environment of the program that begins anew */
export function socketToTakeAlong(socket: OpenSocket | undefined): Record<string, string> {
  return { [TAKEN_ALONG]: socket === undefined ? "" : `${socket.fd}:${socket.path}` };
}

/** @returns the socket that was taken along, if there is one */
export function takenSocket(): OpenSocket | undefined {
  const [, fd, path] = /^(\d+):(.+)$/.exec(process.env[TAKEN_ALONG] ?? "") ?? [];
  return fd === undefined || path === undefined ? undefined : { fd: Number(fd), path };
}

/** Takes a socket's file away, so that nobody looks for a firewall there. */
export function removeSocketFile(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Somebody else did, or the folder is not ours any more: a socket that nobody listens at is replaced.
  }
}

/** @returns a descriptor of the folder, made where it is not there. @throws Error where others may put something into it */
function openFolder(folder: string): number {
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  const { mode, uid } = lstatSync(folder);
  const isOurs = uid === 0 || uid === process.geteuid?.();
  if (!isOurs || (mode & OTHERS_WRITE) !== 0) {
    throw new Error(`${folder} may be written to by others (chown root ${folder}; chmod 755 ${folder})`);
  }
  return openSync(folder, "r");
}

/** Who can be connected to, or has no room for one more, is alive. */
function removeStale(path: string, name: string): void {
  const problem = connectOnce(path);
  if (problem === 0 || problem === EAGAIN) {
    throw new NameTaken(
      `a firewall named ${quote(name)} is running: ${path} answers (stop it, or give this one another name with --name)`,
    );
  }
  removeSocketFile(path);
}

/** @returns whether nobody listens there: a firewall that was killed leaves its socket */
export function isAbandoned(path: string): boolean {
  const problem = connectOnce(path);
  return problem === ECONNREFUSED || problem === ENOENT;
}

/** @returns why nobody answers, an errno; 0 where somebody does */
function connectOnce(path: string): number {
  const fd = openUnixSocket();
  try {
    const address = fileAddress(path);
    return libc.connect(fd, address, address.length) === 0 ? 0 : errno();
  } finally {
    libc.close(fd);
  }
}

/** Nobody but its owner can ever connect. */
function bindPrivately(fd: number, path: string): void {
  const address = fileAddress(path);
  const before = process.umask(NOT_OTHERS);
  try {
    must(libc.bind(fd, address, address.length), `bind ${path}`);
  } finally {
    process.umask(before);
  }
  must(libc.listen(fd, BACKLOG), `listen ${path}`);
}
