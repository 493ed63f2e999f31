// The page that explains a capture: what it marks as rewritten is exactly what differs, it is bounded, and nothing in a capture, a name or
// a path can make it do anything.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { generate, CONFIG as LONG_CONFIG } from "../../bench/replay.ts";
import { readCapture, writeCapture } from "../../lab/captures.ts";
import { ethernet, fragmented, IPV4_TYPE, icmp, payload, toHex, udp } from "../../lab/frames.ts";
import { VERDICT_NAMES, type Verdict } from "../../src/dataplane/verdict.ts";
import { escapeHtml, html } from "../../src/learning/html.ts";
import { verdictWords } from "../../src/learning/words.ts";
import { HOSTILE } from "../support/hostile-text.ts";
import { HOST, INSIDE, replayConfig, runReplay } from "../support/replay-run.ts";

const MAIN = join(import.meta.dir, "../../src/main.ts");
const CAPTURES = join(import.meta.dir, "../captures");

/** As make6.sh has it: IPv6 translated too. */
const CONFIG_6 = replayConfig({ client: 'address6 = "fd00::10"\ngateway6 = "fd00::1"\npolicy = "accept"' }).replace(
  'gateway = "192.0.2.1"',
  '$&\naddress6 = "2001:db8::2/64"\ngateway6 = "2001:db8::1"',
);

/** What a page would obey or not show. */
const INVISIBLE = /(?![\n\t])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "firebreak-page-"));
});
afterAll(() => rm(folder, { recursive: true }));

/** @returns the page */
async function page(toml: string, inputs: readonly string[], ...options: readonly string[]): Promise<string> {
  const out = join(folder, "out.html");
  await runReplay(folder, toml, inputs, "--html", out, ...options);
  return Bun.file(out).text();
}

const both = (name: string): string[] => [
  `eth0=${CAPTURES}/${name}-client.pcap`,
  `eth1=${CAPTURES}/${name}-uplink.pcap`,
];

/** @returns the page's words, without its elements */
const plain = (text: string): string =>
  decoded(text.replace(/<(style|script)>.*?<\/\1>/gs, "").replace(/<[^>]*>/g, "")).replaceAll(/\s+/g, " ");

/** What a browser makes of the entities that the page uses. */
function decoded(text: string): string {
  const signs: Record<string, string> = { "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'", "&amp;": "&" };
  return text.replace(/&(?:lt|gt|quot|#39|amp);/g, (entity) => signs[entity]);
}

interface ShownField {
  readonly id: string | null;
  readonly title: string;
  hex: string;
  isMarked: boolean;
  caption: string;
}

interface ShownFrame {
  title: string;
  readonly fields: ShownField[];
}

interface ShownPacket {
  verdict: string;
  kind: string;
  why: string;
  readonly frames: ShownFrame[];
  /** Names in the list of what was rewritten. */
  readonly rewritten: string[];
  /** Text of its cards. */
  readonly cards: string[];
}

interface Shown {
  readonly packets: ShownPacket[];
  readonly gaps: string[];
  choice: string;
}

/** Reads the page as a browser would parse it. */
function read(text: string): Shown {
  const shown: Shown = { packets: [], gaps: [], choice: "" };
  const packet = () => shown.packets[shown.packets.length - 1];
  const frame = () => packet().frames[packet().frames.length - 1];
  const field = () => frame().fields[frame().fields.length - 1];
  new HTMLRewriter()
    .on("details.packet", {
      element(element) {
        const kind = (element.getAttribute("class") ?? "").replace("packet ", "");
        shown.packets.push({ verdict: "", kind, why: "", frames: [], rewritten: [], cards: [] });
      },
    })
    .on(".packet > summary strong", {
      text(chunk) {
        packet().verdict += decoded(chunk.text);
      },
    })
    .on(".why", {
      text(chunk) {
        packet().why += decoded(chunk.text);
      },
    })
    .on(".card", {
      element: () => void packet().cards.push(""),
      text(chunk) {
        packet().cards[packet().cards.length - 1] += decoded(chunk.text);
      },
    })
    .on(".changes button", {
      element: () => void packet().rewritten.push(""),
      text(chunk) {
        packet().rewritten[packet().rewritten.length - 1] += decoded(chunk.text);
      },
    })
    .on(".frame", { element: () => void packet().frames.push({ title: "", fields: [] }) })
    .on(".frame h3", {
      text(chunk) {
        frame().title += decoded(chunk.text);
      },
    })
    .on(".f", {
      element(element) {
        const [id, title] = [element.getAttribute("data-f"), element.getAttribute("title") ?? ""];
        frame().fields.push({ id, title, hex: "", isMarked: false, caption: "" });
      },
      text(chunk) {
        field().hex += decoded(chunk.text);
      },
    })
    .on(".f mark", {
      element() {
        field().isMarked = true;
      },
    })
    .on(".f .caption", {
      text(chunk) {
        field().caption += decoded(chunk.text);
      },
    })
    .on(".gap", {
      element: () => void shown.gaps.push(""),
      text(chunk) {
        shown.gaps[shown.gaps.length - 1] += decoded(chunk.text);
      },
    })
    .on(".choice", {
      text(chunk) {
        shown.choice += decoded(chunk.text);
      },
    })
    .transform(text);
  for (const { fields } of shown.packets.flatMap(({ frames }) => frames)) {
    for (const one of fields) if (one.caption !== "") one.hex = one.hex.slice(0, -one.caption.length);
  }
  return shown;
}

/** @returns a frame's bytes in hex, as far as the page has them */
function hexOf({ fields }: ShownFrame): string {
  return fields
    .map(({ hex }) => hex)
    .join(" ")
    .replace(/ … \d+ more.*/s, "");
}

const sideBySide = ({ frames }: ShownPacket) => [
  frames.find(({ title }) => title.startsWith("Before")),
  frames.find(({ title }) => title.startsWith("After")),
];

describe("of the captures that tests have", () => {
  const names = ["ping", "dns", "http", "iperf3", "traceroute", "refused", "ping-too-big"];
  const names6 = ["ping6", "dns6", "http6", "traceroute6", "refused6", "fragments6", "options6", "ping-too-big6"];
  for (const name of [...names, ...names6]) {
    test(`${name}: the marked fields are exactly those that differ, on both sides, and each is named`, async () => {
      const out = join(folder, `sent-${name}`);
      const { packets } = read(await page(name.endsWith("6") ? CONFIG_6 : replayConfig(), both(name), "--out", out));
      const sent = new Set<string>();
      for (const iface of ["eth0", "eth1"]) {
        const { frames } = await readCapture(await Bun.file(join(out, `${iface}.pcap`)).bytes());
        for (const { bytes } of frames) sent.add(toHex(bytes).replaceAll("\n", " "));
      }
      let compared = 0;
      for (const packet of packets) {
        const [before, after] = sideBySide(packet);
        if (before === undefined || after === undefined) continue;
        compared++;
        expect([...sent].some((frame) => frame.startsWith(hexOf(after)))).toBeTrue();
        expect(after.fields.map(({ id }) => id)).toEqual(before.fields.map(({ id }) => id));
        for (const [i, field] of before.fields.entries()) {
          const other = after.fields[i];
          const isOther = field.hex !== other.hex;
          expect([field.title, field.isMarked, other.isMarked]).toEqual([field.title, isOther, isOther]);
          if (isOther) expect(packet.rewritten.some((rewritten) => rewritten.endsWith(field.caption))).toBeTrue();
          expect(field.caption !== "").toBe(isOther);
        }
        expect(packet.rewritten.length).toBe(before.fields.filter(({ isMarked }) => isMarked).length);
        // And byte by byte, whatever a field is: what differs lies in a marked one, and each marked one has a byte that differs.
        expect(before.fields.map(({ hex }) => hex.length)).toEqual(after.fields.map(({ hex }) => hex.length));
      }
      expect(compared).toBeGreaterThan(1);
    });
  }

  test("a ping's rewritten fields are the address, what every router changes, and nothing else", async () => {
    const { packets } = read(await page(replayConfig(), both("ping")));
    const forwarded = packets.filter(({ frames }) => frames.some(({ title }) => title.startsWith("After")));
    expect(forwarded.length).toBe(6);
    const always = ["Time to live (TTL)", "Destination MAC address", "Source MAC address", "Header checksum"];
    for (const { rewritten, cards } of forwarded) {
      const isOut = cards[0].startsWith("inside");
      expect(rewritten).toEqual([isOut ? "Source address" : "Destination address", ...always]);
    }
    expect(forwarded[0].verdict).toBe("… queued for ARP");
    expect(forwarded[0].cards).toEqual([
      "inside, eth0Ping number 1: are you there?10.137.0.10 → 198.51.100.80TTL 64 · 98 bytes",
      "outside, eth1Ping number 1: are you there?192.0.2.254 → 198.51.100.80TTL 63 · 98 bytes",
    ]);
    expect(forwarded[1].kind).toBe("passed");
  });

  test("of IPv6 too, where nothing has a checksum of its header; and by its checksum ICMPv6 knows of addresses", async () => {
    const text = await page(CONFIG_6, both("ping6"));
    const forwarded = read(text).packets.filter(({ frames }) => frames.some(({ title }) => title.startsWith("After")));
    expect(forwarded.length).toBe(6);
    const always = ["Hop limit", "Destination MAC address", "Source MAC address", "ICMPv6 checksum"];
    for (const { rewritten, cards } of forwarded) {
      const isOut = cards[0].startsWith("inside");
      expect(rewritten).toEqual([isOut ? "Source address" : "Destination address", ...always]);
    }
    expect(forwarded[0].verdict).toBe("… queued for Neighbour Discovery");
    expect(forwarded[0].cards).toEqual([
      "inside, eth0Ping number 1: are you there?fd00::10 → 2001:db8:7::80hop limit 64 · 118 bytes",
      "outside, eth1Ping number 1: are you there?2001:db8::2 → 2001:db8:7::80hop limit 63 · 118 bytes",
    ]);
    const words = plain(text);
    expect(words).toContain("This is NAT of IPv6, called NAT66: outside nobody knows the way to the address inside");
    expect(words).toContain("IPv4 calls it time to live.");
    expect(words).toContain("unlike that of ICMP, over both addresses");
  });

  test("a port of IPv6 stands behind brackets, and each of its fields is named", async () => {
    const { packets } = read(await page(CONFIG_6, both("http6")));
    const syn = packets.find(({ cards }) => cards[0]?.includes("asks to open"));
    expect(syn?.cards.map((card) => card.replace(/(fd00::10|::2)\]:\d+/, "$1]:PORT"))).toEqual([
      "inside, eth0TCP: asks to open a connection[fd00::10]:PORT → [2001:db8:7::80]:80hop limit 64 · 94 bytes",
      "outside, eth1TCP: asks to open a connection[2001:db8::2]:PORT → [2001:db8:7::80]:80hop limit 63 · 94 bytes",
    ]);
    expect(syn?.rewritten).toEqual([
      ...["Source address", "Hop limit", "Destination MAC address", "Source MAC address", "TCP checksum"],
    ]);
    const [before] = syn === undefined ? [] : sideBySide(syn);
    expect(before?.fields.slice(2, 9).map(({ title }) => title.replace(/flow label .*/, "flow label"))).toEqual([
      "EtherType: 0x86dd (IPv6)",
      "Version, class and flow label: IPv6, class 0x00, flow label",
      "Payload length: 40 bytes",
      "Next header: 6 (tcp)",
      "Hop limit: 64",
      "Source address: fd00::10",
      "Destination address: 2001:db8:7::80",
    ]);
  });

  test("questions between neighbours of IPv6 are told for what they are", async () => {
    const { packets } = read(await page(CONFIG_6, both("ping6")));
    const asked = packets.find(({ verdict }) => verdict === "↩ answered");
    expect(asked?.cards).toEqual([
      "inside, eth0Neighbour Discovery: who has fd00::1? asks fd00::10fd00::10 → ff02::1:ff00:1hop limit 255 · 86 bytes",
      "inside, eth0Neighbour Discovery: fd00::1 is herefd00::1 → fd00::10hop limit 255 · 86 bytes",
    ]);
    expect(asked?.why).toContain("Neighbour Discovery is to IPv6 what ARP is to IPv4");
    expect(asked?.frames[1].fields.slice(-3).map(({ title }) => decoded(title))).toEqual([
      "Flags: a router, was asked, in place of what was known",
      "Target's address: fd00::1",
      "Target's MAC address: 02:00:00:00:01:00",
    ]);
  });

  test("extension headers are told of, and in what an error quotes what was rewritten is marked", async () => {
    const { packets } = read(await page(CONFIG_6, both("options6")));
    const [, sent] = packets.filter(({ cards }) => cards[0]?.startsWith("inside, eth0UDP"));
    expect(sent.why).toContain("stand extension headers");
    expect(sent.frames[0].fields.map(({ title }) => title)).toEqual(
      expect.arrayContaining(["Next header: 0 (hop-by-hop options)", "Next header: 60 (destination options)"]),
    );
    const error = packets.find(({ cards }) => cards[0]?.includes("unreachable (port)"));
    expect(error?.rewritten.slice(-2)).toEqual(["Quoted IPv6: Source address", "Quoted UDP: UDP checksum"]);
  });

  test("why there is NAT of IPv6 is told, and who goes without it", async () => {
    const translated = plain(await page(CONFIG_6, both("ping6")));
    expect(translated).toContain("here work (10.137.0.10 and fd00::10, on eth0)");
    expect(translated).toContain("its own address, 192.0.2.254 or, of IPv6, 2001:db8::2, in place of the sender's");
    expect(translated).toContain("Because the configuration says so of work: mostly where addresses are private ones");
    const routed = plain(await page(`${CONFIG_6}nat6 = "route"\n`, both("ping6")));
    expect(routed).toContain("By IPv6 work (fd00::10) goes without");
    expect(routed).toContain("here work (10.137.0.10, on eth0)");
    expect(routed).not.toContain("NAT66");
    const without = plain(await page(replayConfig(), both("ping")));
    expect([without.includes("NAT66"), without.includes("of IPv6, which has addresses enough")]).toEqual([
      false,
      false,
    ]);
  });

  test("an error's quoted packet is marked where it was rewritten, and why is told", async () => {
    const text = await page(replayConfig(), both("ping-too-big"));
    const error = read(text).packets.find(({ cards }) => cards[0]?.includes("fragmentation needed"));
    expect(error?.rewritten.slice(-2)).toEqual(["Quoted IPv4: Header checksum", "Quoted IPv4: Source address"]);
    expect(text).toContain("An error message quotes the packet that it is about.");
  });

  test("a drop has its reason, and the error that the firewall sends stands beside it", async () => {
    const rules = 'rules = ["action=accept proto=udp", "action=drop dstports=80"]';
    const { packets } = read(await page(replayConfig({ client: rules }), [`eth0=${CAPTURES}/http-client.pcap`]));
    const drop = packets.find(({ verdict }) => verdict === "✕ dropped: refused by rules");
    expect([drop?.kind, drop?.why]).toEqual([
      "dropped",
      "dropped: refused by rules: The rules of this client don't allow it.",
    ]);
    expect(drop?.cards[1]).toStartWith("inside, eth0ICMP, an error: unreachable (prohibited)10.137.0.1 → 10.137.0.10");
    expect(drop?.frames.map(({ title }) => title)).toEqual([
      "As it came in (inside, eth0)",
      "The firewall's own frame (inside, eth0)",
    ]);
  });
});

test("pieces of a packet that was cut are all there, and the changes are those of the first", async () => {
  const echo = icmp(
    { source: "10.137.0.10", destination: "198.51.100.80", type: 8, rest: 1, identification: 7, fragment: 0 },
    payload(3000),
  );
  const file = join(folder, "big.pcap");
  const bytes = ethernet(HOST, INSIDE, IPV4_TYPE, echo);
  await Bun.write(file, writeCapture([{ seconds: 1, nanoseconds: 0, bytes, originalLength: bytes.length }], "us"));
  const { packets } = read(await page(replayConfig(), [`eth0=${file}`]));
  const cut = packets.find(({ cards }) => cards.length > 3);
  expect(cut?.cards.filter((card) => card.startsWith("outside")).map((card) => card.replace(/1\d\d\..*/, ""))).toEqual([
    "outside, eth1Ping number 1: are you there? (the first piece)",
    "outside, eth1A later piece of a packet",
    "outside, eth1A later piece of a packet",
  ]);
  expect(cut?.rewritten).toContain("Fragmentation");
  expect(cut?.rewritten).toContain("Total length");
  expect(fragmented(echo, 1480).length).toBe(3);
});

describe("of a large capture", () => {
  test("200 frames are shown, and the page says so and why, and stays small", async () => {
    const file = join(folder, "long.pcap");
    generate(file, 20_000);
    const text = await page(LONG_CONFIG, [`eth0=${file}`]);
    const { packets, gaps, choice } = read(text);
    const came = packets.filter(({ kind }) => kind !== "own");
    expect(packets.length).toBe(200);
    expect(choice.replaceAll("\n", " ")).toBe(
      `${came.length} of 20000 frames are shown, so that the page can still be read: of each conversation the first 10, and ` +
        "beside these what opens or closes a connection and what was not simply sent on; 200 in all.",
    );
    expect(gaps).toEqual([`${20_000 - came.length} more frames of these conversations, not shown`]);
    expect(text.length).toBeLessThan(3_000_000);
  });

  test("of one long conversation the first ten are, and those that are not simply sent on", async () => {
    const datagram = (i: number) =>
      ethernet(
        HOST,
        INSIDE,
        IPV4_TYPE,
        udp(
          {
            source: i === 500 ? "10.137.0.99" : "10.137.0.10",
            destination: "198.51.100.80",
            sourcePort: 5000,
            destinationPort: 4000,
          },
          payload(8),
        ),
      );
    const frames = Array.from({ length: 1000 }, (_, i) => {
      const bytes = datagram(i);
      return { seconds: 1000, nanoseconds: i * 1000, bytes, originalLength: bytes.length };
    });
    const file = join(folder, "one.pcap");
    await Bun.write(file, writeCapture(frames, "us"));
    const { packets, gaps } = read(await page(replayConfig(), [`eth0=${file}`]));
    expect(packets.filter(({ kind }) => kind !== "own").map(({ verdict }) => verdict)).toEqual([
      ...new Array(10).fill("✓ forwarded"),
      "✕ dropped: source address spoofed",
    ]);
    expect(gaps.map((gap) => gap.split(" ")[0])).toEqual(["490", "499"]);
  });
});

describe("the page", () => {
  test("needs nothing from anywhere, and runs nothing but what it came with", async () => {
    const text = await page(replayConfig(), both("http"));
    const [, policy = ""] = /http-equiv="Content-Security-Policy" content="([^"]*)"/.exec(text) ?? [];
    const hash = (tag: string) => {
      const [, content = ""] = new RegExp(`<${tag}>(.*?)</${tag}>`, "s").exec(text) ?? [];
      expect(content).not.toBe("");
      return `'sha256-${createHash("sha256").update(content).digest("base64")}'`;
    };
    expect(policy.replaceAll("&#39;", "'")).toBe(
      `default-src 'none'; style-src ${hash("style")}; script-src ${hash("script")}; base-uri 'none'; form-action 'none'`,
    );
    const elements: string[] = [];
    const attributes = new Set<string>();
    new HTMLRewriter()
      .on("*", {
        element(element) {
          elements.push(element.tagName);
          for (const [name] of element.attributes) attributes.add(name);
        },
      })
      .transform(text);
    for (const tag of ["link", "img", "iframe", "object", "form", "svg", "a", "base"])
      expect(elements).not.toContain(tag);
    expect(elements.filter((tag) => tag === "script" || tag === "style").length).toBe(2);
    for (const name of attributes) expect(name).not.toMatch(/^(?:on.*|style|src|href|action)$/);
    expect(text).not.toMatch(/url\(|@import|https?:/);
    expect(text).toContain('<meta name="viewport"');
    expect(text).toContain("prefers-color-scheme: dark");
  });

  test("is the same for the same capture, byte for byte", async () => {
    expect(await page(replayConfig(), both("dns"))).toBe(await page(replayConfig(), both("dns")));
  });

  test("says something of every verdict that there is", () => {
    const silent = VERDICT_NAMES.filter((_, code) => verdictWords(code as Verdict) === "");
    expect(silent).toEqual([]);
  });

  test("is not written over what is read, nor over another output", async () => {
    const file = join(folder, "precious.pcap");
    await copyFile(`${CAPTURES}/ping-client.pcap`, file);
    const args = ["replay", "--config", join(folder, "firebreak.toml"), "--in", `eth0=${file}`];
    const run = (...more: readonly string[]) => {
      const { exitCode, stderr } = Bun.spawnSync([process.execPath, MAIN, ...args, ...more]);
      return [exitCode, stderr.toString().replaceAll(folder, "DIR")];
    };
    expect(run("--html", file)).toEqual([
      2,
      "firebreak: replay: --html DIR/precious.pcap would overwrite DIR/precious.pcap, which is read (as DIR/precious.pcap) (name another file)\n",
    ]);
    const one = join(folder, "one.pcapng");
    expect(run("--out", one, "--html", `${folder}/./one.pcapng`)).toEqual([
      2,
      "firebreak: replay: --html DIR/./one.pcapng would overwrite DIR/./one.pcapng, which is written by --out DIR/one.pcapng (name another)\n",
    ]);
  });
});

describe("what strangers wrote", () => {
  /** @returns the elements, and the text, that a browser would make of a piece of HTML */
  function parse(text: string): { readonly elements: string[]; readonly text: string } {
    const elements: string[] = [];
    let content = "";
    new HTMLRewriter()
      .on("*", { element: (element) => void elements.push(element.tagName) })
      .onDocument({
        text(chunk) {
          content += decoded(chunk.text);
        },
      })
      .transform(text);
    return { elements, text: content };
  }

  test.each(HOSTILE)("%j is text in an element and in an attribute, and shown whole", (hostile) => {
    const { elements, text } = parse(html`<p title="${hostile}">${hostile}</p>`.text);
    expect(elements).toEqual(["p"]);
    expect(text.replaceAll(/\\u\{[0-9a-f]+\}/g, "")).toBe(
      [...hostile].filter((sign) => !INVISIBLE.test(sign)).join(""),
    );
    expect(escapeHtml(hostile)).not.toMatch(INVISIBLE);
  });

  test("as names of captures and of interfaces, and in packets, stays text", async () => {
    const name = "<script>\"'&$(x)";
    const hostile = "\u202e\x1b[31m<img src=x onerror=alert(1)>\"'&$(id)\n.pcap";
    const datagram = udp(
      { source: "10.137.0.10", destination: "198.51.100.80", sourcePort: 5000, destinationPort: 4000 },
      new TextEncoder().encode("</script><script>alert(1)</script>"),
    );
    const bytes = ethernet(HOST, INSIDE, IPV4_TYPE, datagram);
    const file = join(folder, hostile);
    await Bun.write(file, writeCapture([{ seconds: 1, nanoseconds: 0, bytes, originalLength: bytes.length }], "us"));
    const text = await page(replayConfig({ name }), [`${name}=${file}`]);
    const { elements } = parse(text);
    expect(elements.filter((tag) => tag === "script").length).toBe(1);
    expect(elements).not.toContain("img");
    expect(text).not.toMatch(INVISIBLE);
    expect(text).toContain("\\u{202e}\\u{1b}[31m&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;$(id)");
    expect(read(text).packets.some(({ cards }) => cards[0]?.startsWith("inside, "))).toBeTrue();
  });
});
