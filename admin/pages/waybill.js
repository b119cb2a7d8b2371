// Keeps a page up to date. Without it everything can be read and done; pages then load
// themselves again. It sets texts and the paths of lines, never HTML of its own making.
"use strict";

// The overview: server-sent events with texts by data-live and lines by data-spark.
const live = document.querySelector("[data-events]");
if (live && window.EventSource) {
  const texts = new Map();
  for (const e of live.querySelectorAll("[data-live]")) texts.set(e.dataset.live, e);
  const sparks = new Map();
  for (const e of live.querySelectorAll("[data-spark]")) sparks.set(e.dataset.spark, e);
  const rows = new Map();
  for (const e of live.querySelectorAll("[data-row]")) rows.set(e.dataset.row, e);
  const show = (event) => {
    const update = JSON.parse(event.data);
    for (const [key, text] of Object.entries(update.texts)) {
      const e = texts.get(key);
      if (e && e.textContent !== text) e.textContent = text;
    }
    for (const [key, state] of Object.entries(update.states)) {
      const e = rows.get(key);
      if (e) e.className = state;
    }
    for (const [key, path] of Object.entries(update.sparks)) {
      const e = sparks.get(key);
      if (e) e.setAttribute("d", path);
    }
    if (update.shape !== live.dataset.shape) document.getElementById("news").hidden = false;
  };
  // Nobody looks at a page in the background: it takes no connection, of which a browser has
  // few for one server.
  let events = null;
  const follow = () => {
    if (document.hidden) {
      if (events) events.close();
      events = null;
    } else if (!events) {
      events = new EventSource(live.dataset.events);
      events.addEventListener("overview", show);
      events.addEventListener("error", () => {
        const refused = events && events.readyState === EventSource.CLOSED; // else it tries again
        if (refused) document.getElementById("stale").hidden = false;
      });
    }
  };
  document.addEventListener("visibilitychange", follow);
  follow();
}

// An order under way: the same page again, of which the progress is taken.
function poll() {
  const progress = document.querySelector("#progress[data-poll]");
  if (!progress) return;
  setTimeout(async () => {
    try {
      const answer = await fetch(location.href, { credentials: "same-origin" });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const next = page.getElementById("progress");
      if (answer.ok && next && next.innerHTML !== progress.innerHTML) progress.replaceWith(document.adoptNode(next));
    } catch {
      // The next try may succeed.
    }
    poll();
  }, Number(progress.dataset.poll));
}
poll();
