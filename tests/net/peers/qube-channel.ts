// qube-channel.ts SOCKET: the appliance as a qube, in the namespace that it is started in, with doubles in place of Xen and dom0,
// and a Unix socket in place of what qrexec-client-vm talks to: whoever connects writes a line, the service, and then talks to
// that. Its eth0 leads to the netvm, a cable vif1.0 to the client 10.137.0.10. On SIGUSR2 it ends.
import { createServer } from "node:net";
import { formatMac } from "../../../src/base/address.ts";
import { listDevices } from "../../../src/linux/net/links.ts";
import type { QrexecDouble } from "../../support/qrexec-double.ts";
import { QubeDouble, sayAndWait } from "../qube-double.ts";

const CLIENT = "10.137.0.10";
const [path = ""] = process.argv.slice(2);
const double = new QubeDouble({
  "/name": "firebreak",
  "/qubes-ip": "192.0.2.254",
  "/qubes-gateway": "192.0.2.1",
  "/qubes-netvm-gateway": "10.137.0.1",
  "/connected-ips": CLIENT,
});
const { store, database } = double;

const uplink = listDevices().find(({ name }) => name === "eth0");
if (uplink === undefined) throw new Error("there is no eth0");
store.put("device/vif/0/mac", formatMac(uplink.mac));
store.put("device/vif/0/state", "4");
database.writeRules(CLIENT, ["action=accept proto=tcp dstports=80", "action=accept proto=icmp"]);
const client = double.attach(1, CLIENT);
const dom0: QrexecDouble = double.serveQrexec();
const qube = await double.start();
await double.connected(client);
await dom0.greeted;

const NOTHING = new Uint8Array(0);
const server = createServer({ allowHalfOpen: true }, (socket) => {
  let early = Buffer.alloc(0);
  let call: Awaited<ReturnType<QrexecDouble["open"]>> | undefined;
  let isBegun = false;
  let isEnded = false;
  const begin = async (service: string) => {
    call = await dom0.open(`DEFAULT:QUBESRPC ${service} admin`, (bytes) => void socket.write(bytes), 3);
    if (early.length > 0) call.write(early);
    if (isEnded) call.write(NOTHING);
    const { error } = await call.done.catch(() => ({ error: "" }));
    if (error !== "") console.log(`call of ${service}: ${error.trim()}`);
    socket.end();
  };
  socket.on("data", (bytes: Buffer) => {
    if (call !== undefined) {
      call.write(bytes);
      return;
    }
    early = Buffer.concat([early, bytes]);
    const end = early.indexOf("\n");
    if (isBegun || end < 0) return;
    isBegun = true;
    const service = early.toString("utf8", 0, end);
    early = early.subarray(end + 1);
    void begin(service);
  });
  socket.on("end", () => {
    isEnded = true;
    call?.write(NOTHING);
  });
  socket.on("error", () => {});
  socket.on("close", () => call?.close());
});
server.listen(path);
await sayAndWait("the client has its interface");
console.log(`mistakes ${JSON.stringify(database.mistakes)}`);
await qube.stop();
process.exit();
