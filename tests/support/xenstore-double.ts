// XenStore's daemon as far as one domain sees it: a tree, watches, and transactions that fail when somebody else writes
// meanwhile. It shares with the client only the codec. Paths are one domain's: relative, without a slash in front.
import { type ByteStream, Framer, type StreamHandler } from "../../src/xen/byte-stream.ts";
import {
  decodeXs,
  encodeXs,
  splitStrings,
  XS,
  XS_HEADER_LENGTH,
  type XsMessage,
  xsPayloadLength,
} from "../../src/xen/xenstore-wire.ts";

interface Watch {
  readonly path: string;
  readonly token: string;
}

export class XenStoreDouble {
  private tree = new Map<string, string>();
  private readonly watches: Watch[] = [];
  private readonly transactions = new Map<number, { tree: Map<string, string>; version: number; changed: string[] }>();
  private readonly permissions = new Map<string, string[]>();
  private version = 0;
  private lastTransaction = 0;
  private client: StreamHandler | undefined;
  /** Paths at and below which the domain may not write. */
  readonly forbidden: string[] = [];
  /** Requests so far. */
  requests = 0;
  /** Hears of each request when it comes: its type, and how many were under way, itself included. */
  heard: (type: number, underWay: number) => void = () => {};
  private underWay = 0;

  readonly connect = (handler: StreamHandler): ByteStream => {
    this.client = handler;
    const framer = new Framer(XS_HEADER_LENGTH, xsPayloadLength, (header, payload) => {
      const message = decodeXs(header, payload.slice());
      this.heard(message.type, ++this.underWay);
      setImmediate(() => this.hear(message));
    });
    return {
      send: (bytes) => framer.push(bytes.slice()),
      close: () => {
        this.client = undefined;
      },
    };
  };

  /** Watches that the domain has set. */
  get watched(): number {
    return this.watches.length;
  }

  /** All values, as `path = value`, sorted. */
  dump(): string[] {
    return Array.from(this.tree, ([path, value]) => `${path} = ${value}`).sort();
  }

  get(path: string): string | undefined {
    return this.tree.get(path);
  }

  /** What dom0 or a driver writes. */
  put(path: string, value: string): void {
    plant(this.tree, path, value);
    this.version++;
    this.fire([path]);
  }

  /** What dom0 removes. */
  remove(path: string): void {
    uproot(this.tree, path);
    this.version++;
    this.fire([path]);
  }

  /** Ends the connection, or sends what is no message. */
  break(bytes?: Uint8Array): void {
    if (bytes === undefined) this.client?.closed("the daemon ended");
    else this.client?.received(bytes);
  }

  private fire(paths: readonly string[]): void {
    for (const path of paths) {
      for (const watch of [...this.watches]) {
        const isBelow = path === watch.path || path.startsWith(`${watch.path}/`);
        if (isBelow || watch.path.startsWith(`${path}/`)) this.tell(watch, isBelow ? path : watch.path);
      }
    }
  }

  private tell({ token }: Watch, path: string): void {
    this.send({ type: XS.WATCH_EVENT, request: 0, transaction: 0, payload: Buffer.from(`${path}\0${token}\0`) });
  }

  private send(message: XsMessage): void {
    this.client?.received(encodeXs(message));
  }

  private hear(message: XsMessage): void {
    this.requests++;
    this.underWay--;
    const { type, request, transaction, payload } = message;
    const answer = this.perform(type, transaction, payload);
    const refused = answer.startsWith("!");
    const body = Buffer.from(refused ? `${answer.slice(1)}\0` : answer);
    this.send({ type: refused ? XS.ERROR : type, request, transaction, payload: body });
    if (type === XS.WATCH && !refused) {
      const watch = this.watches.at(-1);
      if (watch !== undefined) this.tell(watch, watch.path);
    }
  }

  /** @returns the answer's payload, or with an exclamation mark in front the error's name */
  private perform(type: number, id: number, payload: Uint8Array): string {
    const [path = "", second = ""] = splitStrings(payload);
    const open = this.transactions.get(id);
    if (id !== 0 && open === undefined) return "!ENOENT";
    const tree = open?.tree ?? this.tree;
    const change = (happen: () => void) => {
      if (this.forbidden.some((root) => path === root || path.startsWith(`${root}/`))) return "!EACCES";
      happen();
      if (open === undefined) {
        this.version++;
        this.fire([path]);
      } else open.changed.push(path);
      return "OK\0";
    };
    switch (type) {
      case XS.READ:
        return tree.get(path) ?? "!ENOENT";
      case XS.DIRECTORY:
        return tree.has(path) ? childrenOf(tree, path) : "!ENOENT";
      case XS.WRITE:
        return change(() => plant(tree, path, new TextDecoder().decode(payload).slice(path.length + 1)));
      case XS.MKDIR:
        return change(() => plant(tree, path, tree.get(path) ?? ""));
      case XS.RM:
        return tree.has(path) ? change(() => uproot(tree, path)) : "!ENOENT";
      case XS.GET_PERMS:
        return tree.has(path) ? (this.permissions.get(path) ?? ["n1"]).map((text) => `${text}\0`).join("") : "!ENOENT";
      case XS.SET_PERMS:
        return change(() => this.permissions.set(path, splitStrings(payload).slice(1)));
      case XS.WATCH:
        if (this.watches.some((watch) => watch.path === path && watch.token === second)) return "!EEXIST";
        this.watches.push({ path, token: second });
        return "OK\0";
      case XS.UNWATCH: {
        const found = this.watches.findIndex((watch) => watch.path === path && watch.token === second);
        if (found < 0) return "!ENOENT";
        this.watches.splice(found, 1);
        return "OK\0";
      }
      case XS.TRANSACTION_START:
        this.transactions.set(++this.lastTransaction, { tree: new Map(this.tree), version: this.version, changed: [] });
        return `${this.lastTransaction}\0`;
      case XS.TRANSACTION_END:
        return this.end(id, path === "T");
      default:
        return "!ENOSYS";
    }
  }

  private end(id: number, commit: boolean): string {
    const open = this.transactions.get(id);
    this.transactions.delete(id);
    if (open === undefined) return "!ENOENT";
    if (!commit) return "OK\0";
    if (open.version !== this.version) return "!EAGAIN";
    this.tree = open.tree;
    this.version++;
    this.fire(open.changed);
    return "OK\0";
  }
}

/** Writes a value, and makes what leads to it. */
function plant(tree: Map<string, string>, path: string, value: string): void {
  for (let slash = path.indexOf("/", 1); slash > 0; slash = path.indexOf("/", slash + 1)) {
    const above = path.slice(0, slash);
    if (!tree.has(above)) tree.set(above, "");
  }
  tree.set(path, value);
}

function uproot(tree: Map<string, string>, path: string): void {
  for (const key of [...tree.keys()]) if (key === path || key.startsWith(`${path}/`)) tree.delete(key);
}

function childrenOf(tree: Map<string, string>, path: string): string {
  const below = [...tree.keys()].filter((key) => key.startsWith(`${path}/`)).map((key) => key.slice(path.length + 1));
  return below
    .filter((name) => !name.includes("/"))
    .map((name) => `${name}\0`)
    .join("");
}
