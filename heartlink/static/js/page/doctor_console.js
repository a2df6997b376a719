/** The console: any socket, any frame, and what travels, as it travels. */
import { examplesOf, fits, FrameLog, KEPT_FRAMES, pretty } from "./doctor_frames.js";
import { ask, parsed, socketUrl } from "./doctor_probe.js";
import { socketRoutes } from "./doctor_routes.js";
import { el, explain, page, t, toast } from "./ui.js";

const LINE_CHARS = 400;
const NEAR_END_PX = 40;

const byId = (name) => document.getElementById(`console-${name}`);

export function wireConsole() {
  new Console().begin();
}

class Console {
  #log = new FrameLog();
  #list = document.getElementById("frames");
  #socket = null;
  #document = {};
  #isPaused = false;
  #missed = 0;

  async begin() {
    byId("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#connect();
    });
    byId("close").addEventListener("click", () => this.#close());
    byId("editor").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    byId("frame").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("editor").requestSubmit();
    });
    byId("route").addEventListener("change", () => this.#drawRoute());
    byId("template").addEventListener("change", () => this.#useTemplate());
    byId("filter").addEventListener("input", () => this.#drawAll());
    byId("pause").addEventListener("click", () => this.#pause(!this.#isPaused));
    byId("clear").addEventListener("click", () => {
      this.#log.clear();
      this.#drawAll();
    });
    byId("save").addEventListener("click", () => this.#save());
    const [routes, answer] = await Promise.all([socketRoutes(), ask("/api/asyncapi.json").catch(() => null)]);
    this.#document = answer?.json ?? {};
    byId("route").replaceChildren(...routes.map((route) => el("option", { value: route }, route)));
    this.#drawRoute();
  }

  // --- what is asked for

  #drawRoute() {
    const route = byId("route").value;
    const names = [...route.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
    const known = { room_id: page.room_id, user_id: page.user?.id };
    byId("parameters").replaceChildren(
      ...names.map((name) =>
        el(
          "label",
          { class: "field" },
          el("span", {}, name),
          el("input", {
            class: "input",
            name,
            value: known[name] ?? "",
            autocomplete: "off",
            autocapitalize: "none",
            spellcheck: "false",
          }),
        ),
      ),
    );
    const examples = examplesOf(this.#document, route);
    byId("template").replaceChildren(
      el("option", { value: "" }, t("Choose one …")),
      ...examples.map(({ name, about, text }) => el("option", { value: text, title: about }, name)),
    );
  }

  #useTemplate() {
    const text = byId("template").value;
    if (!text) return;
    byId("frame").value = pretty(text);
    byId("frame").focus();
  }

  #address() {
    let path = byId("route").value;
    for (const input of byId("parameters").querySelectorAll("input"))
      path = path.replace(`{${input.name}}`, encodeURIComponent(input.value.trim()) || "-");
    const query = byId("query").value.trim().replace(/^\?/, "");
    return query ? `${path}?${query}` : path;
  }

  // --- the socket

  #connect() {
    this.#error("");
    this.#socket?.close();
    const path = this.#address();
    const protocols = byId("protocols")
      .value.split(/[\s,]+/)
      .filter(Boolean);
    let socket;
    try {
      socket = new WebSocket(socketUrl(path), protocols);
    } catch (error) {
      this.#error(error.message);
      return;
    }
    this.#socket = socket;
    this.#note(t("connecting to {path}", { path: path.replace(/((?:^|[?&])(?:token|ticket)=)[^&]*/g, "$1…") }));
    let wasOpen = false;
    socket.onopen = () => {
      wasOpen = true;
      this.#note(t("open, subprotocol {name}", { name: socket.protocol || "–" }));
      this.#drawButtons();
    };
    socket.onmessage = ({ data }) => this.#take("in", typeof data === "string" ? data : `[${data.size} bytes]`);
    socket.onclose = ({ code, reason }) => {
      this.#note(t("closed with {code} {reason}", { code, reason }));
      if (!wasOpen && this.#socket === socket) this.#askWhy(path);
      this.#drawButtons();
    };
    this.#drawButtons();
  }

  /** A browser only says 1006; the address itself says why. */
  async #askWhy(path) {
    const answer = await ask(path).catch(() => null);
    const error = answer?.json?.error;
    if (!error) return;
    const { sentence, fix } = explain(error);
    this.#note(`${answer.json.would ?? answer.status} ${error.code}: ${sentence} ${fix}`);
  }

  #close() {
    try {
      this.#socket?.close(Number(byId("code").value));
    } catch {
      this.#error(t("A page may only close with 1000 or with 3000 to 4999."));
    }
  }

  #send() {
    this.#error("");
    const text = byId("frame").value;
    const found = parsed(text);
    // One frame is one line on the wire; what is no JSON is sent as it is, to see how it is refused.
    const frame = found === null ? text : JSON.stringify(found);
    if (this.#socket?.readyState !== 1) {
      this.#error(t("Connect first."));
      return;
    }
    this.#socket.send(frame);
    this.#take("out", frame);
  }

  #drawButtons() {
    const state = this.#socket?.readyState ?? 3;
    byId("send").disabled = state !== 1;
    byId("close").disabled = state > 1;
  }

  #error(words) {
    byId("error").textContent = words;
  }

  // --- what travels

  #note(words) {
    this.#take("note", words);
  }

  #take(direction, text) {
    const frame = this.#log.add(direction, text);
    if (this.#isPaused) this.#missed += 1;
    else if (fits(frame, byId("filter").value)) this.#append(frame);
    this.#drawCount();
  }

  #append(frame) {
    const isAtEnd = this.#list.scrollHeight - this.#list.scrollTop - this.#list.clientHeight < NEAR_END_PX;
    this.#list.append(drawFrame(frame));
    while (this.#list.childElementCount > KEPT_FRAMES) this.#list.firstElementChild.remove();
    if (isAtEnd) this.#list.scrollTop = this.#list.scrollHeight;
  }

  #drawAll() {
    this.#list.replaceChildren(...this.#log.found(byId("filter").value).map(drawFrame));
    this.#list.scrollTop = this.#list.scrollHeight;
    this.#drawCount();
  }

  #drawCount() {
    const words = [
      t("{shown} of {count} frames shown", { shown: this.#list.childElementCount, count: this.#log.length }),
    ];
    if (this.#log.forgotten) words.push(t("{count} older ones forgotten", { count: this.#log.forgotten }));
    if (this.#missed) words.push(t("{count} came while it was paused", { count: this.#missed }));
    byId("count").textContent = words.join(" · ");
  }

  #pause(isPaused) {
    this.#isPaused = isPaused;
    byId("pause").setAttribute("aria-pressed", String(isPaused));
    byId("pause").textContent = isPaused ? t("Go on") : t("Pause");
    if (isPaused) return;
    this.#missed = 0;
    this.#drawAll();
  }

  #save() {
    if (!this.#log.length) {
      toast(t("There is nothing to save yet."));
      return;
    }
    const url = URL.createObjectURL(new Blob([`${this.#log.toLines()}\n`], { type: "application/x-ndjson" }));
    const name = `heartlink-frames-${new Date().toISOString().replace(/[:.]/g, "-")}.jsonl`;
    el("a", { href: url, download: name }).click();
    URL.revokeObjectURL(url);
  }
}

const ARROWS = { in: "↓", out: "↑", note: "·" };

function drawFrame(frame) {
  const { afterMs, at, direction, type, size, text, isCut } = frame;
  const line = text.length > LINE_CHARS ? `${text.slice(0, LINE_CHARS)}…` : text;
  const spoken = { in: t("received"), out: t("sent"), note: t("note") }[direction];
  const head = [
    el("time", { title: new Date(at).toISOString() }, `+${(afterMs / 1000).toFixed(3)}`),
    el(
      "span",
      { class: "frame-arrow" },
      el("span", { "aria-hidden": "true" }, ARROWS[direction]),
      el("span", { class: "sr-only" }, spoken),
    ),
  ];
  if (direction === "note")
    return el(
      "li",
      { class: "frame", data: { direction } },
      el("div", { class: "frame-head" }, ...head, el("span", { class: "frame-text" }, line)),
    );
  const body = el("pre", {});
  const details = el(
    "details",
    {},
    el(
      "summary",
      { class: "frame-head" },
      ...head,
      el("b", {}, type || "?"),
      el("span", { class: "frame-size" }, t("{bytes} B", { bytes: size })),
      el("span", { class: "frame-text" }, line),
    ),
    body,
  );
  details.addEventListener("toggle", () => {
    if (details.open && !body.textContent) body.textContent = pretty(text) + (isCut ? `\n${t("… cut")}` : "");
  });
  return el("li", { class: "frame", data: { direction } }, details);
}
