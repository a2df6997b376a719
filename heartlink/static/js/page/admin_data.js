/** What the console knows of the policy, and names for ids. */
import { link, roomTitle } from "./ui.js";
import { roomNames } from "./words.js";

const MOST_PEOPLE = 200;

/** Roles, groups and menu entries as the server has them, all of one version. */
export const policy = { roles: [], groups: [], menus: [], version: 0 };

/** Accounts seen so far, by id. */
export const people = new Map();

const request = (method, path, body) => link.rest.request(method, path, body);

export async function loadPolicy() {
  const [roles, groups, menus] = await Promise.all([
    request("GET", "/api/roles"),
    request("GET", "/api/groups"),
    request("GET", "/api/menus"),
  ]);
  Object.assign(policy, { roles: roles.roles, groups: groups.groups, menus: menus.menus });
  policy.version = Math.min(roles.version, groups.version, menus.version);
}

/** @returns {Promise<{users: object[], has_more: boolean}>} accounts by the beginning of their name */
export async function findPeople(query = "", after = "", limit = 50) {
  const answer = await request("GET", `/api/admin/users?${new URLSearchParams({ q: query, after, limit })}`);
  for (const person of answer.users) people.set(person.id, person);
  return answer;
}

/** The account with exactly this user name; null when there is none. */
export async function personNamed(username) {
  const wanted = username.trim().replace(/^@/, "").toLowerCase();
  const { users } = await findPeople(wanted, "", 20);
  return users.find((person) => person.username.toLowerCase() === wanted) ?? null;
}

/** Learns the names behind ids, a few at a time. */
export async function learnPeople(ids) {
  const unknown = [...new Set(ids)].filter((id) => id && !people.has(id)).slice(0, MOST_PEOPLE);
  const found = await Promise.allSettled(unknown.map((id) => request("GET", `/api/users/${encodeURIComponent(id)}`)));
  for (const { value } of found) if (value?.id) people.set(value.id, value);
  return unknown.length > 0;
}

export function personName(id) {
  const person = people.get(id);
  return person ? `@${person.username}` : id;
}

/** Rooms that can be named: mine and the public ones. */
export async function learnRooms() {
  const [mine, open] = await Promise.allSettled([link.rest.rooms(), link.rest.publicRooms()]);
  for (const answer of [open, mine])
    for (const room of answer.value?.rooms ?? []) roomNames.set(room.id, roomTitle(room));
}

export const grants = (query) => request("GET", `/api/grants?${new URLSearchParams(query)}`);
export const groupMembers = (key) => request("GET", `/api/groups/${encodeURIComponent(key)}/members`);
export const audit = (before, limit = 30) =>
  request("GET", `/api/audit?${new URLSearchParams({ limit, ...(before ? { before } : {}) })}`);
/** The latest version of the policy. */
export const latestVersion = async () => (await audit(null, 1)).version;
export const undo = (version) => request("POST", `/api/audit/${version}/undo`, {});
