// The grammar of rules once more, written in another way than the parser: regular expressions for the text, conditions on
// the whole. What it does not give, no parser may accept.

const BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
const IPV4 = `${BYTE}(?:\\.${BYTE}){3}`;
const PORT = "(?:6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3}|0)";
const LABEL = "(?!-)[A-Za-z0-9_-]{1,63}(?<!-)";
const PAIR = [
  "action=(?:accept|drop)",
  "proto=(?:tcp|udp|icmp)",
  "specialtarget=dns",
  `dstports=${PORT}(?:-${PORT})?`,
  `icmptype=${BYTE}`,
  `dst4=${IPV4}(?:/(?:3[0-2]|[12]?[0-9]))?`,
  "dst6=[0-9A-Fa-f:.]+(?:/(?:12[0-8]|1[01][0-9]|[1-9]?[0-9]))?",
  `dsthost=${LABEL}(?:\\.${LABEL})*\\.?`,
  "expire=(?:0|[1-9][0-9]{0,11})",
].join("|");
const RULE = new RegExp(`^(?:${PAIR})(?: (?:${PAIR}))*(?: comment=[-A-Za-z0-9:;,./_[\\] ]+)?$`);

const GROUP = /^[0-9a-f]{1,4}$/i;
const DOTTED = new RegExp(`^${IPV4}$`);

/** @returns whether a text is a rule */
export function isRule(text: string): boolean {
  if (new TextEncoder().encode(text).length > 3072 || !RULE.test(text)) return false;
  const [options = ""] = text.split(" comment=");
  const pairs = options.split(" ").map((pair) => pair.split("=") as [string, string]);
  const values = new Map(pairs);
  const proto = values.get("proto");
  const targets = ["dst4", "dst6", "dsthost"].filter((key) => values.has(key)).length;
  const [low = 0, high = low] = values.get("dstports")?.split("-").map(Number) ?? [];
  return (
    values.size === pairs.length &&
    values.has("action") &&
    targets <= 1 &&
    low <= high &&
    Number(values.get("expire") ?? 0) <= 253402300799 && // 9999-12-31T23:59:59Z
    !(proto === "icmp" && (values.has("dstports") || values.has("specialtarget"))) &&
    (proto === "icmp" || !values.has("icmptype")) &&
    isIpv6(values.get("dst6")?.split("/")[0] ?? "::") &&
    isName(values.get("dsthost") ?? "a")
  );
}

/** RFC 4291 section 2.2: eight groups, of which one run may be "::" and the last two a dotted quad. */
function isIpv6(text: string): boolean {
  const halves = text.split("::");
  if (halves.length > 2) return false;
  const groups = halves.flatMap((half) => (half === "" ? [] : half.split(":")));
  const last = groups.at(-1) ?? "";
  const dotted = DOTTED.test(last) && text.endsWith(last);
  const length = groups.length + (dotted ? 1 : 0);
  const hex = dotted ? groups.slice(0, -1) : groups;
  return hex.every((group) => GROUP.test(group)) && (halves.length === 2 ? length <= 7 : length === 8);
}

function isName(text: string): boolean {
  const name = text.endsWith(".") ? text.slice(0, -1) : text;
  return name.length <= 253 && !/(?:^|\.)[0-9]+$/.test(name);
}
