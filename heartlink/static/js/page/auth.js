/** Sign in and register. */
import { link, onSubmit, ready } from "./ui.js";

const form = document.getElementById("auth-form");

onSubmit(form, async (data) => {
  const username = data.get("username").trim();
  if (form.dataset.kind === "register")
    await link.rest.register(username, data.get("password"), data.get("display_name").trim());
  else await link.rest.login(username, data.get("password"));
  location.assign(form.dataset.next || "/");
});
ready();
