// DNS to an address that clients were given goes to a server behind the uplink, and comes back as if it had not.
import { describe, expect, test } from "bun:test";
import { ip, payload } from "../../../lab/frames.ts";
import {
  ANYTHING,
  dropped,
  forwarded,
  Lab,
  NEIGHBOUR,
  OUTSIDE,
  type Outcome,
  REMOTE,
  SETTINGS,
  WORK_HOST,
  WORK_SETTINGS,
  withClient,
} from "../../../lab/router-lab.ts";
import { compileRuleset } from "../../../src/dataplane/rules/ruleset.ts";
import type { Redirect, Settings } from "../../../src/dataplane/settings.ts";
import { datagram, HOP, icmpError, query, segment } from "../../support/nat.ts";

const VIRTUAL = "10.139.1.1";
const VIRTUAL_2 = "10.139.1.2";

/** The same settings with these redirects. */
function withRedirects(redirects: Readonly<Record<string, string>>, settings: Settings = SETTINGS): Settings {
  const pairs = Object.entries(redirects).map(([from, to]): Redirect => ({ from: ip(from), to: ip(to) }));
  return { ...settings, redirects: pairs };
}

const REDIRECTED = withRedirects({ [VIRTUAL]: REMOTE, [VIRTUAL_2]: NEIGHBOUR });

/** A client's question and its answer, inside and outside. */
const ASK = `${WORK_HOST}:5000 > ${VIRTUAL}:53`;
const ASK_OUTSIDE = `${OUTSIDE}:5000 > ${REMOTE}:53`;
const ANSWER = `${REMOTE}:53 > ${OUTSIDE}:5000`;
const ANSWER_INSIDE = `${VIRTUAL}:53 > ${WORK_HOST}:5000`;

/** The outcome of a packet that went on to a host on the link as soon as that had said its MAC address. */
function queuedFor(host: string, packet: Uint8Array): Outcome {
  return { ...forwarded(host, packet), verdict: "queued for ARP" };
}

/** @returns a lab in which the question has been asked over UDP */
function asked(settings = REDIRECTED): Lab {
  const lab = new Lab({ settings });
  expect(lab.from(WORK_HOST, datagram(ASK))).toEqual(forwarded(REMOTE, datagram(ASK_OUTSIDE, HOP)));
  return lab;
}

/** @returns a lab in which a connection to the server has been opened */
function connected(): Lab {
  const lab = new Lab({ settings: REDIRECTED });
  const first = { sequence: 1000 };
  const second = { sequence: 5000, acknowledgment: 1001 };
  const third = { sequence: 1001, acknowledgment: 5001 };
  expect(lab.from(WORK_HOST, segment(ASK, "S", first))).toEqual(
    forwarded(REMOTE, segment(ASK_OUTSIDE, "S", { ...first, ...HOP })),
  );
  expect(lab.from(REMOTE, segment(ANSWER, "S.", second))).toEqual(
    forwarded(WORK_HOST, segment(ANSWER_INSIDE, "S.", { ...second, ...HOP })),
  );
  expect(lab.from(WORK_HOST, segment(ASK, ".", third))).toEqual(
    forwarded(REMOTE, segment(ASK_OUTSIDE, ".", { ...third, ...HOP })),
  );
  return lab;
}

describe("a redirect", () => {
  test("sends questions over UDP to the server, and its answers come from the address that was asked", () => {
    const lab = asked();
    expect(lab.from(REMOTE, datagram(ANSWER))).toEqual(forwarded(WORK_HOST, datagram(ANSWER_INSIDE, HOP)));
    expect(lab.router.flows.size).toBe(1);
  });

  test("sends connections to the server", () => {
    const lab = connected();
    const question = { sequence: 1001, acknowledgment: 5001 };
    expect(lab.from(WORK_HOST, segment(ASK, "P.", question, payload(30)))).toEqual(
      forwarded(REMOTE, segment(ASK_OUTSIDE, "P.", { ...question, ...HOP }, payload(30))),
    );
    const answer = { sequence: 5001, acknowledgment: 1031 };
    expect(lab.from(REMOTE, segment(ANSWER, "P.", answer, payload(500)))).toEqual(
      forwarded(WORK_HOST, segment(ANSWER_INSIDE, "P.", { ...answer, ...HOP }, payload(500))),
    );
  });

  test("sends each address's questions to its own server, on the uplink's link too", () => {
    const lab = asked();
    expect(lab.from(WORK_HOST, datagram(`${WORK_HOST}:5001 > ${VIRTUAL_2}:53`))).toEqual(
      queuedFor(NEIGHBOUR, datagram(`${OUTSIDE}:5001 > ${NEIGHBOUR}:53`, HOP)),
    );
    expect(lab.from(NEIGHBOUR, datagram(`${NEIGHBOUR}:53 > ${OUTSIDE}:5001`))).toEqual(
      forwarded(WORK_HOST, datagram(`${VIRTUAL_2}:53 > ${WORK_HOST}:5001`, HOP)),
    );
  });

  test("is for port 53 of TCP and UDP only", () => {
    const lab = new Lab({ settings: REDIRECTED });
    expect(lab.from(WORK_HOST, datagram(`${WORK_HOST}:5000 > ${VIRTUAL}:54`))).toEqual(
      forwarded(VIRTUAL, datagram(`${OUTSIDE}:5000 > ${VIRTUAL}:54`, HOP)),
    );
    expect(lab.from(WORK_HOST, segment(`${WORK_HOST}:5000 > ${VIRTUAL}:853`, "S"))).toEqual(
      forwarded(VIRTUAL, segment(`${OUTSIDE}:5000 > ${VIRTUAL}:853`, "S", HOP)),
    );
    expect(lab.from(WORK_HOST, query(`${WORK_HOST} > ${VIRTUAL}`, 53))).toEqual(
      forwarded(VIRTUAL, query(`${OUTSIDE} > ${VIRTUAL}`, 53, HOP)),
    );
  });

  test("lets nobody answer but the server: not the address that was asked, nor another port", () => {
    const lab = asked();
    for (const ends of [
      `${VIRTUAL}:53 > ${OUTSIDE}:5000`,
      `${NEIGHBOUR}:53 > ${OUTSIDE}:5000`,
      `${REMOTE}:54 > ${OUTSIDE}:5000`,
    ]) {
      expect(lab.from(REMOTE, datagram(ends))).toEqual(dropped("unsolicited"));
    }
  });

  test("leaves the server itself to be asked by its own address", () => {
    const lab = asked();
    expect(lab.from(WORK_HOST, datagram(`${WORK_HOST}:5001 > ${REMOTE}:53`))).toEqual(
      forwarded(REMOTE, datagram(`${OUTSIDE}:5001 > ${REMOTE}:53`, HOP)),
    );
    expect(lab.from(REMOTE, datagram(`${REMOTE}:53 > ${OUTSIDE}:5001`))).toEqual(
      forwarded(WORK_HOST, datagram(`${REMOTE}:53 > ${WORK_HOST}:5001`, HOP)),
    );
  });

  test("is after the rules: they judge the address that the client asked", () => {
    const rulesFor = (address: string) => {
      const ruleset = compileRuleset([{ ...ANYTHING, address: ip(address), prefix: 32 }], false);
      return withRedirects({ [VIRTUAL]: REMOTE }, withClient({ ...WORK_SETTINGS, ruleset }));
    };
    asked(rulesFor(VIRTUAL));
    const lab = new Lab({ settings: rulesFor(REMOTE) });
    expect(lab.from(WORK_HOST, datagram(ASK)).verdict).toBe("dropped: refused by rules");
  });
});

describe("an ICMP error about redirected DNS", () => {
  const UNREACHABLE = [3, 3] as const;

  test("from the server comes from the address that was asked, about what the client sent", () => {
    const lab = asked();
    const error = icmpError(`${REMOTE} > ${OUTSIDE}`, ...UNREACHABLE, datagram(ASK_OUTSIDE, HOP));
    expect(lab.from(REMOTE, error)).toEqual(
      forwarded(WORK_HOST, icmpError(`${VIRTUAL} > ${WORK_HOST}`, ...UNREACHABLE, datagram(ASK, HOP), HOP)),
    );
  });

  test("from a router on the way keeps its source", () => {
    const lab = connected();
    const router = "203.0.113.1";
    const sent = { sequence: 1001, acknowledgment: 5001, ...HOP };
    const error = icmpError(`${router} > ${OUTSIDE}`, 11, 0, segment(ASK_OUTSIDE, ".", sent));
    expect(lab.from(router, error)).toEqual(
      forwarded(WORK_HOST, icmpError(`${router} > ${WORK_HOST}`, 11, 0, segment(ASK, ".", sent), HOP)),
    );
  });

  test("from the client goes to the server, about what the server sent", () => {
    const lab = asked();
    lab.from(REMOTE, datagram(ANSWER));
    const error = icmpError(`${WORK_HOST} > ${VIRTUAL}`, ...UNREACHABLE, datagram(ANSWER_INSIDE, HOP));
    expect(lab.from(WORK_HOST, error)).toEqual(
      forwarded(REMOTE, icmpError(`${OUTSIDE} > ${REMOTE}`, ...UNREACHABLE, datagram(ANSWER, HOP), HOP)),
    );
  });
});

describe("new settings", () => {
  test("with another server for the address end the flow, and the next question goes there", () => {
    const lab = asked();
    expect(lab.apply(withRedirects({ [VIRTUAL]: NEIGHBOUR, [VIRTUAL_2]: NEIGHBOUR }))).toEqual([]);
    expect(lab.router.flows.size).toBe(0);
    expect(lab.from(REMOTE, datagram(ANSWER))).toEqual(dropped("unsolicited"));
    expect(lab.from(WORK_HOST, datagram(ASK))).toEqual(
      queuedFor(NEIGHBOUR, datagram(`${OUTSIDE}:5000 > ${NEIGHBOUR}:53`, HOP)),
    );
  });

  test("without the redirect end the flow; so do those that redirect where nothing was redirected", () => {
    const lab = connected();
    lab.apply(SETTINGS);
    expect(lab.router.flows.size).toBe(0);
    const late = { sequence: 5001, acknowledgment: 1001 };
    expect(lab.from(REMOTE, segment(ANSWER, ".", late))).toEqual(dropped("unsolicited"));
    expect(lab.from(WORK_HOST, datagram(ASK))).toEqual(
      forwarded(VIRTUAL, datagram(`${OUTSIDE}:5000 > ${VIRTUAL}:53`, HOP)),
    );
    lab.apply(REDIRECTED);
    expect(lab.router.flows.size).toBe(0);
  });

  test("that leave the redirect as it was let the flow live", () => {
    const lab = asked();
    lab.from(WORK_HOST, datagram(`${WORK_HOST}:5001 > ${VIRTUAL_2}:53`));
    lab.apply(withRedirects({ [VIRTUAL]: REMOTE, [VIRTUAL_2]: REMOTE }));
    expect(lab.router.flows.size).toBe(1);
    expect(lab.from(REMOTE, datagram(ANSWER))).toEqual(forwarded(WORK_HOST, datagram(ANSWER_INSIDE, HOP)));
  });
});
