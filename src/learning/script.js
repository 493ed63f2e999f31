// The page's script: a field that is pointed at is shown wherever it is; and keys to go from packet to packet. The page works without.
const body = document.body;
let shown = "";

function show(id) {
  if (id === shown) return;
  for (const element of document.querySelectorAll(".shown")) element.classList.remove("shown");
  shown = id;
  if (id !== "") for (const element of document.querySelectorAll(`[data-f="${id}"]`)) element.classList.add("shown");
}

const fieldOf = (event) => event.target.closest?.("[data-f]")?.dataset.f ?? "";

body.addEventListener("pointerover", (event) => {
  if (event.pointerType === "mouse") show(fieldOf(event));
});
body.addEventListener("focusin", (event) => show(fieldOf(event)));
body.addEventListener("click", (event) => {
  const id = fieldOf(event);
  if (id !== "") show(id);
});

const packets = [...document.querySelectorAll("details.packet")];

function setAll(open) {
  for (const packet of packets) packet.open = open;
}

function go(step) {
  const at = packets.findIndex((packet) => packet.contains(document.activeElement));
  const next = packets[at === -1 ? 0 : at + step];
  if (next === undefined) return;
  const summary = next.querySelector("summary");
  summary.focus();
  summary.scrollIntoView({ block: "nearest" });
}

body.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === "j") go(1);
  if (event.key === "k") go(-1);
});
document.getElementById("open").addEventListener("click", () => setAll(true));
document.getElementById("close").addEventListener("click", () => setAll(false));
for (const element of document.querySelectorAll(".scripted")) element.hidden = false;
// A link to a packet opens it.
const target = location.hash.length > 1 ? document.getElementById(location.hash.slice(1)) : null;
if (target?.matches("details")) target.open = true;
