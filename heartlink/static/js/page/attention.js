/** The unread count in the title, and notifications for those who asked for them with a click. */
import { summaryOf } from "./summary.js";
import { page, roomUrl, t, toast } from "./ui.js";

const KEY = "heartlink:notify";
const MOST_CHARS = 160;

export class Attention {
  #title = document.title;
  #here = 0;
  #elsewhere = 0;
  #button = document.getElementById("notify-toggle");
  #room;

  constructor(room) {
    this.#room = room;
    if (!("Notification" in window)) return;
    this.#button.hidden = false;
    this.#button.addEventListener("click", () => this.#toggle());
    this.#draw();
  }

  named(title) {
    this.#title = `${title} · HeartLink`;
    this.#drawTitle();
  }

  elsewhere(count) {
    this.#elsewhere = count;
    this.#drawTitle();
  }

  seen() {
    this.#here = 0;
    this.#drawTitle();
  }

  /** Somebody spoke while nobody was looking. */
  missed(message) {
    this.#here += 1;
    this.#drawTitle();
    if (!this.#isOn || message.message_type === "system") return;
    const note = new Notification(message.sender_name || message.sender, {
      body: summaryOf(message).slice(0, MOST_CHARS),
      tag: `heartlink:${message.room_id}`,
      icon: "/static/favicon.svg",
    });
    note.onclick = () => {
      window.focus();
      if (this.#room.id !== message.room_id) location.assign(roomUrl(message.room_id));
      note.close();
    };
  }

  get #isOn() {
    return (
      "Notification" in window && Notification.permission === "granted" && localStorage.getItem(KEY) === page.user.id
    );
  }

  /** The browser's question is asked here and nowhere else: on a click. */
  async #toggle() {
    if (this.#isOn) localStorage.removeItem(KEY);
    else if ((await Notification.requestPermission()) === "granted") localStorage.setItem(KEY, page.user.id);
    else toast(t("The browser does not allow notifications for this page."), t("Allow them in the address bar."));
    this.#draw();
  }

  #draw() {
    this.#button.setAttribute("aria-pressed", String(this.#isOn));
  }

  #drawTitle() {
    const count = this.#here + this.#elsewhere;
    document.title = count ? `(${count > 99 ? "99+" : count}) ${this.#title}` : this.#title;
  }
}
