// A real browser for tests: Debian's Chromium without a window, driven by the DevTools protocol (chromedevtools.github.io). It reaches this
// machine's loopback and nothing else. Whatever a page complains of is kept, for the test to find.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const PROGRAM = "/usr/bin/chromium";
/** ms for a browser to start, to do what it is asked, and for a page to become what a test waits for. */
const PATIENCE = 30_000;

/** Characters of what it says that are kept. */
const MOST_SAID = 65_536;

interface Message {
  readonly id?: number;
  readonly method?: string;
  readonly params?: Record<string, unknown>;
  readonly result?: Record<string, unknown>;
  readonly error?: { readonly message: string };
  readonly sessionId?: string;
}

export class Browser {
  private readonly folder: string;
  private readonly process: Bun.Subprocess<"ignore", "ignore", "pipe">;
  private line: WebSocket | undefined;
  private readonly waiting = new Map<number, PromiseWithResolvers<Record<string, unknown>>>();
  private readonly pages = new Map<string, Page>();
  private next = 0;

  private constructor() {
    this.folder = mkdtempSync(join(tmpdir(), "firebreak-browser-"));
    const options = [
      ...["--headless=new", "--no-sandbox", "--remote-debugging-port=0", `--user-data-dir=${this.folder}`],
      ...[
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--hide-scrollbars",
        "--force-color-profile=srgb",
      ],
      ...["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"],
      // No name means anything to it, and no proxy is asked.
      ...["--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost"],
    ];
    this.process = Bun.spawn([PROGRAM, ...options, "about:blank"], {
      stdin: "ignore",
      stdout: "ignore",
      stderr: "pipe",
    });
  }

  /** @throws Error where Chromium is not there, or does not start */
  static async start(): Promise<Browser> {
    const browser = new Browser();
    const url = await browser.address();
    const line = new WebSocket(url);
    browser.line = line;
    line.addEventListener("message", ({ data }) => browser.hear(JSON.parse(String(data)) as Message));
    await new Promise((resolve, reject) => {
      line.addEventListener("open", resolve);
      line.addEventListener("error", () => reject(new Error(`${url} can't be reached`)));
    });
    return browser;
  }

  /** A new page, in a session of its own: no other page's cookies. */
  async open(): Promise<Page> {
    const { browserContextId } = await this.ask("Target.createBrowserContext", {});
    const { targetId } = await this.ask("Target.createTarget", { url: "about:blank", browserContextId });
    const { sessionId } = await this.ask("Target.attachToTarget", { targetId, flatten: true });
    const page = new Page((method, params = {}) => this.ask(method, params, String(sessionId)));
    this.pages.set(String(sessionId), page);
    const downloads = { behavior: "allow", browserContextId, downloadPath: page.downloads };
    await this.ask("Browser.setDownloadBehavior", downloads);
    for (const domain of ["Page", "Runtime", "Log", "Network"]) await page.ask(`${domain}.enable`);
    return page;
  }

  async close(): Promise<void> {
    this.line?.close();
    this.process.kill("SIGKILL");
    await this.process.exited;
    const folders = [this.folder, ...Array.from(this.pages.values(), ({ downloads }) => downloads)];
    for (const folder of folders) rmSync(folder, { recursive: true, force: true, maxRetries: 9 });
  }

  private async address(): Promise<string> {
    let text = "";
    const decoder = new TextDecoder();
    const timer = setTimeout(() => this.process.kill("SIGKILL"), PATIENCE);
    const found = Promise.withResolvers<string>();
    const read = async () => {
      for await (const part of this.process.stderr) {
        // to its end, or Chromium would wait for us at some point
        if (text.length < MOST_SAID) text += decoder.decode(part, { stream: true });
        const [, url] = /^DevTools listening on (ws:\S+)/m.exec(text) ?? [];
        if (url !== undefined) found.resolve(url);
      }
      found.reject(new Error(`${PROGRAM} does not start:\n${text}`));
    };
    void read();
    const url = await found.promise;
    clearTimeout(timer);
    return url;
  }

  private ask(method: string, params: object, sessionId?: string): Promise<Record<string, unknown>> {
    const id = ++this.next;
    const waiting = Promise.withResolvers<Record<string, unknown>>();
    this.waiting.set(id, waiting);
    this.line?.send(JSON.stringify({ id, method, params, ...(sessionId !== undefined && { sessionId }) }));
    const timer = setTimeout(() => waiting.reject(new Error(`the browser never did ${method}`)), PATIENCE);
    return waiting.promise.finally(() => clearTimeout(timer));
  }

  private hear({ id, method, params, result, error, sessionId }: Message): void {
    if (id !== undefined) {
      const waiting = this.waiting.get(id);
      this.waiting.delete(id);
      if (error === undefined) waiting?.resolve(result ?? {});
      else waiting?.reject(new Error(error.message));
    } else if (method !== undefined) this.pages.get(sessionId ?? "")?.hear(method, params ?? {});
  }
}

export class Page {
  /** Errors of scripts, and all that the browser's console shows as one: what the policy forbids, what could not be loaded. */
  readonly complaints: string[] = [];
  /** Whatever it has asked for. */
  readonly requests: string[] = [];
  /** Where it puts what it downloads. */
  readonly downloads = mkdtempSync(join(tmpdir(), "firebreak-downloads-"));

  /** @param ask calls a method of the protocol, for this page */
  constructor(readonly ask: (method: string, params?: object) => Promise<Record<string, unknown>>) {}

  hear(method: string, params: Record<string, unknown>): void {
    if (method === "Runtime.exceptionThrown") this.complaints.push(JSON.stringify(params.exceptionDetails));
    else if (method === "Network.requestWillBeSent") this.requests.push((params.request as { url: string }).url);
    else if (method === "Log.entryAdded") {
      const { level, text, url } = params.entry as { level: string; text: string; url?: string };
      if (level === "error" || level === "warning") this.complaints.push(`${text} ${url ?? ""}`);
    } else if (method === "Runtime.consoleAPICalled" && params.type === "error") {
      this.complaints.push(JSON.stringify(params.args));
    }
  }

  async goTo(url: string): Promise<void> {
    const { errorText } = await this.ask("Page.navigate", { url });
    if (errorText !== undefined) throw new Error(`${url}: ${errorText}`);
    await this.until(`document.readyState === "complete"`);
  }

  /** @returns the value of an expression in the page; of a promise what it becomes */
  async value<T>(expression: string): Promise<T> {
    const parameters = { expression, returnByValue: true, awaitPromise: true, allowUnsafeEvalBlockedByCSP: false };
    const { result, exceptionDetails } = await this.ask("Runtime.evaluate", parameters);
    if (exceptionDetails !== undefined) throw new Error(`${expression}: ${JSON.stringify(exceptionDetails)}`);
    return (result as { value: T }).value;
  }

  /** Waits until an expression in the page is true. @throws Error with what the page shows */
  async until(expression: string): Promise<void> {
    const deadline = performance.now() + PATIENCE;
    while (!(await this.value<boolean>(`Boolean(${expression})`))) {
      if (performance.now() > deadline) {
        const text = await this.value<string>("document.body.innerText");
        throw new Error(`the page never had ${expression}: ${this.complaints.join("\n")}\n${text}`);
      }
      await Bun.sleep(20);
    }
  }

  /** @param key as KeyboardEvent.key has it */
  async press(key: string): Promise<void> {
    const text = key.length === 1 ? key : key === "Enter" ? "\r" : undefined;
    const codes: Readonly<Record<string, number>> = {
      Tab: 9,
      Enter: 13,
      ArrowLeft: 37,
      ArrowRight: 39,
      Backspace: 8,
      " ": 32,
    };
    const event = { key, windowsVirtualKeyCode: codes[key] ?? key.toUpperCase().charCodeAt(0) };
    await this.ask("Input.dispatchKeyEvent", { type: "keyDown", ...event, ...(text !== undefined && { text }) });
    await this.ask("Input.dispatchKeyEvent", { type: "keyUp", ...event });
  }

  async type(text: string): Promise<void> {
    for (const key of text) await this.press(key);
  }

  /** Moves the mouse to the middle of an element. */
  async pointAt(selector: string): Promise<void> {
    const found = `document.querySelector(${JSON.stringify(selector)})`;
    await this.value(`${found}.scrollIntoView()`);
    const [x, y] = await this.value<[number, number]>(
      `(({ x, y, width, height }) => [x + width / 2, y + height / 2])(${found}.getBoundingClientRect())`,
    );
    await this.ask("Input.dispatchMouseEvent", { type: "mouseMoved", x, y });
  }

  /** @param width of the window, in CSS pixels @param height likewise */
  async resize(width: number, height: number): Promise<void> {
    await this.ask("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: false });
  }

  async prefer(scheme: "light" | "dark"): Promise<void> {
    await this.ask("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });
  }

  /** All of the page, as a PNG. */
  async picture(path: string): Promise<Buffer> {
    const { data } = await this.ask("Page.captureScreenshot", { format: "png", captureBeyondViewport: true });
    const bytes = Buffer.from(String(data), "base64");
    writeFileSync(path, bytes);
    return bytes;
  }
}
