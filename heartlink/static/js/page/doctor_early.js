/*
 * A plain script, so that it runs where modules do not: when one of the page's files does not arrive, the page says
 * which. The words stand in the page already; doctor.js takes them away when it begins.
 */
"use strict";
(() => {
  function tell(event) {
    const file = event.target.src || event.target.href || event.filename;
    const isStarted = document.documentElement.dataset.doctor === "started";
    if (isStarted || !file) return;
    document.documentElement.dataset.doctor = "stuck";
    const place = document.getElementById("doctor-stuck-file");
    if (place) place.textContent = new URL(file).pathname;
  }
  addEventListener("error", tell, true);
})();
