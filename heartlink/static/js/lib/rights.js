/**
 * What one user may, as the permission stream tells it (PROTOCOL 4): a snapshot and numbered changes on top of it.
 * Pure: knows no connection. What it answers is a hint for drawing; the server decides.
 */

const MOST_REMEMBERED_CHANGES = 30;

export class Rights {
  version = 0;
  epoch = null;
  /** Keys of the user's roles. */
  roles = [];
  /** [{permission, scope, effect: "allow" | "deny", expires_at}] */
  permissions = [];
  /** [{key, name, icon, url, parent, sort_order}], in order */
  menus = [];
  /** The latest changes, newest first: [{version, at, action, because, granted, revoked}] */
  changes = [];
  #pending = null;

  /** Whether anything is known at all. */
  get isKnown() {
    return this.epoch !== null;
  }

  /** What a new connection says in order to resume; nothing at first. */
  get query() {
    return this.isKnown ? { since: this.version, epoch: this.epoch } : {};
  }

  /** What is kept across reloads. */
  get record() {
    const { version, epoch, roles, permissions, menus, changes } = this;
    return { version, epoch, roles, permissions, menus, changes };
  }

  /** @param {object} record what `record` gave before; anything else is no help and is ignored */
  restore(record) {
    if (!record || !Number.isInteger(record.version) || typeof record.epoch !== "string") return;
    for (const name of ["roles", "permissions", "menus", "changes"]) if (!Array.isArray(record[name])) return;
    Object.assign(this, record);
  }

  /** All of it, anew. */
  replace(frame) {
    this.#pending = null;
    if (frame.epoch !== this.epoch) this.changes = [];
    this.version = frame.version;
    this.epoch = frame.epoch;
    this.roles = frame.roles;
    this.permissions = frame.permissions;
    this.menus = inOrder(frame.menus);
  }

  /** What is known fits nothing that the server tells: the next connection begins with a snapshot. */
  forget() {
    this.epoch = null;
  }

  /** The connection is gone, and with it the beginning of a change whose end did not arrive. */
  interrupt() {
    this.#pending = null;
  }

  /**
   * One frame of a committed change: `role_updated` and `menu_access_changed` wait for the `permission_changed`
   * that ends it, so that nobody sees half of a change.
   * @returns {"wait" | "known" | "gap" | object} the whole change: {version, roles: {old, new} | null, menus: {added, removed} | null,
   *          action, granted, revoked, because}
   */
  take(frame) {
    if (frame.version <= this.version) return "known";
    if (frame.prev !== this.version) return "gap";
    if (this.#pending?.version !== frame.version) this.#pending = { version: frame.version, roles: null, menus: null };
    const change = this.#pending;
    const { data } = frame;
    if (frame.type === "role_updated") change.roles = { old: data.oldRoles, new: data.newRoles };
    else if (frame.type === "menu_access_changed") change.menus = data.menuChanges;
    if (frame.type !== "permission_changed") return "wait";
    this.#pending = null;
    const { action, granted, revoked, because } = data;
    return this.#finish({ ...change, at: frame.timestamp, action, granted, revoked, because }, data.permissions);
  }

  #finish(change, permissions) {
    this.version = change.version;
    this.permissions = permissions;
    if (change.roles) this.roles = change.roles.new;
    if (change.menus) {
      const touched = new Set([...change.menus.removed, ...change.menus.added.map((menu) => menu.key)]);
      this.menus = inOrder([...this.menus.filter((menu) => !touched.has(menu.key)), ...change.menus.added]);
    }
    this.changes = [change, ...this.changes].slice(0, MOST_REMEMBERED_CHANGES);
    return change;
  }

  /**
   * Whether something is allowed, from what is known here: deny before allow in one scope, a room before everywhere.
   * @param {string} permission "resource.action"
   * @param {string} scope "*" or "room:<id>"
   * @param {number} nowMs the server's time
   */
  allows(permission, scope, nowMs) {
    const names = namesOf(permission);
    for (const place of scope === "*" ? ["*"] : [scope, "*"]) {
      const said = this.permissions.filter(
        (entry) => entry.scope === place && names.includes(entry.permission) && lasts(entry, nowMs),
      );
      if (said.some((entry) => entry.effect === "deny")) return false;
      if (said.length) return true;
    }
    return false;
  }
}

/** A permission and the wildcards that cover it. */
function namesOf(permission) {
  const dot = permission.indexOf(".");
  const [resource, action] = [permission.slice(0, dot), permission.slice(dot + 1)];
  return [permission, `${resource}.*`, `*.${action}`, "*.*"];
}

function lasts(entry, nowMs) {
  return !entry.expires_at || Date.parse(entry.expires_at) > nowMs;
}

function inOrder(menus) {
  return [...menus].sort((a, b) => a.sort_order - b.sort_order || (a.key < b.key ? -1 : 1));
}

/**
 * Menu entries as a tree; an entry whose parent does not show stands where that would have stood.
 * @returns {object[]} entries with `children`, in order
 */
export function menuTree(menus) {
  const nodes = new Map(menus.map((menu) => [menu.key, { ...menu, children: [] }]));
  const roots = [];
  for (const node of nodes.values()) (nodes.get(node.parent)?.children ?? roots).push(node);
  return roots;
}
