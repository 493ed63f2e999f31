// What runs in dom0 in the Xen tests: does what the tests ask for (mail.ts), and is to one domain what Qubes OS's QubesDB and
// qrexec daemons are, over vchans of Xen's own library.
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { QREXEC_PORT } from "../../../../src/qubes/qrexec-wire.ts";
import { QUBESDB_PORT } from "../../../../src/qubes/qubesdb-wire.ts";
import type { StreamHandler } from "../../../../src/xen/byte-stream.ts";
import { Xen } from "../../../../src/xen/xen.ts";
import { QrexecDouble } from "../../../support/qrexec-double.ts";
import { QubesDbDouble } from "../../../support/qubesdb-double.ts";
import { ECHO_PORTS } from "../guest/echo-wire.ts";
import { LibxenvchanChannels } from "./libxenvchan.ts";
import { type Facts, put, type Ran, type Request, type Talked, take, waiting } from "./mail.ts";
import { Talk } from "./talk.ts";

/** Between two looks for requests, in ms. */
const PAUSE = 50;

const [folder = "/share/mail"] = process.argv.slice(2);
const fail = (error: Error): never => {
  throw error;
};
const channels = new LibxenvchanChannels(Xen.open(fail).store, fail);

/** The domain that is served. */
interface Served {
  readonly domain: number;
  readonly database: QubesDbDouble;
  qrexec: QrexecDouble;
  readonly triggered: string[];
  isBack: boolean;
}
let served: Served | undefined;

/** A domain that is gone can't be served again. */
function report(error: unknown): void {
  console.log(`double: ${error instanceof Error ? error.message : error}`);
}

async function serveDatabase(to: Served): Promise<void> {
  const handler = to.database.handler();
  const watching: StreamHandler = {
    received: handler.received,
    closed(reason) {
      handler.closed(reason);
      if (to.isBack && served === to) serveDatabase(to).catch(report);
    },
  };
  to.database.attach(await channels.serve(to.domain, QUBESDB_PORT, watching));
}

/** Connects to the domain's agent; to the next one when that ends. */
async function connectQrexec(to: Served): Promise<void> {
  const qrexec = new QrexecDouble(to.domain, channels);
  const ended: StreamHandler = {
    received: qrexec.handler.received,
    closed(reason) {
      qrexec.handler.closed(reason);
      if (served === to) connectQrexec(to).catch(report);
    },
  };
  to.qrexec = qrexec;
  qrexec.attach(await channels.connect(to.domain, QREXEC_PORT, ended));
}

function current(): Served {
  if (served === undefined) throw new Error("no domain is served");
  return served;
}

async function shell(command: string): Promise<Ran> {
  const child = Bun.spawn(["/bin/sh", "-c", `{ ${command}\n} 2>&1`], { stdin: "ignore", stdout: "pipe" });
  const output = await child.stdout.text();
  return { status: await child.exited, output };
}

let lastMarker = 0;

/** Types a command into a guest's console, and waits for the line behind its output. */
async function inGuest(guest: string, command: string, seconds: number): Promise<Ran> {
  const { output: domain } = await shell(`xl domid ${guest}`);
  const { output: tty } = await shell(`xenstore-read /local/domain/${domain.trim()}/console/tty`);
  const log = `/share/console/guest-${guest}.log`;
  const marker = `@@${++lastMarker}@@`;
  const from = existsSync(log) ? readFileSync(log).length : 0;
  const encoded = Buffer.from(command).toString("base64");
  // The marker is written in two parts, so that its echo is not taken for it.
  const typed = `echo ${encoded} | base64 -d >/c; timeout ${seconds} sh /c 2>&1; echo "${marker.slice(0, 3)}""${marker.slice(3)} $?"\n`;
  appendFileSync(tty.trim(), typed);
  const deadline = performance.now() + (seconds + 20) * 1000;
  for (;;) {
    const text = readFileSync(log).subarray(from).toString().replaceAll("\r", "");
    const end = new RegExp(`^${marker} ([0-9]+)$`, "m").exec(text);
    if (end !== null) return { status: Number(end[1]), output: text.slice(0, end.index) };
    if (performance.now() > deadline) throw new Error(`${guest} did not answer: ${text}`);
    await Bun.sleep(PAUSE);
  }
}

function talk(domain: number, server: "dom0" | "guest", messages: number): Promise<Talked> {
  const conversation = new Talk(messages, ECHO_PORTS[server]);
  const opening =
    server === "dom0"
      ? channels.serve(domain, ECHO_PORTS.dom0, conversation.handler)
      : channels.connect(domain, ECHO_PORTS.guest, conversation.handler);
  return opening.then((stream) => conversation.over(stream));
}

async function obey(request: Request): Promise<unknown> {
  switch (request.do) {
    case "run":
      return shell(request.command);
    case "in":
      return inGuest(request.guest, request.command, request.seconds);
    case "serve": {
      const database = new QubesDbDouble(request.entries);
      const { domain } = request;
      served = { domain, database, qrexec: new QrexecDouble(domain, channels), triggered: [], isBack: true };
      await serveDatabase(served);
      connectQrexec(served).catch(report);
      return undefined;
    }
    case "write":
      return current().database.write(request.path, request.value);
    case "remove":
      return current().database.remove(request.path);
    case "rules":
      return current().database.writeRules(request.address, request.rules, request.policy);
    case "kill": {
      const to = current();
      to.isBack = false;
      to.database.detach(true);
      to.isBack = request.back;
      if (request.back) await serveDatabase(to);
      return undefined;
    }
    case "dump":
      return Object.fromEntries(current().database.entries);
    case "call": {
      const { qrexec } = current();
      await qrexec.greeted;
      return qrexec.call(request.command, request.input);
    }
    case "talk":
      return talk(request.domain, request.server, request.messages);
    case "facts": {
      const { database, qrexec } = current();
      const facts: Facts = {
        triggered: qrexec.triggered,
        mistakes: database.mistakes,
        unanswered: database.unanswered,
      };
      return facts;
    }
  }
}

async function answer(number: string): Promise<void> {
  const request = take(folder, `${number}.request`) as Request;
  try {
    put(folder, `${number}.answer`, { value: await obey(request) });
  } catch (error) {
    put(folder, `${number}.answer`, { error: error instanceof Error ? error.message : String(error) });
  }
}

console.log(`double: up after ${Math.round(performance.now())} ms`);
for (;;) {
  for (const number of waiting(folder)) void answer(number);
  await Bun.sleep(PAUSE);
}
