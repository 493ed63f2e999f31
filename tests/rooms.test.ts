// The architecture as the README tells it: which room may import which, no circles, and that the router, which decides what
// becomes of a frame, knows neither Linux nor Bun. Read from the imports themselves: type-only ones, re-exports and import() too.
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
  "src/learning",
  "src/replay",
  "src/web/page",
  "src/web",
  "src/watch",
  "src/channel/operations",
  "src/channel",
  "src/why",
  "src/control",
  "src/control/captures",
  "src/control/views",
  "src/config",
  "src/names",
  "src/rules",
  "src/captures",
  "src/xen",
  "src/dataplane/io",
  "src/dataplane/kernel/trial",
  "src/dataplane/kernel",
  "src/dataplane/kernel/programs",
  "src/dataplane/frame",
  "src/dataplane/waiting",
  "src/dataplane/tables",
  "src/dataplane/ports",
  "src/dataplane",
  "src/dataplane/rules",
  "src/base",
  "src/linux/net",
  "src/linux/bpf",
  "src/linux/limits",
  "src/linux",
  "src/wire",
];

/** What the router may import beside files of the project: nothing of the machine it runs on. */
const ROUTER = "src/dataplane/frame/router.ts";
const SYSTEM = /^(bun|bun:.*|node:.*)$/;

/** Both `import … from "x"` and `export … from "x"`, and imports for their effects alone. */
const STATEMENT = /^[ \t]*(?:import|export)\b(?:[^;"']*?\bfrom)?\s*["']([^"']+)["']/gm;
/** `import("x")` and `require("x")`, of a module or of a type; a name that is not written out is no name, and found too. */
const CALL = /(?<![.\w])(?:import|require)\s*\(\s*(?:["'`]([^"'`]+)["'`]\s*[,)])?/g;

function importsOf(file: string, text: string): string[] {
  return [STATEMENT, CALL].flatMap((pattern) =>
    Array.from(text.matchAll(pattern), ([, name = "(not written out)"]) =>
      name.startsWith(".") ? normalize(join(dirname(file), name)) : name,
    ),
  );
}

function readImports(pattern: string): Map<string, string[]> {
  const files = [...new Glob(pattern).scanSync({ cwd: ROOT })].sort();
  return new Map(files.map((file) => [file, importsOf(file, readFileSync(join(ROOT, file), "utf8"))]));
}

/** What the program is not made of. */
const OUTSIDE = /^(?:tests|bench|build|lab)\//;

/** @returns imports that go up, as sentences */
function upward(imports: ReadonlyMap<string, readonly string[]>): string[] {
  const floor = (file: string) => ROOMS.indexOf(dirname(file));
  const faults: string[] = [];
  for (const [file, targets] of imports) {
    const from = floor(file);
    if (from < 0) faults.push(`${file} is in no room of the list in tests/rooms.test.ts`);
    for (const target of targets) {
      if (target === "(not written out)") faults.push(`${file} imports what only running it would tell`);
      else if (OUTSIDE.test(target)) faults.push(`${file} imports ${target}, which is no part of the program`);
      else if (target.startsWith("src/")) {
        if (floor(target) < 0) faults.push(`${target} is in no room of the list in tests/rooms.test.ts`);
        else if (floor(target) < from) faults.push(`${file} imports ${target}, which is above it`);
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

test("the README lists the rooms, in this order", () => {
  const [, tree = ""] = /^src\/main\.ts .*?\n(.*?)^lab\/ /ms.exec(readFileSync(join(ROOT, "README.md"), "utf8")) ?? [];
  const listed = Array.from(tree.matchAll(/^( *)([a-z]+(?:\/[a-z]+)?)\/ /gm), ([, indent, name]) =>
    indent === "" ? name : `src/dataplane/${name}`,
  );
  // The README has a folder with folders of its own as one line, and the dataplane above all that is in it.
  const isListed = (room: string) =>
    room !== "src" && room !== "src/dataplane" && !/^src\/(?:channel|control|dataplane\/kernel|linux|web)\//.test(room);
  expect(listed.filter((room) => room !== "src/dataplane")).toEqual(ROOMS.filter(isListed));
  expect(listed).toContain("src/dataplane");
});

test("no imports go in a circle, in src, lab, tests, bench or build; and lab needs none of the last three", () => {
  const lab = readImports("lab/**/*.ts");
  const others = ["tests", "bench", "build"].flatMap((folder) => [...readImports(`${folder}/**/*.ts`)]);
  expect(circleIn(new Map([...sources, ...lab, ...others]))).toEqual([]);
  const above = [...lab].filter(([, targets]) => targets.some((target) => /^(?:tests|bench|build)\//.test(target)));
  expect(above).toEqual([]);
});

test("the router's closure reaches neither Linux nor the runtime, and the bare wire formats reach nothing", () => {
  const reached = [...closure(ROUTER, sources)];
  expect(reached.length).toBeGreaterThan(30);
  expect(reached.filter(([file]) => file.startsWith("src/linux/") || SYSTEM.test(file))).toEqual([]);
  const outside = (file: string) => !file.startsWith("src/wire/") && !file.startsWith("src/dataplane/");
  expect(reached.filter(([file]) => outside(file))).toEqual([]);
  const wire = [...sources].filter(([file]) => file.startsWith("src/wire/"));
  expect(wire.flatMap(([, targets]) => targets.filter((target) => !target.startsWith("src/wire/")))).toEqual([]);
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
  turned.set("src/base/log.ts", ["lab/frames.ts", "(not written out)"]);
  expect(upward(turned)).toContain("src/base/log.ts imports lab/frames.ts, which is no part of the program");
  expect(upward(turned)).toContain("src/base/log.ts imports what only running it would tell");
});

test.each([
  ['import a from "./a.ts";', ["src/x/a.ts"]],
  ['import type { B } from "../b.ts";', ["src/b.ts"]],
  ['import {\n  c,\n  type D,\n} from "./c.ts";', ["src/x/c.ts"]],
  ['import "./d.ts";', ["src/x/d.ts"]],
  ['export { e } from "./e.ts";\nexport * from "./f.ts";', ["src/x/e.ts", "src/x/f.ts"]],
  ["export type { G } from './g.ts';", ["src/x/g.ts"]],
  ['declare module "h" {\n  import type { H } from "./h.ts";\n}', ["src/x/h.ts"]],
  ['const i = await import("./i.ts");', ["src/x/i.ts"]],
  ['const i = await import(\n  "./i.ts",\n);', ["src/x/i.ts"]],
  ['let j: import("./j.ts").J;\ntype T = typeof import("bun:ffi");', ["src/x/j.ts", "bun:ffi"]],
  ['const k = require("./k.ts");', ["src/x/k.ts"]],
  ["const l = await import(name);", ["(not written out)"]],
  ['export const m = "./m.ts";\nconst url = import.meta.url;', []],
])("imports are read in all the ways that they are written: %j", (text, imports) => {
  expect(importsOf("src/x/y.ts", text)).toEqual(imports);
});
