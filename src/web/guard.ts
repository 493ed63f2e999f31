// Who may have the page: a browser that was opened with the address that `firebreak web` printed, on this machine, and no page of another
// origin in it. The key in the address gives a cookie; all else is asked with that.
import { randomBytes, timingSafeEqual } from "node:crypto";
import { plainReply, type Reply, type Request } from "../watch/http.ts";

/** Bytes of a secret: nobody guesses one of 2^192. */
const SECRET_BYTES = 24;

/** What this machine calls itself; with a port, that of a tunnel perhaps. An address that is not loopback's nobody reaches us by. */
const HERE = /^(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?$/i;

/** Nothing from anywhere but here, nothing that stands in the page's own text, and no text that becomes HTML (Trusted Types). */
export const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join("; ");

/** On every answer. */
const HEADERS = [
  `Content-Security-Policy: ${POLICY}`,
  "Referrer-Policy: no-referrer",
  "X-Frame-Options: DENY",
  "Cross-Origin-Opener-Policy: same-origin",
  "Cross-Origin-Resource-Policy: same-origin",
];

const REFUSED = `This page needs its key. Open the address that "firebreak web" printed, all of it. Each start has a new one.\n`;

export class Guard {
  /** In the address. */
  readonly token = randomBytes(SECRET_BYTES).toString("base64url");
  private readonly session = randomBytes(SECRET_BYTES).toString("base64url");
  private readonly cookie: string;

  /** @param port where it listens: cookies know no ports, so its name does */
  constructor(port: number) {
    this.cookie = `firebreak-${port}`;
  }

  /** @returns a refusal; or what is to stand on the answer, of which the page alone may be asked with the key */
  admit(request: Request): { readonly refusal: Reply } | { readonly headers: readonly string[] } {
    const refuse = (status: Reply["status"], body?: string, more: readonly string[] = []) => ({
      refusal: plainReply(status, body, [...HEADERS, ...more]),
    });
    if (!HERE.test(request.header("host")[0] ?? "")) return refuse(421);
    // Browsers say whose page asks. One that says nothing has no page to ask for, or is older than the cookie's SameSite is strict.
    const site = request.header("sec-fetch-site")[0] ?? "none";
    const isPage = request.path === "/";
    if (site !== "same-origin" && site !== "none" && !isPage) return refuse(403);
    const isKnown = request.header("cookie").some((line) => this.hasSession(line));
    const token = isPage ? new URLSearchParams(request.query).get("token") : null;
    if (!isKnown && (token === null || !isSame(token, this.token))) return refuse(403, REFUSED);
    if (request.method !== "GET") return refuse(405, undefined, ["Allow: GET"]);
    const grant = `Set-Cookie: ${this.cookie}=${this.session}; Path=/; HttpOnly; SameSite=Strict`;
    return { headers: isKnown ? HEADERS : [...HEADERS, grant] };
  }

  private hasSession(cookies: string): boolean {
    return cookies.split(";").some((pair) => {
      const [name = "", value = ""] = pair.trim().split("=");
      return name === this.cookie && isSame(value, this.session);
    });
  }
}

/** In a time that does not tell how much of it is right. */
function isSame(given: string, wanted: string): boolean {
  const [one, other] = [Buffer.from(given), Buffer.from(wanted)];
  return one.length === other.length && timingSafeEqual(one, other);
}
