// The news of `firebreak web`, as they come. A page that nobody sees takes none: what it has missed is in the first that comes after.
import { type News, PATHS } from "../messages.ts";

/** Whether news come: that the way to `firebreak web` is open, that it is tried, or that this page is refused. */
export type Way = "open" | "trying" | "refused";

export function follow(hear: (news: News) => void, way: (state: Way) => void): void {
  let source: EventSource | undefined;
  const open = () => {
    const events = new EventSource(PATHS.events);
    source = events;
    events.addEventListener("open", () => way("open"));
    events.addEventListener("message", ({ data }: MessageEvent<string>) => hear(JSON.parse(data) as News));
    events.addEventListener("error", () => way(events.readyState === EventSource.CLOSED ? "refused" : "trying"));
  };
  const close = () => {
    source?.close();
    source = undefined;
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close();
    else if (source === undefined) open();
  });
  // Of a page that is kept for "back", too.
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", () => {
    if (source === undefined && !document.hidden) open();
  });
  if (!document.hidden) open();
}
