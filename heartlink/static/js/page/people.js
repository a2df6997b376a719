/** Who belongs to the room, who is here, and the line that says who is typing. */
import { mayModerate, openModeration } from "./moderation.js";
import { avatar, el, iconButton, page, shortTime, svgPath, t } from "./ui.js";

const STATUS_WORDS = { online: "online", busy: "busy", away: "away", offline: "offline" };
const ROLE_WORDS = { owner: "owner", admin: "admin", member: "", guest: "guest" };
const MOST_NAMES = 3;

export class PeoplePanel {
  #room;
  #list = document.getElementById("people-list");
  #drawn = "";

  constructor(room) {
    this.#room = room;
    room.on("people", () => this.#draw());
    room.on("capabilities", () => this.#draw());
  }

  #draw() {
    this.#drawTyping();
    const members = this.#room.people.members.map(
      ({ user_id, display_name, username, avatar_url, status, role, last_seen }) => ({
        user_id,
        display_name,
        username,
        avatar_url,
        status,
        role,
        last_seen,
      }),
    );
    const version = JSON.stringify([members, [...this.#room.capabilities]]);
    if (version === this.#drawn) return;
    this.#drawn = version;
    members.sort((a, b) => a.display_name.localeCompare(b.display_name, page.locale.replace("_", "-")));
    const here = members.filter((member) => member.status !== "offline");
    const away = members.filter((member) => member.status === "offline");
    this.#list.replaceChildren(...this.#group(t("Here now"), here), ...this.#group(t("Not here"), away));
  }

  #group(title, members) {
    if (!members.length) return [];
    return [
      el("h3", { class: "people-group" }, `${title} · ${members.length}`),
      el("ul", {}, ...members.map((member) => this.#person(member))),
    ];
  }

  #person(member) {
    const isMe = member.user_id === page.user.id;
    const words = [
      t(STATUS_WORDS[member.status] ?? member.status),
      member.role && ROLE_WORDS[member.role] ? t(ROLE_WORDS[member.role]) : "",
    ];
    if (member.status === "offline" && member.last_seen)
      words[0] = t("last here {time}", { time: shortTime(new Date(member.last_seen)) });
    return el(
      "li",
      { class: "person", data: { userId: member.user_id } },
      el(
        "span",
        { class: "presence", data: { status: member.status } },
        avatar({ id: member.user_id, name: member.display_name, url: member.avatar_url }),
      ),
      el(
        "span",
        { class: "person-text" },
        el(
          "b",
          { title: `@${member.username}` },
          isMe ? t("{name} (you)", { name: member.display_name }) : member.display_name,
        ),
        el("small", {}, words.filter(Boolean).join(" · ")),
      ),
      mayModerate(this.#room, member)
        ? iconButton(
            "shield",
            t("Moderate {name}", { name: member.display_name }),
            () => openModeration(this.#room, member),
            { "aria-haspopup": "dialog" },
          )
        : null,
    );
  }

  #drawTyping() {
    const line = document.getElementById("typing");
    const { typing } = this.#room.people;
    const names = typing.map((member) => member.display_name);
    const isVoice = typing.length === 1 && typing[0].what === "voice";
    const version = `${isVoice}\n${names.join("\n")}`;
    if (line.dataset.names === version) return;
    line.dataset.names = version;
    if (!names.length) line.replaceChildren();
    else line.replaceChildren(svgPath("typing-line", "0 0 26 12", "M0 6h6l2-2 3 7 4-10 3 7 2-2h6"), typingWords(names, isVoice));
  }
}

function typingWords(names, isVoice) {
  if (isVoice) return t("{name} is recording…", { name: names[0] });
  if (names.length > MOST_NAMES) return t("Several people are writing…");
  const joined = new Intl.ListFormat(page.locale.replace("_", "-"), { type: "conjunction" }).format(names);
  return names.length > 1 ? t("{names} are writing…", { names: joined }) : t("{name} is writing…", { name: joined });
}
