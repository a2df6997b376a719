/** One button that joins: by an invitation, or a public room. */
import { explain, exactTime, link, roomUrl, t, ready } from "./ui.js";

for (const time of document.querySelectorAll("[data-until]")) {
  time.textContent = `${t("open until")} ${exactTime(new Date(time.dateTime))}`;
}

const join = document.getElementById("join");
join?.addEventListener("click", async () => {
  join.disabled = true;
  try {
    const { code, roomId } = join.dataset;
    if (code) await link.rest.acceptInvite(code).then(({ room }) => location.assign(roomUrl(room.id)));
    else await link.rest.join(roomId).then(() => location.assign(roomUrl(roomId)));
  } catch (error) {
    const { sentence, fix } = explain(error);
    document.querySelector(".form-error").textContent = `${sentence} ${fix}`;
    join.disabled = false;
  }
});
ready();
