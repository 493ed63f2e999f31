// The appliance as a qube: follows what QubesDB and XenStore say, and keeps the firewall in step with it. Whatever happens
// there, the firewall goes on with the last configuration that was good, and everything is tried again.
import { version } from "../../package.json" with { type: "json" };
import { formatMac } from "../base/address.ts";
import { MACHINE_CLOCK } from "../base/clock.ts";
import { type Family, formatIp } from "../base/ip.ts";
import { log, logAll } from "../base/log.ts";
import { Pace } from "../base/pace.ts";
import { makeServices as makeChannelServices } from "../channel/operations/services.ts";
import type { Services } from "../channel/session.ts";
import type { Config } from "../config/config.ts";
import type { QubeOptions } from "../config/qubes.ts";
import { Firewall } from "../control/firewall.ts";
import { stopAsked } from "../control/signals.ts";
import { listDevices } from "../linux/net/links.ts";
import { Xen } from "../xen/xen.ts";
import type { XenStore } from "../xen/xenstore.ts";
import { CommittedRules, type Database } from "./client-rules.ts";
import { FeatureRequest } from "./feature-request.ts";
import { reportMemory } from "./memory-report.ts";
import { NameKeys } from "./name-keys.ts";
import { QrexecAgent } from "./qrexec.ts";
import type { AgentChannels } from "./qrexec-calls.ts";
import { QREXEC_PORT } from "./qrexec-wire.ts";
import { makeQubeConfig } from "./qube-config.ts";
import { QubesDb } from "./qubesdb.ts";
import { QUBESDB_PORT } from "./qubesdb-wire.ts";
import { makeServices } from "./services.ts";
import { ClientVifs, readUplinkMac, UPLINK_ROOT, type Vif } from "./vif.ts";

const DOM0 = 0;
/** Until something that failed is tried again, in ms. */
const PAUSE = 300;
/** How often what has changed is put in force, whoever changes it. */
const CHANGES = { settle: 0, burst: 50, interval: 100 };
/** Clients at a time: the ring has room for 64 interfaces, and one is the uplink. */
const MOST_CLIENTS = 63;
/** Until it is said that QubesDB does not answer, in ms. */
const PATIENCE = 10_000;
const INCOMPLETE =
  "QubesDB has no /connected-ips, or no /connected-ips6 beside a key of IPv6; nothing is forwarded until dom0 has written it, as it does for each qube that provides " +
  "network (qvm-prefs NAME provides_network True)";
/** Characters of a problem's text in QubesDB, which has room for 3071 bytes. */
const MOST_TEXT = 1000;

/**
 * Is the appliance until a signal asks to stop.
 * @param options where the netvm is a client of ours
 * @throws when it can't be any more
 */
export async function runQube(options?: QubeOptions): Promise<void> {
  const failure = Promise.withResolvers<never>();
  const qube = new Qube(Xen.open(failure.reject), failure.reject, options);
  await qube.start();
  await Promise.race([stopAsked(), failure.promise]);
  // Not qube.stop(): the process ends, and with it all that it holds, also a change that is being put in force. To give it back
  // piece by piece takes seconds where the machine is emulated.
  log("stopped");
}

/** What is asked of Xen (xen.ts). */
export interface XenServices extends AgentChannels {
  readonly store: XenStore;
}

export class Qube {
  private readonly database: QubesDb;
  private readonly rules: CommittedRules;
  private readonly nameKeys: NameKeys;
  private vifs: ClientVifs | undefined;
  private firewall: Firewall | undefined;
  /** Once dom0's daemon has greeted it. */
  private agent: QrexecAgent | undefined;
  private readonly features = new FeatureRequest(() => {
    return this.database.synchronised ? this.agent?.call("dom0", "qubes.FeaturesRequest") : undefined;
  }, log);
  /** Clients whose rules are new since the last configuration was put in force. */
  private readonly unhandled = new Set<string>();
  private readonly timers = new Set<ReturnType<typeof setTimeout>>();
  private readonly said = new Map<string, string>();
  private endReport = () => {};
  private inForce: Config | undefined;
  private readonly changes = new Pace(MACHINE_CLOCK, CHANGES, () => {
    this.adapted = this.adaptOnce();
    return this.adapted;
  });
  private adapted = Promise.resolve();
  private isStopping = false;

  /**
   * @param fail ends the program: the dataplane or Xen is gone
   * @param options where the netvm is a client of ours
   */
  constructor(
    private readonly xen: XenServices,
    private readonly fail: (error: unknown) => void,
    private readonly options?: QubeOptions,
  ) {
    this.database = new QubesDb((handler) => xen.connect(DOM0, QUBESDB_PORT, handler), {
      synchronised: (before) => this.synchronised(before),
      written: (path) => this.written(path),
      removed: (path) => this.removed(path),
      trouble: log,
    });
    this.rules = new CommittedRules(this.database);
    this.nameKeys = new NameKeys(this.database, log);
  }

  async start(): Promise<void> {
    const { store } = this.xen;
    const touch = () => this.touch();
    this.vifs = await ClientVifs.start(store, touch, log);
    await store.watch(UPLINK_ROOT, touch);
    this.endReport = reportMemory(store);
    void this.serveQrexec();
    this.later(PATIENCE, () => {
      if (this.database.filling) log(INCOMPLETE);
      else if (!this.database.synchronised) log("QubesDB does not answer; nothing is forwarded until it does");
    });
    process.on("SIGUSR1", () => logAll(this.describe()));
    process.stdin.on("data", () => logAll(this.describe()));
  }

  /** Xen's devices stay open: the process ends, and with it they are closed. */
  async stop(): Promise<void> {
    this.isStopping = true;
    process.stdin.destroy(); // listening to it would keep the program running
    for (const timer of this.timers) clearTimeout(timer);
    this.changes.stop();
    this.endReport();
    this.features.stop();
    await this.adapted;
    await this.firewall?.stop();
    this.database.close();
  }

  private synchronised(before: Database): void {
    const isFirst = this.firewall === undefined;
    log(isFirst ? `QubesDB answered after ${Math.round(performance.now())} ms` : "QubesDB is back");
    for (const address of this.rules.readAll(before)) this.unhandled.add(address);
    this.database.write("/features-request/qubes-firewall", "1");
    this.database.write("/features-request/firebreak-version", version);
    this.features.start();
    this.touch();
  }

  private written(path: string): void {
    const client = this.rules.written(path);
    if (client !== undefined) this.unhandled.add(client);
    if (client !== undefined || !path.startsWith("/qubes-firewall/")) this.touch();
  }

  private removed(path: string): void {
    if (this.rules.removed(path) || !path.startsWith("/qubes-firewall/")) this.touch();
  }

  /** Something has changed: the configuration has to follow. */
  private touch(): void {
    if (this.database.synchronised) this.changes.ask();
  }

  private async adaptOnce(): Promise<void> {
    if (this.isStopping || !this.database.synchronised) return; // once it is, everything is looked at
    try {
      await this.adapt();
    } catch (error) {
      this.say("problem", `not yet in force: ${error instanceof Error ? error.message : String(error)}`);
      this.later(PAUSE, () => this.touch());
    }
  }

  /** Puts what QubesDB and XenStore say now in force. */
  private async adapt(): Promise<void> {
    const handled = [...this.unhandled];
    const uplinkMac = this.options === undefined ? await readUplinkMac(this.xen.store) : undefined;
    const devices = listDevices();
    const isThere = ({ name }: Vif) => devices.some((device) => device.name === name);
    const made = (this.vifs?.usable() ?? []).filter(isThere);
    const uplinkVif = made.find(({ address }) => address !== undefined && address === this.options?.uplinkClient);
    const clients = made.filter((vif) => vif !== uplinkVif);
    const uplink = uplinkVif ?? devices.find(({ mac }) => uplinkMac !== undefined && formatMac(mac) === uplinkMac);
    const { config, problems } = makeQubeConfig({
      database: this.rules.inForce,
      rulesOf: (address) => this.rules.get(address),
      vifs: clients.slice(0, MOST_CLIENTS).map(({ address = 0, ...vif }) => ({ ...vif, address })),
      uplink: uplink?.name,
      options: this.options,
    });
    await this.enforce(config);
    this.showNames();
    this.tellDom0([...problems, ...this.rules.errors()], handled);
    this.sayWhat(config);
    const waiting = this.vifs?.unannounced() ?? [];
    await Promise.all(waiting.filter(isThere).map((vif) => this.vifs?.announce(vif)));
    if (clients.length > MOST_CLIENTS)
      this.say("many", `${clients.length} clients: no more than ${MOST_CLIENTS} have network`);
  }

  private async enforce(config: Config): Promise<void> {
    if (this.firewall !== undefined) {
      // A client that changes its interface's state all the time changes nothing here.
      if (!Bun.deepEquals(config, this.inForce)) await this.firewall.apply(config);
      this.inForce = config;
      return;
    }
    this.firewall = await Firewall.start(config, {
      rulesUpdated: () => this.showNames(),
      linksChanged: () => this.touch(),
    });
    this.inForce = config;
    this.touch(); // what came before it heard of interfaces
    this.firewall.failed.catch(this.fail);
    log(`ready in ${Math.round(performance.now())} ms`);
  }

  private showNames(): void {
    if (this.firewall === undefined) return;
    const owners = (this.inForce?.clients ?? []).map(({ name, ipv6 }): [string, Record<Family, string | undefined>] => {
      return [name, { 4: name, 6: ipv6 && formatIp(ipv6.network) }];
    });
    this.nameKeys.show(this.firewall.resolvedNames, new Map(owners));
  }

  private tellDom0(problems: readonly string[], handled: readonly string[]): void {
    const text = problems.join("\n");
    this.database.write("/qubes-iptables-error", text.slice(0, MOST_TEXT));
    if (text !== "") this.say("problem", text);
    for (const address of handled) {
      this.unhandled.delete(address);
      const key = `/qubes-firewall-handled/${address}`;
      this.database.write(key, String(Number(this.database.get(key) ?? 0) + 1));
    }
  }

  private sayWhat({ uplink, clients }: Config): void {
    const ways = [uplink, ...(uplink.ipv6 ? [uplink.ipv6] : [])];
    const way = ways.map(({ address, gateway }) => `${formatIp(address)} through ${formatIp(gateway)}`).join(", ");
    this.say("uplink", uplink.interface ? `uplink ${uplink.interface.text} ${way}` : "no uplink: nothing is forwarded");
    const places = clients.map(({ name, ipv6, interface: { text } }) => {
      return `${name}${ipv6 ? ` and ${formatIp(ipv6.network)}` : ""} on ${text}`;
    });
    this.say("clients", `clients: ${places.join(", ") || "none"}`);
  }

  /** Logs a line about something, unless that was the last one about it. */
  private say(about: string, line: string): void {
    if (this.said.get(about) === line) return;
    this.said.set(about, line);
    for (const part of line.split("\n")) log(part);
  }

  /** Serves dom0's qrexec daemon, and the next one when that goes. */
  private async serveQrexec(): Promise<void> {
    while (!this.isStopping) {
      const ended = Promise.withResolvers<string>();
      const agent = new QrexecAgent(
        makeServices(
          () => this.describe(),
          () => this.channel(),
        ),
        this.xen,
        () => {
          this.agent = agent;
          this.features.start();
        },
        ended.resolve,
      );
      try {
        agent.start(await this.xen.serve(DOM0, QREXEC_PORT, agent.handler));
        const reason = await ended.promise;
        this.agent = undefined;
        if (!this.isStopping) log(`qrexec: ${reason}; serving again`);
      } catch (error) {
        if (!this.isStopping) log(`qrexec: ${error instanceof Error ? error.message : String(error)}; trying again`);
        await new Promise<void>((resolve) => this.later(PAUSE, resolve));
      }
    }
  }

  /** What the control channel can be asked, by qrexec. */
  private channel(): Services | undefined {
    const isToldBy = "what a qube lets pass is said in dom0 (qvm-firewall, and docs/QUBES.md for the rest)";
    return this.firewall && makeChannelServices(this.database.get("/name") ?? "qube", this.firewall, { isToldBy });
  }

  private describe(): Iterable<string> {
    return this.firewall?.describe() ?? ["waiting for QubesDB: nothing is forwarded"];
  }

  private later(ms: number, act: () => void): void {
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      act();
    }, ms);
    this.timers.add(timer);
  }
}
