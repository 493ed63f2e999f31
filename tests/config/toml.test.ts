// TOML documents: the line of each key and element, in every way in which TOML lets one write them; and the values, which
// another parser, Bun's, must read alike.
import { expect, test } from "bun:test";
import { TOML } from "bun";
import { Random } from "../../lab/random.ts";
import {
  isTable,
  type Path,
  parseToml,
  TomlDate,
  type TomlDocument,
  TomlError,
  type TomlValue,
} from "../../src/config/toml.ts";

/** `path line` for each key and element, sorted. */
function listed(document: TomlDocument, value: TomlValue = document.values, path: Path = []): string[] {
  const children: [string | number, TomlValue][] = Array.isArray(value)
    ? [...value.entries()]
    : isTable(value)
      ? Object.entries(value)
      : [];
  const lines = children.flatMap(([step, child]) => {
    const at = [...path, step];
    return [`${JSON.stringify(at)} ${document.lineOf(at)}`, ...listed(document, child, at)];
  });
  return lines.sort();
}

/** Values as Bun's parser has them, but for dates, which it knows and we only show. */
function plain(value: TomlValue): unknown {
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof TomlDate) return "a date";
  return isTable(value) ? Object.fromEntries(Object.entries(value).map(([key, part]) => [key, plain(part)])) : value;
}

function plainPeer(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plainPeer);
  if (typeof value !== "object" || value === null) return value;
  if (Object.prototype.toString.call(value).startsWith("[object Temporal") || value instanceof Date) return "a date";
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, plainPeer(part)]));
}

const DOCUMENT = `# [comment]
a = 1 # b = 2
"quoted.key" = "# no comment"
'literal' . b = ['[', "]", # ], three = 3
  """
]
\\"""" , '''
''''' , 5,
  [ 1979-05-27 07:32:00, {x = 1, y.z = [2,
    3]}],
]

[table]   # ]
[table.sub]
  key = { } # {
[ "sp ace" . 'b' ]
"\\u0041" = 'x'
[[list]]
[[list]]
  name = "second"
[list.inner]
  deep.er = true
  deep.est = false
[[ list . more ]]
  k = """a""\\
  """""
  l = -0x
[other.implied]
[other]
  last = 1`.replace("-0x", "-0");

test("lines of a document with everything in it", () => {
  expect(plain(parseToml(DOCUMENT).values)).toEqual(plainPeer(TOML.parse(DOCUMENT)));
  expect(listed(parseToml(DOCUMENT))).toEqual(
    [
      ['["a"]', 2],
      ['["quoted.key"]', 3],
      ['["literal"]', 4],
      ['["literal","b"]', 4],
      ['["literal","b",0]', 4],
      ['["literal","b",1]', 4],
      ['["literal","b",2]', 5],
      ['["literal","b",3]', 7],
      ['["literal","b",4]', 8],
      ['["literal","b",5]', 9],
      ['["literal","b",5,0]', 9],
      ['["literal","b",5,1]', 9],
      ['["literal","b",5,1,"x"]', 9],
      ['["literal","b",5,1,"y"]', 9],
      ['["literal","b",5,1,"y","z"]', 9],
      ['["literal","b",5,1,"y","z",0]', 9],
      ['["literal","b",5,1,"y","z",1]', 10],
      ['["table"]', 13],
      ['["table","sub"]', 14],
      ['["table","sub","key"]', 15],
      ['["sp ace"]', 16],
      ['["sp ace","b"]', 16],
      ['["sp ace","b","A"]', 17],
      ['["list"]', 18],
      ['["list",0]', 18],
      ['["list",1]', 19],
      ['["list",1,"name"]', 20],
      ['["list",1,"inner"]', 21],
      ['["list",1,"inner","deep"]', 22],
      ['["list",1,"inner","deep","er"]', 22],
      ['["list",1,"inner","deep","est"]', 23],
      ['["list",1,"more"]', 24],
      ['["list",1,"more",0]', 24],
      ['["list",1,"more",0,"k"]', 25],
      ['["list",1,"more",0,"l"]', 27],
      ['["other"]', 29],
      ['["other","implied"]', 28],
      ['["other","last"]', 30],
    ]
      .map(([path, line]) => `${path} ${line}`)
      .sort(),
  );
});

test("what isn't in the document has the line of what it would be in", () => {
  const document = parseToml("\n[uplink]\ninterface = 'eth0'\n");
  expect(document.lineOf(["uplink", "address"])).toBe(2);
  expect(document.lineOf(["uplink", "interface", 3, "x"])).toBe(3);
  expect(document.lineOf(["client", 0])).toBe(1);
});

test("integers are exact, dates are shown as written, and no key means anything to JavaScript", () => {
  const { values } = parseToml(
    "a = 9007199254740993\nb = 1979-05-27 07:32:00.5\n__proto__.c = 0x10\nconstructor = 1.0\n",
  );
  expect(Object.entries(values).map(([key, value]) => [key, isTable(value) ? value.c : value])).toEqual([
    ["a", 9007199254740993n],
    ["b", new TomlDate("1979-05-27 07:32:00.5")],
    ["__proto__", 16n],
    ["constructor", 1],
  ]);
  expect(String(values.b)).toBe("1979-05-27 07:32:00.5");
});

test.each([
  ["nothing", 0],
  ["a level", 1],
  ["many levels", 1000],
  ["more levels than the stack holds", 100_000],
])("brackets around %s are a value or an error, never an exception", (_, levels) => {
  const result = () => parseToml(`x = ${"[".repeat(levels)}${"]".repeat(levels)}\n`);
  if (levels === 1 || levels === 1000) expect(result().lineOf(["x", 0, 0])).toBe(1);
  else expect(result).toThrow(TomlError);
});

/** Writes a document at random, and down in which line it put each key and element. */
class Writer {
  text = "";
  readonly expected: string[] = [];
  private keys = 0;

  constructor(private readonly random: Random) {}

  document(): void {
    if (this.random.chance(0.1)) this.text = "\ufeff";
    this.pairs([]);
    for (let left = this.random.below(6); left > 0; left--) this.section([]);
  }

  private section(parent: Path): void {
    const name = this.key();
    const path = [...parent, name.value];
    const header = [
      ...parent.filter((step) => typeof step === "string").map((step) => JSON.stringify(step)),
      name.text,
    ];
    const elements = this.random.chance(0.5) ? this.random.below(3) + 1 : 0;
    if (elements === 0) {
      this.note(path);
      this.emit(`[${this.space()}${header.join(this.dot())}${this.space()}]${this.end()}`);
      this.pairs(path);
    } else this.note(path);
    for (let i = 0; i < elements; i++) {
      this.note([...path, i]);
      this.emit(`[[${this.space()}${header.join(this.dot())}${this.space()}]]${this.end()}`);
      this.pairs([...path, i]);
      // Headers name an array's last element by the array, so what belongs to this element must follow it here.
      if (path.length < 4 && this.random.chance(0.3)) this.section([...path, i]);
    }
    if (elements === 0 && path.length < 4 && this.random.chance(0.3)) this.section(path);
  }

  private pairs(path: Path): void {
    for (let left = this.random.below(4); left > 0; left--) {
      this.emit(this.space());
      this.pair(path);
      this.emit(this.end());
    }
  }

  private pair(path: Path): void {
    const at = [...path];
    for (let parts = this.random.chance(0.2) ? 2 : 1; parts > 0; parts--) {
      const { text, value } = this.key();
      at.push(value);
      this.note(at);
      this.emit(text + (parts > 1 ? this.dot() : ""));
    }
    this.emit(`${this.space()}=${this.space()}`);
    this.value(at);
  }

  private value(path: Path): void {
    const kind = path.length < 6 ? this.random.below(10) : 9;
    if (kind < 2) this.items("[", "]", (i) => this.element([...path, i]));
    else if (kind < 4) this.items("{", "}", () => this.pair(path));
    else this.emit(this.random.pick(SCALARS));
  }

  private element(path: Path): void {
    this.note(path);
    this.value(path);
  }

  private items(open: string, close: string, item: (i: number) => void): void {
    this.emit(open + this.gap());
    const count = this.random.below(4);
    for (let i = 0; i < count; i++) {
      item(i);
      this.emit(this.gap() + (i < count - 1 || this.random.chance(0.3) ? `,${this.gap()}` : ""));
    }
    this.emit(close);
  }

  private key(): { text: string; value: string } {
    const value = `${this.random.pick(["k", "a.b ", "#[", "]=", "=", "-"])}${this.keys++}`;
    if (/^[\w-]+$/.test(value) && this.random.chance(0.8)) return { text: value, value };
    return { text: this.random.chance(0.5) ? JSON.stringify(value) : `'${value}'`, value };
  }

  private note(path: Path): void {
    this.expected.push(`${JSON.stringify(path)} ${this.text.split("\n").length}`);
  }

  private emit(text: string): void {
    this.text += text;
  }

  private space(): string {
    return this.random.pick(["", "", " ", "\t "]);
  }

  private dot(): string {
    return `${this.space()}.${this.space()}`;
  }

  private end(): string {
    return this.random.pick(["\n", "\n\n", " # ] } ''' [x]\n", "\t\n# a = [\n\n"]);
  }

  private gap(): string {
    return this.random.pick(["", " ", "", "\n", " # , ]\n", "\n\n\t"]);
  }
}

const SCALARS = [
  "1",
  "-2.5e3",
  "true",
  "inf",
  "1979-05-27T07:32:00Z",
  "1979-05-27 07:32:00",
  "07:32:00",
  '"# [ ] { } = , \' \\" \\\\"',
  "'# [ ] { } = , \" \\'",
  '""',
  "''",
  '"""\n[x]\n"" \\""" # \\\n  """',
  '"""""x"""""',
  "'''\n]\n# '' \"\"\" \\'''",
  "'''''x'''''",
  '""""""',
];

test("lines and values of documents written at random, with line ends of both kinds", () => {
  const random = new Random(3);
  let paths = 0;
  for (let i = 0; i < 1500; i++) {
    const writer = new Writer(random);
    writer.document();
    const text = random.chance(0.3) ? writer.text.replaceAll("\n", "\r\n") : writer.text;
    const document = parseToml(text);
    expect({ text, lines: listed(document) }).toEqual({ text, lines: writer.expected.sort() });
    expect({ text, values: plain(document.values) }).toEqual({ text, values: plainPeer(TOML.parse(text)) });
    paths += writer.expected.length;
  }
  expect(paths).toBeGreaterThan(10_000);
});
