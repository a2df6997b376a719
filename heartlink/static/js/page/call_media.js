/** Microphone, camera and screen of a call: what there is, what is not, and why, in a sentence with a way out. */
import { t } from "./ui.js";

const VIDEO = { width: { ideal: 1280 }, height: { ideal: 720 } };
const AUDIO = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

/**
 * Asks for a microphone and perhaps a camera, and makes do with less.
 * @param {{audio?: boolean, video?: boolean}} wanted
 * @returns {Promise<{audio: MediaStreamTrack | null, video: MediaStreamTrack | null, problem: {sentence: string, fix: string} | null}>}
 */
export async function openDevices({ audio = true, video = false }) {
  if (!navigator.mediaDevices?.getUserMedia) return { audio: null, video: null, problem: insecure() };
  try {
    return await ask(audio, video);
  } catch (error) {
    // One of the two may be missing or refused: the other one alone is better than nothing.
    const one = audio && video ? ((await attempt(true, false)) ?? (await attempt(false, true))) : null;
    const missing = one?.audio ? "camera" : one?.video ? "microphone" : audio ? "microphone" : "camera";
    return { audio: one?.audio ?? null, video: one?.video ?? null, problem: problemOf(error, missing) };
  }
}

async function ask(audio, video) {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: audio && AUDIO, video: video && VIDEO });
  return { audio: stream.getAudioTracks()[0] ?? null, video: stream.getVideoTracks()[0] ?? null, problem: null };
}

async function attempt(audio, video) {
  try {
    return await ask(audio, video);
  } catch {
    return null;
  }
}

/** @returns {Promise<MediaStreamTrack | null>} null: one changed one's mind @throws what the browser throws */
export async function openScreen() {
  try {
    const stream = await navigator.mediaDevices.getDisplayMedia({ video: true, audio: false });
    const track = stream.getVideoTracks()[0];
    track.contentHint = "detail";
    return track;
  } catch (error) {
    if (error.name === "NotAllowedError" || error.name === "AbortError") return null;
    throw error;
  }
}

export const canShareScreen = () => Boolean(navigator.mediaDevices?.getDisplayMedia);

function insecure() {
  return {
    sentence: t("The browser gives no microphone or camera to this page."),
    fix: t("Open it over https, or on the machine itself."),
  };
}

/** @param {"microphone" | "camera"} missing what could not be had */
export function problemOf(error, missing) {
  const isCamera = missing === "camera";
  if (error.name === "NotAllowedError" || error.name === "SecurityError") {
    return {
      sentence: isCamera
        ? t("The browser does not allow the camera.")
        : t("The browser does not allow the microphone."),
      fix: t("Allow it with the symbol in the address bar, then press the button again."),
    };
  }
  if (error.name === "NotFoundError" || error.name === "OverconstrainedError") {
    return {
      sentence: isCamera ? t("No camera was found.") : t("No microphone was found."),
      fix: isCamera ? t("The others hear you; they do not see you.") : t("You hear the others; they do not hear you."),
    };
  }
  return {
    sentence: isCamera ? t("The camera cannot be used.") : t("The microphone cannot be used."),
    fix: t("Another program may be using it: close that, then press the button again."),
  };
}
