/** The permission stream of whoever looks at this page: one for all scripts of the page. */
import { link, page } from "./ui.js";

const PING_SECONDS = 10;

export const permissions = await link.permissions({ anonymous: !page.user, pingSeconds: PING_SECONDS });

addEventListener("online", () => permissions.wake());
document.addEventListener("visibilitychange", () => document.hidden || permissions.wake());
