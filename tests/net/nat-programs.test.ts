// Programs that NAT is known to trouble: FTP, whose data connections are connections of their own, and DNS with answers
// that come in fragments.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { FirewallLab } from "../../lab/firewall-lab.ts";
import { payload } from "../../lab/frames.ts";
import type { Outcome, Program } from "../../lab/namespaces.ts";
import { CLIENT, ROUTER, SERVER, serveDns, UPLINK } from "../../lab/places.ts";

/** curl(1), EXIT CODES. */
const FTP_PORT_FAILED = 30;
const TIMED_OUT = 28;

const lab = new FirewallLab("ftp");
const file = payload(300_000);
let ftp: Program;

beforeAll(async () => {
  writeFileSync(join(lab.folder, "file"), file);
  const options = ["-D", "-i", SERVER, "-p", "21", "-d", lab.folder];
  ftp = lab.internet.start(["/usr/bin/python3", "-u", "-m", "pyftpdlib", ...options]);
  await ftp.says("starting FTP server");
  lab.configure([], "accept");
  await lab.start();
}, 120_000);

afterAll(() => lab.close());

/** Fetches the file by FTP. */
async function fetchFile(...options: readonly string[]): Promise<Outcome & { readonly content: Uint8Array }> {
  const fetched = join(lab.folder, "fetched");
  writeFileSync(fetched, "");
  const curl = ["curl", "-sS", "--max-time", "8", "-o", fetched, ...options, `ftp://${SERVER}/file`];
  return { ...(await lab.client.attempt(curl)), content: await Bun.file(fetched).bytes() };
}

test("passive FTP works, with either of its commands", async () => {
  expect(await fetchFile("--ftp-pasv")).toEqual({ status: 0, stdout: "", stderr: "", content: file });
  expect(ftp.text).toContain("<- EPSV");
  expect(await fetchFile("--disable-epsv")).toEqual({ status: 0, stdout: "", stderr: "", content: file });
  expect(ftp.text).toContain("<- PASV");
});

test("active FTP does not: what the client says of its address is left as it is, and the server refuses it", async () => {
  const { status, content } = await fetchFile("--disable-eprt", "--ftp-port", "-");
  expect({ status, content }).toEqual({ status: FTP_PORT_FAILED, content: new Uint8Array(0) });
  expect(ftp.text).toContain(`<- PORT ${CLIENT.replaceAll(".", ",")},`);
});

test("nor does it with the outside address: the server's connection is not let in", async () => {
  const before = (await lab.state()).frames.get("dropped: unsolicited") ?? 0;
  const { status, content } = await fetchFile("--ftp-port", UPLINK);
  expect({ status, content }).toEqual({ status: TIMED_OUT, content: new Uint8Array(0) });
  expect(ftp.text).toContain(`<- EPRT |1|${UPLINK}|`);
  expect((await lab.state()).frames.get("dropped: unsolicited")).toBeGreaterThan(before);
});

test("dig gets an answer of 3.5 kB by UDP, in fragments", async () => {
  const strings = Array.from({ length: 14 }, (_, i) => String.fromCharCode(97 + i).repeat(250));
  await serveDns(lab.internet, "--edns-packet-max=4096", `--txt-record=large.example,${strings.join(",")}`);
  const tcpdump = lab.client.start(["tcpdump", "-n", "-t", "--immediate-mode", "-l", "-i", "eth0", "-Q", "in", "udp"]);
  await tcpdump.says("listening on");
  const dig = ["dig", "+bufsize=4096", "+notcp", "+ignore", "+short", `@${ROUTER}`, "large.example", "TXT"];
  expect(await lab.client.run(dig)).toBe(`${strings.map((string) => `"${string}"`).join(" ")}\n`);
  await tcpdump.says(new RegExp(`(IP ${ROUTER} > ${CLIENT}: ip-proto-17\n){2}`));
});
