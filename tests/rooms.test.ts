// The architecture as the README tells it: which room may import which, no circles, and that the router, which decides what
// becomes of a frame, knows neither Linux nor Bun. Read from the imports themselves, type-only ones included.
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { Glob } from "bun";

const ROOT = join(import.meta.dir, "..");

/**
 * The rooms, from the top floor down. A file imports from its own room and from rooms behind it in this list. `src/dataplane`
 * names the files that lie in it directly; its own folders are rooms too.
 */
const ROOMS = [
  "src",
  "src/verbs",
  "src/qubes",
  "src/replay",
  "src/control",
  "src/config",
  "src/names",
  "src/rules",
  "src/captures",
  "src/xen",
  "src/dataplane/io",
  "src/dataplane/kernel",
  "src/dataplane/frame",
  "src/dataplane/tables",
  "src/dataplane",
  "src/dataplane/rules",
  "src/base",
  "src/linux/net",
  "src/linux/bpf",
  "src/linux",
  "src/wire",
];

/** What the router may import beside files of the project: nothing of the machine it runs on. */
const ROUTER = "src/dataplane/frame/router.ts";
const SYSTEM = /^(bun|bun:.*|node:.*)$/;

/** Both `import … from "x"` and `export … from "x"`, and imports for their effects alone. */
const IMPORT = /^(?:import|export)\b(?:[^;"]*?\bfrom)?\s*"([^"]+)"/gm;

function importsOf(file: string, text: string): string[] {
  return [...text.matchAll(IMPORT)].map(([, name = ""]) =>
    name.startsWith(".") ? normalize(join(dirname(file), name)) : name,
  );
}

function readImports(pattern: string): Map<string, string[]> {
  const files = [...new Glob(pattern).scanSync({ cwd: ROOT })].sort();
  return new Map(files.map((file) => [file, importsOf(file, readFileSync(join(ROOT, file), "utf8"))]));
}

/** @returns imports that go up, as sentences */
function upward(imports: ReadonlyMap<string, readonly string[]>): string[] {
  const floor = (file: string) => {
    const room = ROOMS.indexOf(dirname(file));
    return room < 0 ? [`${file} is in no room of the list in tests/rooms.test.ts`] : room;
  };
  const faults: string[] = [];
  for (const [file, targets] of imports) {
    const from = floor(file);
    if (typeof from !== "number") faults.push(...from);
    else {
      for (const target of targets.filter((name) => name.startsWith("src/"))) {
        const to = floor(target);
        if (typeof to !== "number") faults.push(...to);
        else if (to < from) faults.push(`${file} imports ${target}, which is above it`);
      }
    }
  }
  return faults;
}

/** @returns a circle of imports, from a file to itself, or nothing */
function circleIn(imports: ReadonlyMap<string, readonly string[]>): string[] {
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]): string[] => {
    const at = path.indexOf(file);
    if (at >= 0) return [...path.slice(at), file];
    if (done.has(file)) return [];
    for (const target of imports.get(file) ?? []) {
      const circle = visit(target, [...path, file]);
      if (circle.length > 0) return circle;
    }
    done.add(file);
    return [];
  };
  for (const file of imports.keys()) {
    const circle = visit(file, []);
    if (circle.length > 0) return circle;
  }
  return [];
}

/** @returns all that a file reaches, each with the file that it is imported by */
function closure(start: string, imports: ReadonlyMap<string, readonly string[]>): Map<string, string> {
  const reached = new Map<string, string>();
  const visit = (file: string) => {
    for (const target of imports.get(file) ?? []) {
      if (reached.has(target)) continue;
      reached.set(target, file);
      visit(target);
    }
  };
  visit(start);
  return reached;
}

const sources = readImports("src/**/*.ts");

test("imports point one way: each room knows only those below it", () => {
  expect(sources.size).toBeGreaterThan(100);
  expect(upward(sources)).toEqual([]);
});

test("no imports go in a circle, in src, lab, tests, bench or build", () => {
  const all = new Map([
    ...sources,
    ...["lab", "tests", "bench", "build"].flatMap((f) => [...readImports(`${f}/**/*.ts`)]),
  ]);
  expect(circleIn(all)).toEqual([]);
});

test("the router's closure reaches neither Linux nor the runtime, and the bare wire formats reach nothing", () => {
  const reached = [...closure(ROUTER, sources)];
  expect(reached.length).toBeGreaterThan(30);
  expect(reached.filter(([file]) => file.startsWith("src/linux/") || SYSTEM.test(file))).toEqual([]);
  const outside = (file: string) => !file.startsWith("src/wire/") && !file.startsWith("src/dataplane/");
  expect(reached.filter(([file]) => outside(file))).toEqual([]);
});

test("an import that is turned round is found, and so are a circle and a file without a room", () => {
  const turned = new Map(sources);
  turned.set("src/wire/ipv4.ts", ["src/dataplane/packet.ts"]);
  expect(upward(turned)).toEqual(["src/wire/ipv4.ts imports src/dataplane/packet.ts, which is above it"]);
  expect(circleIn(turned)).toContain("src/wire/ipv4.ts");
  turned.set("src/attic/old.ts", []);
  expect(upward(turned)).toContain("src/attic/old.ts is in no room of the list in tests/rooms.test.ts");
  turned.set("src/dataplane/packet.ts", ["src/linux/libc.ts"]);
  expect([...closure(ROUTER, turned).keys()]).toContain("src/linux/libc.ts");
});

test("imports are read in all the ways that they are written", () => {
  const text = `import a from "./a.ts";\nimport type { B } from "../b.ts";\nimport {\n  c,\n  type D,\n} from "./c.ts";\nimport "./d.ts";\nexport { e } from "./e.ts";\nexport const f = "./f.ts";\n`;
  expect(importsOf("src/x/y.ts", text)).toEqual(["src/x/a.ts", "src/b.ts", "src/x/c.ts", "src/x/d.ts", "src/x/e.ts"]);
});
