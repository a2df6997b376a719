/** Records from the microphone: the sound, how loud it is, and its waveform. Knows no page. */

export const MOST_SECONDS = 300;
const SAMPLE_EVERY_MS = 50;
const PIECE_MS = 1000;
const BITS_PER_SECOND = 32_000;
const WAVEFORM_BARS = 64;
/** Enough to see how loud it is; a tenth of the memory that the sound itself would take. */
const LOOKED_AT_HZ = 8000;
const LOOK_WITHIN_MS = 3000;
/** Quieter than this is silence, in decibels below the loudest there can be. */
const FLOOR_DB = -55;
/** What the browsers make: Opus in WebM or Ogg, AAC in MP4 on Safari. */
const KINDS = [
  ["audio/webm;codecs=opus", "webm"],
  ["audio/ogg;codecs=opus", "ogg"],
  ["audio/mp4", "m4a"],
];

/** Why there is no recording: `reason` is "unsupported", "insecure", "refused", "missing", "busy" or "failed". */
export class MicrophoneError extends Error {
  constructor(reason) {
    super(reason);
    this.reason = reason;
  }
}

const REASONS = {
  NotAllowedError: "refused",
  SecurityError: "refused",
  NotFoundError: "missing",
  OverconstrainedError: "missing",
  NotReadableError: "busy",
  AbortError: "busy",
};

export class Recorder {
  #stream;
  #recorder;
  #kind;
  #context = null;
  #analyser = null;
  #samples;
  #pieces = [];
  #levels = [];
  #timer = null;
  #startedAt = 0;
  #seconds = 0;
  #onLevel;
  #onEnd;
  #ended;

  /**
   * Asks for the microphone and begins.
   * @param {object} hooks
   * @param {(level: number, seconds: number) => void} hooks.onLevel some times a second; level from 0 to 1
   * @param {() => void} hooks.onEnd the microphone was unplugged, or the time is over: `stop` has what there is
   * @returns {Promise<Recorder>}
   * @throws {MicrophoneError}
   */
  static async start(hooks) {
    if (!navigator.mediaDevices?.getUserMedia) throw new MicrophoneError(isSecureContext ? "unsupported" : "insecure");
    const kind = KINDS.find(([mime]) => globalThis.MediaRecorder?.isTypeSupported(mime));
    if (!kind) throw new MicrophoneError("unsupported");
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({
        audio: { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true },
      });
    } catch (error) {
      throw new MicrophoneError(REASONS[error.name] ?? "failed");
    }
    try {
      return new Recorder(stream, kind, hooks);
    } catch {
      for (const track of stream.getTracks()) track.stop();
      throw new MicrophoneError("failed");
    }
  }

  constructor(stream, [mime, ending], { onLevel, onEnd }) {
    this.#stream = stream;
    this.#kind = { mime: mime.split(";")[0], ending };
    this.#onLevel = onLevel;
    this.#onEnd = onEnd;
    this.#recorder = new MediaRecorder(stream, { mimeType: mime, audioBitsPerSecond: BITS_PER_SECOND });
    this.#recorder.addEventListener("dataavailable", ({ data }) => data.size && this.#pieces.push(data));
    this.#ended = new Promise((resolve) => this.#recorder.addEventListener("stop", resolve, { once: true }));
    for (const track of stream.getAudioTracks()) track.addEventListener("ended", () => this.#onEnd(), { once: true });
    this.#listen();
    this.#recorder.start(PIECE_MS);
    this.#startedAt = performance.now();
    this.#timer = setInterval(() => this.#measure(), SAMPLE_EVERY_MS);
  }

  get seconds() {
    return this.#timer === null ? this.#seconds : (performance.now() - this.#startedAt) / 1000;
  }

  #listen() {
    try {
      this.#context = new AudioContext();
      this.#analyser = this.#context.createAnalyser();
      this.#analyser.fftSize = 2048;
      this.#samples = new Float32Array(this.#analyser.fftSize);
      this.#context.createMediaStreamSource(this.#stream).connect(this.#analyser);
      this.#context.resume().catch(() => {});
    } catch {
      // No levels, then: what is said is recorded all the same.
      this.#analyser = null;
    }
  }

  #measure() {
    const level = this.#analyser ? this.#level() : 0;
    this.#levels.push(level);
    this.#onLevel(level, this.seconds);
    if (this.seconds >= MOST_SECONDS) this.#onEnd();
  }

  #level() {
    this.#analyser.getFloatTimeDomainData(this.#samples);
    let sum = 0;
    for (const sample of this.#samples) sum += sample * sample;
    return levelOf(sum / this.#samples.length);
  }

  /** @returns {Promise<{blob: Blob, ending: string, duration: number, waveform: number[]} | null>} null: nothing came */
  async stop() {
    await this.#release();
    const blob = new Blob(this.#pieces, { type: this.#kind.mime });
    if (!blob.size) return null;
    const heard = await lookAt(blob);
    const duration = Math.round((heard?.duration || this.#seconds) * 100) / 100;
    return { blob, ending: this.#kind.ending, duration, waveform: waveformOf(heard?.levels ?? this.#levels) };
  }

  /** Ends it and forgets what was said. */
  async cancel() {
    await this.#release();
    this.#pieces = [];
  }

  async #release() {
    if (this.#timer !== null) {
      this.#seconds = this.seconds;
      clearInterval(this.#timer);
      this.#timer = null;
    }
    if (this.#recorder.state !== "inactive") {
      this.#recorder.stop();
      await this.#ended;
    }
    for (const track of this.#stream.getTracks()) track.stop();
    await this.#context?.close().catch(() => {});
    this.#context = null;
  }
}

/** @param {number} power the mean of the squares @returns {number} 0: silence, 1: as loud as can be */
function levelOf(power) {
  const decibels = 10 * Math.log10(power || 1e-18);
  return Math.min(1, Math.max(0, 1 - decibels / FLOOR_DB));
}

/**
 * What was really recorded: a busy page measures late while it records.
 * @returns {Promise<{duration: number, levels: number[]} | null>} null where the browser cannot tell, or not in time
 */
async function lookAt(blob) {
  try {
    const context = new OfflineAudioContext(1, 1, LOOKED_AT_HZ);
    const late = new Promise((resolve) => setTimeout(resolve, LOOK_WITHIN_MS, null));
    const sound = await Promise.race([context.decodeAudioData(await blob.arrayBuffer()), late]);
    if (!sound?.length) return null;
    const samples = sound.getChannelData(0);
    const size = Math.max(1, Math.floor(samples.length / WAVEFORM_BARS));
    const levels = Array.from({ length: Math.min(WAVEFORM_BARS, samples.length) }, (_, bar) => {
      let sum = 0;
      for (let index = bar * size; index < (bar + 1) * size; index += 1) sum += samples[index] ** 2;
      return levelOf(sum / size);
    });
    return { duration: sound.duration, levels };
  } catch {
    return null;
  }
}

/** The loudest of each part, from 0 to 100, so that the loudest of all reaches the top. */
export function waveformOf(levels, bars = WAVEFORM_BARS) {
  const count = Math.min(bars, levels.length);
  const peaks = Array.from({ length: count }, (_, bar) => {
    const from = Math.floor((bar * levels.length) / count);
    return Math.max(...levels.slice(from, Math.max(from + 1, Math.floor(((bar + 1) * levels.length) / count))));
  });
  const most = Math.max(0.25, ...peaks);
  return peaks.map((peak) => Math.round((peak / most) * 100));
}
