/** Opening every kind of socket, finding out where a handshake got lost, and coming back where one was. */
import { ask, isOfType, Probe } from "./doctor_probe.js";
import { failed, ok, skipped, warning, whole, worstOf } from "./doctor_verdicts.js";
import { explain, page, t } from "./ui.js";

export const DOCTOR = "/ws/doctor/";
const NOBODY = "nobody";

/** @returns {Promise<string[]>} the socket routes of this server, the doctor's own first */
export async function socketRoutes() {
  const answer = await ask("/api/routes").catch(() => null);
  const routes = (answer?.json?.routes ?? []).filter(({ kind }) => kind === "socket").map(({ path }) => path);
  return [DOCTOR, ...routes.filter((path) => path !== DOCTOR)];
}

/** The address of a route for whoever looks at this page. */
export function filled(route, { roomId }) {
  const values = { room_id: roomId || NOBODY, user_id: page.user?.id ?? NOBODY };
  return route.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(values[name] ?? NOBODY));
}

export async function checkUpgrade(visit) {
  const [routes, roomId] = await Promise.all([socketRoutes(), visit.anyRoom()]);
  const [first, ...others] = routes;
  const rows = await Promise.all([checkDoctorRoute(visit), ...others.map((route) => checkRoute(route, roomId))]);
  const named = rows.map((row, at) => ({ name: [first, ...others][at], ...row }));
  const worst = worstOf(named);
  if (worst.verdict === "failed" || worst.verdict === "warning") {
    const { verdict, words, remedy, lines, facts } = worst;
    return { verdict, words: named.length > 1 ? `${worst.name}: ${words}` : words, remedy, lines, facts, rows: named };
  }
  const count = named.filter(({ verdict }) => verdict === "ok").length;
  return ok(t("{count} of {total} opened; the others need an account or a room.", { count, total: named.length }), {
    rows: named,
  });
}

async function checkDoctorRoute(visit) {
  const socket = await visit.socket();
  if (socket) return ok(t("opened"), { ms: socket.probe.openMs });
  return diagnose(visit.attempt);
}

async function checkRoute(route, roomId) {
  const path = filled(route, { roomId });
  const { status, json } = await ask(path).catch(() => ({ status: 0, json: null }));
  if (!json?.websocket)
    return failed(
      t("not answered by HeartLink (status {status})", { status }),
      t("Have the proxy hand all addresses on to HeartLink: /healthz, /api/ and /ws/ too."),
      { lines: "path" },
    );
  if (route.includes("{room_id}") && !roomId) return skipped(t("There is no room to try it with."));
  if (json.would !== 101) {
    const { sentence, fix } = explain(json.error);
    const words = t("would be refused with {status}: {sentence}", { status: json.would, sentence });
    // It is reached and says why: no fault of the way there, unless everybody would hear it.
    return json.would === 429 || json.would >= 500 ? warning(words, fix) : skipped(words);
  }
  try {
    const probe = await Probe.open(path);
    probe.close();
    return ok(t("opened"), { ms: probe.openMs });
  } catch {
    return failed(t("The server would let you in, but the socket does not open."), t("See the first route."), {
      lines: "upgrade",
    });
  }
}

/** Where a handshake got lost, by what the server saw of it. */
async function diagnose(attempt) {
  const answer = await ask(`/api/doctor/whoami?attempt=${attempt}`).catch(() => null);
  const seen = answer?.json?.handshake;
  if (!answer?.json?.version)
    return failed(
      t("No socket opens, and the server cannot be asked why."),
      t("See whether HeartLink runs, and whether {address} leads to it.", { address: location.origin }),
    );
  const facts = seen && { upgrade: seen.upgrade, connection: seen.connection, status: seen.status, code: seen.code };
  const more = { lines: "upgrade", facts };
  if (!seen)
    return failed(
      t("The request for a socket does not reach the server."),
      t(
        "Something on the way swallows it: a firewall, a virus scanner, an extension, or a proxy without a rule for /ws/.",
      ),
      { ...more, lines: "path" },
    );
  if (seen.code === "upgrade_headers_lost")
    return failed(
      t("A proxy takes the headers Upgrade and Connection away: the server saw an ordinary request."),
      t("Have the proxy speak HTTP/1.1 and hand both headers on."),
      more,
    );
  if (seen.status !== 101) return refusedHandshake(seen, more);
  if (!seen.subprotocols.length)
    return failed(
      t("A proxy takes the subprotocol away, so the browser drops the socket."),
      t("Have the proxy leave the header Sec-WebSocket-Protocol as it is, both ways."),
      more,
    );
  return failed(
    t("The server opened the socket, but its answer does not come back."),
    t("Have the proxy speak HTTP/1.1 to the server and let the answer 101 through."),
    more,
  );
}

function refusedHandshake({ status, code, origin, host }, more) {
  const why = page.strings[`code:${code}`] ?? code;
  if (code.startsWith("origin_"))
    return failed(
      t("The server refuses the socket: it saw the Origin {origin} and the Host {host}.", {
        origin: origin ?? "–",
        host,
      }),
      t("Have the proxy hand on the Host it was asked for, or start HeartLink with --allowed-origins={page}.", {
        page: location.origin,
      }),
      { ...more, lines: "host" },
    );
  return failed(
    t("The server refuses the socket with {status}: {why}.", { status, why }),
    t("Try again in a moment."),
    {
      facts: more.facts,
    },
  );
}

// --- coming back

export async function checkResume(visit) {
  if (!(await visit.greeted())) return skipped(t("Not checked: no socket opens."));
  const roomId = await visit.anyRoom();
  const streams = [[page.user ? "/ws/permissions/" : "/ws/permissions/anonymous/", "connection_confirmed", "version"]];
  if (page.user && roomId)
    streams.push([`/ws/chat/${encodeURIComponent(roomId)}/`, "connection_established", "last_seq"]);
  const rows = await Promise.all(
    streams.map(async ([path, greeting, number]) => ({ name: path, ...(await comeBack(path, greeting, number)) })),
  );
  const worst = worstOf(rows);
  if (worst.verdict === "skipped") return skipped(worst.words, { rows });
  if (worst.verdict !== "ok") return { ...worst, rows };
  return ok(t("Dropped, opened again, and gone on at the same place."), { rows });
}

async function comeBack(path, greetingType, number) {
  const begun = performance.now();
  try {
    const before = await greetingOf(path, greetingType);
    const place = before[number];
    const after = await greetingOf(`${path}?since=${place}&epoch=${encodeURIComponent(before.epoch)}`, greetingType);
    const ms = performance.now() - begun;
    const facts = { since: place, resume: after.resume, reason: after.resume_reason };
    if (after.resume === "changes" && after[number] >= place)
      return ok(t("went on at {number}", { number: place }), { ms: whole(ms), facts });
    if (after.resume === "none")
      return failed(
        t("It came back as if it were new: the place where it was did not reach the server."),
        t("Have the proxy hand on the query of an address, what stands behind the “?”."),
        { facts },
      );
    return failed(
      t("It came back, but could not go on where it was ({reason}).", { reason: after.resume_reason ?? after.resume }),
      t("Load the page anew. If it stays, more than one server answers at this address."),
      { facts },
    );
  } catch (failure) {
    if (failure.code === 1006 || failure.kind === "timeout")
      return failed(
        t("It does not open a second time."),
        t("Something in between ends the connection: a proxy, a firewall or a virus scanner. Try another network."),
      );
    return failed(
      t("The connection was cut while it was under way (code {code}).", { code: failure.code }),
      t("Try again in a moment."),
    );
  }
}

async function greetingOf(path, type) {
  const probe = await Probe.open(path);
  try {
    return await probe.next(isOfType(type));
  } finally {
    probe.close();
  }
}
