"use strict";
// What is marked data-live is shown as the newest page has it; what somebody is writing stays as it is.
const EVERY_MS = 3000;
const said = document.getElementById("connection");

async function refresh() {
  try {
    const answer = await fetch("/", { cache: "no-store" });
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const old of document.querySelectorAll("[data-live]")) {
      const fresh = page.getElementById(old.id);
      if (fresh && !old.contains(document.activeElement)) old.replaceChildren(...fresh.childNodes);
    }
    said.textContent = "";
  } catch (error) {
    said.textContent = `No answer from the game: what you see is old (${error.message}).`;
  }
  setTimeout(refresh, EVERY_MS);
}

setTimeout(refresh, EVERY_MS);
