const TYPING_ENDS_AFTER_MS = 6500;

/** Who belongs to a room, who is here, how far each has read and who is typing. */
export class People {
  #byId = new Map();
  #typing = new Map();
  #changed;

  /** @param {() => void} changed called after anything changed */
  constructor(changed) {
    this.#changed = changed;
  }

  get members() {
    return [...this.#byId.values()];
  }
  get(userId) {
    return this.#byId.get(userId) ?? null;
  }
  byName(username) {
    return this.members.find((member) => member.username === username) ?? null;
  }
  /** Those who are typing now, oneself left out; `what` says whether they write ("text") or record ("voice"). */
  get typing() {
    return [...this.#typing.values()].map(({ member, what }) => ({ ...member, what }));
  }

  /** @param {object[]} members PROTOCOL 3.1; what an earlier answer knew besides (the role) is kept */
  replace(members) {
    const before = this.#byId;
    this.#byId = new Map(members.map((member) => [member.user_id, { ...before.get(member.user_id), ...member }]));
    this.#changed();
  }

  update(userId, changes) {
    const member = this.#byId.get(userId);
    if (!member) return;
    this.#byId.set(userId, { ...member, ...changes });
    this.#changed();
  }

  add(member) {
    this.#byId.set(member.user_id, { ...this.#byId.get(member.user_id), ...member });
    this.#changed();
  }

  remove(userId) {
    this.stoppedTyping(userId);
    if (this.#byId.delete(userId)) this.#changed();
  }

  /** A cursor only rises. @returns {boolean} whether it did */
  read(userId, upTo) {
    const member = this.#byId.get(userId);
    if (!member || upTo <= (member.read_up_to ?? 0)) return false;
    this.update(userId, { read_up_to: upTo });
    return true;
  }

  /** @returns {object[]} those other than `exceptId` who have read up to the message */
  readersOf(messageId, exceptId) {
    return this.members.filter((member) => member.user_id !== exceptId && (member.read_up_to ?? 0) >= messageId);
  }

  isTyping(userId, username, what) {
    clearTimeout(this.#typing.get(userId)?.timer);
    const member = this.#byId.get(userId) ?? { user_id: userId, username, display_name: username };
    this.#typing.set(userId, {
      member,
      what,
      timer: setTimeout(() => this.stoppedTyping(userId), TYPING_ENDS_AFTER_MS),
    });
    this.#changed();
  }

  stoppedTyping(userId) {
    const entry = this.#typing.get(userId);
    if (!entry) return;
    clearTimeout(entry.timer);
    this.#typing.delete(userId);
    this.#changed();
  }

  nobodyTypes() {
    for (const userId of [...this.#typing.keys()]) this.stoppedTyping(userId);
  }
}
