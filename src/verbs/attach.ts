// `firebreak attach`: the port of a virtual machine in which Firebreak runs, as a socket like that of `firebreak run`.
import { connect, createServer, type Socket } from "node:net";
import { parseArgs } from "node:util";
import { printable, quote } from "../base/quote.ts";
import { Attachment } from "../channel/attachment.ts";
import { isName, openSocketFile, removeSocketFile } from "../channel/socket-file.ts";
import { endProgram } from "./end.ts";
import { stopSignal } from "./stopping.ts";
import { UsageError, type Verb } from "./verb.ts";

export const attach: Verb = {
  summary: "let verbs that ask reach a firewall in a virtual machine",
  help: `Usage: firebreak attach PORT --name NAME

Connects to PORT, the socket that QEMU or libvirt has for the port "org.firebreak.control" of a
virtual machine, and listens at /run/firebreak/NAME.sock, so that "firebreak status --at NAME" and
the other verbs that ask reach the firewall in that machine, several at a time. It goes on until
SIGTERM or SIGINT, or until the machine is gone. QEMU has such a port by these options:

  -device virtio-serial -chardev socket,id=control,path=PORT,server=on,wait=off
  -device virtserialport,chardev=control,name=org.firebreak.control

Exit status: 0 stopped by a signal, 1 failed, or the machine is gone, 2 bad usage.
`,
  async run(args) {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { name: { type: "string" } },
    });
    const [path, ...more] = positionals;
    const { name } = values;
    if (path === undefined || more.length > 0) throw new UsageError("takes one PORT");
    if (name === undefined) throw new UsageError("needs --name NAME");
    if (!isName(name)) throw new UsageError(`--name ${quote(name)} is no name (letters, digits, _ . -)`);
    try {
      return await endProgram(await serve(path, name));
    } catch (error) {
      process.stderr.write(`firebreak: ${error instanceof Error ? error.message : String(error)}\n`);
      return await endProgram(1);
    }
  },
};

/** @returns the exit status */
async function serve(path: string, name: string): Promise<number> {
  const stopped = stopSignal();
  const port = await open(path);
  const gone = new Promise<void>((resolve) => port.on("close", () => resolve()));
  const attachment = new Attachment((bytes) => void port.write(bytes));
  port.on("data", (bytes: Buffer) => attachment.receive(bytes));
  port.on("error", () => {}); // its end is told by "close"
  const first = await Promise.race([
    attachment.answered.then(() => "answered" as const),
    stopped.then(() => "stopped" as const),
    gone.then(() => "gone" as const),
  ]);
  if (first === "stopped") return 0;
  if (first === "gone") throw new Error(`${printable(path)}: the machine is gone, or somebody else is attached to it`);
  const socket = openSocketFile(name);
  const server = createServer((client) => attachment.take(client));
  server.listen({ fd: socket.fd });
  process.stdout.write(`attached: ${socket.path}\n`);
  const status = await Promise.race([stopped.then(() => 0), gone.then(() => 1)]);
  removeSocketFile(socket.path);
  attachment.close();
  if (status === 1) process.stderr.write(`firebreak: ${printable(path)}: the machine is gone\n`);
  return status;
}

function open(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.removeAllListeners("error");
      resolve(socket);
    });
    socket.once("error", (error) => reject(new Error(`${printable(path)}: ${problemOf(error)}`)));
  });
}

function problemOf({ code, message }: Error & { readonly code?: string }): string {
  if (code === "ENOENT") return "is not there (the machine's QEMU makes it)";
  if (code === "ECONNREFUSED") return "nobody listens there: the machine is gone, or that is no socket";
  return message;
}
