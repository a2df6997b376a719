/** The checks, in their order. Each looks at one thing and says what it means; none needs an account. */
import { ask } from "./doctor_probe.js";
import { checkResume, checkUpgrade } from "./doctor_routes.js";
import { failed, lost, ok, skipped, warning, whole } from "./doctor_verdicts.js";
import { explain, page, t } from "./ui.js";

const CONSTANTS = { CONNECTING: 0, OPEN: 1, CLOSING: 2, CLOSED: 3 };
const PINGS = 20;
const PINGS_MS = 4000;
const SLOW_MS = 300;
const UNEVEN_MS = 1500;
const CLOCK_ASKS = 3;
const CLOCK_WARNING_MS = 2000;
const CLOCK_FAILED_MS = 30000;
const EXPIRES_SOON_MS = 10 * 60 * 1000;
const LARGE_BYTES = 60 * 1024;
const ENVELOPE_BYTES = 200;

/** {key, title, run(visit)} in the order in which they run; `visit` is what this run has found so far. */
export const STEPS = [
  { key: "websocket", title: () => t("WebSocket in this browser"), run: checkWebSocket },
  { key: "http", title: () => t("The server over HTTP"), run: checkHttp },
  { key: "address", title: () => t("Page and sockets at one address"), run: checkAddress },
  { key: "identity", title: () => t("Cookie and token, as the server sees them"), run: checkIdentity },
  { key: "upgrade", title: () => t("Opening each kind of socket"), run: checkUpgrade },
  { key: "greeting", title: () => t("The greeting"), run: checkGreeting },
  { key: "echo_text", title: () => t("A text there and back"), run: (visit) => checkEcho(visit, "Hello, HeartLink!") },
  {
    key: "echo_chinese",
    title: () => t("Chinese and emoji there and back"),
    run: (visit) => checkEcho(visit, "你好，心动链接 ❤️ 𠮷野家"),
  },
  { key: "echo_large", title: () => t("A frame of 60 KiB there and back"), run: checkLarge },
  { key: "round_trip", title: () => t("Heartbeat and round trip"), run: checkRoundTrip },
  { key: "clock", title: () => t("The clocks"), run: checkClock },
  { key: "resume", title: () => t("Coming back without missing anything"), run: checkResume },
  { key: "room", title: () => t("What a room says"), run: checkRoom },
];

// --- before any socket

function checkWebSocket() {
  const Socket = globalThis.WebSocket;
  const remedy = t("An extension or a script did that. Try a private window without extensions.");
  if (typeof Socket !== "function")
    return failed(t("There is no WebSocket in this page."), t("Use another browser, or a window without extensions."));
  const wrong = Object.entries(CONSTANTS)
    .filter(([name, value]) => Socket[name] !== value || Socket.prototype?.[name] !== value)
    .map(([name]) => name);
  if (wrong.length)
    return failed(
      t("WebSocket was replaced, and its constants are wrong or missing: {names}.", { names: wrong.join(", ") }),
      remedy,
    );
  if (!Function.prototype.toString.call(Socket).includes("[native code]"))
    return warning(t("WebSocket was replaced by something else, though its constants are right."), remedy);
  return ok(t("There, and its constants are right."));
}

const isHealthy = ({ status, json }) => status === 200 && json?.status === "ok";

async function checkHttp(visit) {
  let alive, again, isReady;
  try {
    [alive, again, isReady] = await Promise.all([ask("/healthz"), ask("/healthz"), ask("/readyz")]);
  } catch {
    visit.isSilent = true;
    return failed(
      t("The server does not answer."),
      t("See whether HeartLink runs, and whether {address} leads to it.", { address: location.origin }),
    );
  }
  if (!isHealthy(alive) && !alive.json?.error)
    return failed(
      t("Something answers, but it is not HeartLink: status {status}, {server}.", {
        status: alive.status,
        server: alive.server || t("without a name"),
      }),
      t("Have the proxy hand all addresses on to HeartLink: /healthz, /api/ and /ws/ too."),
      { lines: "address" },
    );
  if (alive.json.instance !== again.json?.instance)
    return failed(
      t("Two servers answer at this address, now one and now the other."),
      t("Stop one of them, or have the proxy forward to one only: a room lives in one process."),
      { lines: "address" },
    );
  if (!isHealthy(isReady)) {
    const { sentence, fix } = explain(isReady.json?.error ?? { message: t("The server is not ready.") });
    return warning(sentence, fix || t("Try again in a moment."));
  }
  return ok(t("It answers, and its storage can be reached."), { facts: { healthz_ms: whole(alive.ms) } });
}

async function checkAddress(visit) {
  const seen = await visit.whoAmI();
  if (!seen && visit.isSilent) return skipped(t("Not checked: the server does not answer."));
  if (!seen)
    return failed(
      t("The page is here, but /api/ is not answered by HeartLink."),
      t("Have the proxy hand all addresses on to HeartLink: /healthz, /api/ and /ws/ too."),
      { lines: "path" },
    );
  const facts = { page: location.origin, host_seen: seen.host, scheme_seen: seen.scheme, proxies: seen.proxy_headers };
  const values = { page: location.origin, host: seen.host };
  if (!seen.page?.is_accepted)
    return failed(
      t(
        "The page is {page}, but the server was asked for {host}: it refuses sockets that come with the cookie.",
        values,
      ),
      t("Have the proxy hand on the Host it was asked for, or start HeartLink with --allowed-origins={page}.", values),
      { lines: "host", facts },
    );
  if (location.protocol === "https:" && seen.scheme !== "https")
    return warning(
      t("The page came by https, but the server believes it was http."),
      t("Have the proxy send X-Forwarded-Proto, and name its address in --trusted-proxies."),
      { lines: "forwarded", facts },
    );
  return ok(t("Both are {page}.", values), { facts });
}

async function checkIdentity(visit) {
  const seen = await visit.whoAmI();
  if (!seen) return skipped(t("Not checked: the server does not answer."));
  if (!navigator.cookieEnabled)
    return failed(
      t("This browser keeps no cookies."),
      t("Allow cookies for this site; without them nobody stays signed in."),
    );
  const { credential } = seen;
  if (!credential) {
    if (!page.user) return skipped(t("You are not signed in; that is no fault."));
    return failed(
      t("This page was made for you, but now the server sees no cookie."),
      t(
        "Something takes the cookie away: a proxy, or a privacy setting of this browser. Sign in again; if it stays, try another browser.",
      ),
    );
  }
  if (!credential.is_valid) {
    const { sentence, fix } = explain(credential.error);
    return failed(sentence, fix || t("Sign in again."));
  }
  const leftMs = Date.parse(credential.expires_at) - Date.parse(seen.server_time);
  const until = new Date(Date.now() + leftMs).toLocaleString(document.documentElement.lang);
  const facts = {
    by: credential.by,
    expires_at: credential.expires_at,
    session_cookie: seen.has_session_cookie,
    csrf_cookie: seen.has_csrf_cookie,
  };
  if (leftMs < EXPIRES_SOON_MS)
    return warning(t("Your sign-in ends in a moment: {until}.", { until }), t("Sign in again."), { facts });
  return ok(t("Signed in by {by}, until {until}.", { by: t(WAYS[credential.by] ?? "token"), until }), { facts });
}

const WAYS = { cookie: "cookie" };

// --- over the doctor's socket

const cutRemedy = () =>
  t("Something in between ends the connection: a proxy, a firewall or a virus scanner. Try another network.");

async function checkGreeting(visit) {
  const socket = await visit.socket();
  if (!socket) return skipped(t("Not checked: no socket opens."));
  const { probe, greeting, failure } = socket;
  if (failure?.kind === "closed")
    return failed(
      t("The socket was closed before the greeting came (code {code}).", { code: failure.code }),
      cutRemedy(),
    );
  if (failure)
    return failed(
      t("The socket opens, but nothing comes through it."),
      t("A proxy holds answers back: switch its buffering off."),
      { lines: "buffering" },
    );
  if (probe.protocol !== "heartlink.v1")
    return warning(
      t("The subprotocol is “{name}” instead of heartlink.v1.", { name: probe.protocol }),
      t("Have the proxy leave the header Sec-WebSocket-Protocol as it is, both ways."),
    );
  return ok(t("It came {ms} ms after the socket was asked for.", { ms: whole(socket.ms) }), {
    facts: { limits: greeting.limits, proxies: greeting.handshake.proxy_headers },
  });
}

let refs = 0;

/**
 * Sends a frame and waits for what answers it; once more after a moment when that was too fast.
 * @returns {Promise<{answer: object, ms: number}>} ms: there and back
 */
async function exchange(probe, frame) {
  for (let attempt = 0; ; attempt += 1) {
    const ref = `d${(refs += 1)}`;
    const begun = performance.now();
    probe.send({ ...frame, ref });
    const answer = await probe.next((heard) => heard.ref === ref);
    const ms = performance.now() - begun;
    if (answer.error_code !== "rate_limited" || attempt) return { answer, ms };
    await new Promise((resolve) => setTimeout(resolve, 1000 * (answer.retry_after ?? 1)));
  }
}

async function checkEcho(visit, text, remedy = "") {
  const socket = await visit.greeted();
  if (!socket) return skipped(t("Not checked: no socket opens."));
  const size = new TextEncoder().encode(text).length;
  let answer;
  try {
    ({ answer } = await exchange(socket.probe, { type: "echo", text }));
  } catch (failure) {
    return lost(failure, remedy || cutRemedy());
  }
  if (answer.type === "error") return failed(explain(answer).sentence, answer.fix);
  if (answer.text !== text)
    return failed(
      t("It came back changed."),
      t(
        "Something in between rewrites frames: an extension, a virus scanner or a proxy. Try another network or a private window.",
      ),
    );
  return ok(t("{bytes} bytes came back unchanged.", { bytes: size.toLocaleString(document.documentElement.lang) }));
}

async function checkLarge(visit) {
  const socket = await visit.greeted();
  const limit = socket?.greeting.limits.frame_bytes || Infinity;
  const size = Math.max(1, Math.min(LARGE_BYTES, limit - ENVELOPE_BYTES));
  const remedy = t("A proxy or a firewall limits the size of frames: have it let 64 KiB through.");
  return checkEcho(visit, "heartlink ".repeat(Math.ceil(size / 10)).slice(0, size), remedy);
}

async function checkRoundTrip(visit) {
  const socket = await visit.greeted();
  if (!socket) return skipped(t("Not checked: no socket opens."));
  const samples = [];
  const end = performance.now() + PINGS_MS;
  try {
    const { answer: beat } = await exchange(socket.probe, { type: "heartbeat" });
    if (beat.type !== "heartbeat_response") return failed(explain(beat).sentence, beat.fix);
    while (!samples.length || (samples.length < PINGS && performance.now() < end)) {
      const { answer, ms } = await exchange(socket.probe, { type: "ping", timestamp: samples.length });
      if (answer.type !== "pong") return failed(explain(answer).sentence, answer.fix);
      samples.push(ms);
    }
  } catch (failure) {
    return lost(failure, cutRemedy(), { samples });
  }
  const sorted = [...samples].sort((a, b) => a - b);
  const values = {
    p50: whole(sorted[Math.floor((sorted.length - 1) / 2)]),
    worst: whole(sorted.at(-1)),
    count: sorted.length,
  };
  const more = { samples, facts: { samples_ms: samples.map(whole) } };
  if (values.p50 > SLOW_MS || values.worst > UNEVEN_MS)
    return warning(
      t("Slow: {p50} ms in the middle, {worst} ms the worst of {count}.", values),
      t("Words will appear late. Try another network, or a server closer by."),
      more,
    );
  return ok(t("{p50} ms in the middle, {worst} ms the worst of {count}; heartbeats are answered.", values), more);
}

// --- time, and a room

async function checkClock(visit) {
  let best = null;
  for (let count = 0; count < CLOCK_ASKS; count += 1) {
    const begun = Date.now();
    const seen = await visit.whoAmI(true);
    if (!seen) return skipped(t("Not checked: the server does not answer."));
    const tripMs = Date.now() - begun;
    const aheadMs = begun + tripMs / 2 - Date.parse(seen.server_time);
    if (!best || tripMs < best.tripMs) best = { tripMs, aheadMs };
  }
  const offMs = Math.abs(best.aheadMs);
  const facts = { ahead_ms: Math.round(best.aheadMs) };
  if (offMs <= CLOCK_WARNING_MS) return ok(t("They differ by {ms} ms.", { ms: Math.round(offMs) }), { facts });
  const seconds = Math.round(offMs / 1000);
  const words =
    best.aheadMs > 0
      ? t("The clock of this device is {seconds} s ahead of the server's.", { seconds })
      : t("The clock of this device is {seconds} s behind the server's.", { seconds });
  const remedy = t("Have both set by the network: sign-ins and timed rights end by the server's clock.");
  return (offMs > CLOCK_FAILED_MS ? failed : warning)(words, remedy, { facts });
}

async function checkRoom(visit) {
  if (!visit.roomId) return skipped(t("Write the id of a room here to hear why it does or does not let you in."));
  const path = `/ws/chat/${encodeURIComponent(visit.roomId)}/`;
  const { status, json } = await ask(path).catch(() => ({ status: 0, json: null }));
  if (json?.websocket && json.would === 101) return ok(t("You would be let in."));
  if (!json?.error)
    return failed(
      t("The address of the room is not answered by HeartLink (status {status}).", { status }),
      t("Have the proxy hand all addresses on to HeartLink: /healthz, /api/ and /ws/ too."),
      { lines: "path" },
    );
  const { sentence, fix } = explain(json.error);
  const facts = { would: json.would ?? status, code: json.error.code, request_id: json.error.request_id };
  const remedy = fix || t("Ask whoever runs this server, and quote {id}.", { id: json.error.request_id });
  return failed(t("Refused with {status}: {sentence}", { status: facts.would, sentence }), remedy, { facts });
}
