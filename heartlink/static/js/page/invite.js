/** An invitation: one button. */
import { explain, exactTime, link, roomUrl, t } from "./ui.js";

for (const time of document.querySelectorAll("[data-until]")) {
  time.textContent = `${t("open until")} ${exactTime(new Date(time.dateTime))}`;
}

const join = document.getElementById("join");
join?.addEventListener("click", async () => {
  join.disabled = true;
  try {
    const { room } = await link.rest.acceptInvite(join.dataset.code);
    location.assign(roomUrl(room.id));
  } catch (error) {
    const { sentence, fix } = explain(error);
    document.querySelector(".form-error").textContent = `${sentence} ${fix}`;
    join.disabled = false;
  }
});
