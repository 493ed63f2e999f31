// Addresses made unrecognisable in a text that somebody gives away, so that it can still be followed: one and the same is masked the same
// everywhere in it, and networks stay networks. Two addresses with the same first byte have as many leading bits in common as before (as
// Xu and others' Crypto-PAn, 2002). What kind of address it is stays plain: private, link-local, multicast.
import { createHmac, randomBytes } from "node:crypto";
import { formatAddress, formatAddress6, formatMac, parseAddress, parseAddress6, parseMac } from "../../base/address.ts";

/** Leading bits that say what kind of address it is (RFC 6890). */
const KINDS: readonly (readonly [firstByte: number, bits: number])[] = [
  [10, 8],
  [100, 10],
  [127, 8],
  [169, 16],
  [172, 12],
  [192, 16],
];
/** The first byte of all others is one of these, and masked. */
const PUBLIC = Array.from({ length: 223 }, (_, i) => i + 1).filter((byte) => !KINDS.some(([first]) => first === byte));
/** Nobody's: these stay. */
const NOBODY = ["0.0.0.0", "255.255.255.255"];

const IPV4 = /(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?:\/\d{1,2})?(?![\w.]*\w)/g;
const MAC = /(?<![\w:])(?:[0-9a-f]{2}:){5}[0-9a-f]{2}(?![\w:])/gi;
const IPV6 = /(?<![\w:.])(?=[0-9a-f:]*:[0-9a-f:]*:)[0-9a-f:]{2,39}(?![\w:.]*\w)/gi;

export class Masking {
  private readonly hosts = new Map<string, string>();
  private readonly known = new Map<string, string>();
  /** By place in PUBLIC: the byte instead, each once. */
  private readonly firstBytes: readonly number[];

  /**
   * @param names host names that are masked too
   * @param key whoever has it can guess what was masked
   */
  constructor(
    names: Iterable<string> = [],
    private readonly key: Uint8Array = randomBytes(32),
  ) {
    for (const name of names) {
      if (!this.hosts.has(name)) this.hosts.set(name, `host${this.hosts.size + 1}.example`);
    }
    const order = (byte: number) => Buffer.from(this.digest(`byte ${byte}`)).readUInt32BE();
    this.firstBytes = PUBLIC.toSorted((one, other) => order(one) - order(other));
  }

  /** @returns the text with all addresses masked, and the host names that are known */
  mask(text: string): string {
    const masked = this.maskNames(text)
      .replace(MAC, (mac) => this.once(mac.toLowerCase(), () => this.maskMac(mac)))
      .replace(IPV6, (address) => this.once(address.toLowerCase(), () => this.maskIpv6(address)));
    return masked.replace(IPV4, (address) => this.once(address, () => this.maskIpv4(address)));
  }

  private maskNames(text: string): string {
    let masked = text;
    for (const name of [...this.hosts.keys()].sort((one, other) => other.length - one.length)) {
      masked = masked.replaceAll(name, this.hosts.get(name) ?? "");
    }
    return masked;
  }

  private once(text: string, make: () => string): string {
    const known = this.known.get(text) ?? make();
    this.known.set(text, known);
    return known;
  }

  /** @param text an address, or a prefix: then bits behind it that are 0 stay so */
  private maskIpv4(text: string): string {
    const [host = "", length] = text.split("/");
    const address = parseAddress(host);
    if (address === undefined || NOBODY.includes(host)) return text;
    const masked = this.maskBits(address);
    if (length === undefined) return formatAddress(masked);
    const rest = 2 ** (32 - Math.min(32, Number(length)));
    return `${formatAddress(address % rest === 0 ? masked - (masked % rest) : masked)}/${length}`;
  }

  private maskBits(address: number): number {
    const first = Math.floor(address / 2 ** 24);
    const place = PUBLIC.indexOf(first);
    let masked = place < 0 ? first : this.firstBytes[place];
    const plain = KINDS.find(([byte]) => byte === first)?.[1] ?? 8;
    for (let bit = 8; bit < 32; bit++) {
      const value = Math.floor(address / 2 ** (31 - bit)) % 2;
      const leading = Math.floor(address / 2 ** (32 - bit));
      const flip = bit < plain ? 0 : this.digest(`ipv4 ${bit} ${leading}`)[0] & 1;
      masked = masked * 2 + (value ^ flip);
    }
    return masked;
  }

  /** A locally administered one; groups stay groups, and broadcast and none what they are. */
  private maskMac(text: string): string {
    const mac = parseMac(text);
    if (mac === undefined || mac.every((byte) => byte === 0xff) || mac.every((byte) => byte === 0)) return text;
    const digest = this.digest(`mac ${formatMac(mac)}`);
    return formatMac(Uint8Array.of(2 | (mac[0] & 1), ...digest.subarray(0, 5)));
  }

  /** Group by group, by those before it. What says the kind of address stays, multicast too, and zeros at the end. */
  private maskIpv6(text: string): string {
    const address = parseAddress6(text);
    if (address === undefined || address[0] === 0xff || address.subarray(0, 15).every((byte) => byte === 0))
      return text;
    const masked = Uint8Array.from(address);
    for (let at = 0; at < 16 && address.subarray(at).some((byte) => byte !== 0); at += 2) {
      const flip = this.digest(`ipv6 ${address.subarray(0, at).join(" ")}`);
      const isKind = at === 0 && address[0] >= 0xf0; // unique local, link-local: the first byte, or ten bits
      masked[at] ^= at > 0 ? flip[0] : isKind ? 0 : flip[0] & 0x1f;
      masked[at + 1] ^= isKind && address[0] === 0xfe ? 0 : flip[1];
    }
    return formatAddress6(masked);
  }

  private digest(text: string): Uint8Array {
    return createHmac("sha256", this.key).update(text).digest();
  }
}
