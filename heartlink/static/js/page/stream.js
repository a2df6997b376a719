/** The permission stream of whoever looks at this page: one for all scripts of the page. */
import { link, page } from "./ui.js";

export const permissions = await link.permissions(page.user ? {} : { anonymous: true });

addEventListener("online", () => permissions.wake());
document.addEventListener("visibilitychange", () => document.hidden || permissions.wake());
