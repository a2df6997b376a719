/** A refusal as the server words it (PROTOCOL 2.2 and 2.4), or one of the client's own: a code, a sentence, a fix. */
export class HeartLinkError extends Error {
  /**
   * @param {string} code e.g. "forbidden", "not_saved"; the client's own are "unreachable", "no_answer", "closed"
   * @param {string} message what happened
   * @param {{fix?: string, status?: number, fields?: object, retryAfterSeconds?: number, decision_id?: string}} [more]
   */
  constructor(
    code,
    message,
    { fix = "", status = 0, fields = null, retryAfterSeconds = null, decision_id = null } = {},
  ) {
    super(message);
    this.name = "HeartLinkError";
    this.code = code;
    this.fix = fix;
    this.status = status;
    this.fields = fields;
    this.retryAfterSeconds = retryAfterSeconds;
    /** What `explain` takes when a right was missing (PROTOCOL 4.3). */
    this.decisionId = decision_id;
  }

  /** From `{"error": {code, message, fix, fields?}}`; anything else becomes a sentence about the status. */
  static fromBody(body, status, retryAfterSeconds = null) {
    const error = body?.error;
    if (error && typeof error.code === "string") {
      return new HeartLinkError(error.code, error.message, { ...error, status, retryAfterSeconds });
    }
    return new HeartLinkError("unexpected_answer", `The server answered with status ${status}.`, {
      status,
      retryAfterSeconds,
    });
  }

  /** From an `error` frame. */
  static fromFrame(frame) {
    return new HeartLinkError(frame.error_code, frame.message, {
      fix: frame.fix,
      fields: frame.fields ?? null,
      retryAfterSeconds: frame.retry_after ?? null,
      decision_id: frame.decision_id,
    });
  }

  static unreachable() {
    return new HeartLinkError("unreachable", "The server cannot be reached.", { fix: "It is tried again by itself." });
  }

  /** True when the same request may succeed later, unchanged. */
  get isTemporary() {
    return (
      TEMPORARY_CODES.has(this.code) ||
      this.status === 429 ||
      this.status === 502 ||
      this.status === 503 ||
      this.status === 504
    );
  }
}

const TEMPORARY_CODES = new Set([
  "unreachable",
  "no_answer",
  "closed",
  "not_saved",
  "rate_limited",
  "internal_error",
  "draining",
]);
