/** The frames a console has seen, the last thousand of them. Pure: knows no page and no socket. */

export const KEPT_FRAMES = 1000;
export const KEPT_CHARS = 16384;

const SECRET_FIELDS = /("(?:token|ticket|password|old_password|new_password)"\s*:\s*)"(?:[^"\\]|\\.)*"/g;

export class FrameLog {
  #frames = [];
  #begunAt = null;
  /** How many were forgotten, the oldest first. */
  forgotten = 0;

  get length() {
    return this.#frames.length;
  }

  /**
   * @param {"in" | "out" | "note"} direction note: what happened to the socket itself
   * @param {string} text
   * @param {number} [now] epoch milliseconds
   * @returns {{id: number, at: number, afterMs: number, direction: string, type: string, size: number, text: string, isCut: boolean}}
   */
  add(direction, text, now = Date.now()) {
    this.#begunAt ??= now;
    const frame = {
      id: this.forgotten + this.#frames.length,
      at: now,
      afterMs: now - this.#begunAt,
      direction,
      type: direction === "note" ? "" : typeOf(text),
      size: new TextEncoder().encode(text).length,
      text: text.slice(0, KEPT_CHARS),
      isCut: text.length > KEPT_CHARS,
    };
    this.#frames.push(frame);
    if (this.#frames.length > KEPT_FRAMES) {
      this.#frames.shift();
      this.forgotten += 1;
    }
    return frame;
  }

  clear() {
    this.#frames = [];
    this.#begunAt = null;
    this.forgotten = 0;
  }

  /** Those in which every word stands, in any case. */
  found(words) {
    return this.#frames.filter((frame) => fits(frame, words));
  }

  /** One JSON object a line; the values of tokens, tickets and passwords are left out. */
  toLines() {
    return this.#frames
      .map(({ at, direction, size, text, isCut }) =>
        JSON.stringify({
          time: new Date(at).toISOString(),
          direction,
          bytes: size,
          text: withoutSecrets(text),
          ...(isCut && { cut: true }),
        }),
      )
      .join("\n");
  }
}

export function fits(frame, words) {
  const text = `${frame.direction} ${frame.text}`.toLowerCase();
  return words
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}

export const withoutSecrets = (text) => text.replace(SECRET_FIELDS, '$1"…"');

function typeOf(text) {
  try {
    return String(JSON.parse(text).type ?? "");
  } catch {
    return "";
  }
}

/** The text with line breaks and indents, or as it is when it is no JSON. */
export function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/**
 * The frames that can be sent on a socket, as examples to change.
 * @param {object} document AsyncAPI
 * @param {string} route "/ws/chat/{room_id}/"
 * @returns {{name: string, about: string, text: string}[]}
 */
export function examplesOf(document, route) {
  const entry = Object.entries(document.channels ?? {}).find(([, channel]) => channel.address === route);
  if (!entry) return [];
  const reference = `#/channels/${entry[0]}`;
  const sent = Object.values(document.operations).filter(
    ({ action, channel }) => action === "receive" && channel.$ref === reference,
  );
  return sent
    .flatMap(({ messages }) => messages)
    .map(({ $ref }) => document.components.messages[$ref.split("/").at(-1)])
    .map(({ name, summary, payload }) => ({
      name,
      about: summary,
      text: JSON.stringify({ type: name, ...requiredOf(resolve(document, payload), document) }),
    }));
}

function requiredOf(schema, document) {
  const names = (schema.required ?? []).filter((name) => name !== "type");
  return Object.fromEntries(names.map((name) => [name, exampleOf(schema.properties[name], document)]));
}

function exampleOf(schema, document) {
  const found = resolve(document, schema);
  if (found.anyOf) return exampleOf(found.anyOf[0], document);
  if (found.enum) return found.enum[0];
  if (found.type === "object") return requiredOf(found, document);
  return { string: "", integer: 1, number: 1, boolean: true, array: [] }[found.type] ?? null;
}

function resolve(document, schema) {
  if (!schema?.$ref) return schema ?? {};
  return schema.$ref
    .slice(2)
    .split("/")
    .reduce((node, step) => node?.[step], document);
}
