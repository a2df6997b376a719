/** One's own connections, on the page of one's rights: those that are open, and how the last ones ended. */
import { ConnectionList } from "./connections.js";
import { link, toastError } from "./ui.js";

const READ_EVERY_MS = 5000;
const CLOSED_SHOWN = 5;

const card = document.getElementById("my-connections");
const list = new ConnectionList({ base: "/api/me/connections" });
card.querySelector(".connections-place").replaceWith(list.element);

async function read() {
  const { connections, closed } = await link.rest.request("GET", "/api/me/connections");
  list.show([...connections, ...closed.slice(0, CLOSED_SHOWN)]);
}

/** Reads them when somebody opens the card, and while it stays open. */
card.addEventListener("toggle", () => card.open && read().catch(toastError));
setInterval(() => card.open && !document.hidden && read().catch(() => {}), READ_EVERY_MS);
